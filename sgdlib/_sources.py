"""Where the steps of a run come from: rows of examples, or noise, several steps at a time."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import chain
from typing import NamedTuple

import numpy as np

from sgdlib.batching import Batch, BatchSize, Block, common_weight
from sgdlib.populations import Population
from sgdlib.problems import FiniteSum

BLOCK_BYTES = 1 << 19  # rows gathered at once: they stay in a core's cache, with room for others


class Steps(NamedTuple):
    """Consecutive steps of one kind: one tuple of array rows for each, and what they share.

    `weights` is an array (B,), one float for all examples, or None for a population; `size` is the
    batch size asked for; `examples` counts those of one step; the first step stands at progress
    ``start / scale`` of the run, and each moves it on by ``stride / scale``.
    """

    rows: list[tuple]
    weights: np.ndarray | float | None
    size: int
    examples: int
    start: int
    stride: int


def gathered(problem: FiniteSum, plan: Iterator[Block]) -> Iterator[Steps]:
    """Gather the examples of each block into buffers that are used again."""
    buffers = [np.empty((0, *a.shape[1:]), a.dtype) for a in problem.arrays]
    for block in plan:
        count, data = block.indices.size, []
        for i, array in enumerate(problem.arrays):
            if len(buffers[i]) < count:
                buffers[i] = np.empty((count, *array.shape[1:]), array.dtype)
            out = buffers[i][:count].reshape(*block.indices.shape, *array.shape[1:])
            # mode="clip" skips a bounds check per index: these indices are our own
            data.append(array.take(block.indices, axis=0, out=out, mode="clip"))
        rows = list(zip(*data, strict=True))
        yield Steps(
            rows, _shared(block.weights), block.nominal, block.examples, block.start, block.examples
        )


def explicit(problem: FiniteSum, theta: np.ndarray, batches: Iterable[Batch]) -> Iterator[Steps]:
    """Check and gather the caller's batches one by one; weight 0 is padding, and not counted."""
    if not isinstance(batches, Iterable):
        raise TypeError(f"batches={batches!r}: expected a sequence of (indices, weights)")
    rest = iter(batches)
    first = next(rest, None)
    if first is None:
        raise ValueError("batches: expected at least one batch, got none")

    def steps():
        start = 0
        for batch in chain([first], rest):
            if not isinstance(batch, tuple) or len(batch) != 2:
                kind = type(batch).__name__
                raise TypeError(f"batches: expected pairs (indices, weights), got a {kind}")
            rows, weights = problem.batch_rows(theta, *batch)
            examples = int(np.count_nonzero(weights))
            yield Steps([rows], _shared(weights), len(weights), examples, start, examples)
            start += examples

    return steps()


def noise(
    problem: Population, theta: np.ndarray, size: BatchSize, steps: int, rng: np.random.Generator
) -> Iterator[Steps]:
    """Draw the noise of several steps of a population at once; progress counts steps."""
    at_once = max(1, BLOCK_BYTES // theta.nbytes)
    done = 0
    while done < steps:
        b = size(float(done))
        k = size.run_length(done, 1, 1, min(at_once, steps - done))
        yield Steps([(xi,) for xi in problem.noise((k, *theta.shape), rng, b)], None, b, b, done, 1)
        done += k


def _shared(weights):
    weight = common_weight(weights)
    return weights if weight is None else weight
