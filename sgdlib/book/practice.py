"""Checks of the practices: what is right gets a tick, what is wrong a hint and a place to read.

A practice asks for a function or a number. `check` compares the answer with what is expected and
with what typical mistakes would give, so that it can say more than "wrong". `given` replaces what a
later task builds on by a correct version: whoever is stuck at one task can go on with the next.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np

from sgdlib import _check

_RATIO_SPREAD = 1e-6  # entries whose ratios to what is expected agree so well share one factor


class NotYet(AssertionError):
    """An answer that is not right yet; a notebook shows its sentence instead of a traceback."""

    def _render_traceback_(self):
        return [f"✗ {self}"]


def check(
    what: str,
    answer: Any,
    expected: Any,
    *,
    rel_tol: float = 1e-6,
    abs_tol: float = 1e-12,
    mistakes: Mapping[str, Any] | None = None,
    see: str = "",
) -> None:
    """Print a tick if `answer` is `expected`, and otherwise say what is wrong with it.

    Parameters
    ----------
    what
        What was asked for, as a sentence begins: ``"the gradient of a batch"``.
    answer
        The reader's: a number, or anything that NumPy makes an array of numbers.
    expected
        The right answer, of the same shape.
    rel_tol, abs_tol
        Allowed is ``abs_tol + rel_tol * max |expected|`` in each entry; an answer that comes from
        random numbers needs a wide one.
    mistakes
        What typical mistakes give: the hint, and the answer that deserves it. The hint of the
        nearest one within the tolerance is shown.
    see
        Where to read about it: ``"chapter 2, Mean and sum"``.

    Raises
    ------
    NotYet
        If the answer is wrong, with one sentence that says how.

    Notes
    -----
    Used in the practices.

    Examples
    --------
    >>> check("the number of updates", 40, 40)
    ✓ the number of updates
    >>> check("the mean", 6.0, 2.0, mistakes={"divide by the number of terms": 6.0})
    Traceback (most recent call last):
    ...
    sgdlib.book.practice.NotYet: the mean: divide by the number of terms
    """
    value, right = _numbers(what, answer, see), np.asarray(expected, dtype=float)
    if value.shape != right.shape:
        kind = "one number" if right.ndim == 0 else f"the shape {right.shape}"
        has = "is one number" if value.ndim == 0 else f"has the shape {value.shape}"
        raise NotYet(_sentence(what, f"your answer {has}, expected {kind}", see))
    if _distance(value, right) <= _allowed(right, rel_tol, abs_tol):
        print(f"✓ {what}")
        return
    near = {}
    for hint, wrong in (mistakes or {}).items():
        wrong = np.asarray(wrong, dtype=float)
        if wrong.shape == value.shape:
            distance = _distance(value, wrong)
            if distance <= _allowed(wrong, rel_tol, abs_tol):
                near[hint] = distance
    reason = min(near, key=near.__getitem__) if near else _difference(value, right)
    raise NotYet(_sentence(what, reason, see))


def check_that(what: str, holds: bool, hint: str, *, see: str = "") -> None:
    """Print a tick if `holds`, and otherwise the hint: for what is no comparison of numbers.

    Parameters
    ----------
    what
        What was asked for.
    holds
        Whether it is so.
    hint
        What is wrong if it is not.
    see
        Where to read about it.

    Raises
    ------
    NotYet
        If it does not hold.

    Notes
    -----
    Used in the practices.

    Examples
    --------
    >>> check_that("every example is used", len({3, 1, 2}) == 3, "some are missing")
    ✓ every example is used
    """
    if not holds:
        raise NotYet(_sentence(what, hint, see))
    print(f"✓ {what}")


@contextmanager
def given(function: Callable, **names: Any) -> Iterator[None]:
    """Let `function` find other things under global names, for as long as the block lasts.

    Parameters
    ----------
    function
        The reader's function, which uses the results of earlier tasks by their names.
    names
        What it shall find there instead.

    Raises
    ------
    TypeError
        If `function` is not a function written in Python.

    Notes
    -----
    Used in the practices: a mistake in one task costs nothing in the next.

    Examples
    --------
    >>> def half(x): return x / 3
    >>> def quarter(x): return half(half(x))
    >>> with given(quarter, half=lambda x: x / 2):
    ...     quarter(8)
    2.0
    """
    space = getattr(function, "__globals__", None)
    if not isinstance(space, dict):
        raise TypeError(f"function={_check.shown(function)}: expected a function")
    missing = object()
    before = {name: space.get(name, missing) for name in names}
    space.update(names)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is missing:
                space.pop(name, None)
            else:
                space[name] = value


def _numbers(what: str, answer: Any, see: str) -> np.ndarray:
    """Return the answer as an array of floats, or say why it is none."""
    if answer is None:
        raise NotYet(_sentence(what, "your answer is None; does the function return it?", see))
    if hasattr(answer, "detach"):  # a torch tensor
        answer = answer.detach().cpu().numpy()
    try:
        value = np.asarray(answer, dtype=float)
    except (TypeError, ValueError):
        kind = type(answer).__name__
        raise NotYet(_sentence(what, f"expected numbers, your answer is a {kind}", see)) from None
    if not np.isfinite(value).all():
        raise NotYet(_sentence(what, "your answer is not finite", see))
    return value


def _distance(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.max(np.abs(a - b), initial=0.0))


def _allowed(target: np.ndarray, rel_tol: float, abs_tol: float) -> float:
    return abs_tol + rel_tol * float(np.max(np.abs(target), initial=0.0))


def _difference(value: np.ndarray, right: np.ndarray) -> str:
    """Say how an answer differs: by one factor, by its sign, or in some of its entries."""
    safe = np.abs(right) > 1e-9 * np.max(np.abs(right), initial=0.0)
    if safe.any() and np.allclose(value[~safe], 0, atol=1e-9 * np.max(np.abs(value), initial=1.0)):
        ratios = value[safe] / right[safe]
        factor = float(ratios.mean())
        if np.ptp(ratios) <= _RATIO_SPREAD * abs(factor) and factor:
            if abs(factor + 1) < _RATIO_SPREAD:
                return "your answer has the wrong sign"
            size, word = (factor, "large") if abs(factor) > 1 else (1 / factor, "small")
            sign = "" if factor > 0 else ", and has the wrong sign"
            return f"your answer is {abs(size):.4g} times too {word}{sign}"
    if right.ndim == 0:
        return f"your answer {float(value):.6g} is not right"
    off = int((np.abs(value - right) > 1e-6 * np.max(np.abs(right), initial=0.0)).sum())
    return f"{off} of {right.size} entries of your answer are off"


def _sentence(what: str, reason: str, see: str) -> str:
    return f"{what}: {reason}" + (f" (read: {see})" if see else "")
