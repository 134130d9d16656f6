"""Where the steps of a run come from: rows of examples, or noise, several steps at a time."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import chain
from typing import NamedTuple

import numpy as np

from sgdlib import _check
from sgdlib._plan import Block, Plan, common_weight
from sgdlib.batching import Batch

BLOCK_BYTES = 1 << 19  # rows gathered at once: they stay in a core's cache, with room for others


class Steps(NamedTuple):
    """Consecutive steps of one kind: what `weighted_gradient` takes for each, and what they share.

    `rows` holds a tuple of array rows for each step; `weights` is an array (B,), one float for all
    examples, or None for a population; `indices` is (k, B), (k, R, B) or None; `size` is the batch
    size asked for; `examples` counts those of one step. The first step stands at progress
    ``start / scale`` of the run, and each moves it on by ``stride / scale``.
    """

    rows: list[tuple]
    weights: np.ndarray | float | None
    indices: np.ndarray | None
    size: int
    examples: int
    start: int
    stride: int
    scale: int


class Stretch:
    """The steps low..high-1 of a block, which nothing interrupts: what a rule is given."""

    def __init__(self, block: Steps, low: int, high: int):
        self.block, self.low, self.high = block, low, high
        self.weights = block.weights

    def __len__(self) -> int:
        return self.high - self.low

    @property
    def rows(self) -> list[tuple]:
        """What `weighted_gradient` takes for each step, after theta and the weights."""
        whole = len(self) == len(self.block.rows)
        return self.block.rows if whole else self.block.rows[self.low : self.high]

    @property
    def indices(self) -> np.ndarray:
        """The examples of each step: (k, B), or (k, R, B)."""
        return self.block.indices[self.low : self.high]

    @property
    def progress(self) -> list[float]:
        """Where each step begins."""
        start, stride, scale = self.block.start, self.block.stride, self.block.scale
        return [(start + j * stride) / scale for j in range(self.low, self.high)]


def gathered(problem, blocks: Iterable[Block]) -> Iterator[Steps]:
    """Gather the examples of each block into buffers that are used again."""
    buffers = [np.empty((0, *a.shape[1:]), a.dtype) for a in problem.arrays]
    for block in blocks:
        count, data = block.indices.size, []
        for i, array in enumerate(problem.arrays):
            if len(buffers[i]) < count:
                buffers[i] = np.empty((count, *array.shape[1:]), array.dtype)
            out = buffers[i][:count].reshape(*block.indices.shape, *array.shape[1:])
            # mode="clip" skips a bounds check per index: these indices are our own
            data.append(array.take(block.indices, axis=0, out=out, mode="clip"))
        yield Steps(
            list(zip(*data, strict=True)),
            _shared(block.weights),
            block.indices,
            block.nominal,
            block.examples,
            block.start,
            block.examples,
            problem.n,
        )


def explicit(
    problem, replicas: int | None, batches: Iterable[Batch], start: int = 0
) -> Iterator[Steps]:
    """Check and gather the caller's batches one by one; weight 0 is padding, and not counted."""
    if not isinstance(batches, Iterable) or getattr(batches, "ndim", 1) == 0:
        shown = _check.shown(batches)
        raise TypeError(f"batches={shown}: expected a sequence of (indices, weights)")
    rest = iter(batches)
    first = next(rest, None)
    if first is None:
        raise ValueError("batches: expected at least one batch, got none")

    def steps(start):
        for batch in chain([first], rest):
            if not isinstance(batch, tuple) or len(batch) != 2:
                kind = type(batch).__name__
                raise TypeError(f"batches: expected pairs (indices, weights), got a {kind}")
            rows, weights = problem.batch_rows(*batch, replicas)
            indices, shared = np.asarray(batch[0])[None], _shared(weights)
            used = int(np.count_nonzero(weights))
            yield Steps([rows], shared, indices, len(weights), used, start, used, problem.n)
            start += used

    return steps(start)


def noise(
    problem, plan: Plan, shape: tuple[int, ...], rng: np.random.Generator, start: int = 0
) -> Iterator[Steps]:
    """Draw the noise of several steps of a population at once; progress counts steps."""
    at_once = max(1, BLOCK_BYTES // (8 * int(np.prod(shape))))
    done, end = start, start + plan.steps
    while done < end:
        b = plan.size(float(done))
        k = plan.size.run_length(done, 1, 1, min(at_once, end - done))
        rows = [(xi,) for xi in problem.noise((k, *shape), rng, b)]
        yield Steps(rows, None, None, b, b, done, 1, 1)
        done += k


def _shared(weights):
    weight = common_weight(weights)
    return weights if weight is None else weight
