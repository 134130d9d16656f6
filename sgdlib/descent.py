r"""Mini-batch stochastic gradient descent, and the trace it leaves.

    g = sum_{i in batch} w_i grad l_i(theta)
    v <- momentum v + g
    theta <- theta - lr v                  (Nesterov: theta - lr (g + momentum v))

One driver serves finite sums and populations, one run (theta of shape (d,)) and R replicas
(theta of shape (R, d)).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np

from sgdlib import _check
from sgdlib._driver import Schedule, drive
from sgdlib._trace import DivergenceError, Trace
from sgdlib.batching import Batch
from sgdlib.problems import Problem
from sgdlib.stability import stability_limit

__all__ = ["DivergenceError", "Trace", "minibatch_sgd"]


@dataclass(frozen=True)
class _Momentum:
    """Plain descent, the heavy ball and Nesterov's variant: the rule of this module."""

    momentum: float = 0.0
    nesterov: bool = False

    def start(self, problem, theta):
        return {"velocity": np.zeros_like(theta)} if self.momentum else {}

    def advance(self, problem, theta, state, stretch, rates):
        gradient, weights = problem.weighted_gradient, stretch.weights
        momentum, velocity = self.momentum, state.get("velocity")
        for rows, rate in zip(stretch.rows, rates, strict=False):
            g = gradient(theta, weights, *rows)
            if momentum:
                velocity *= momentum
                velocity += g
                g = g + momentum * velocity if self.nesterov else velocity.copy()
            g *= rate
            theta -= g

    def stability_limit(self, curvature):
        return stability_limit(curvature, momentum=self.momentum, nesterov=self.nesterov)


def minibatch_sgd(
    problem: Problem,
    theta: np.ndarray | Trace,
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
        Start, (d,), or (R, d) for R independent replicas, each with batches of its own. Or the
        trace of a run, to go on from its end: with its velocity, its progress, the rest of its
        epoch, and the replicas that it has frozen. With the same Generator passed on, and no
        groups of replicas, two runs are one to the last bit.
    lr
        Learning rate: a number, (R,) numbers, a schedule of progress, or a controller. Progress is
        epochs (examples seen / N) for a finite sum and steps for a population.
    batch_size
        An int, a schedule of progress, or a controller. One size per step for all replicas.
    epochs, steps
        Length of the run, or of what follows on a trace: one of them (a population has no epochs).
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
        Final parameters and the records; memory grows with the number of records only. It also
        holds what it takes to go on: the order of the examples, in a byte or two for each.

    Raises
    ------
    ValueError, TypeError
        For bad arguments, before any work is done.
    DivergenceError
        If parameters stop being finite, with the step and the likely cause.

    Notes
    -----
    Robbins and Monro (1951); momentum: Polyak (1964). Derived in the chapter *The gradient-descent
    spectrum*; momentum in *Optimizers, and a recipe to start with*.

    Examples
    --------
    >>> from sgdlib.linear import LeastSquares
    >>> X = np.random.default_rng(0).normal(size=(100, 2))
    >>> problem = LeastSquares(X, X @ [1.0, -2.0])
    >>> trace = minibatch_sgd(problem, [0.0, 0.0], lr=0.1, batch_size=10, epochs=20, rng=0)
    >>> trace.theta.round(3)
    array([ 1., -2.])
    """
    momentum = _check.number("momentum", momentum, at_least=0, below=1)
    if _check.flag("nesterov", nesterov) and not momentum:
        raise ValueError("nesterov=True: expected momentum > 0")
    return drive(
        problem,
        theta,
        _Momentum(momentum, nesterov),
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
