r"""Which examples make up each step.

A batch is a pair `(indices, weights)` and its gradient is the weighted sum

    g = sum_i weights[i] * grad l_i(theta),        i in indices,

nothing more. A plain batch of B examples has weights 1/B; padding has weight 0. Nothing is
normalized afterwards, so sums of batches (accumulation, data parallelism) are sums of gradients,
and whether g is unbiased is a statement about the weights alone.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np

from sgdlib import _check
from sgdlib._plan import (  # noqa: F401
    LAST,
    SAMPLING,
    BatchSize,
    Block,
    common_weight,
    index_blocks,
    uniform_weights,
)


class Batch(NamedTuple):
    """One batch: the batch gradient is ``sum_i weights[i] * grad l[indices[i]]``.

    `indices` is an int64 array of shape (B,), or (R, B) with one row per replica; `weights` is a
    float array of shape (B,).
    """

    indices: np.ndarray
    weights: np.ndarray


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
        Arrays with the same number n of rows, copied as in `sgdlib.FiniteSum`.
    batch_size, sampling, epochs, rng
        As in `batches`.
    last
        ``"keep"`` (the default), ``"drop"`` or ``"wrap"``; the other rules need weights: use
        `batches`.

    Raises
    ------
    ValueError, TypeError
        If the lengths differ, the data are empty, masked, missing or not finite, or an argument is
        outside its range.

    Notes
    -----
    Built step by step in the chapter *The gradient-descent spectrum*.

    Examples
    --------
    >>> X, y = np.arange(10.0).reshape(5, 2), np.arange(5.0)
    >>> [len(yb) for _, yb in create_batches(X, y, 2, rng=0)]
    [2, 2, 1]
    """
    X, y = _check.plain("X", X), _check.plain("y", y)
    if X.ndim == 0 or y.ndim == 0 or len(X) != len(y):
        raise ValueError(f"X, y: expected the same number of rows, got shapes {X.shape}, {y.shape}")
    X, y = _check.data("X", X), _check.data("y", y)
    _check.option("last", last, ("keep", "drop", "wrap"))
    plan = batches(len(X), batch_size, sampling=sampling, last=last, epochs=epochs, rng=rng)
    X, y = _check.frozen(X), _check.frozen(y)
    return ((X[b.indices], y[b.indices]) for b in plan)
