r"""Which examples make up each step.

A batch is a pair `(indices, weights)` and its gradient is the weighted sum

    g = sum_i weights[i] * grad l_i(theta),        i in indices,

nothing more. A plain batch of B examples has weights 1/B; padding has weight 0. Nothing is
normalised afterwards, so sums of batches (accumulation, data parallelism) are sums of gradients,
and whether g is unbiased is a statement about the weights alone.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from sgdlib import _check

SAMPLING = ("reshuffle", "shuffle_once", "sequential", "replacement", "subset")
LAST = ("scale", "keep", "drop", "pad", "wrap")

_INDICES_PER_BLOCK = 8192


class Batch(NamedTuple):
    """One batch: the batch gradient is ``sum_i weights[i] * grad l[indices[i]]``.

    `indices` is an int64 array of shape (B,), or (R, B) with one row per replica; `weights` is a
    float array of shape (B,).
    """

    indices: np.ndarray
    weights: np.ndarray


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

    Its stride is zero, by which `common_weight` recognises it: uniform weights are multiplied in
    once, not one by one.
    """
    return np.broadcast_to(np.float64(weight), (count,))


def common_weight(weights: np.ndarray) -> float | None:
    """Return the single value of uniform weights, or None where the weights may differ."""
    return float(weights[0]) if weights.strides == (0,) and weights.size else None


def iterations_per_epoch(n: int, batch_size: int, last: str = "scale") -> int:
    """Count the steps of one pass over `n` examples: ceil(n/B), or floor(n/B) with "drop".

    Raises
    ------
    ValueError, TypeError
        If `batch_size` is not an int in 1..n, or `last` is unknown.

    Examples
    --------
    >>> iterations_per_epoch(1_250_000, 512)
    2442
    >>> iterations_per_epoch(1_250_000, 512, last="drop")
    2441
    """
    n = _check.integer("n", n)
    batch_size = _check.integer("batch_size", batch_size, high=n)
    _check.option("last", last, LAST)
    return n // batch_size if last == "drop" else math.ceil(n / batch_size)


def batches(
    n: int,
    batch_size: int | Callable[[float], float],
    *,
    sampling: str = "reshuffle",
    last: str = "scale",
    epochs: int | None = None,
    steps: int | None = None,
    rng: int | np.random.Generator | None = None,
) -> Iterator[Batch]:
    """Yield the batches of a run over `n` examples.

    Parameters
    ----------
    n
        Number of examples.
    batch_size
        An int in 1..n (with replacement any int >= 1), or a schedule: a function of progress in
        epochs (examples seen / n), rounded to the nearest integer.
    sampling
        ``"reshuffle"``: a new permutation each epoch. ``"shuffle_once"``: one permutation, used in
        every epoch. ``"sequential"``: the order of the data. ``"replacement"``: independent draws.
        ``"subset"``: an independent random subset each step (no example twice within a batch).
    last
        What becomes of the r < B examples left at the end of an epoch (of a permutation, that is:
        independent draws leave none). ``"scale"``: a batch of r
        with weights 1/B, so every example counts the same. ``"keep"``: weights 1/r, what most
        frameworks do. ``"drop"``: left out. ``"pad"``: filled up to B with weight 0. ``"wrap"``:
        filled up to B with examples from the beginning of the epoch.
    epochs, steps
        Length of the run; at most one of them. Neither means one epoch. Sampling without a
        permutation counts epochs by examples: it stops once ``epochs * n`` examples were drawn.
    rng
        Seed or NumPy Generator.

    Yields
    ------
    Batch
        indices (B,) and weights (B,); a short last batch is shorter.

    Raises
    ------
    ValueError, TypeError
        For any argument outside its range, in a sentence that names it.

    Notes
    -----
    The rules are explained in the chapter *The gradient-descent spectrum*, the sampling laws in
    *An honest estimate*.

    Examples
    --------
    >>> [b.indices.tolist() for b in batches(5, 2, sampling="sequential")]
    [[0, 1], [2, 3], [4]]
    >>> [b.weights.tolist() for b in batches(5, 2, sampling="sequential", last="pad")][-1]
    [0.5, 0.0]
    """
    blocks = index_blocks(
        n, batch_size, sampling=sampling, last=last, epochs=epochs, steps=steps, rng=rng
    )  # validates now, not at the first step

    def flat() -> Iterator[Batch]:
        for block in blocks:
            for indices in block.indices.copy():  # the caller may write into them
                yield Batch(indices, block.weights)

    return flat()


