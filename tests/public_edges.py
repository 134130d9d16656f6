"""A walk over all public functions with values that they should not swallow.

Every argument of every public function is replaced, one at a time, by each of a common set of bad
values. What comes of it is *clear* (one sentence that names the argument), *accepted* (rightly, by
the kind of the argument), *unclear* (another error) or *silent* (accepted, though bad).
"""

from __future__ import annotations

import importlib
import inspect
import pkgutil
import re
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

ERRORS = (ValueError, TypeError, LookupError, ArithmeticError, AssertionError, OSError)


def nothing(*arguments, **options):
    """Return None whatever it is given: a function that is not the one asked for."""


def sparse():
    from scipy.sparse import csr_matrix

    return csr_matrix(np.eye(2))


# Made anew for each call: some can be used once only, and a call may write into them.
BAD: dict[str, Callable[[], Any]] = {
    "None": lambda: None,
    "True": lambda: True,
    "text": lambda: "x",
    "digits": lambda: "1",
    "bytes": lambda: b"1",
    "nan": lambda: float("nan"),
    "float32 nan": lambda: np.float32("nan"),
    "inf": lambda: float("inf"),
    "-inf": lambda: float("-inf"),
    "zero": lambda: 0,
    "negative": lambda: -1,
    "half": lambda: 0.5,
    "minus half": lambda: -0.5,
    "huge int": lambda: 10**30,
    "complex": lambda: 1j,
    "[]": lambda: [],
    "[[]]": lambda: [[]],
    "no rows": lambda: np.zeros((0, 2)),
    "{}": lambda: {},
    "set": lambda: {1},
    "object": object,
    "function": lambda: nothing,
    "generator": lambda: (i for i in range(0)),
    "0-d": lambda: np.array(1.0),
    "nan array": lambda: np.full((2, 2), np.nan),
    "inf list": lambda: [float("inf"), 1.0],
    "None list": lambda: [1.0, None],
    "text list": lambda: ["a", "b"],
    "ragged": lambda: [[1.0, 2.0], [3.0]],
    "complex array": lambda: np.array([1j, 1.0]),
    "objects": lambda: np.array([1.0, np.nan], dtype=object),
    "dates": lambda: np.array(["2020-01-01", "NaT"], dtype="M8[D]"),
    "records": lambda: np.zeros(2, dtype=[("a", float), ("b", float)]),
    "4-d": lambda: np.ones((2, 1, 3, 1)),
    "masked": lambda: np.ma.masked_equal([[1.0, -9.0], [2.0, 3.0]], -9.0),
    "masked entry": lambda: np.ma.masked,
    "matrix": lambda: np.ones((2, 2)).view(np.matrix),
    "sparse": sparse,
}

# What an argument of a kind rightly takes of the above.
KINDS: dict[str, set[str]] = {
    "number": {"zero", "negative", "half", "minus half", "huge int"},
    "number >= 0": {"zero", "half", "huge int"},
    "number > 0": {"half", "huge int"},
    "share": {"half"},  # a number between 0 and 1
    "share >= 0": {"zero", "half"},
    "correlation": {"zero", "half", "minus half", "negative"},
    "int >= 0": {"zero"},
    "None": {"None"},  # an option that may be left out
    "seed": {"None", "zero", "huge int"},
    "flag": {"True"},
    "function": {"function"},  # its answers cannot be foreseen
    "text": {"text", "digits"},
    "zero": {"zero"},
    "one": {"True", "0-d"},  # the number 1 in other clothes
    "empty": {"{}"},
    "data": {"text list", "complex array", "4-d"},  # rows of any type are cut into batches
    "0-d": {"0-d"},  # of one number
    "array": {"4-d"},  # of any shape
    "loss": {"nan", "float32 nan", "inf", "-inf", "0-d"},  # of a run that may have diverged
}


@dataclass(frozen=True)
class Call:
    """A valid call, and the kinds of its arguments where these take something of `BAD`."""

    function: Callable
    arguments: dict[str, Any]
    kinds: dict[str, str] = field(default_factory=dict)


def modules(package: str) -> Iterator[Any]:
    """Yield a package and its public modules, but not the packages in it."""
    root = importlib.import_module(package)
    yield root
    for info in pkgutil.iter_modules(root.__path__, f"{package}."):
        if not info.ispkg and not info.name.rpartition(".")[2].startswith("_"):
            yield importlib.import_module(info.name)


def public(package: str) -> dict[str, Callable]:
    """Return the public functions, classes and methods that are defined in a package, by name."""
    found: dict[str, Callable] = {}
    for module in modules(package):
        for name, value in vars(module).items():
            if name.startswith("_") or getattr(value, "__module__", None) != module.__name__:
                continue
            if inspect.isfunction(value):
                found[name] = value
            elif inspect.isclass(value):
                found[name] = value
                for method, function in vars(value).items():
                    if not method.startswith("_") and _is_function(function):
                        found[f"{name}.{method}"] = getattr(value, method)
    return found


def _is_function(value):
    return inspect.isfunction(value) or isinstance(value, classmethod | staticmethod)


def arguments_of(function: Callable) -> list[str]:
    """Return the names of what a caller may pass, `self` left out."""
    names = list(inspect.signature(function).parameters)
    return [name for name in names if name not in ("self", "cls")]


@dataclass(frozen=True)
class Outcome:
    name: str
    argument: str
    bad: str
    what: str
    detail: str = ""

    def __str__(self):
        return f"{self.name}({self.argument}={self.bad}): {self.what} {self.detail}"


def attempt(call: Call, name: str, argument: str, bad: str) -> Outcome:
    """Make the call with one argument replaced, and say what came of it."""
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        try:
            result = call.function(**call.arguments | {argument: BAD[bad]()})
            if isinstance(result, Iterator):
                next(result, None)  # what is wrong must not wait until the end of a run
        except ERRORS as error:
            kind, text = type(error).__name__, str(error)
            if isinstance(error, ArithmeticError) and _right(call, argument, bad):
                return Outcome(name, argument, bad, "accepted", f"{kind}: {text}")  # tried, failed
            named = re.search(rf"(?<!\w){re.escape(argument)}(?!\w)", text)
            clear = named and "\n" not in text and len(text) < 400
            return Outcome(name, argument, bad, "clear" if clear else "unclear", f"{kind}: {text}")
        except Exception as error:
            return Outcome(name, argument, bad, "unclear", f"{type(error).__name__}: {error}")
    what = "accepted" if _right(call, argument, bad) else "silent"
    return Outcome(name, argument, bad, what, f"-> {result!r:.60}")


def _right(call, argument, bad):
    """Tell whether a bad value is rightly taken by this argument."""
    kinds = call.kinds.get(argument, "").split(", ")
    return any(bad in KINDS[kind] for kind in kinds if kind)


def walk(calls: dict[str, Call]) -> list[Outcome]:
    """Make all calls with all bad values."""
    return [
        attempt(call, name, argument, bad)
        for name, call in calls.items()
        for argument in arguments_of(call.function)
        for bad in BAD
    ]
