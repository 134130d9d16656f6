"""Checks at the edge: one sentence that names the value and says what was expected.

Every public function of the library validates its arguments here, before any work is done, so
that the messages read alike everywhere.
"""

from __future__ import annotations

import math
import numbers
import reprlib
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

_LARGEST = 2**53
_SHORT = reprlib.Repr()
_SHORT.maxstring = _SHORT.maxother = _SHORT.maxlong = 200


def shown(value: Any) -> str:
    """Return `value` as a sentence quotes it: on one line, and cut in the middle if it is long."""
    return " ".join(_SHORT.repr(value).split())


def integer(name: str, value: Any, low: int = 1, high: int | None = None) -> int:
    """Return `value` as an int in low..high, or raise ValueError (TypeError for a wrong type).

    Without `high` the limit is 2**53: up to there a float, such as progress, counts exactly.

    Examples
    --------
    >>> integer("batch_size", 0, high=1503)
    Traceback (most recent call last):
    ...
    ValueError: batch_size=0: expected an int in 1..1503
    """
    if type(value) is not int:  # which spares the usual case an abstract class's long question
        if isinstance(value, bool) or not isinstance(value, numbers.Integral):
            raise TypeError(f"{name}={shown(value)}: {_whole(low, high)}")
        value = int(value)
    if value > _LARGEST and high is None:
        high = _LARGEST
    if value < low or (high is not None and value > high):
        raise ValueError(f"{name}={value}: {_whole(low, high)}")
    return value


def _whole(low, high):
    bounded = high not in (None, math.inf)
    return f"expected an int in {low}..{high}" if bounded else f"expected an int >= {low}"


def optional(name: str, value: Any, low: int = 1, high: int | None = None) -> int | None:
    """Return None for None, and otherwise `value` as an int in low..high."""
    return None if value is None else integer(name, value, low, high)


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
    if type(value) is not float:
        if isinstance(value, bool) or not isinstance(value, numbers.Real):
            raise TypeError(f"{name}={shown(value)}: {_finite(above, at_least, below, at_most)}")
        try:
            value = float(value)
        except OverflowError:
            value = math.inf if value > 0 else -math.inf
    if (
        math.isfinite(value)
        and (above is None or value > above)
        and (at_least is None or value >= at_least)
        and (below is None or value < below)
        and (at_most is None or value <= at_most)
    ):
        return value
    raise ValueError(f"{name}={shown(value)}: {_finite(above, at_least, below, at_most)}")


def _finite(above, at_least, below, at_most):
    bounds = [(">", above), (">=", at_least), ("<", below), ("<=", at_most)]
    return "expected a finite number" + " and".join(
        f" {sign} {bound:g}" for sign, bound in bounds if bound is not None
    )


def real(name: str, value: Any) -> float:
    """Return `value` as a float that may be infinite or not a number; a 0-d array will do.

    Examples
    --------
    >>> real("loss", np.array(0.5)), real("loss", float("nan"))
    (0.5, nan)
    """
    if getattr(value, "ndim", None) == 0 and not hasattr(value, "mask"):
        value = value.item()
    if isinstance(value, bool) or not isinstance(value, numbers.Real):
        raise TypeError(f"{name}={shown(value)}: expected a number")
    return float(value)


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
        raise ValueError(f"{name}={shown(value)}: expected one of {', '.join(map(repr, options))}")
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
        raise TypeError(f"{name}={shown(value)}: expected True or False")
    return bool(value)


def function(name: str, value: Any) -> Any:
    """Return `value` if it can be called, or raise TypeError."""
    if not callable(value):
        raise TypeError(f"{name}={shown(value)}: expected a function")
    return value


