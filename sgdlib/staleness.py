r"""SGD with the gradients of the past: what a server does with what stale workers deliver.

    theta_{t+1} = theta_t - lr g(theta_{t - tau_t})

The *staleness* tau_t is a constant, or that of a timetable of `sgdlib.asynchrony`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from sgdlib import _check
from sgdlib._driver import Rule, Schedule, drive
from sgdlib._trace import Trace
from sgdlib.batching import Batch
from sgdlib.descent import _Momentum
from sgdlib.problems import Problem
from sgdlib.stability import staleness_stability_limit

__all__ = ["stale_sgd"]


class _Outdated:
    """A problem as a worker sees it who read the parameters some updates ago."""

    def __init__(self, problem, state, staleness):
        self._problem, self._state, self._staleness = problem, state, staleness

    def __getattr__(self, name):
        return getattr(self._problem, name)

    def weighted_gradient(self, theta, weights, *rows):
        past, t = self._state["past"], self._state["step"]
        size = past.shape[-2]
        past[..., t % size, :] = theta
        self._state["step"] = t + 1
        tau = self._staleness(t)
        if np.ndim(tau):
            then = past[np.arange(len(past)), (t - tau) % size]
        else:
            then = past[..., (t - tau) % size, :].copy()
        return self._problem.weighted_gradient(then, weights, *rows)


@dataclass(frozen=True, eq=False)
class _Stale:
    """Any rule, with gradients of the past: each step's is taken at theta_{t - tau_t}."""

    rule: Rule
    staleness: Any  # an int, (T,) or (T, R)

    def part(self, replicas):
        """Return the rule of some of the replicas."""
        tau = self.staleness
        return _Stale(self.rule, tau[:, replicas] if np.ndim(tau) == 2 else tau)

    def start(self, problem, theta):
        past = np.zeros((*theta.shape[:-1], int(np.max(self.staleness)) + 1, theta.shape[-1]))
        return {**self.rule.start(problem, theta), "past": past, "step": 0}

    def advance(self, problem, theta, state, stretch, rates):
        size, depth = state["past"].shape[-2], int(np.max(self.staleness)) + 1
        if size < depth:
            raise ValueError(f"theta: the trace remembers {size - 1} steps, expected {depth - 1}")
        outdated = _Outdated(problem, state, self._at)
        return self.rule.advance(outdated, theta, state, stretch, rates)

    def _at(self, t):
        if np.ndim(self.staleness) == 0:
            return min(self.staleness, t)
        if t >= len(self.staleness):
            raise ValueError(f"staleness: expected one for each step, got {len(self.staleness)}")
        return self.staleness[t]

    def stability_limit(self, curvature):
        """Return the limit of a constant staleness without momentum; else it is not known."""
        if np.ndim(self.staleness) or self.rule.momentum:
            return None
        return staleness_stability_limit(self.staleness, curvature=curvature)


def stale_sgd(
    problem: Problem,
    theta: np.ndarray | Trace,
    *,
    lr: Schedule | np.ndarray,
    staleness: int | np.ndarray,
    batch_size: int | Callable[[float], float] | None = None,
    epochs: int | None = None,
    steps: int | None = None,
    momentum: float = 0.0,
    sampling: str = "reshuffle",
    last: str = "scale",
    batches: Iterable[Batch] | None = None,
    record: int | str = "epoch",
    keep_parameters: bool = False,
    on_divergence: str = "raise",
    rng: int | np.random.Generator | None = None,
) -> Trace:
    """Minimize `problem` by SGD whose gradients were taken some updates ago.

    Parameters
    ----------
    problem, theta, lr, batch_size, epochs, steps, momentum, sampling, last, batches
        As in `minibatch_sgd`, which this is for ``staleness=0``, to the last bit.
    staleness
        tau_t: an int for all steps (the first gradients are taken at the start); or, as in a
        `Timetable`, one for each step (T,), or (T, R) for each step and replica, with tau_t <= t.
        A run that goes on from a trace goes on in the timetable. Memory grows with the largest one.
    record, keep_parameters, on_divergence, rng
        As in `minibatch_sgd`.

    Returns
    -------
    Trace

    Raises
    ------
    ValueError, TypeError
        For bad arguments, before any work is done; for a timetable that is too short, when it ends.
    DivergenceError
        If parameters stop being finite.

    Notes
    -----
    Derived in the chapter *Asynchronous SGD*.

    Examples
    --------
    >>> from sgdlib import NoisyQuadratic
    >>> from sgdlib.asynchrony import ServiceTime, simulate_async
    >>> bowl, table = NoisyQuadratic([1.0], 0.0), simulate_async(ServiceTime(constant=1.0), 4, 900)
    >>> options = {"staleness": table.staleness, "batch_size": 1, "steps": 900}
    >>> bool(abs(stale_sgd(bowl, [1.0], lr=0.4, **options).theta[0]) < 1e-3)  # the limit is 0.445
    True
    >>> bool(abs(stale_sgd(bowl, [1.0], lr=0.5, **options).theta[0]) > 1e3)
    True
    """
    momentum = _check.number("momentum", momentum, at_least=0, below=1)
    return drive(
        problem,
        theta,
        _Stale(_Momentum(momentum), _checked_staleness(staleness, theta, steps)),
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


def _checked_staleness(staleness, theta, steps):
    if _check.scalar(staleness):
        return _check.integer("staleness", staleness, low=0)
    out = _check.data("staleness", staleness)
    if out.dtype.kind not in "iu" or out.ndim > 2:
        raise TypeError(
            f"staleness: expected ints of shape (T,) or (T, R), got {out.dtype} {out.shape}"
        )
    resumed = isinstance(theta, Trace)
    shape = np.shape(theta.theta if resumed else theta)
    if out.ndim == 2 and (len(shape) != 2 or out.shape[1] != shape[0]):
        raise ValueError(f"staleness: expected (T,), or (T, R) as theta, got {out.shape}")
    old = np.minimum(np.arange(len(out)), _check._LARGEST).reshape(-1, *(1,) * (out.ndim - 1))
    if (out < 0).any() or (out > old).any():
        t = int(np.argwhere((out < 0) | (out > old))[0][0])
        raise ValueError(f"staleness: expected 0..t at step t, got {out[t].max()} at step {t}")
    if steps is not None and not resumed and isinstance(steps, int) and steps > len(out):
        raise ValueError(f"staleness: expected one for each of {steps} steps, got {len(out)}")
    return out.astype(np.int64)
