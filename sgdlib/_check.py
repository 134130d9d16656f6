"""Checks at the edge: one sentence that names the value and says what was expected.

Every public function of the library validates its arguments here, before any work is done, so
that the messages read alike everywhere.
"""

from __future__ import annotations

import math
import numbers
from collections.abc import Sequence
from typing import Any

import numpy as np


def integer(name: str, value: Any, low: int = 1, high: int | None = None) -> int:
    """Return `value` as an int in low..high, or raise ValueError (TypeError for a wrong type).

    Examples
    --------
    >>> integer("batch_size", 0, high=1503)
    Traceback (most recent call last):
    ...
    ValueError: batch_size=0: expected an int in 1..1503
    """
    wanted = (
        f"expected an int in {low}..{high}" if high is not None else f"expected an int >= {low}"
    )
    if isinstance(value, bool) or not isinstance(value, numbers.Integral):
        raise TypeError(f"{name}={value!r}: {wanted}")
    value = int(value)
    if value < low or (high is not None and value > high):
        raise ValueError(f"{name}={value}: {wanted}")
    return value


def number(
    name: str,
    value: Any,
    *,
    above: float | None = None,
    at_least: float | None = None,
    below: float | None = None,
    at_most: float | None = None,
) -> float:
    """Return `value` as a finite float within the given bounds, or raise.

    Examples
    --------
    >>> number("lr", float("nan"), above=0)
    Traceback (most recent call last):
    ...
    ValueError: lr=nan: expected a finite number > 0
    """
    bounds = [(">", above), (">=", at_least), ("<", below), ("<=", at_most)]
    wanted = "expected a finite number" + " and".join(
        f" {sign} {bound:g}" for sign, bound in bounds if bound is not None
    )
    if isinstance(value, bool) or not isinstance(value, numbers.Real):
        raise TypeError(f"{name}={value!r}: {wanted}")
    try:
        value = float(value)
    except OverflowError:
        value = math.inf if value > 0 else -math.inf
    inside = (
        math.isfinite(value)
        and (above is None or value > above)
        and (at_least is None or value >= at_least)
        and (below is None or value < below)
        and (at_most is None or value <= at_most)
    )
    if not inside:
        raise ValueError(f"{name}={value!r}: {wanted}")
    return value


def option(name: str, value: Any, options: Sequence[str]) -> str:
    """Return `value` if it is one of `options`, or raise ValueError.

    Examples
    --------
    >>> option("last", "dorp", ("keep", "drop"))
    Traceback (most recent call last):
    ...
    ValueError: last='dorp': expected one of 'keep', 'drop'
    """
    if not isinstance(value, str) or value not in options:
        raise ValueError(f"{name}={value!r}: expected one of {', '.join(map(repr, options))}")
    return value


def flag(name: str, value: Any) -> bool:
    """Return `value` as a bool, or raise TypeError.

    Examples
    --------
    >>> flag("nesterov", "no")
    Traceback (most recent call last):
    ...
    TypeError: nesterov='no': expected True or False
    """
    if not isinstance(value, (bool, np.bool_)):
        raise TypeError(f"{name}={value!r}: expected True or False")
    return bool(value)


def function(name: str, value: Any) -> Any:
    """Return `value` if it can be called, or raise TypeError."""
    if not callable(value):
        raise TypeError(f"{name}={value!r}: expected a function")
    return value


def array(name: str, value: Any, *, ndim: int | tuple[int, ...] | None = None) -> np.ndarray:
    """Return `value` as a non-empty, finite float array with one of the allowed dimensions.

    Integer and boolean data become float64; float32 stays float32.
    """
    try:
        out = np.asarray(value)
        if out.dtype.kind in "biu":
            out = out.astype(np.float64)
    except ValueError:
        raise ValueError(
            f"{name}: expected an array of numbers, got rows of unequal length"
        ) from None
    if out.dtype.kind != "f":
        raise TypeError(f"{name}: expected an array of real numbers, got dtype {out.dtype}")
    allowed = (ndim,) if isinstance(ndim, int) else ndim
    if allowed is not None and out.ndim not in allowed:
        dims = "- or ".join(map(str, allowed))
        raise ValueError(f"{name}: expected a {dims}-dimensional array, got shape {out.shape}")
    return data(name, out)


def data(name: str, out: np.ndarray) -> np.ndarray:
    """Return the array `out`, of any type, if it is not empty and holds no NaN or infinity."""
    if out.size == 0:
        raise ValueError(f"{name}: expected data, got an empty array of shape {out.shape}")
    if out.dtype.kind in "fc" and not np.isfinite(out).all():
        where = tuple(int(i) for i in np.argwhere(~np.isfinite(out))[0])
        raise ValueError(f"{name}: expected finite numbers, got {out[where]} at index {where}")
    return out


def parameters(theta: Any, dim: int) -> np.ndarray:
    """Return `theta` as a finite float64 array of shape (dim,) or (R, dim)."""
    theta = array("theta", theta, ndim=(1, 2)).astype(np.float64, copy=False)
    if theta.shape[-1] != dim:
        raise ValueError(f"theta: expected shape ({dim},) or (R, {dim}), got {theta.shape}")
    return theta


def generator(rng: int | np.random.Generator | None) -> np.random.Generator:
    """Return a NumPy Generator; an int is a seed, None asks the system for entropy."""
    if isinstance(rng, np.random.Generator):
        return rng
    if rng is not None and (isinstance(rng, bool) or not isinstance(rng, numbers.Integral)):
        raise TypeError(f"rng={rng!r}: expected an int >= 0, a numpy.random.Generator or None")
    return np.random.default_rng(None if rng is None else integer("rng", rng, low=0))
