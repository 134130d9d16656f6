"""Claims: state a number, check it where it is measured, and leave a record of both.

`claim` is for a statement with a rule: it stops the notebook if the statement does not hold.
`quote` leaves a number for a sentence in the prose, which the build compares with what is typed
there.
"""

from __future__ import annotations

import html
import json
import math
from typing import Any, NamedTuple

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
    scale: float | None = None,
    theory: str | None = None,
    coarse: str | None = None,
) -> None:
    """State that `measured` agrees with theory, check it, and record it for the claims ledger.

    The rule is either an `expected` value with exactly one of `stderr`, `rel_tol` and `abs_tol`, or
    one or both of the bounds `below` and `above`. With `stderr` a bound has to be cleared by
    `sigmas` standard errors.

    A tolerance is also a statement. The ledger shows the smallest relative error of `measured` that
    the claim would have noticed: the tolerance as a fraction of what is expected, or how far a
    bound was from being touched. A claim that would not notice 25 % says why in `coarse`.

    The plain text output says the same on every machine: statement, expectation or bound,
    tolerance. The measured value stands in the page and in Jupyter.

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
    scale
        What an error is compared with, > 0. Otherwise it is `expected`, or `measured` beside a
        bound. Where zero is expected, or is the bound, the book asks for it: the size that the
        number would have if the statement were wrong.
    theory
        Words for the theory, where `expected` or a bound is itself a measurement and its digits are
        not the same on every machine: "the time of the plain loop".
    coarse
        Why the claim need not notice an error of 25 %, for the ledger.

    Raises
    ------
    ClaimError
        If the claim does not hold, if a number is not finite, or if there is no rule.

    Examples
    --------
    >>> claim("the mean of a fair die is 7/2", measured=3.2, expected=3.5, stderr=0.017)
    Traceback (most recent call last):
    ...
    sgdlib.book.claims.ClaimError: the mean of a fair die is 7/2: measured 3.2, expected 3.5, ...
    """
    if not isinstance(text, str) or not text.strip():
        raise ClaimError(f"text={_check.shown(text)}: expected a statement in words")
    for name, words in (("theory", theory), ("coarse", coarse)):
        if words is not None and (not isinstance(words, str) or not words.strip()):
            raise ClaimError(f"{text}: {name}={_check.shown(words)}: expected words")
    values = {
        "measured": measured, "expected": expected, "rel_tol": rel_tol, "abs_tol": abs_tol,
        "stderr": stderr, "sigmas": sigmas, "below": below, "above": above, "scale": scale,
    }  # fmt: skip
    number = {k: _finite(text, k, v) for k, v in values.items() if v is not None or k == "measured"}
    rule = _bounds if expected is None else _expectation
    found = rule(text, number)
    value = f"{number['measured']:.4g}"
    if not found.holds:
        words = ", ".join(filter(None, [f"{found.kind} {found.target}", found.full]))
        raise ClaimError(f"{text}: measured {value}, {words}; fails")
    record = {
        "text": text,
        "kind": found.kind,
        "target": f"{theory} ({found.target})" if theory else found.target,
        "measured": value,
        "tolerance": found.full,
        "notices": None if found.notices is None else float(f"{found.notices:.3g}"),
        "coarse": coarse or "",
    }
    plain = ", ".join(filter(None, [f"{found.kind} {theory or found.target}", found.plain]))
    full = ", ".join(filter(None, [f"{found.kind} {record['target']}", found.full]))
    data = html.escape(json.dumps(record, ensure_ascii=False))
    display(
        {
            "text/plain": f"claim: {text}; {plain}; holds",
            "text/html": f'<p class="claim" data-claim="{data}">✓ {html.escape(text)}: '
            f"measured {value}, {html.escape(full)}</p>",
        },
        raw=True,
    )


def quote(
    name: str, value: float, *, stderr: float | None = None, rel_tol: float | None = None
) -> None:
    """Leave a number for the prose under `name`; the build compares what is typed there with it.

    Without a tolerance the typed digits have to be those of the run, on every machine. A number
    that another processor's rounding moves carries its error: the page then shows the run's own
    number in as many digits as were typed, and the build fails if the two are further apart than
    four standard errors, or the stated tolerance.

    Parameters
    ----------
    name
        The key, once in a chapter: a Markdown cell says {run}`0.031 <name>`.
    value
        A finite number.
    stderr
        Standard error of `value`, > 0.
    rel_tol
        Largest deviation of the typed number, as a fraction of `value`, > 0. Give this or `stderr`,
        not both.

    Raises
    ------
    ValueError, TypeError
        If the name is empty, a number is not finite, or both tolerances are given.
    """
    if not isinstance(name, str) or not name.strip():
        raise ValueError(f"name={_check.shown(name)}: expected a name for the number")
    if stderr is not None and rel_tol is not None:
        raise ValueError(f"stderr={stderr}, rel_tol={rel_tol}: give one of them, not both")
    if isinstance(value, int):
        text = str(value)
    else:
        text = f"{_check.number('value', _scalar('value', value)):.12g}"
    if stderr is not None:
        text += f" +- {4 * _check.number('stderr', _scalar('stderr', stderr), above=0):.3g}"
    if rel_tol is not None:
        share = _check.number("rel_tol", _scalar("rel_tol", rel_tol), above=0)
        text += f" +- {abs(float(value)) * share:.3g}"
    scrapbook = {"name": name, "mime_prefix": _RECORD.removesuffix("text/plain")}
    display({_RECORD: text}, raw=True, metadata={"scrapbook": scrapbook})


