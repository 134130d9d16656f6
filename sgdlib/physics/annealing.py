r"""Simulated annealing by batch size: cooling schedules, and the two knobs that follow them.

A temperature T = eta sigma^2/(2 B) can be lowered by either knob::

    B   = eta sigma^2 / (2 T)           the batch grows, the rate stays
    eta = 2 B T / sigma^2               the rate decays, the batch stays

Per example seen the two agree to leading order in eta h. What is left over in a bowl of curvature
h, for a factor k, is the ratio of stationary variances (2 - eta h/k)/(2 - eta h).
"""

from __future__ import annotations

import math

import numpy as np

from sgdlib import _check
from sgdlib.batching import BatchSize
from sgdlib.physics.stationary import temperature as temperature_of
from sgdlib.schedules import Schedule
from sgdlib.stability import stability_limit

SHAPES = ("geometric", "linear", "logarithmic")


def cooling_schedule(
    start: float, end: float, *, length: float, shape: str = "geometric"
) -> Schedule:
    r"""Return a temperature that falls from `start` to `end` over `length`, and then stays.

    With s = progress/length::

        geometric      start (end/start)^s
        linear         start + (end - start) s
        logarithmic    c / ln(t0 + progress),   c and t0 such that both ends are met

    Parameters
    ----------
    start, end
        Temperatures, start > end > 0.
    length
        In the units of progress: what is counted (examples, steps, epochs) is the caller's choice.
    shape
        One of the three. Stairs are `sgdlib.schedules.step_decay`.

    Raises
    ------
    ValueError, TypeError
        If an argument is outside its range.

    Notes
    -----
    Kirkpatrick, Gelatt and Vecchi (1983). Hajek (1988): on a finite set of states, annealing with
    ``T = c/ln(1 + t)``, t in steps, ends at a global minimum with probability tending to 1 if and
    only if c is at least the depth of the deepest other minimum; Geman and Geman (1984) gave the
    form. The c of a logarithmic schedule is ``end * ln(t0 + length)``. Derived in the chapter
    *Simulated annealing by batch size*.

    Examples
    --------
    >>> [round(cooling_schedule(1.0, 0.01, length=10)(p), 3) for p in (0, 5, 10, 20)]
    [1.0, 0.1, 0.01, 0.01]
    >>> log = cooling_schedule(1.0, 0.1, length=1000, shape="logarithmic")
    >>> [round(log(p), 3) for p in (0, 1, 10, 100, 1000)]
    [1.0, 0.63, 0.278, 0.149, 0.1]
    """
    start = _check.number("start", start, above=0)
    end = _check.number("end", end, above=0, below=start)
    length = _check.number("length", length, above=0)
    _check.option("shape", shape, SHAPES)
    first = _log_start(start / end, length) if shape == "logarithmic" else None

    def value(progress: float) -> float:
        progress = _check.number("progress", progress, at_least=0)
        if progress >= length:
            return end
        part = progress / length
        if shape == "linear":
            return start + (end - start) * part
        if shape == "geometric":
            return start * (end / start) ** part
        later = math.log(part * length) if part else -math.inf
        return start * first / float(np.logaddexp(first, later))

    return value


def _log_start(ratio, length):
    """Return u = ln t0, the solution of ``ratio u = ln(e^u + length)``, by bisection."""
    low, high = 0.0, math.log1p(length) / (ratio - 1)  # ln(e^u + length) <= u + ln(1 + length)
    for _ in range(100):
        u = (low + high) / 2
        low, high = (u, high) if ratio * u < np.logaddexp(u, math.log(length)) else (low, u)
    return high


def cool_by_batch(
    temperature: Schedule, *, lr: float, sigma2: float, maximum: int | None = None
) -> Schedule:
    r"""Return the batch size that has the scheduled temperature at a fixed rate, rounded.

    The batch is ``B = eta sigma^2/(2 T)``, rounded to the nearest int. Rounding moves the
    temperature by less than it seems: by at most ``1/(2 B)`` of itself, half at B = 1, 1 % at 50.

    Parameters
    ----------
    temperature
        A schedule, at most the temperature of batches of one example, ``eta sigma^2/2``.
    lr
        The fixed learning rate.
    sigma2
        Variance of one example's gradient, in one direction.
    maximum
        The batch grows no further, and the temperature falls no further.

    Raises
    ------
    ValueError, TypeError
        If an argument is outside its range, or the temperature asked for cannot be reached: at the
        start when the schedule is made, later when it is asked.

    Notes
    -----
    Smith et al. (2018), arXiv:1711.00489. Derived in the chapter *Simulated annealing by batch
    size*. Stairs of a factor 1/k give exactly `sgdlib.schedules.grow_batch`.

    Examples
    --------
    >>> B = cool_by_batch(cooling_schedule(0.5, 0.01, length=10), lr=0.1, sigma2=10.0)
    >>> [B(p) for p in (0, 2, 5, 10)]
    [1, 2, 7, 50]
    """
    temperature = _check.schedule("temperature", temperature)
    hottest = temperature_of(lr, 1, _check.number("sigma2", sigma2, above=0))
    top = math.inf if maximum is None else _check.integer("maximum", maximum)

    def value(progress: float) -> int:
        progress = _check.number("progress", progress, at_least=0)
        wanted = _temperature(temperature, progress)
        if wanted > hottest * (1 + 1e-9):
            raise ValueError(
                f"temperature({progress:g})={wanted:g}: expected at most {hottest:g}, which "
                f"batches of one example have at lr={lr:g}, sigma2={sigma2:g}"
            )
        return round(min(max(hottest / wanted, 1.0), top))

    value(0.0)
    return value


