"""Claims: state a number, check it where it is measured, and leave a record of both.

`claim` is for a statement with a rule: it stops the notebook if the statement does not hold.
`quote` leaves a number for a sentence in the prose, which the build compares with what is typed
there.
"""

from __future__ import annotations

import html
import json
import math
from typing import Any

from IPython.display import display

from sgdlib import _check

_RECORD = "application/papermill.record/text/plain"


class ClaimError(AssertionError):
    """A claim that does not hold, or that has no rule to hold it to."""


def claim(
    text: str,
    *,
    measured: float,
    expected: float | None = None,
    rel_tol: float | None = None,
    abs_tol: float | None = None,
    stderr: float | None = None,
    sigmas: float = 4,
    below: float | None = None,
    above: float | None = None,
    theory: str | None = None,
) -> None:
    """State that `measured` agrees with theory, check it, and record it for the claims ledger.

    The rule is either an `expected` value with exactly one of `stderr`, `rel_tol` and `abs_tol`, or
    one or both of the bounds `below` and `above`. With `stderr` a bound has to be cleared by
    `sigmas` standard errors.

    The plain text output says the same on every machine: statement, theory, tolerance. The measured
    value stands in the page and in Jupyter.

    Parameters
    ----------
    text
        The statement, once in a chapter: it is the claim's name, so put a loop's parameter into it.
    measured
        The measured number.
    expected
        What theory says, in the units of `measured`.
    rel_tol, abs_tol
        Largest deviation allowed, as a fraction of `expected` or in the units of `measured`.
    stderr
        Standard error of `measured` (of the difference, if `expected` has one too), > 0.
    sigmas
        How many standard errors are allowed.
    below, above
        Strict bounds.
    theory
        Words for the theory, where `expected` or a bound is itself a measurement and its digits are
        not the same on every machine: "the time of the plain loop".

    Raises
    ------
    ClaimError
        If the claim does not hold, if a number is not finite, or if there is no rule.

    Examples
    --------
    >>> claim("the mean of a fair die is 7/2", measured=3.2, expected=3.5, stderr=0.017)
    Traceback (most recent call last):
    ...
    sgdlib.book.claims.ClaimError: the mean of a fair die is 7/2: measured 3.2, theory 3.5, ...
    """
    if not isinstance(text, str) or not text.strip():
        raise ClaimError(f"text={text!r}: expected a statement in words")
    values = {
        "measured": measured, "expected": expected, "rel_tol": rel_tol, "abs_tol": abs_tol,
        "stderr": stderr, "sigmas": sigmas, "below": below, "above": above,
    }  # fmt: skip
    number = {k: _finite(text, k, v) for k, v in values.items() if v is not None or k == "measured"}
    rule = _expectation if expected is not None else _bounds
    holds, number_words, plain_rule, full_rule = rule(text, number)
    value = f"{number['measured']:.4g}"
    if not holds:
        rule_words = f", {full_rule}" if full_rule else ""
        raise ClaimError(f"{text}: measured {value}, theory {number_words}{rule_words}; fails")
    record = {
        "text": text,
        "theory": f"{theory} ({number_words})" if theory else number_words,
        "measured": value,
        "tolerance": full_rule,
    }
    plain = [
        f"claim: {text}",
        ", ".join(filter(None, [f"theory {theory or number_words}", plain_rule])),
    ]
    full = ", ".join(filter(None, [f"theory {record['theory']}", full_rule]))
    data = html.escape(json.dumps(record, ensure_ascii=False))
    display(
        {
            "text/plain": "; ".join([*plain, "holds"]),
            "text/html": f'<p class="claim" data-claim="{data}">✓ {html.escape(text)}: '
            f"measured {value}, {html.escape(full)}</p>",
        },
        raw=True,
    )


def quote(name: str, value: float) -> None:
    """Leave a number for the prose under `name`; the build compares what is typed there with it.

    Parameters
    ----------
    name
        The key, once in a chapter: a Markdown cell says {run}`0.031 <name>`.
    value
        A finite number.
    """
    if not isinstance(name, str) or not name.strip():
        raise ValueError(f"name={name!r}: expected a name for the number")
    if isinstance(value, int):
        text = str(value)
    else:
        text = f"{_check.number('value', _scalar('value', value)):.12g}"
    scrapbook = {"name": name, "mime_prefix": _RECORD.removesuffix("text/plain")}
    display({_RECORD: text}, raw=True, metadata={"scrapbook": scrapbook})


def _scalar(name: str, value: Any) -> float:
    """Return one number as a float; a 0-dimensional array or tensor counts as one."""
    try:
        value = value.item() if hasattr(value, "item") else value
        if isinstance(value, str):
            raise TypeError
        return float(value)
    except (TypeError, ValueError, RuntimeError):
        raise TypeError(f"{name}={value!r}: expected one number") from None


def _finite(text: str, name: str, value: Any) -> float:
    number = _scalar(name, value)
    if not math.isfinite(number):
        raise ClaimError(f"{text}: {name}={number}: expected a finite number")
    floor = {"stderr": "> 0", "sigmas": "> 0", "rel_tol": ">= 0", "abs_tol": ">= 0"}.get(name)
    if floor and (number < 0 or (number == 0 and floor == "> 0")):
        raise ClaimError(f"{text}: {name}={number:g}: expected a number {floor}")
    return number


def _expectation(text: str, n: dict[str, float]) -> tuple[bool, str, str, str]:
    """Hold `measured` to a value: (holds, theory, rule in words, rule with its numbers)."""
    given = [name for name in ("stderr", "rel_tol", "abs_tol") if name in n]
    if len(given) != 1 or "below" in n or "above" in n:
        raise ClaimError(
            f"{text}: expected= takes one of stderr=, rel_tol= and abs_tol=, and no bound; "
            f"got {', '.join(name for name in n if name not in ('measured', 'expected', 'sigmas'))}"
        )
    deviation, theory = abs(n["measured"] - n["expected"]), f"{n['expected']:.4g}"
    if "stderr" in n:
        rule = f"within {n['sigmas']:g} standard errors"
        return deviation <= n["sigmas"] * n["stderr"], theory, rule, f"{rule} of {n['stderr']:.2g}"
    if "rel_tol" in n:
        if n["expected"] == 0:
            raise ClaimError(f"{text}: rel_tol= has no meaning for expected=0; give abs_tol=")
        rule = f"within {100 * n['rel_tol']:.3g} %"
        return deviation <= n["rel_tol"] * abs(n["expected"]), theory, rule, rule
    rule = f"within {n['abs_tol']:.3g}" if n["abs_tol"] else "exactly"
    return deviation <= n["abs_tol"], theory, rule, rule


def _bounds(text: str, n: dict[str, float]) -> tuple[bool, str, str, str]:
    """Hold `measured` between bounds; with a standard error, by a margin."""
    bounds = [name for name in ("above", "below") if name in n]
    if not bounds or "rel_tol" in n or "abs_tol" in n:
        raise ClaimError(
            f"{text}: no rule; give expected= with stderr=, rel_tol= or abs_tol=, or a bound "
            "below=, above="
        )
    margin = n["sigmas"] * n.get("stderr", 0.0)
    holds = all(
        n["measured"] - margin > n[b] if b == "above" else n["measured"] + margin < n[b]
        for b in bounds
    )
    theory = " and ".join(f"{b} {n[b]:.4g}" for b in bounds)
    if not margin:
        return holds, theory, "", ""
    rule = f"by at least {n['sigmas']:g} standard errors"
    return holds, theory, rule, f"{rule} of {n['stderr']:.2g}"