def create_batches(
    X: np.ndarray,
    y: np.ndarray,
    batch_size: int,
    *,
    sampling: str = "reshuffle",
    last: str = "keep",
    epochs: int | None = None,
    rng: int | np.random.Generator | None = None,
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield `(X_batch, y_batch)` pairs: the arrays themselves, cut into random batches.

    Parameters
    ----------
    X, y
        Arrays with the same number n of rows.
    batch_size, sampling, epochs, rng
        As in `batches`.
    last
        ``"keep"`` (the default), ``"drop"`` or ``"wrap"``; the other rules need weights: use
        `batches`.

    Raises
    ------
    ValueError, TypeError
        If the lengths differ, the data are empty or not finite, or an argument is outside its
        range.

    Notes
    -----
    Built step by step in the chapter *The gradient-descent spectrum*.

    Examples
    --------
    >>> X, y = np.arange(10.0).reshape(5, 2), np.arange(5.0)
    >>> [len(yb) for _, yb in create_batches(X, y, 2, rng=0)]
    [2, 2, 1]
    """
    X, y = np.asarray(X), np.asarray(y)
    if X.ndim == 0 or y.ndim == 0 or len(X) != len(y):
        raise ValueError(f"X, y: expected the same number of rows, got shapes {X.shape}, {y.shape}")
    X, y = _check.data("X", X), _check.data("y", y)
    _check.option("last", last, ("keep", "drop", "wrap"))
    plan = batches(len(X), batch_size, sampling=sampling, last=last, epochs=epochs, rng=rng)
    return ((X[b.indices], y[b.indices]) for b in plan)


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
    """Yield the same batches as `batches`, several whole batches at a time.

    Gathering a block of about `rows` examples and cutting it is several times faster than
    gathering batch by batch. With `replicas` = R the indices have shape (k, R, B): each replica
    has an order of its own, and `rows` counts the examples of one replica.
    """
    n = _check.integer("n", n)
    _check.option("sampling", sampling, SAMPLING)
    _check.option("last", last, LAST)
    if epochs is not None and steps is not None:
        raise ValueError(f"epochs={epochs}, steps={steps}: give one of them, not both")
    epochs = _check.integer("epochs", epochs) if epochs is not None else None
    steps = _check.integer("steps", steps) if steps is not None else None
    rng = _check.generator(rng)
    size = BatchSize(batch_size, None if sampling == "replacement" else n)
    total = (epochs or 1) * n if steps is None else math.inf
    left = math.inf if steps is None else steps
    if sampling in ("replacement", "subset"):
        return _independent(n, size, sampling, total, left, rng, replicas, rows)
    return _permuted(n, size, sampling, last, total, left, rng, replicas, rows)


class BatchSize:
    """A batch size or a schedule of it: an int in 1..high, checked wherever it is asked for."""

    def __init__(self, batch_size: int | Callable[[float], float], high: int | None = None):
        self.schedule = batch_size if callable(batch_size) else None
        self.high = high
        if self.schedule is None:
            self.first = _check.integer("batch_size", batch_size, high=high)
        else:
            self.first = self(0.0)

    def __call__(self, progress: float) -> int:
        """Return the batch size at `progress`."""
        if self.schedule is None:
            return self.first
        name = f"batch_size({progress:g})"
        value = round(_check.number(name, self.schedule(progress)))
        return _check.integer(name, value, high=self.high)

    def run_length(self, position: int, stride: int, scale: int, most: int) -> int:
        """Count the steps, at most `most`, for which the batch size stays what it is."""
        if self.schedule is None:
            return most
        here, k = self(position / scale), 1
        while k < most and self((position + k * stride) / scale) == here:
            k += 1
        return k


def _permuted(n, size, sampling, last, total, left, rng, replicas, rows):
    shape = (n,) if replicas is None else (replicas, n)
    order = np.broadcast_to(np.arange(n), shape)
    if sampling == "shuffle_once":
        order = rng.permuted(order, axis=-1)
    epoch_start = 0
    while epoch_start < total and left > 0:
        if sampling == "reshuffle":
            order = rng.permuted(order, axis=-1)
        low = 0
        while low < n and left > 0:
            start = epoch_start + low
            b = size(start / n)
            whole = (n - low) // b
            if not whole:
                if last != "drop":
                    indices, weights = _short_batch(order, order[..., low:], b, last)
                    yield Block(indices[None], weights, n - low, b, start)
                    left -= 1
                break
            k = size.run_length(start, b, n, int(min(whole, max(1, rows // b), left)))
            cut = order[..., low : low + k * b].reshape(*shape[:-1], k, b)
            cut = cut if replicas is None else np.ascontiguousarray(cut.swapaxes(0, 1))
            yield Block(cut, uniform_weights(b, 1 / b), b, b, start)
            low += k * b
            left -= k
        epoch_start += n


def _short_batch(order, rest, b, last):
    """Return indices and weights for the last r < b examples by the rule `last`."""
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


def _independent(n, size, sampling, total, left, rng, replicas, rows):
    lead = () if replicas is None else (replicas,)
    seen = 0
    while seen < total and left > 0:
        b = size(seen / n)
        until = left if total == math.inf else math.ceil((total - seen) / b)
        k = size.run_length(seen, b, n, int(min(max(1, rows // b), left, until)))
        if sampling == "replacement":
            indices = rng.integers(0, n, size=(k, *lead, b))
        else:
            indices = _subsets(n, b, k * math.prod(lead), rng).reshape(k, *lead, b)
        yield Block(indices, uniform_weights(b, 1 / b), b, b, seen)
        seen += k * b
        left -= k


def _subsets(n, b, count, rng):
    """Draw `count` subsets of size b, each in random order, so that a part of one is fair too."""
    if n <= 256:  # shuffling short rows together is faster than drawing one by one
        return rng.permuted(np.broadcast_to(np.arange(n), (count, n)), axis=-1)[:, :b]
    return np.array([rng.choice(n, b, replace=False) for _ in range(count)], dtype=np.int64)
