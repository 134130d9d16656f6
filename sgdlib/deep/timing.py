"""How long something takes, and how sure that is.

A GPU works behind the program's back: a clock read without waiting for it measures how fast work
was handed over. The first runs pay for memory, compilation and cold caches. One run says nothing
about the spread. So: warm up, wait for the device, repeat, report quartiles.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch

from sgdlib import _check
from sgdlib.deep._inputs import named_device


@dataclass(frozen=True, eq=False)
class Timing:
    """Seconds per call: median and quartiles over the repeats.

    Attributes
    ----------
    median, lower, upper
        Median and quartiles of the seconds per call.
    seconds
        (repeats,) seconds per call of each repeat.
    calls
        Calls in each repeat.
    """

    median: float
    lower: float
    upper: float
    seconds: np.ndarray
    calls: int


def synchronize(device: torch.device | str | None = None) -> None:
    """Wait until the device has done all its work; a CPU always has."""
    if device is None:
        device = "cuda" if torch.cuda.is_available() else "cpu"
    kind = named_device(device).type
    if kind == "cuda":
        torch.cuda.synchronize(device)
    elif kind == "mps":
        torch.mps.synchronize()


def benchmark(
    function: Callable[[], object],
    *,
    repeats: int = 15,
    warmup: int = 2,
    min_seconds: float = 0.01,
    device: torch.device | str | None = None,
) -> Timing:
    """Measure the seconds that a call of `function` takes.

    Parameters
    ----------
    function
        Called without arguments.
    repeats
        Number of measurements, at least 3.
    warmup
        Calls before the first measurement.
    min_seconds
        A measurement repeats the call so often that it takes at least about so long.
    device
        Device to wait for before each reading of the clock; None: a GPU if there is one.

    Returns
    -------
    Timing

    Notes
    -----
    Used in the chapter *GPU training*.

    Examples
    --------
    >>> timing = benchmark(lambda: sum(range(1000)), repeats=5)
    >>> timing.lower <= timing.median <= timing.upper, len(timing.seconds)
    (True, 5)
    """
    _check.function("function", function)
    repeats = _check.integer("repeats", repeats, low=3)
    warmup = _check.integer("warmup", warmup, low=0)
    min_seconds = _check.number("min_seconds", min_seconds, at_least=0, at_most=3600)

    def seconds(calls: int) -> float:
        synchronize(device)
        start = time.perf_counter()
        for _ in range(calls):
            function()
        synchronize(device)
        return time.perf_counter() - start

    if warmup:
        seconds(warmup)
    calls = 1
    while seconds(calls) < min_seconds:  # by doubling: one call alone may be a bad guess
        calls *= 2
    measured = np.array([seconds(calls) / calls for _ in range(repeats)])
    lower, median, upper = np.quantile(measured, [0.25, 0.5, 0.75])
    return Timing(float(median), float(lower), float(upper), measured, calls)
