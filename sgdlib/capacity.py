r"""What fits into memory, and what hides behind computing: a batch on one worker, and on several.

    memory of a batch    M_0 + a b                   the line through two measured peaks
    in K pieces          M_0 + gradient + a b/K      the running total comes in addition
    all hidden if        2 (K - 1)/K gradient/W < 2/3 tau_d b       b examples of each of K workers

The page *Which batch size, which rate?* computes the same in the browser.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from sgdlib import _check
from sgdlib._two_sizes import line, two_sizes

_BACKWARD = 2 / 3  # of the time of an example: two products for each one of the forward pass


@dataclass(frozen=True)
class Pieces:
    """How a batch fits into memory: `pieces` of at most `micro_batch_size` examples.

    `fixed` and `per_example` are the line of the memory model, in the units of what was measured.
    """

    fixed: float
    per_example: float
    pieces: int
    micro_batch_size: int


def choose_pieces(
    memory: Mapping[int, float], *, limit: float, batch_size: int, gradient: float = 0.0
) -> Pieces:
    """Return in how many pieces a batch has to be accumulated to stay within a limit of memory.

    Parameters
    ----------
    memory
        Batch size -> peak memory of a step in one piece; two entries.
    limit
        Memory that a step may use, in the same units.
    batch_size
        Examples of one worker's step.
    gradient
        Size of one gradient: the running total, which several pieces need in addition.

    Raises
    ------
    ValueError, TypeError
        If an argument is outside its range.
    ArithmeticError
        If the larger batch needs no more, or not even one example fits.

    Notes
    -----
    Derived in the chapter *Memory and gradient accumulation*.

    Examples
    --------
    >>> choose_pieces({32: 8.0, 64: 14.0}, limit=16.0, batch_size=128)
    Pieces(fixed=2.0, per_example=0.1875, pieces=2, micro_batch_size=64)
    """
    fixed, slope = line(two_sizes("memory", memory))
    limit = _check.number("limit", limit, above=0)
    batch_size = _check.integer("batch_size", batch_size)
    gradient = _check.number("gradient", gradient, at_least=0)
    if slope <= 0:
        raise ArithmeticError(f"memory={dict(memory)}: the larger batch needs no more memory")
    if fixed + slope * batch_size <= limit:
        return Pieces(fixed, slope, 1, batch_size)
    largest = math.floor((limit - fixed - gradient) / slope)
    if largest < 1:
        raise ArithmeticError(f"limit={limit:g}: not even one example fits into it")
    pieces = math.ceil(batch_size / largest)
    return Pieces(fixed, slope, pieces, math.ceil(batch_size / pieces))


@dataclass(frozen=True)
class Communication:
    """Seconds of an all-reduce, how much of it no computing covers, and the batch that covers it.

    `hidden_from` is in examples of one worker: from there on the backward pass takes longer.
    """

    seconds: float
    exposed: float
    hidden_from: float


def choose_communication(
    gradient: float, *, bandwidth: float, per_example: float, batch_size: int, workers: int
) -> Communication:
    """Return where the exchange of gradients hides behind the backward pass.

    Parameters
    ----------
    gradient
        Bytes of one gradient.
    bandwidth
        W, bytes a second that a worker sends while it receives as many.
    per_example
        tau_d, seconds of an example; two thirds of them are the backward pass.
    batch_size
        Examples of one worker's step; with accumulation those of one piece, since the backward pass
        of the last piece alone can cover the exchange.
    workers
        K.

    Raises
    ------
    ValueError, TypeError
        If an argument is outside its range.

    Notes
    -----
    A ring all-reduce sends ``2 (K - 1)/K`` gradients; latency is left out. With 2-byte gradients,
    C flops a second and ``per_example = 6 parameters/C`` it hides from ``(K - 1)/K C/W`` examples
    on: the rule B/K > C/W. Derived in the chapter *Data parallel training*.

    Examples
    --------
    >>> options = {"bandwidth": 1e10, "per_example": 6e-5, "batch_size": 128, "workers": 4}
    >>> round(choose_communication(1e8, **options).hidden_from)
    375
    """
    gradient = _check.number("gradient", gradient, above=0)
    bandwidth = _check.number("bandwidth", bandwidth, above=0)
    backward = _BACKWARD * _check.number("per_example", per_example, above=0)
    batch_size = _check.integer("batch_size", batch_size)
    workers = _check.integer("workers", workers)
    seconds = 2 * (workers - 1) / workers * gradient / bandwidth
    return Communication(seconds, max(0.0, seconds - backward * batch_size), seconds / backward)