def cool_by_rate(temperature: Schedule, *, batch_size: int, sigma2: float) -> Schedule:
    r"""Return the rate ``eta = 2 B T/sigma^2`` that has the scheduled temperature at a fixed batch.

    Raises
    ------
    ValueError, TypeError
        If an argument is outside its range, or a temperature is not > 0: at the start when the
        schedule is made, later when it is asked.

    Notes
    -----
    Derived in the chapter *Simulated annealing by batch size*.

    Examples
    --------
    >>> rate = cool_by_rate(cooling_schedule(0.5, 0.01, length=10), batch_size=1, sigma2=10.0)
    >>> round(rate(0), 6), round(rate(10), 6)
    (0.1, 0.002)
    """
    temperature = _check.schedule("temperature", temperature)
    unit = temperature_of(1.0, batch_size, _check.number("sigma2", sigma2, above=0))

    def value(progress: float) -> float:
        progress = _check.number("progress", progress, at_least=0)
        return _temperature(temperature, progress) / unit

    value(0.0)
    return value


def variance_ratio(lr: float, curvature: float, factor: float, *, momentum: float = 0.0) -> float:
    r"""Return the stationary variance with the batch grown by k over that with the rate divided.

    In a bowl of curvature h the cloud at (eta, k B) is wider than that at (eta/k, B) by exactly::

        (2 (1 + beta) - eta h/k) / (2 (1 + beta) - eta h)

    Parameters
    ----------
    lr
        eta, the rate before the change.
    curvature
        h.
    factor
        k > 0.
    momentum
        beta in [0, 1); 0 is plain SGD.

    Raises
    ------
    ValueError, TypeError
        If an argument is outside its range, or a rate is at or above its stability limit.

    Notes
    -----
    Additive noise, independent batches. Derived in the chapter *Simulated annealing by batch size*.

    Examples
    --------
    >>> [round(variance_ratio(lr, 1.0, 5), 3) for lr in (0.1, 0.5, 1.0)]
    [1.042, 1.267, 1.8]
    """
    curvature = _check.number("curvature", curvature, above=0)
    factor = _check.number("factor", factor, above=0)
    limit = stability_limit(curvature, momentum=momentum)
    lr, top = _check.number("lr", lr, above=0), limit * min(1.0, factor)
    if lr >= top:
        raise ValueError(
            f"lr={lr}: expected a finite number > 0 and < {top:g}, the stability limit at "
            f"curvature={curvature:g}, factor={factor:g}, momentum={momentum:g}"
        )
    # stability_limit is 2 (1 + beta)/h
    return (limit - lr / factor) / (limit - lr)


def in_steps(batch_size: int | Schedule, examples: int) -> tuple[Schedule, int]:
    """Turn a batch size by examples seen into one by steps, for a budget of examples.

    A population has no epochs: there `minibatch_sgd` counts progress in steps. The examples left
    over at the end, fewer than a batch, are added to the last one, so that the budget is spent to
    the last example and the run does not end with a small, hot batch.

    Parameters
    ----------
    batch_size
        An int, or a schedule of the examples seen so far.
    examples
        The budget.

    Returns
    -------
    batch_size, steps
        A schedule of steps, and their number; its values add up to `examples`.

    Raises
    ------
    ValueError, TypeError
        If the budget is below the first batch, or an argument is outside its range.

    Examples
    --------
    >>> batch_size, steps = in_steps(lambda seen: 1 if seen < 3 else 4, 13)
    >>> [batch_size(step) for step in range(steps)]
    [1, 1, 1, 4, 6]
    """
    size = BatchSize(batch_size)
    left, sizes = _check.integer("examples", examples, low=size.first), []
    while left:
        b = size(float(examples - left))
        if left < 2 * b:
            b = left
        sizes.append(b)
        left -= b

    def at(step: float) -> int:
        return sizes[int(min(_check.number("step", step, at_least=0), len(sizes) - 1))]

    return at, len(sizes)


def _temperature(schedule, progress):
    return _check.number(f"temperature({progress:g})", schedule(progress), above=0)
