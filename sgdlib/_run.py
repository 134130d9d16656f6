r"""The run itself: the steps, the records they leave, and what happens when they diverge.

    v <- momentum v + g
    theta <- theta - lr v                  (Nesterov: theta - lr (g + momentum v))

Blocks of steps are made at full speed, and theta is looked at after each block. If it is not
finite there, the block is made again, looking after every step.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from sgdlib._sources import Steps
from sgdlib.populations import Population
from sgdlib.problems import FiniteSum

Schedule = float | Callable[[float], float]

_CURVATURE_DIM = 1000  # above it no eigenvalues are computed for an error message


class DivergenceError(ArithmeticError):
    """A run left the finite numbers.

    Attributes
    ----------
    step
        Number of the step that did it, counted from 0.
    theta
        The last finite parameters, (d,), or (R, d) of the replicas that ran together.
    """

    def __init__(self, message: str, *, step: int = -1, theta: object = None):
        super().__init__(message)  # the defaults let it be pickled, and so cross processes
        self.step, self.theta = step, theta


@dataclass(frozen=True)
class Trace:
    """What a run left behind; K records, the first before the first step, the last at the end.

    Attributes
    ----------
    theta
        Final parameters, (d,) or (R, d).
    steps, epochs, examples
        (K,) progress at each record: steps made, epochs (for a population: steps), and examples
        seen by each replica. What pads or wraps a short batch is not counted.
    losses
        (K,) or (K, R): the full loss at theta, before the step that follows.
    lrs, batch_sizes
        (K,) or (K, R), and (K,): those of the step that follows (at the end: of the last step).
    parameters
        (K, d) or (K, R, d), or None unless asked for.
    diverged_at
        The step at which a run or a replica was frozen, -1 if it was not: () or (R,).
    """

    theta: np.ndarray
    steps: np.ndarray
    epochs: np.ndarray
    examples: np.ndarray
    losses: np.ndarray
    lrs: np.ndarray
    batch_sizes: np.ndarray
    parameters: np.ndarray | None
    diverged_at: np.ndarray


@dataclass
class _State:
    """Where a run stands; `velocity` is None without momentum."""

    theta: np.ndarray
    velocity: np.ndarray | None
    diverged_at: np.ndarray
    frozen: int = 0
    step: int = 0
    position: int = 0
    examples: int = 0
    epoch: int = -1
    rate: float | np.ndarray = 0.0
    size: int = 0

    def saved(self) -> dict:
        """Return the fields, with copies of what a step writes into."""
        velocity = None if self.velocity is None else self.velocity.copy()
        return vars(self) | {"theta": self.theta.copy(), "velocity": velocity}


@dataclass
class Run:
    """The rules of a run, already checked; calling it makes one."""

    problem: FiniteSum | Population
    lr: Schedule | np.ndarray
    momentum: float
    nesterov: bool
    record: int | str
    keep_parameters: bool
    on_divergence: str

    def __call__(self, start: np.ndarray, blocks: Iterator[Steps]) -> Trace:
        """Run from `start` through the steps of all blocks, and return the trace."""
        self.start, self.records = start, []
        self.scale = self.problem.n if isinstance(self.problem, FiniteSum) else 1
        velocity = np.zeros_like(start) if self.momentum else None
        state = _State(start.copy(), velocity, np.full(start.shape[:-1], -1))
        state.rate = self._rate(0)
        with np.errstate(all="ignore"):
            for block in blocks:
                before, recorded = state.saved(), len(self.records)
                if not self._make_steps(block, state, careful=state.frozen > 0):
                    del self.records[recorded:]
                    state = _State(**before)
                    self._make_steps(block, state, careful=True)
                if state.frozen == state.diverged_at.size:
                    break
            self._note(state)
        columns = [np.array(column) for column in zip(*self.records, strict=True)]
        kept = columns.pop() if self.keep_parameters else None
        return Trace(state.theta, *columns, kept, state.diverged_at)

    def _make_steps(self, block: Steps, state: _State, careful: bool) -> bool:
        """Make the steps of one block; False if theta was found not to be finite.

        It is looked at before every record and at the end, or after every step if `careful`.
        """
        done, state.size = 0, block.size
        while done < len(block.rows):
            state.position = block.start + done * block.stride
            if self._due(state):
                if not careful and not np.isfinite(state.theta).all():
                    return False
                state.rate, state.epoch = self._rate(state.position), state.position // self.scale
                self._note(state)
            # The longest stretch of steps that nothing interrupts.
            until = 1 if careful else min(len(block.rows) - done, self._until_due(block, state))
            before = state.theta.copy() if careful else None
            self._descend(block, done, done + until, state)
            if careful:
                self._hold(state, before)
            done += until
            state.step += until
            state.position = block.start + done * block.stride
            state.examples += until * block.examples
            if state.frozen == state.diverged_at.size:
                break
        return bool(np.isfinite(state.theta).all())

    def _descend(self, block: Steps, low: int, high: int, state: _State) -> None:
        """Update theta in place by the steps low..high-1 of the block: the inner loop."""
        theta, velocity, weights = state.theta, state.velocity, block.weights
        gradient = self.problem.weighted_gradient
        momentum, nesterov, scheduled = self.momentum, self.nesterov, callable(self.lr)
        # A number too is made an array here, and not at every step.
        rate = self.lr[:, None] if isinstance(self.lr, np.ndarray) else np.array(self.lr)
        for j in range(low, high):
            if scheduled:
                rate = state.rate = self._rate(block.start + j * block.stride)
            g = gradient(theta, weights, *block.rows[j])
            if momentum:
                velocity *= momentum
                velocity += g
                g = g + momentum * velocity if nesterov else velocity.copy()
            g *= rate
            theta -= g

    def _rate(self, position):
        """Return the learning rate of the step that begins at `position`."""
        if not callable(self.lr):
            return self.lr
        rate = self.lr(position / self.scale)
        if not 0 <= rate < math.inf:
            progress = f"lr({position / self.scale:g})"
            raise ValueError(f"{progress}={rate}: expected a finite number >= 0")
        return rate

    # -- records --

    def _due(self, state):
        if self.record == "epoch":
            return state.position // self.scale > state.epoch
        return state.step % self.record == 0

    def _until_due(self, block, state):
        """Count the steps to the next record."""
        if self.record == "epoch":
            examples_left = self.scale - state.position % self.scale
            return math.ceil(examples_left / max(1, block.stride))
        return self.record - state.step % self.record

    def _note(self, state):
        note = (
            state.step,
            state.position / self.scale,
            state.examples,
            self.problem.loss(state.theta),
            state.rate,
            state.size,
        )
        self.records.append((*note, state.theta.copy()) if self.keep_parameters else note)

    # -- divergence --

    def _hold(self, state, before):
        """Raise at the first step that is not finite, or keep the replicas where they were."""
        new = (state.diverged_at < 0) & ~np.isfinite(state.theta).all(axis=-1)
        if new.any() and self.on_divergence == "raise":
            raise DivergenceError(self._cause(state, new), step=state.step, theta=before)
        state.diverged_at = np.where(new, state.step, state.diverged_at)
        frozen = state.diverged_at >= 0
        state.frozen = int(frozen.sum())
        state.theta[frozen] = before[frozen]
        if state.velocity is not None:
            state.velocity[frozen] = 0.0

    def _cause(self, state, new):
        """Say what happened, and compare the learning rate with the stability limit."""
        rate = float(np.max(state.rate[new] if np.ndim(state.rate) else state.rate))
        text = f"the run diverged at step {state.step}: theta is no longer finite with lr={rate:g}"
        limit, largest = self._limit(self.start if self.start.ndim == 1 else self.start[new][0])
        if limit is None:
            return text + "; a smaller learning rate is the first thing to try"
        side, more = "above", ""
        if rate <= limit:
            side, more = "below", "; small batches have a lower limit, outliers in the data too"
        return (
            f"{text}, {side} the full-batch stability limit {limit:.4g} "
            f"of the largest curvature {largest:.4g} at the start{more}"
        )

    def _limit(self, theta):
        """Return the stability limit and the largest curvature at theta, or None where unknown."""
        if not hasattr(self.problem, "hessian") or self.problem.dim > _CURVATURE_DIM:
            return None, None
        from sgdlib.scaling import stability_limit

        hessian = self.problem.hessian(theta)
        largest = float(np.linalg.eigvalsh(hessian)[-1]) if np.isfinite(hessian).all() else 0.0
        if largest <= 0:
            return None, None
        return stability_limit(largest, momentum=self.momentum, nesterov=self.nesterov), largest