def _scalar(name: str, value: Any) -> float:
    """Return one number as a float; a 0-dimensional array or tensor counts as one."""
    try:
        if hasattr(value, "mask"):
            raise TypeError
        value = value.item() if hasattr(value, "item") else value
        if isinstance(value, str | bytes):
            raise TypeError
        return float(value)
    except (TypeError, ValueError, RuntimeError):
        raise TypeError(f"{name}={_check.shown(value)}: expected one number") from None


def _finite(text: str, name: str, value: Any) -> float:
    number = _scalar(name, value)
    if not math.isfinite(number):
        raise ClaimError(f"{text}: {name}={number}: expected a finite number")
    positive, not_negative = ("stderr", "sigmas", "scale"), ("rel_tol", "abs_tol")
    floor = "> 0" if name in positive else ">= 0" if name in not_negative else ""
    if floor and (number < 0 or (number == 0 and floor == "> 0")):
        raise ClaimError(f"{text}: {name}={number:g}: expected a number {floor}")
    return number


class _Rule(NamedTuple):
    """What a rule says of a measurement; `plain` is `full` without the run's own digits."""

    holds: bool
    kind: str
    target: str
    plain: str
    full: str
    notices: float | None  # None: there is nothing to compare an error with


def _expectation(text: str, n: dict[str, float]) -> _Rule:
    """Hold `measured` to a value; an error is noticed once it is larger than the tolerance."""
    given = [name for name in ("stderr", "rel_tol", "abs_tol") if name in n]
    if len(given) != 1 or "below" in n or "above" in n:
        rest = (name for name in n if name not in ("measured", "expected", "sigmas", "scale"))
        raise ClaimError(
            f"{text}: expected= takes one of stderr=, rel_tol= and abs_tol=, and no bound; "
            f"got {', '.join(rest)}"
        )
    expected = n["expected"]
    if "rel_tol" in n:
        if expected == 0:
            raise ClaimError(f"{text}: rel_tol= has no meaning for expected=0; give abs_tol=")
        tolerance, plain = n["rel_tol"] * abs(expected), f"within {100 * n['rel_tol']:.3g} %"
        full = plain
    elif "stderr" in n:
        tolerance, plain = n["sigmas"] * n["stderr"], f"within {n['sigmas']:g} standard errors"
        full = f"{plain} of {n['stderr']:.2g}"
    else:
        tolerance = n["abs_tol"]
        plain = full = f"within {tolerance:.3g}" if tolerance else "exactly"
    holds = abs(n["measured"] - expected) <= tolerance
    scale = n.get("scale", abs(expected))
    notices = 0.0 if tolerance == 0 else tolerance / scale if scale else None
    return _Rule(holds, "expected", f"{expected:.4g}", plain, full, notices)


def _bounds(text: str, n: dict[str, float]) -> _Rule:
    """Hold `measured` between bounds; with a standard error, by a margin.

    An error is noticed once it is larger than the way from `measured` to the nearer bound.
    """
    bounds = [name for name in ("above", "below") if name in n]
    if not bounds or "rel_tol" in n or "abs_tol" in n:
        raise ClaimError(
            f"{text}: no rule; give expected= with stderr=, rel_tol= or abs_tol=, or a bound "
            "below=, above="
        )
    margin = n["sigmas"] * n.get("stderr", 0.0)
    slack = min((n["measured"] - n[b]) * (1 if b == "above" else -1) - margin for b in bounds)
    target = " and ".join(f"{b} {n[b]:.4g}" for b in bounds)
    plain = f"by at least {n['sigmas']:g} standard errors" if margin else ""
    full = f"{plain} of {n['stderr']:.2g}" if margin else ""
    scale = n.get("scale", 0.0 if any(n[b] == 0 for b in bounds) else abs(n["measured"]))
    return _Rule(slack > 0, "bound", target, plain, full, slack / scale if scale else None)
