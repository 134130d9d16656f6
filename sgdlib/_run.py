"""One run on its way, or one group of replicas: the steps, the records, and divergence.

Stretches of steps are made at full speed, and theta is looked at after each. If it is not finite
there, the stretch is made again, looking after every step.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Iterable
from dataclasses import replace
from itertools import repeat
from typing import Any, Protocol

import numpy as np

from sgdlib import _check
from sgdlib._plan import Draws
from sgdlib._steps import Steps, Stretch
from sgdlib._trace import DivergenceError, Stop, Trace
from sgdlib.problems import Problem

_CURVATURE_DIM = 1000  # above it no eigenvalues are computed for an error message


class Rule(Protocol):
    """What turns batch gradients into steps.

    Its state is a dict; the arrays in it have the axes of the replicas first, as theta has. A rule
    may also have `stability_limit(curvature)`, which is quoted where a run diverges, and
    `part(replicas)`, which returns the rule of some replicas where each has settings of its own.
    A stretch that diverges is made again from a copy of the state; a rule whose state is too large
    to be copied has `keep(state)`, which returns what `undo(state, kept)` needs to take it back.
    """

    def start(self, problem: Problem, theta: np.ndarray) -> dict[str, Any]:
        """Return the state before the first step."""

    def advance(
        self,
        problem: Problem,
        theta: np.ndarray,
        state: dict[str, Any],
        stretch: Stretch,
        rates: Iterable[Any],
    ) -> int | None:
        """Make the steps of a stretch, each at its rate: change theta and state in place.

        Return how many gradients of single examples that took beside one for each example seen.
        """


class Run:
    """A run of `rule` on `problem` from `theta`, or on from where another stopped."""

    def __init__(
        self,
        problem: Problem,
        rule: Rule,
        theta: np.ndarray,
        lr: Any,
        stop: Stop,
        diverged_at: np.ndarray,
        *,
        controllers: list,
        record: int | str,
        keep_parameters: bool,
        on_divergence: str,
    ):
        self.problem, self.rule, self.lr, self.stop = problem, rule, lr, stop
        self.record, self.keep, self.on_divergence = record, keep_parameters, on_divergence
        self.loss_watchers = [c for c in controllers if c.looks_at == "loss"]
        self.gradient_watchers = [c for c in controllers if c.looks_at == "gradients"]
        self.scale = problem.n if math.isfinite(problem.n) else 1
        self.start, self.theta = theta, theta.copy()
        self.state = rule.start(problem, self.theta)
        self.state |= {k: v for k, v in _copied(stop.rule).items() if k in self.state}
        self.diverged_at = diverged_at.copy()
        self.frozen = int((diverged_at >= 0).sum())
        self.step, self.position, self.examples = stop.step, stop.position, stop.examples
        self.evaluations = stop.evaluations
        self.epoch, self.size, self.records = -1, 0, []
        self.rate = self._rate(self.position / self.scale)
        self.scheduled = callable(lr) or hasattr(lr, "looks_at")
        # A number too is made an array here, and not at every step.
        self.fixed = lr[:, None] if isinstance(lr, np.ndarray) else np.array(lr)

    def through(self, blocks: Iterable[Steps], draws: Draws | None = None) -> Trace:
        """Make the steps of all blocks, which come of `draws`, and return the trace."""
        with np.errstate(all="ignore"):
            for block in () if self._all_frozen() else blocks:
                self._block(block)
                if self._all_frozen():
                    break
            self._note()
        columns = [np.array(column) for column in zip(*self.records, strict=True)]
        kept = columns.pop() if self.keep else None
        stop = replace(
            self.stop,
            rule=self.state,
            step=self.step,
            position=self.position,
            examples=self.examples,
            evaluations=self.evaluations,
            places=draws.places() if draws else {"epoch_start": self.position},
        )
        return Trace(self.theta, *columns, kept, self.diverged_at, (stop,))

    def _block(self, block):
        """Make the steps of a block, in stretches that nothing interrupts."""
        self.size, done = block.size, 0
        while done < len(block.rows) and not self._all_frozen():
            self.position = block.start + done * block.stride
            if self._due():
                self._note(before_a_step=True)
            until = min(len(block.rows) - done, self._until_due(block.stride))
            self._advance(block, done, done + until)
            done += until

    def _advance(self, block, low, high):
        """Make some steps of a block, and look at theta afterwards."""
        if not self.frozen:
            theta, kept = self.theta.copy(), self._kept()
            extra = self._make(Stretch(block, low, high))
            if np.isfinite(self.theta).all():
                self._count(block, low, high, extra)
                if self.gradient_watchers and block.examples == block.size:  # a whole batch
                    gradients = self.problem.row_gradients(theta, *block.rows[low])
                    for controller in self.gradient_watchers:
                        controller.update(gradients)
                return
            self.theta = theta
            self._undo(kept)
        for j in range(low, high):
            before = self.theta.copy()
            extra = self._make(Stretch(block, j, j + 1))
            self._hold(before)
            self._count(block, j, j + 1, extra)
            if self._all_frozen():
                break

    def _kept(self):
        """Return what it takes to undo a stretch in the state."""
        return self.rule.keep(self.state) if hasattr(self.rule, "keep") else _copied(self.state)

    def _undo(self, kept):
        if hasattr(self.rule, "undo"):
            self.rule.undo(self.state, kept)
        else:
            self.state = kept

    def _make(self, stretch):
        if self.scheduled:
            rates = [self._rate(progress) for progress in stretch.progress]
            self.rate = rates[-1]
        else:
            rates = repeat(self.fixed)
        return self.rule.advance(self.problem, self.theta, self.state, stretch, rates) or 0

    def _count(self, block, low, high, extra):
        self.step += high - low
        self.position = block.start + high * block.stride
        self.examples += (high - low) * block.examples
        self.evaluations += (high - low) * block.examples + extra

    def _rate(self, progress):
        """Return the learning rate of a step that begins at `progress`."""
        if hasattr(self.lr, "looks_at"):
            return _check.number("lr", self.lr.lr, at_least=0)
        if not callable(self.lr):
            return self.lr
        rate = self.lr(progress)
        if type(rate) is float and 0 <= rate < math.inf:
            return rate
        return _check.number(f"lr({progress:g})", rate, at_least=0)

    # -- records --

    def _due(self):
        if self.record == "epoch":
            return self.position // self.scale > self.epoch
        return not self.records or self.step % self.record == 0

    def _until_due(self, stride):
        """Count the steps to the next record, or to the next look of a controller."""
        if self.gradient_watchers:
            return 1
        if self.record == "epoch":
            return math.ceil((self.scale - self.position % self.scale) / max(1, stride))
        return self.record - self.step % self.record

    def _note(self, before_a_step=False):
        """Keep a record; from the second on, the controllers are told the loss."""
        loss = self.problem.loss(self.theta)
        if self.records:
            for controller in self.loss_watchers:
                watch = getattr(controller, "watch", None)
                controller.update(watch(self.theta.copy()) if watch else loss)
        self.epoch = self.position // self.scale
        if before_a_step:
            self.rate = self._rate(self.position / self.scale)
        progress = self.position / self.scale
        counts = (self.step, progress, self.examples, self.evaluations)
        note = (*counts, loss, self.rate, self.size)
        self.records.append((*note, self.theta.copy()) if self.keep else note)

    # -- divergence --

    def _all_frozen(self):
        return self.frozen == self.diverged_at.size

    def _hold(self, before):
        """Raise at the first step that is not finite, or keep the replicas where they were."""
        new = (self.diverged_at < 0) & ~np.isfinite(self.theta).all(axis=-1)
        if new.any() and self.on_divergence == "raise":
            raise DivergenceError(self._cause(new), step=self.step, theta=before)
        self.diverged_at = np.where(new, self.step, self.diverged_at)
        frozen = self.diverged_at >= 0
        self.frozen = int(frozen.sum())
        self.theta[frozen] = before[frozen]
        for value in self.state.values():
            if isinstance(value, np.ndarray):
                value[frozen] = 0

    def _cause(self, new):
        """Say what happened, and compare the learning rate with the stability limit."""
        rate = float(np.max(self.rate[new] if np.ndim(self.rate) else self.rate))
        text = f"the run diverged at step {self.step}: theta is no longer finite with lr={rate:g}"
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
        known = hasattr(self.problem, "hessian") and hasattr(self.rule, "stability_limit")
        if not known or self.problem.dim > _CURVATURE_DIM:
            return None, None
        hessian = self.problem.hessian(theta)
        largest = float(np.linalg.eigvalsh(hessian)[-1]) if np.isfinite(hessian).all() else 0.0
        return (self.rule.stability_limit(largest), largest) if largest > 0 else (None, None)


def _copied(state):
    """Return a copy of a rule's state: of its arrays, and of whatever else moves, deeply."""
    return {
        k: v.copy() if isinstance(v, np.ndarray) else copy.deepcopy(v) for k, v in state.items()
    }