def plain(name: str, value: Any) -> np.ndarray:
    """Return `value` as a NumPy array, unless `np.asarray` would drop or misread what it means.

    Refused are masks, units and whatever else a subclass of `np.ndarray` adds (its numbers alone
    are `np.asarray` of it), sparse matrices, and what does not convert: rows of unequal length, a
    tensor on another device or with a gradient.
    """
    if type(value) is np.ndarray:
        return value
    lost = _lost(value)
    if lost:
        raise TypeError(f"{name}: expected a plain array, got {lost}")
    try:
        out = np.asarray(value)
    except Exception as error:
        if "inhomogeneous" in str(error):
            raise ValueError(
                f"{name}: expected an array of numbers, got rows of unequal length"
            ) from None
        why = str(error).partition("\n")[0]
        raise TypeError(
            f"{name}: expected an array of numbers, got a {type(value).__name__} ({why})"
        ) from None
    if out.dtype.kind in "US" and isinstance(value, list | tuple) and not _all_text(value):
        raise TypeError(f"{name}: expected numbers or strings, got both")
    return out


def _all_text(value):
    return all(_all_text(v) if isinstance(v, list | tuple) else _is_text(v) for v in value)


def _is_text(value):
    return isinstance(value, str | bytes) or (
        isinstance(value, np.ndarray) and value.dtype.kind in "US"
    )


def _lost(value):
    """Say what would be lost if `value`, or an entry of a list, became an array."""
    kind = type(value)
    if kind in (list, tuple):
        return next(filter(None, map(_lost, value)), None)
    if kind in (float, int, bool, str, np.ndarray, np.memmap):
        return None
    if hasattr(value, "mask") and isinstance(value, np.ndarray):
        return f"a {kind.__name__}, whose mask would be lost: fill in or drop what is masked"
    if hasattr(kind, "unit") or hasattr(kind, "units"):
        return f"a {kind.__name__}, whose unit would be lost: pass the numbers alone"
    if isinstance(value, np.ndarray):
        return f"a {kind.__name__}: pass np.asarray(...) of it if that is what is meant"
    if kind.__module__.startswith("scipy.sparse"):
        return f"a sparse {kind.__name__}: its toarray() is dense"
    return None


def controller(knob: str, value: Any) -> bool:
    """Tell whether `value` is a controller, and raise TypeError if it does not turn this knob."""
    if not hasattr(value, "looks_at"):
        return False
    option(f"{knob}.looks_at", value.looks_at, ("loss", "gradients"))
    if not hasattr(value, knob):
        raise TypeError(f"{knob}={shown(value)}: expected a controller of {knob}")
    return True


def schedule(name: str, value: Any) -> Callable[[float], float]:
    """Return `value` as a function of progress: a number is the same throughout."""
    if callable(value):
        return value
    value = number(name, value)
    return lambda progress: value


def scalar(value: Any) -> bool:
    """Tell whether `value` stands for one number rather than for an array of them."""
    return not isinstance(value, list | tuple) and getattr(value, "ndim", 0) == 0


def sequence(name: str, value: Any) -> list:
    """Return the entries of a list, tuple, array or other iterable, as a list of our own."""
    unordered = isinstance(value, str | bytes | dict | set | frozenset)
    if unordered or not isinstance(value, Iterable) or getattr(value, "ndim", 1) == 0:
        raise TypeError(f"{name}={shown(value)}: expected a sequence")
    return list(value)


def array(name: str, value: Any, *, ndim: int | tuple[int, ...] | None = None) -> np.ndarray:
    """Return `value` as a non-empty, finite float array with one of the allowed dimensions.

    Integer and boolean data become float64; float16 and float32 stay what they are. A torch tensor
    on the CPU will do.
    """
    out = plain(name, value)
    if out.dtype.kind == "b" and out.ndim == 0:
        raise TypeError(f"{name}={out}: expected numbers")
    if out.dtype.kind in "biu" or out.dtype == np.longdouble != np.float64:
        with np.errstate(over="ignore"):  # too large for a float: found below
            out = out.astype(np.float64)
    if out.dtype.kind != "f":
        raise TypeError(f"{name}: expected an array of real numbers, got dtype {out.dtype}")
    allowed = (ndim,) if isinstance(ndim, int) else ndim
    if allowed is not None and out.ndim not in allowed:
        dims = "- or ".join(map(str, allowed))
        raise ValueError(f"{name}: expected a {dims}-dimensional array, got shape {out.shape}")
    return data(name, out)


