r"""Learning rate against batch size, and the time to a target as a function of the batch size.

    steps(b) = N + C/b            time of a step = tau_f + tau_d b

    T(b) = (N + C/b) (tau_f + tau_d b),        b_opt = sqrt(C tau_f / (N tau_d))

N steps are needed even without noise, and C examples even with the smallest batch; a step costs
tau_f however small the batch, and tau_d more for each example.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from sgdlib import _check


def scale_lr(lr: float, batch_size: int, new_batch_size: int, *, rule: str = "linear") -> float:
    """Return the learning rate for `new_batch_size`, given a good one for `batch_size`.

    Parameters
    ----------
    lr
        Learning rate that goes with `batch_size`.
    batch_size, new_batch_size
        Larger or smaller: the rules work both ways.
    rule
        ``"linear"``: in proportion to the batch size, which keeps the rate-to-batch ratio and with
        it the temperature; for SGD, with or without momentum. ``"sqrt"``: in proportion to its
        root, which keeps the update variance; for Adam and its like, whose betas and epsilon are
        to be rescaled too.

    Raises
    ------
    ValueError, TypeError
        If an argument is outside its range.

    Notes
    -----
    Goyal et al. (2017), arXiv:1706.02677; Malladi et al. (2022), arXiv:2205.10287. Neither rule
    knows the stability limit or the critical batch size. Derived in the chapter *Linear scaling*.

    Examples
    --------
    >>> scale_lr(0.01, 32, 256), scale_lr(0.01, 32, 512), scale_lr(0.1, 128, 32, rule="sqrt")
    (0.08, 0.16, 0.05)
    """
    lr = _check.number("lr", lr, above=0)
    factor = _check.integer("new_batch_size", new_batch_size) / _check.integer(
        "batch_size", batch_size
    )
    _check.option("rule", rule, ("linear", "sqrt"))
    return lr * (factor if rule == "linear" else factor**0.5)


@dataclass(frozen=True)
class TimeModel:
    """The model ``T(b) = (iterations + variance_cost/b) (overhead + per_example b)``.

    Attributes
    ----------
    iterations
        N, steps to the target with an exact gradient.
    variance_cost
        C, examples to the target with batches so small that noise rules.
    overhead, per_example
        tau_f and tau_d: seconds per step, and seconds per example in a step.

    Raises
    ------
    ValueError, TypeError
        If one of the four is not a finite number > 0.

    Notes
    -----
    The methods take one batch size > 0, or an array of them; it need not be whole. Derived in the
    chapter *Choosing the batch size*.

    Examples
    --------
    >>> model = TimeModel(iterations=2000, variance_cost=4e5, overhead=5e-3, per_example=2e-5)
    >>> round(model.optimal_batch_size(), 3), round(model.time(model.optimal_batch_size()), 5)
    (223.607, 35.88854)
    """

    iterations: float
    variance_cost: float
    overhead: float
    per_example: float

    def __post_init__(self):
        for name in ("iterations", "variance_cost", "overhead", "per_example"):
            _check.number(name, getattr(self, name), above=0)

    def steps(self, batch_size: float | np.ndarray) -> float | np.ndarray:
        """Return the steps to the target, ``N + C/b``."""
        return self.iterations + self.variance_cost / _sizes(batch_size)

    def step_time(self, batch_size: float | np.ndarray) -> float | np.ndarray:
        """Return the seconds of one step, ``tau_f + tau_d b``."""
        return self.overhead + self.per_example * _sizes(batch_size)

    def time(self, batch_size: float | np.ndarray) -> float | np.ndarray:
        """Return the seconds to the target, T(b)."""
        return self.steps(batch_size) * self.step_time(batch_size)

    def critical_batch_size(self) -> float:
        """Return C/N, where half of the steps are due to noise: the statistical scale."""
        return self.variance_cost / self.iterations

    def optimal_batch_size(self) -> float:
        """Return ``sqrt(C tau_f / (N tau_d))``, where T(b) is least.

        It is the geometric mean of the statistical scale C/N and the hardware's, tau_f/tau_d.
        """
        return (self.critical_batch_size() * self.overhead / self.per_example) ** 0.5


def _sizes(batch_size):
    """Return one batch size, or an array of them, all > 0."""
    if _check.scalar(batch_size):
        return _check.number("batch_size", batch_size, above=0)
    batch_size = _check.array("batch_size", batch_size)
    if batch_size.min() <= 0:
        raise ValueError(f"batch_size={batch_size.min():g}: expected a finite number > 0")
    return batch_size


@dataclass(frozen=True)
class TimeModelFit:
    """A fitted `TimeModel`, and its optimal batch size with a standard error.

    `log_stderr` is the standard error of the logarithm of the optimal batch size: the natural
    scale, since T is symmetric in log b about its minimum.
    """

    model: TimeModel
    optimal_batch_size: float
    log_stderr: float


def fit_time_model(
    batch_sizes: Sequence[int],
    steps: Sequence[float],
    step_times: Sequence[float],
    *,
    steps_stderr: Sequence[float],
    step_times_stderr: Sequence[float],
) -> TimeModelFit:
    """Fit both factors of the time model to measurements, by weighted least squares.

    Parameters
    ----------
    batch_sizes
        At least three different batch sizes.
    steps, steps_stderr
        Steps to the target at each, and their standard errors.
    step_times, step_times_stderr
        Seconds per step at each, and their standard errors.

    Raises
    ------
    ValueError, TypeError
        If lengths differ or an entry is not positive.
    ArithmeticError
        If a fitted coefficient is not positive: these batch sizes do not show both regimes.

    Notes
    -----
    Both factors are linear in their two coefficients; the error of b_opt follows from theirs by
    the delta method. Derived in the chapter *Choosing the batch size*.

    Examples
    --------
    >>> b = np.array([8, 64, 512])
    >>> fit = fit_time_model(b, 100 + 6400 / b, 1e-3 + 1e-5 * b,
    ...                      steps_stderr=[1, 1, 1], step_times_stderr=[1e-6, 1e-6, 1e-6])
    >>> round(fit.optimal_batch_size, 3)
    80.0
    """
    columns = {
        "batch_sizes": batch_sizes,
        "steps": steps,
        "step_times": step_times,
        "steps_stderr": steps_stderr,
        "step_times_stderr": step_times_stderr,
    }
    arrays = {name: _check.array(name, value, ndim=1) for name, value in columns.items()}
    b = arrays["batch_sizes"]
    for name, value in arrays.items():
        if len(value) != len(b):
            raise ValueError(f"{name}: expected {len(b)} values, got {len(value)}")
        if value.min() <= 0:
            raise ValueError(f"{name}: expected positive numbers, got {value.min():g}")
    if len(np.unique(b)) < 3:
        raise ValueError(f"batch_sizes: expected at least 3 different ones, got {b.tolist()}")
    (n, c), cov_steps = _weighted_line(1 / b, arrays["steps"], arrays["steps_stderr"])
    (f, d), cov_time = _weighted_line(b, arrays["step_times"], arrays["step_times_stderr"])
    found = {"iterations": n, "variance_cost": c, "overhead": f, "per_example": d}
    bad = {k: v for k, v in found.items() if v <= 0}
    if bad:
        name, value = next(iter(bad.items()))
        raise ArithmeticError(
            f"the fit gives {name}={value:g}: the batch sizes {b.tolist()} do not show both regimes"
        )
    model = TimeModel(**{k: float(v) for k, v in found.items()})
    # log b_opt = (log C - log N + log tau_f - log tau_d) / 2
    towards_steps, towards_time = np.array([-1 / n, 1 / c]) / 2, np.array([1 / f, -1 / d]) / 2
    variance = towards_steps @ cov_steps @ towards_steps + towards_time @ cov_time @ towards_time
    return TimeModelFit(model, model.optimal_batch_size(), float(np.sqrt(variance)))


def _weighted_line(x, y, stderr):
    """Return intercept and slope of the weighted least-squares line, and their covariance."""
    design = np.column_stack([np.ones_like(x), x]) / stderr[:, None]
    covariance = np.linalg.inv(design.T @ design)
    return covariance @ design.T @ (y / stderr), covariance
