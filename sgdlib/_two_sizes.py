"""Two measurements at two batch sizes, and the line through them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sgdlib import _check


def two_sizes(name: str, measured: Any) -> list[tuple[int, float]]:
    """Return the two (batch size, number > 0) of a mapping, the smaller size first."""
    if not isinstance(measured, Mapping) or len(measured) != 2:
        kind = TypeError if not isinstance(measured, Mapping) else ValueError
        raise kind(
            f"{name}={_check.shown(measured)}: expected two batch sizes, {{32: ..., 256: ...}}"
        )
    pairs = {_check.integer(f"{name}: batch size", b): v for b, v in measured.items()}
    return [(b, _check.number(f"{name}[{b}]", pairs[b], above=0)) for b in sorted(pairs)]


def line(pairs: list[tuple[int, float]]) -> tuple[float, float]:
    """Return intercept and slope of the line through two points."""
    (b, low), (c, high) = pairs
    slope = (high - low) / (c - b)
    return low - slope * b, slope