def data(name: str, value: Any) -> np.ndarray:
    """Return `value` as an array of numbers, strings or dates, not empty and with nothing missing.

    Arrays of objects and of records are refused: what is missing in them cannot be told.
    """
    out = plain(name, value)
    if out.dtype.kind not in "biufcSUmM":
        raise TypeError(f"{name}: expected numbers or strings, got dtype {out.dtype}")
    if out.size == 0:
        raise ValueError(f"{name}: expected data, got an empty array of shape {out.shape}")
    if out.dtype.kind in "fcmM" and not np.isfinite(out).all():
        where = tuple(int(i) for i in np.argwhere(~np.isfinite(out))[0])
        raise ValueError(f"{name}: expected finite numbers, got {out[where]} at index {where}")
    return out


def probed(name: str, value: Any, *arguments: np.ndarray) -> Any:
    """Return what the caller's function `value` makes of arrays that it must not write into."""
    function(name, value)
    for argument in arguments:
        argument.flags.writeable = False
    try:
        with np.errstate(all="ignore"):
            return value(*arguments)
    except ValueError as error:
        if "read-only" not in str(error):
            raise
        raise ValueError(
            f"{name}: expected a function that does not write into its arguments"
        ) from error


def answer(name: str, value: Any, shape: tuple[int, ...], of: str) -> np.ndarray:
    """Return what the caller's function `name` made `of` its argument: real numbers of a shape."""
    out = plain(name, value)
    if out.dtype.kind not in "biuf":
        raise TypeError(f"{name}: expected real numbers of {of}, got dtype {out.dtype}")
    if out.shape != shape:
        raise ValueError(f"{name}: expected shape {shape} of {of}, got {out.shape}")
    return out


def frozen(value: np.ndarray) -> np.ndarray:
    """Return a contiguous array that nobody writes into: a copy, unless it is one already.

    It is one already if neither it nor the array of which it is a view can be written into
    (``X.flags.writeable = False``, or a memory map opened with mode "r"): that saves the copy.
    """
    base = value
    while isinstance(base, np.ndarray) and not base.flags.writeable:
        base = base.base
    if not isinstance(base, np.ndarray) and value.flags.c_contiguous:
        return value
    out = np.array(value, order="C", subok=False)
    out.flags.writeable = False
    return out


def parameters(theta: Any, dim: int, name: str = "theta") -> np.ndarray:
    """Return `theta` as a finite float64 array of shape (dim,) or (R, dim)."""
    theta = array(name, theta, ndim=(1, 2)).astype(np.float64, copy=False)
    if theta.shape[-1] != dim:
        raise ValueError(f"{name}: expected shape ({dim},) or (R, {dim}), got {theta.shape}")
    return theta


def is_problem(value: object) -> bool:
    """Tell whether `value` has what algorithms ask of a problem."""
    names = ("n", "dim", "loss", "gradient", "draw", "weighted_gradient")
    return all(hasattr(value, name) for name in names)


def generator(rng: int | np.random.Generator | None) -> np.random.Generator:
    """Return a NumPy Generator; an int is a seed, None asks the system for entropy."""
    if isinstance(rng, np.random.Generator):
        return rng
    if rng is not None and (isinstance(rng, bool) or not isinstance(rng, numbers.Integral)):
        raise TypeError(f"rng={shown(rng)}: expected an int >= 0, a numpy.random.Generator or None")
    return np.random.default_rng(None if rng is None else seed("rng", rng))


def seed(name: str, value: Any) -> int:
    """Return `value` as an int >= 0, however large."""
    return integer(name, value, low=0, high=math.inf)
