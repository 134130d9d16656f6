r"""SVRG and SAGA: batch gradients whose noise vanishes at the minimizer.

Both subtract what the same examples said before, and add back the mean of that over all examples:

    SVRG    g = sum_{i in batch} w_i (grad l_i(theta) - grad l_i(s)) + grad L(s)
    SAGA    g = sum_{i in batch} w_i (grad l_i(theta) - t_i) + (1/N) sum_j t_j

SVRG remembers one place, the snapshot s, and pays a full gradient for each new one. SAGA remembers
a gradient t_i of each example, and replaces those of the batch after the step.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np

from sgdlib import _check
from sgdlib._driver import Schedule, drive
from sgdlib._trace import Trace
from sgdlib.batching import Batch
from sgdlib.problems import FiniteSum
from sgdlib.stability import stability_limit


@dataclass(frozen=True)
class _SVRG:
    """A snapshot every `period` steps; each step sees its batch there and here."""

    period: int

    stability_limit = staticmethod(stability_limit)

    def start(self, problem, theta):
        return {"snapshot": None, "full_gradient": None, "age": self.period}

    def advance(self, problem, theta, state, stretch, rates):
        gradient, weights, extra = problem.weighted_gradient, stretch.weights, 0
        for rows, rate in zip(stretch.rows, rates, strict=False):
            if state["age"] >= self.period:
                state |= {"snapshot": theta.copy(), "full_gradient": problem.gradient(theta)}
                state["age"] = 0
                extra += problem.n
            g = gradient(theta, weights, *rows)
            g -= gradient(state["snapshot"], weights, *rows)
            g += state["full_gradient"]
            g *= rate
            theta -= g
            state["age"] += 1
            extra += stretch.block.examples
        return extra


class _SAGA:
    """A table of gradients, one per example, each as old as the example's last batch."""

    stability_limit = staticmethod(stability_limit)

    def start(self, problem, theta):
        return {"table": None, "table_mean": None, "replaced": None}

    def keep(self, state):
        """Return what undoes a stretch; the table, as large as the data, is not copied."""
        state["replaced"] = []
        return None if state["table"] is None else state["table_mean"].copy()

    def undo(self, state, mean):
        """Put the entries back that were replaced since `keep`."""
        for places, old in reversed(state["replaced"]):
            np.put_along_axis(state["table"], places, old, axis=-2)
        table = None if mean is None else state["table"]
        state |= {"table": table, "table_mean": mean, "replaced": None}

    def advance(self, problem, theta, state, stretch, rates):
        extra = 0
        if state["table"] is None:
            table = problem.gradients(theta)
            state |= {"table": table, "table_mean": table.mean(axis=-2)}
            extra = problem.n
        table, mean = state["table"], state["table_mean"]
        batch = stretch.indices.shape[-1]
        weights, numbers = np.broadcast_to(stretch.weights, batch), np.arange(batch)
        holder = np.empty(table.shape[:-1], dtype=np.intp)
        for rows, indices, rate in zip(stretch.rows, stretch.indices, rates, strict=False):
            indices = np.broadcast_to(indices, (*table.shape[:-2], batch))
            places = indices[..., None]
            new = problem.row_gradients(theta, *rows)
            old = np.take_along_axis(table, places, axis=-2)
            change = new - old
            theta -= rate * (np.vecmat(weights, change) + mean)
            # An example that a batch holds twice changes the table once.
            np.put_along_axis(holder, indices, numbers, axis=-1)
            change[np.take_along_axis(holder, indices, axis=-1) != numbers] = 0
            mean += change.sum(axis=-2) / problem.n
            np.put_along_axis(table, places, new, axis=-2)
            if state["replaced"] is not None:
                state["replaced"].append((places, old))
        return extra


