"""What a reader can choose in a live figure, and what each choice is set with."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from sgdlib import _check

MAX_FRAMES = 60


@dataclass(frozen=True)
class Interval:
    """A continuous range; `frames` of its values are drawn for the page."""

    low: float
    high: float
    frames: int
    log: bool


def interval(low: float, high: float, frames: int = 9, *, log: bool = False) -> Interval:
    """Return a continuous range for a choice of `explore`.

    Parameters
    ----------
    low, high
        Its ends, low < high (and low > 0 for a logarithmic range).
    frames
        How many values the page shows, evenly spaced and rounded to three digits; Jupyter can show
        any value between too.
    log
        Space them by equal ratios.

    Examples
    --------
    >>> interval(0.01, 1, frames=3, log=True)
    Interval(low=0.01, high=1.0, frames=3, log=True)
    """
    low = _check.number("low", low, above=0 if log else None)
    high = _check.number("high", high, above=low)
    return Interval(low, high, _check.integer("frames", frames, 2, MAX_FRAMES), bool(log))


@dataclass(frozen=True)
class Choice:
    """What the reader can set: a name, the values that have a frame, and the interval they span."""

    name: str
    values: tuple
    span: Interval | None = None

    @property
    def label(self) -> str:
        """The name in words."""
        return {"lr": "learning rate"}.get(self.name, self.name.replace("_", " "))

    @property
    def kind(self) -> str:
        """What it is set with: `"seed"` (a button), `"slider"` (a scale) or `"menu"` (words)."""
        if self.name == "seed":
            return "seed"
        # a scale may end in a word: 1, 8, 64, "all"
        scale = any(isinstance(v, int | float) and not isinstance(v, bool) for v in self.values)
        return "slider" if scale else "menu"

    @property
    def texts(self) -> list[str]:
        """The values as the reader sees them."""
        return [f"{v:.3g}" if isinstance(v, float) else str(v) for v in self.values]


def choice_from(name: str, values: Any) -> Choice:
    """Return the choice that a keyword argument of `explore` describes."""
    if isinstance(values, Interval):
        space = np.geomspace if values.log else np.linspace
        points = space(values.low, values.high, values.frames)
        return Choice(name, tuple(dict.fromkeys(float(f"{p:.3g}") for p in points)), values)
    if isinstance(values, str) or not hasattr(values, "__iter__"):
        raise TypeError(
            f"{name}={_check.shown(values)}: expected a list of values, a range or an interval"
        )
    values = tuple(v.item() if isinstance(v, np.generic) else v for v in values)
    if len(values) < 2:
        raise ValueError(
            f"{name}={_check.shown(values)}: expected at least two values to choose from"
        )
    if name == "seed" and not all(isinstance(v, int) for v in values):
        raise TypeError(f"seed={_check.shown(values)}: expected ints")
    return Choice(name, values)
