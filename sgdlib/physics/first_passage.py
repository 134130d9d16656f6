r"""How long noisy walkers take to get somewhere: counted, and honest about those still under way.

A walker that has not arrived when the clock stops is *censored*: its time is longer than that, no
more is known. What theory says about the mean is in `sgdlib.physics.escape`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from sgdlib import _check
from sgdlib._trace import DivergenceError, Result
from sgdlib.problems import Problem

__all__ = ["FirstPassage", "first_passage"]

_LOOK_EVERY = 256  # steps between two looks for walkers that are not finite


@dataclass(frozen=True, eq=False, repr=False)
class FirstPassage(Result):
    """When each of R walkers first arrived.

    Attributes
    ----------
    steps
        (R,) number of steps made: until arrival, or `max_steps` of a walker that did not arrive.
    reached
        (R,) whether it arrived.
    max_steps
        Where the clock was stopped.

    Notes
    -----
    A walker that has not arrived is *censored*: its time is known to be longer than `max_steps`,
    no more. To leave it out, or to count it with `max_steps`, makes the mean too short. So `mean`
    and `stderr` refuse as long as one is under way, and `exponential_mean` counts every step.
    """

    steps: np.ndarray
    reached: np.ndarray
    max_steps: int

    def __repr__(self) -> str:
        counts = f"{len(self.steps)} walkers, {self.censored} censored"
        return f"FirstPassage({counts}, max_steps {self.max_steps})"

    @property
    def censored(self) -> int:
        """How many walkers had not arrived."""
        return int(np.count_nonzero(~self.reached))

    @property
    def mean(self) -> float:
        """Mean number of steps; ArithmeticError if a walker had not arrived."""
        self._all_arrived("mean")
        return float(self.steps.mean())

    @property
    def stderr(self) -> float:
        """Standard error of `mean`."""
        self._all_arrived("stderr")
        if len(self.steps) < 2:
            raise ArithmeticError("a single walker has no standard error")
        return float(self.steps.std(ddof=1) / math.sqrt(len(self.steps)))

    @property
    def median(self) -> float:
        """Median number of steps: known as soon as more than half of the walkers have arrived."""
        if 2 * self.censored >= len(self.steps):
            raise ArithmeticError(
                f"{self.censored} of {len(self.steps)} walkers had not arrived after "
                f"{self.max_steps} steps: the median is beyond"
            )
        return float(np.median(np.where(self.reached, self.steps, np.inf)))

    @property
    def exponential_mean(self) -> float:
        """All steps made, divided by the arrivals: the mean if the times are exponential.

        The maximum likelihood estimate under right-censoring. It holds where a walker forgets its
        past in a time short against the mean, as behind a high barrier.
        """
        arrivals = np.count_nonzero(self.reached)
        if not arrivals:
            raise ArithmeticError(
                f"no walker had arrived after {self.max_steps} steps: the mean has no estimate"
            )
        return float(self.steps.sum(dtype=float) / arrivals)

    @property
    def exponential_stderr(self) -> float:
        """Standard error of `exponential_mean`, by Fisher information: mean / sqrt(arrivals)."""
        return self.exponential_mean / math.sqrt(np.count_nonzero(self.reached))

    def _all_arrived(self, what):
        if self.censored:
            raise ArithmeticError(
                f"{self.censored} of {len(self.steps)} walkers had not arrived after "
                f"{self.max_steps} steps: {what} is not known; see exponential_{what}, or raise "
                "max_steps"
            )


def first_passage(
    problem: Problem,
    start: np.ndarray,
    target: float | Callable[[np.ndarray], np.ndarray],
    *,
    lr: float,
    batch_size: int,
    max_steps: int,
    rng: int | np.random.Generator | None = None,
) -> FirstPassage:
    """Let R walkers go until each has reached the target, or for `max_steps`.

    Every walker makes plain steps ``theta <- theta - lr g`` with batches of its own (of a finite
    sum: drawn with replacement), and is looked at after each. Those that have arrived are taken
    out, so that the cost is that of the steps really made.

    Parameters
    ----------
    problem
        The landscape and its noise.
    start
        (R, d): where the walkers start.
    target
        In one dimension a number, to be reached or passed from the side of the start; or a function
        of theta (R, d) that returns (R,) booleans. Who starts there has arrived after 0 steps.
    lr, batch_size
        Learning rate, and examples per batch.
    max_steps
        When to stop the clock.
    rng
        Seed or Generator.

    Raises
    ------
    ValueError, TypeError
        If a shape or a value is not as described, or the starts lie on both sides of the level.
    DivergenceError
        If a walker leaves the finite numbers, or arrives where the loss is not finite.

    Notes
    -----
    Derived in the chapter *Over the barrier*.

    Examples
    --------
    >>> from sgdlib import DoubleWell
    >>> start = np.full((2000, 1), -1.0)
    >>> out = first_passage(
    ...     DoubleWell(40.0), start, 0.0, lr=0.02, batch_size=2, max_steps=20_000, rng=0
    ... )
    >>> out.censored, abs(out.mean - 434.7) < 4 * out.stderr
    (0, True)
    """
    if not _check.is_problem(problem):
        raise TypeError(
            f"problem: expected a Population or a FiniteSum, got {type(problem).__name__}"
        )
    theta = np.array(_check.parameters(start, problem.dim, "start"))
    if theta.ndim != 2:
        raise ValueError(f"start: expected shape (R, {problem.dim}), got {theta.shape}")
    lr = _check.number("lr", lr, above=0)
    batch_size = _check.integer("batch_size", batch_size)
    max_steps = _check.integer("max_steps", max_steps)
    rng = _check.generator(rng)
    arrived = _predicate(target, theta)

    steps, reached = np.zeros(len(theta), dtype=np.int64), np.zeros(len(theta), dtype=bool)
    walking, places = np.arange(len(theta)), theta.copy()
    with np.errstate(over="ignore", invalid="ignore"):
        for step in range(max_steps + 1):
            if step:
                weights, rows = problem.draw(len(theta), batch_size, rng)
                theta -= lr * problem.weighted_gradient(theta, weights, *rows)
            if step % _LOOK_EVERY == 0 or step == max_steps:
                _all_finite(theta, step, lr)
            there = arrived(theta)
            if there.any():
                arrivals = walking[there]
                steps[arrivals], reached[arrivals], places[arrivals] = step, True, theta[there]
                walking, theta = walking[~there], theta[~there]
                if not walking.size:
                    break
        _check_arrivals(problem, places[reached], steps[reached], lr)
    steps[walking] = max_steps
    return FirstPassage(steps, reached, max_steps)


def _predicate(target, theta):
    """Return the function of theta (R, d) that tells who has arrived."""
    if callable(target):
        answer = _check.plain("target", _check.probed("target", target, theta.copy()))
        if answer.shape != theta.shape[:1] or answer.dtype != bool:
            raise ValueError(
                f"target: expected {theta.shape[:1]} booleans of theta {theta.shape}, "
                f"got shape {answer.shape} of {answer.dtype}"
            )
        return lambda theta: np.asarray(target(theta))
    if theta.shape[1] != 1:
        shown = _check.shown(target)
        raise ValueError(f"target={shown}: a level is for one dimension, expected a function")
    level = _check.number("target", target)
    if (theta <= level).all():
        return lambda theta: theta[:, 0] >= level
    if (theta >= level).all():
        return lambda theta: theta[:, 0] <= level
    raise ValueError(f"target={level:g}: expected all starts on one side of it")


def _all_finite(theta, step, lr):
    if not np.isfinite(theta).all():
        raise _divergence(step, lr)


def _check_arrivals(problem, places, steps, lr):
    """Raise at the first step so long that the loss overflows: that is no arrival."""
    lost = ~np.isfinite(places).all(axis=-1)
    if not lost.any() and len(places):
        lost = ~np.isfinite(problem.loss(places))
    if lost.any():
        raise _divergence(steps[lost].min(), lr)


def _divergence(step, lr):
    text = f"a walker was not finite by step {step}: lr={lr:g} is too large for where it went"
    return DivergenceError(text, step=int(step))
