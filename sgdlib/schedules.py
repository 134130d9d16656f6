r"""How the knobs move: pure functions of progress, for learning rate, batch size and temperature.

A schedule takes progress (a float; the driver says whether in epochs or in steps) and returns a
value. It has no state, so it can be plotted, tested and resumed. Wherever a schedule is accepted, a
number is too. Any function of one float will do; these are the usual ones.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from sgdlib import _check

Schedule = Callable[[float], float]


def _of_progress(value: Schedule) -> Schedule:
    """Return the schedule that asks `value`, if progress is a number >= 0."""
    return lambda progress: value(_check.number("progress", progress, at_least=0))


def constant(value: float) -> Schedule:
    """Return the schedule that is `value` throughout.

    Examples
    --------
    >>> constant(0.1)(7.5)
    0.1
    """
    return _of_progress(_check.schedule("value", _check.number("value", value)))


def step_decay(start: float, *, factor: float = 0.5, every: float = 1.0) -> Schedule:
    """Multiply by `factor` at each multiple of `every`: ``start * factor**floor(progress/every)``.

    Examples
    --------
    >>> [step_decay(0.8, factor=0.5, every=10)(p) for p in (0, 9.9, 10, 20)]
    [0.8, 0.8, 0.4, 0.2]
    """
    start, factor = _check.number("start", start, above=0), _check.number("factor", factor, above=0)
    every = _check.number("every", every, above=0)
    return _of_progress(lambda progress: start * _power(factor, _times(progress, every)))


def inverse_time(start: float, *, scale: float = 1.0, power: float = 1.0) -> Schedule:
    """Decay as ``start / (1 + progress/scale)**power``.

    With 1/2 < `power` <= 1 it meets the conditions of Robbins and Monro (1951): the rates sum to
    infinity, their squares do not.

    Examples
    --------
    >>> inverse_time(1.0, scale=10)(30)
    0.25
    """
    start, scale = _check.number("start", start, above=0), _check.number("scale", scale, above=0)
    power = _check.number("power", power, above=0)
    return _of_progress(lambda progress: start / _power(1 + progress / scale, power))


def cosine(start: float, *, length: float, end: float = 0.0) -> Schedule:
    """Fall from `start` to `end` along half a cosine over `length`, then stay (Loshchilov 2017).

    Examples
    --------
    >>> [round(cosine(1.0, length=10)(p), 3) for p in (0, 5, 10, 12)]
    [1.0, 0.5, 0.0, 0.0]
    """
    start, end = _check.number("start", start), _check.number("end", end)
    length = _check.number("length", length, above=0)

    @_of_progress
    def value(progress: float) -> float:
        part = min(progress / length, 1.0)
        return end + (start - end) * (1 + math.cos(math.pi * part)) / 2

    return value


def warmup(then: float | Schedule, *, length: float, start: float = 0.0) -> Schedule:
    """Rise linearly from `start` over `length`, then follow `then` (counted from progress 0).

    The rise ends exactly at ``then(length)``: there is no jump. With progress in epochs the rate
    moves at every step; a warmup that moves once an epoch and starts at 0 wastes the first epoch.

    Examples
    --------
    >>> [warmup(0.4, length=2, start=0.1)(p) for p in (0, 1, 2, 9)]
    [0.1, 0.25, 0.4, 0.4]
    """
    then = _check.schedule("then", then)
    length = _check.number("length", length, above=0)
    start = _check.number("start", start, at_least=0)
    end = _check.number(f"then({length:g})", then(length))

    @_of_progress
    def value(progress: float) -> float:
        if progress >= length:
            return then(progress)
        return start + (end - start) * progress / length

    return value


def cyclical(low: float, high: float, *, period: float) -> Schedule:
    """Run up and down between `low` and `high` in triangles of length `period` (L. Smith 2017).

    Examples
    --------
    >>> [cyclical(0.0, 1.0, period=4)(p) for p in (0, 1, 2, 3, 4)]
    [0.0, 0.5, 1.0, 0.5, 0.0]
    """
    low, high = _check.number("low", low), _check.number("high", high)
    period = _check.number("period", period, above=0)

    @_of_progress
    def value(progress: float) -> float:
        part = (progress / period) % 1.0
        return low + (high - low) * (1 - abs(2 * part - 1))

    return value


def one_cycle(
    peak: float, *, length: float, rise: float = 0.3, start: float | None = None, end: float = 0.0
) -> Schedule:
    """Rise from `start` (peak/25) to `peak` in the share `rise`, then fall to `end` along cosines.

    Examples
    --------
    >>> [round(one_cycle(1.0, length=10, rise=0.5)(p), 2) for p in (0, 5, 10)]
    [0.04, 1.0, 0.0]
    """
    peak, length = _check.number("peak", peak, above=0), _check.number("length", length, above=0)
    rise = _check.number("rise", rise, above=0, below=1)
    start = peak / 25 if start is None else _check.number("start", start, at_least=0)
    up = cosine(start, length=rise * length, end=peak)
    down = cosine(peak, length=(1 - rise) * length, end=end)
    return join([up, down], [rise * length])


def grow_batch(
    start: int, *, factor: float = 2.0, every: float = 1.0, maximum: int | None = None
) -> Schedule:
    """Multiply the batch size by `factor` at each multiple of `every`, up to `maximum`, rounded.

    The mirror image of `step_decay`: dividing the rate by k and multiplying the batch by k leave
    the same rate-to-batch ratio.

    Examples
    --------
    >>> [grow_batch(32, factor=4, every=10, maximum=1000)(p) for p in (0, 10, 20, 30)]
    [32, 128, 512, 1000]
    """
    start, factor = _check.integer("start", start), _check.number("factor", factor, above=0)
    every = _check.number("every", every, above=0)
    top = math.inf if maximum is None else _check.integer("maximum", maximum)
    if top < start:
        raise ValueError(f"maximum={maximum}: expected an int >= start={start}")

    @_of_progress
    def value(progress: float) -> int:
        size = start * _power(factor, _times(progress, every))
        if size >= top:
            if top == math.inf:
                raise ValueError(
                    f"maximum=None: expected an int, the batch overflows at {progress:g}"
                )
            return int(top)
        return max(1, round(size))

    return value


def join(schedules: Sequence[float | Schedule], boundaries: Sequence[float]) -> Schedule:
    """Follow one schedule after another; each starts anew, with progress 0, at its boundary.

    Examples
    --------
    >>> both = join([constant(1.0), step_decay(1.0, factor=0.1)], [5])
    >>> both(4.9), both(5), both(6)
    (1.0, 1.0, 0.1)
    """
    parts = [_check.schedule("schedules", s) for s in _check.sequence("schedules", schedules)]
    edges = [_check.number("boundaries", b) for b in _check.sequence("boundaries", boundaries)]
    if len(parts) != len(edges) + 1 or sorted(edges) != edges:
        raise ValueError(
            f"join: expected increasing boundaries, one fewer than the {len(parts)} schedules, "
            f"got {edges}"
        )

    @_of_progress
    def value(progress: float) -> float:
        index = sum(progress >= edge for edge in edges)
        return parts[index](progress - (edges[index - 1] if index else 0.0))

    return value


def _times(progress: float, every: float) -> float:
    """Count the multiples of `every` passed; three tenths of an epoch are 3 times 0.1, not 2."""
    ratio = progress / every + 1e-9
    return math.floor(ratio) if ratio < math.inf else ratio


def _power(factor: float, times: float) -> float:
    """Return ``factor**times``, infinite where it is too large for a float."""
    try:
        return factor**times
    except OverflowError:
        return math.inf
