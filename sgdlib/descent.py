r"""Mini-batch stochastic gradient descent, and the trace it leaves.

    g = sum_{i in batch} w_i grad l_i(theta)
    v <- momentum v + g
    theta <- theta - lr v                  (Nesterov: theta - lr (g + momentum v))

One driver serves finite sums and populations, one run (theta of shape (d,)) and R replicas
(theta of shape (R, d)).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import fields

import numpy as np

from sgdlib import _check, _sources
from sgdlib._run import DivergenceError, Run, Schedule, Trace
from sgdlib.batching import LAST, SAMPLING, Batch, BatchSize, index_blocks
from sgdlib.populations import Population
from sgdlib.problems import FiniteSum

__all__ = ["DivergenceError", "Trace", "minibatch_sgd"]

_GROUP_BYTES = 1 << 20  # rows of one step of a group of replicas: the size of a core's cache
_ORDER_BYTES = 1 << 27  # permutations of a group of replicas held at once


def minibatch_sgd(
    problem: FiniteSum | Population,
    theta: np.ndarray,
    *,
    lr: Schedule | np.ndarray,
    batch_size: int | Callable[[float], float] | None = None,
    epochs: int | None = None,
    steps: int | None = None,
    momentum: float = 0.0,
    nesterov: bool = False,
    sampling: str = "reshuffle",
    last: str = "scale",
    batches: Iterable[Batch] | None = None,
    record: int | str = "epoch",
    keep_parameters: bool = False,
    on_divergence: str = "raise",
    rng: int | np.random.Generator | None = None,
) -> Trace:
    """Minimize `problem` by mini-batch SGD from `theta`.

    Parameters
    ----------
    problem
        A `FiniteSum` or a `Population`.
    theta
        Start, (d,), or (R, d) for R independent replicas, each with batches of its own.
    lr
        Learning rate: a number, (R,) numbers, or a schedule of progress. Progress is epochs
        (examples seen / N) for a finite sum and steps for a population.
    batch_size
        An int, or a schedule of progress. One size per step for all replicas.
    epochs, steps
        Length of the run: one of them (a population has no epochs).
    momentum, nesterov
        Heavy-ball coefficient in [0, 1), in torch's convention; Nesterov's variant of it.
    sampling, last
        Which examples make up a batch: see `sgdlib.batching.batches`.
    batches
        An explicit sequence of batches instead of `batch_size`, `sampling` and `last`, to compare
        runs step by step. Indices may be (B,) for all replicas, or (R, B).
    record
        Record every so many steps; ``"epoch"``: at each epoch (a population: about 100 times).
    keep_parameters
        Also keep theta at each record.
    on_divergence
        ``"raise"``, or ``"freeze"``: a replica keeps its last finite parameters from then on.
    rng
        Seed or NumPy Generator.

    Returns
    -------
    Trace
        Final parameters and the records; memory grows with the number of records only.

    Raises
    ------
    ValueError, TypeError
        For bad arguments, before any work is done.
    DivergenceError
        If parameters stop being finite, with the step and the likely cause.

    Notes
    -----
    Robbins and Monro (1951); momentum: Polyak (1964). Derived in the chapter *The gradient-descent
    spectrum*; momentum in *The training loop*.

    Examples
    --------
    >>> from sgdlib.problems import LeastSquares
    >>> X = np.random.default_rng(0).normal(size=(100, 2))
    >>> problem = LeastSquares(X, X @ [1.0, -2.0])
    >>> trace = minibatch_sgd(problem, [0.0, 0.0], lr=0.1, batch_size=10, epochs=20, rng=0)
    >>> trace.theta.round(3)
    array([ 1., -2.])
    """
    finite = isinstance(problem, FiniteSum)
    if not finite and not isinstance(problem, Population):
        kind = type(problem).__name__
        raise TypeError(f"problem: expected a FiniteSum or a Population, got a {kind}")
    theta = _check.parameters(theta, problem.dim)
    lr = _learning_rate(lr, theta)
    momentum = _check.number("momentum", momentum, at_least=0, below=1)
    if _check.flag("nesterov", nesterov) and not momentum:
        raise ValueError("nesterov=True: expected momentum > 0")
    _check.option("sampling", sampling, SAMPLING)
    _check.option("last", last, LAST)
    if isinstance(record, str) and record != "epoch":
        raise ValueError(f"record={record!r}: expected 'epoch' or an int >= 1")
    record = record if isinstance(record, str) else _check.integer("record", record)
    _check.flag("keep_parameters", keep_parameters)
    _check.option("on_divergence", on_divergence, ("raise", "freeze"))
    rng = _check.generator(rng)
    run = Run(problem, lr, momentum, nesterov, record, keep_parameters, on_divergence)

    if batches is not None:
        if not finite:
            raise ValueError("batches: a population has no examples to index; give batch_size")
        if not (batch_size is None and epochs is None and steps is None):
            raise ValueError("batches: the sequence already says batch_size, epochs and steps")
        return run(theta, _sources.explicit(problem, theta, batches))

    if batch_size is None:
        raise ValueError("batch_size=None: expected a batch size, or batches=")
    if (epochs is None) == (steps is None):
        raise ValueError(f"epochs={epochs}, steps={steps}: expected one of them")
    epochs = None if epochs is None else _check.integer("epochs", epochs)
    steps = None if steps is None else _check.integer("steps", steps)
    bounded = finite and sampling != "replacement"
    size = BatchSize(batch_size, problem.n if bounded else None)

    if not finite:
        if epochs is not None:
            raise ValueError(f"epochs={epochs}: a population has no epochs, give steps")
        if record == "epoch":
            run.record = max(1, steps // 100)
        return run(theta, _sources.noise(problem, theta, size, steps, rng))

    # Groups of replicas whose batch stays in the cache, each run to its end.
    row_bytes = sum(a[:1].nbytes for a in problem.arrays)
    largest = _largest(size, steps * size.first / problem.n if epochs is None else epochs)
    together = _GROUP_BYTES // (row_bytes * largest)
    if sampling in ("reshuffle", "shuffle_once"):
        together = min(together, _ORDER_BYTES // (8 * problem.n))
    replicas = 1 if theta.ndim == 1 else len(theta)
    together = min(max(1, together), replicas)

    def blocks(replicas, rng):
        plan = index_blocks(
            problem.n,
            batch_size,
            sampling=sampling,
            last=last,
            epochs=epochs,
            steps=steps,
            rng=rng,
            replicas=replicas,
            rows=max(1, _sources.BLOCK_BYTES // (row_bytes * together)),
        )
        return _sources.gathered(problem, plan)

    # A few replicas left over join the last group: alone they would take nearly as long as it.
    starts = range(0, replicas - together // 32, together)
    if len(starts) == 1:
        return run(theta, blocks(None if theta.ndim == 1 else replicas, rng))
    traces = []
    for start, child in zip(starts, rng.spawn(len(starts)), strict=True):
        part = slice(start, start + together if start < starts[-1] else None)
        run.lr = lr[part] if isinstance(lr, np.ndarray) else lr
        traces.append(run(theta[part], blocks(len(theta[part]), child)))
    return _side_by_side(traces)


def _learning_rate(lr, theta):
    if callable(lr):
        _check.number("lr(0)", lr(0.0), at_least=0)
        return lr
    if np.ndim(lr) == 0:
        return _check.number("lr", lr, above=0)
    lr = _check.array("lr", lr, ndim=1)
    if theta.ndim != 2 or lr.shape != (len(theta),):
        raise ValueError(f"lr: expected a number or one per replica, got shape {lr.shape}")
    if lr.min() <= 0:
        raise ValueError(f"lr={lr.min():g}: expected a finite number > 0")
    return lr


def _largest(size: BatchSize, epochs: float) -> int:
    """Return about the largest batch size of a run: a schedule is asked at 100 places."""
    if size.schedule is None:
        return size.first
    return max(size(epochs * i / 100) for i in range(100))


def _side_by_side(traces: list[Trace]) -> Trace:
    """Join the traces of groups of replicas along the replica axis."""
    longest = max(traces, key=lambda trace: trace.steps[-1])
    # a group that froze entirely stopped early: its last record stands
    rows = np.arange(len(longest.steps))

    def join(name):
        parts = [getattr(trace, name) for trace in traces]
        if name in ("theta", "diverged_at"):
            return np.concatenate(parts)
        if parts[0] is None or parts[0].ndim == 1:
            return getattr(longest, name)
        return np.concatenate([p[np.minimum(rows, len(p) - 1)] for p in parts], axis=1)

    return Trace(**{f.name: join(f.name) for f in fields(Trace)})