def svrg(
    problem: FiniteSum,
    theta: np.ndarray | Trace,
    *,
    lr: Schedule | np.ndarray,
    period: int,
    batch_size: int | Callable[[float], float] | None = None,
    epochs: int | None = None,
    steps: int | None = None,
    sampling: str = "reshuffle",
    last: str = "scale",
    batches: Iterable[Batch] | None = None,
    record: int | str = "epoch",
    keep_parameters: bool = False,
    on_divergence: str = "raise",
    rng: int | np.random.Generator | None = None,
) -> Trace:
    """Minimize a finite sum by SVRG, the stochastic variance-reduced gradient, from `theta`.

    Parameters
    ----------
    problem
        A `FiniteSum`: a population has no full gradient over its examples.
    theta
        Start, (d,), or (R, d) for R independent replicas; or the trace of a run, to go on from its
        end with its snapshot.
    lr
        Learning rate: a number, (R,) numbers, a schedule of progress, or a controller.
    period
        Steps from one snapshot to the next, the m of the literature. A snapshot is the last
        iterate, and costs a full gradient; a period of about ``2 * N / batch_size`` is common.
    batch_size, epochs, steps, sampling, last, batches, record, keep_parameters, on_divergence, rng
        As in `sgdlib.descent.minibatch_sgd`. An epoch is N examples drawn, snapshots not counted.

    Returns
    -------
    Trace
        As of `minibatch_sgd`. Its `evaluations` count what the run cost: two gradients for each
        example of a batch, and N for each snapshot.

    Raises
    ------
    ValueError, TypeError, DivergenceError
        As in `minibatch_sgd`; TypeError for a population.

    Notes
    -----
    Johnson and Zhang (2013), their option I. Derived in the chapter *Variance reduction*.

    Examples
    --------
    >>> from sgdlib.linear import LeastSquares
    >>> X, noise = np.split(np.random.default_rng(0).normal(size=(100, 3)), [2], axis=1)
    >>> problem = LeastSquares(X, X @ [1.0, -2.0] + noise[:, 0])
    >>> trace = svrg(problem, [0.0, 0.0], lr=0.1, period=20, batch_size=10, epochs=40, rng=0)
    >>> np.allclose(trace.theta, problem.minimizer(), atol=1e-9), int(trace.evaluations[-1])
    (True, 10000)
    """
    rule = _SVRG(_check.integer("period", period))
    return drive(
        _finite(problem),
        theta,
        rule,
        lr=lr,
        batch_size=batch_size,
        epochs=epochs,
        steps=steps,
        sampling=sampling,
        last=last,
        batches=batches,
        record=record,
        keep_parameters=keep_parameters,
        on_divergence=on_divergence,
        rng=rng,
    )


def saga(
    problem: FiniteSum,
    theta: np.ndarray | Trace,
    *,
    lr: Schedule | np.ndarray,
    batch_size: int | Callable[[float], float] | None = None,
    epochs: int | None = None,
    steps: int | None = None,
    sampling: str = "reshuffle",
    last: str = "scale",
    batches: Iterable[Batch] | None = None,
    record: int | str = "epoch",
    keep_parameters: bool = False,
    on_divergence: str = "raise",
    rng: int | np.random.Generator | None = None,
) -> Trace:
    """Minimize a finite sum by SAGA from `theta`: a table of gradients instead of snapshots.

    Parameters
    ----------
    problem
        A `FiniteSum`: a population has no examples to keep a table of. The table holds N d
        numbers for each replica.
    theta, lr, batch_size, epochs, steps, sampling, last, batches, record, keep_parameters,
    on_divergence, rng
        As in `svrg`; a trace goes on with its table.

    Returns
    -------
    Trace
        As of `minibatch_sgd`. Its `evaluations` count what the run cost: N gradients for the table
        at the start, and one for each example of a batch.

    Raises
    ------
    ValueError, TypeError, DivergenceError
        As in `svrg`.

    Notes
    -----
    Defazio, Bach and Lacoste-Julien (2014). Derived in the chapter *Variance reduction*.

    Examples
    --------
    >>> from sgdlib.linear import LeastSquares
    >>> X, noise = np.split(np.random.default_rng(0).normal(size=(100, 3)), [2], axis=1)
    >>> problem = LeastSquares(X, X @ [1.0, -2.0] + noise[:, 0])
    >>> trace = saga(problem, [0.0, 0.0], lr=0.1, batch_size=10, epochs=40, rng=0)
    >>> np.allclose(trace.theta, problem.minimizer(), atol=1e-9), int(trace.evaluations[-1])
    (True, 4100)
    """
    return drive(
        _finite(problem),
        theta,
        _SAGA(),
        lr=lr,
        batch_size=batch_size,
        epochs=epochs,
        steps=steps,
        sampling=sampling,
        last=last,
        batches=batches,
        record=record,
        keep_parameters=keep_parameters,
        on_divergence=on_divergence,
        rng=rng,
    )


def _finite(problem):
    """Return `problem`, if it is no population; what is no problem at all the driver refuses."""
    if _check.is_problem(problem) and not math.isfinite(problem.n):
        kind = type(problem).__name__
        raise TypeError(f"problem: expected a FiniteSum, got a population ({kind})")
    return problem
