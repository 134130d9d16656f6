"""Which examples make up each step of a run: one plan, checked once and passed on whole.

Indices are drawn a block of whole batches at a time: gathering a block and cutting it is several
times faster than gathering batch by batch.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np

from sgdlib import _check

SAMPLING = ("reshuffle", "shuffle_once", "sequential", "replacement", "subset")
LAST = ("scale", "keep", "drop", "pad", "wrap")

_INDICES_PER_BLOCK = 8192


class Block(NamedTuple):
    """`k` whole batches of one size, cut from consecutive places of the sampling order.

    `indices` has shape (k, B) or (k, R, B), all batches share `weights` (B,); `examples` is how
    many examples of its epoch one batch uses up (what pads or wraps a short one is not counted),
    `nominal` is the batch size asked for, and `start` is the position of the first batch in
    examples since the beginning of the run.
    """

    indices: np.ndarray
    weights: np.ndarray
    examples: int
    nominal: int
    start: int


@lru_cache(maxsize=256)
def uniform_weights(count: int, weight: float) -> np.ndarray:
    """Return a read-only array of `count` equal weights that takes the memory of one.

    Its stride is zero, by which `common_weight` recognizes it: uniform weights are multiplied in
    once, not one by one.
    """
    return np.broadcast_to(np.float64(weight), (count,))


def common_weight(weights: np.ndarray) -> float | None:
    """Return the single value of uniform weights, or None where the weights may differ."""
    return float(weights[0]) if weights.strides == (0,) and weights.size else None


class BatchSize:
    """A batch size, a schedule of it, or a controller: an int in 1..high, checked when asked."""

    def __init__(self, batch_size: object, high: int | None = None):
        self.controller = batch_size if _check.controller("batch_size", batch_size) else None
        if self.controller:
            self.schedule = lambda progress: batch_size.batch_size
        else:
            self.schedule = batch_size if callable(batch_size) else None
        self.high = high
        if self.schedule is None:
            self.first = _check.integer("batch_size", batch_size, high=high)
        else:
            self.first = self(0.0)

    def __call__(self, progress: float) -> int:
        """Return the batch size at `progress`; a controller gets no more than there is."""
        if self.schedule is None:
            return self.first
        value = self.schedule(progress)
        if self.controller and self.high is not None:
            value = min(value, self.high)
        name = f"batch_size({progress:g})"
        return _check.integer(name, round(_check.number(name, value)), high=self.high)

    def run_length(self, position: int, stride: int, scale: int, most: int) -> int:
        """Count the steps, at most `most`, for which the batch size is known to stay what it is."""
        if self.schedule is None:
            return most
        if self.controller:
            return 1
        here, k = self(position / scale), 1
        while k < most and self((position + k * stride) / scale) == here:
            k += 1
        return k


@dataclass(frozen=True)
class Plan:
    """Size, sampling, last batch and length of a run over n examples (n infinite: over noise).

    Making it checks everything but n; neither epochs nor steps means one epoch.
    """

    n: int | float
    batch_size: Any
    sampling: str = "reshuffle"
    last: str = "scale"
    epochs: int | None = None
    steps: int | None = None
    size: BatchSize = field(init=False)

    def __post_init__(self):
        _check.option("sampling", self.sampling, SAMPLING)
        _check.option("last", self.last, LAST)
        epochs = _check.optional("epochs", self.epochs)
        steps = _check.optional("steps", self.steps)
        if epochs is not None and steps is not None:
            raise ValueError(f"epochs={epochs}, steps={steps}: give one of them, not both")
        unbounded = self.sampling == "replacement" or self.n == math.inf
        size = BatchSize(self.batch_size, None if unbounded else self.n)
        object.__setattr__(self, "size", size)
        object.__setattr__(self, "epochs", epochs if steps else epochs or 1)

    @property
    def permuted(self) -> bool:
        """Whether an epoch is an order of all examples."""
        return self.sampling in ("reshuffle", "shuffle_once", "sequential")

    def largest(self) -> int:
        """Return about the largest batch size of the run: a schedule is asked at 100 places."""
        if self.size.schedule is None:
            return self.size.first
        epochs = self.epochs or self.steps * self.size.first / self.n
        return max(self.size(epochs * i / 100) for i in range(100))


@dataclass
class Draws:
    """The blocks of a run: iterate once; `order` and the places say where it stands afterwards.

    With `replicas` = R the indices have shape (k, R, B): each replica has an order of its own.
    `rows` is about how many examples of a replica one block holds. A run goes on where another
    ended if it is given its `order` and places.
    """

    plan: Plan
    rng: np.random.Generator
    replicas: int | None = None
    rows: int = _INDICES_PER_BLOCK
    order: np.ndarray | None = None  # (n,) or (R, n)
    epoch_start: int = 0  # where the epoch began, in examples since the beginning
    low: int = 0  # how many examples of the order are used up

    def __iter__(self) -> Iterator[Block]:
        """Yield the blocks."""
        steps = self.plan.steps or math.inf
        here = self.epoch_start + self.low
        end = here + self.plan.epochs * self.plan.n if self.plan.epochs else math.inf
        return (self._permuted if self.plan.permuted else self._independent)(end, steps)

    def places(self) -> dict[str, Any]:
        """Return what another `Draws` needs to go on, the order in as few bytes as hold it."""
        order = self.order
        if order is not None:
            order = order.astype(np.min_scalar_type(self.plan.n))
        return {"order": order, "epoch_start": self.epoch_start, "low": self.low}

    def _permuted(self, end, left):
        n, size, sampling = self.plan.n, self.plan.size, self.plan.sampling
        if self.order is None:
            self.order = np.arange(n)
            if self.replicas is not None:
                self.order = np.broadcast_to(self.order, (self.replicas, n))
            self.epoch_start, self.low = self.epoch_start + self.low, 0
            if sampling == "shuffle_once":
                self.order = self.rng.permuted(self.order, axis=-1)
        self.order = self.order.astype(np.int64, copy=False)
        while self.epoch_start + self.low < end and left > 0:
            if self.low == n:
                self.epoch_start, self.low = self.epoch_start + n, 0
            if self.low == 0 and sampling == "reshuffle":
                self.order = self.rng.permuted(self.order, axis=-1)
            low, start = self.low, self.epoch_start + self.low
            b = size(start / n)
            whole = (n - low) // b
            if not whole:
                self.low = n
                if self.plan.last != "drop":
                    indices, weights = _short_batch(self.order, low, b, self.plan.last)
                    left -= 1
                    yield Block(indices[None], weights, n - low, b, start)
                continue
            k = self._run_length(start, b, min(whole, _until(end, start, b, left)))
            cut = self.order[..., low : low + k * b].reshape(*self.order.shape[:-1], k, b)
            cut = cut if self.replicas is None else np.ascontiguousarray(cut.swapaxes(0, 1))
            self.low += k * b
            left -= k
            yield Block(cut, uniform_weights(b, 1 / b), b, b, start)

    def _independent(self, end, left):
        n, rng = self.plan.n, self.rng
        lead = () if self.replicas is None else (self.replicas,)
        self.order, self.epoch_start, self.low = None, self.epoch_start + self.low, 0
        while self.epoch_start < end and left > 0:
            start = self.epoch_start
            b = self.plan.size(start / n)
            k = self._run_length(start, b, _until(end, start, b, left))
            if self.plan.sampling == "replacement":
                indices = rng.integers(0, n, size=(k, *lead, b))
            else:
                indices = _subsets(n, b, k * math.prod(lead), rng).reshape(k, *lead, b)
            self.epoch_start += k * b
            left -= k
            yield Block(indices, uniform_weights(b, 1 / b), b, b, start)

    def _run_length(self, start, b, most):
        """Count the batches of size b, at most `most`, that make up a block."""
        most = int(min(most, max(1, self.rows // b)))
        return self.plan.size.run_length(start, b, self.plan.n, most)


def index_blocks(
    n: int,
    batch_size: int | Callable[[float], float],
    *,
    sampling: str = "reshuffle",
    last: str = "scale",
    epochs: int | None = None,
    steps: int | None = None,
    rng: int | np.random.Generator | None = None,
    replicas: int | None = None,
    rows: int = _INDICES_PER_BLOCK,
) -> Iterator[Block]:
    """Yield the same batches as `sgdlib.batching.batches`, several whole batches at a time.

    With `replicas` = R the indices have shape (k, R, B); `rows` counts the examples of one replica.
    """
    plan = Plan(_check.integer("n", n), batch_size, sampling, last, epochs, steps)
    replicas, rows = _check.optional("replicas", replicas), _check.integer("rows", rows)
    return iter(Draws(plan, _check.generator(rng), replicas, rows))


def _until(end, start, b, left):
    """Count the batches of size b up to the end of the run."""
    return left if end == math.inf else min(left, math.ceil((end - start) / b))


def _short_batch(order, low, b, last):
    """Return indices and weights for the last r < b examples of the order by the rule `last`."""
    rest = order[..., low:]
    r = rest.shape[-1]
    if last == "scale":
        return rest, uniform_weights(r, 1 / b)
    if last == "keep":
        return rest, uniform_weights(r, 1 / r)
    if last == "wrap":
        filled = np.concatenate([rest, order[..., : b - r]], axis=-1)
        return filled, uniform_weights(b, 1 / b)
    filled = np.concatenate([rest, np.repeat(rest[..., -1:], b - r, axis=-1)], axis=-1)
    return filled, np.where(np.arange(b) < r, 1 / b, 0.0)


def _subsets(n, b, count, rng):
    """Draw `count` subsets of size b, each in random order, so that a part of one is fair too."""
    if n <= 256:  # shuffling short rows together is faster than drawing one by one
        return rng.permuted(np.broadcast_to(np.arange(n), (count, n)), axis=-1)[:, :b]
    return np.array([rng.choice(n, b, replace=False) for _ in range(count)], dtype=np.int64)
