r"""Langevin dynamics with batch gradients, and what a constant rate alone samples.

One convention for everything: the loss is a *mean*, L = (1/N) sum_i l_i, where the sum of the
l_i is minus the log posterior (the log prior shared out, 1/N to each example). Then

    posterior  ~  exp(-N L)  =  exp(-L / T)       with the temperature  T = 1/N
    theta <- theta - eta g + sqrt(2 eta T) xi     SGLD: g a batch gradient of L, xi ~ Normal(0, I)
    eta* = 2 B d / (N tr Sigma)                   plain SGD: the rate whose cloud is nearest

Welling and Teh step by epsilon/2 times the gradient of the *sum*, N g, with noise of variance
epsilon: the same step, eta = epsilon N / 2.
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
from sgdlib.populations import NoisyQuadratic
from sgdlib.problems import Problem
from sgdlib.stability import stability_limit

__all__ = ["Correlation", "autocorrelation_time", "posterior_lr", "sgld"]


class _Langevin:
    """Plain descent with noise of its own: the rule of this module."""

    def __init__(self, temperature: Callable[[float], float], rng: np.random.Generator):
        self.temperature, self.rng = temperature, rng

    def start(self, problem, theta):
        return {"rng": self.rng.spawn(1)[0]}

    def advance(self, problem, theta, state, stretch, rates):
        gradient, weights, draw = problem.weighted_gradient, stretch.weights, state["rng"]
        for rows, progress, rate in zip(stretch.rows, stretch.progress, rates, strict=False):
            xi = draw.standard_normal(theta.shape)
            xi *= np.sqrt(2 * rate * self.temperature(progress))
            xi -= rate * gradient(theta, weights, *rows)
            theta += xi

    def stability_limit(self, curvature):
        return stability_limit(curvature)


def sgld(
    problem: Problem,
    theta: np.ndarray | Trace,
    *,
    lr: Schedule | np.ndarray,
    temperature: Schedule | None = None,
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
    r"""Run stochastic gradient Langevin dynamics: ``theta <- theta - lr g + sqrt(2 lr T) xi``.

    On a quadratic with independent batches the stationary covariance is exactly that of plain SGD
    with more noise: `stationary_covariance` with ``Sigma + 2 B T/lr I``. In one dimension::

        var = (T + lr sigma^2/(2 B)) / (h (1 - lr h/2))

    the batch's temperature added to T, and a discretisation bias that no small batch removes.

    Parameters
    ----------
    problem
        A finite sum, whose mean loss is minus the log posterior over N; or a population.
    temperature
        T, in units of the mean loss; a number or a schedule, >= 0. None: 1/N, the posterior's.
    theta, lr, batch_size, epochs, steps, sampling, last, batches, record, keep_parameters
        As in `sgdlib.minibatch_sgd`.
    on_divergence, rng
        As in `sgdlib.minibatch_sgd`; the noise xi has a stream of its own.

    Returns
    -------
    Trace

    Raises
    ------
    ValueError, TypeError
        For bad arguments; for a population without a temperature.
    DivergenceError
        If parameters stop being finite.

    Notes
    -----
    Welling and Teh (2011). Derived in the chapter *Sampling the posterior*.

    Examples
    --------
    >>> from sgdlib import NoisyQuadratic
    >>> bowl, start = NoisyQuadratic([2.0], 0.0), np.zeros((4000, 1))
    >>> walkers = sgld(bowl, start, lr=0.1, temperature=0.5, batch_size=1, steps=50, rng=0).theta
    >>> exact = 0.5 / (2.0 * (1 - 0.1))
    >>> bool(abs(walkers.var() / exact - 1) < 4 * (2 / 4000) ** 0.5)
    True
    """
    if temperature is None:
        n = getattr(problem, "n", math.inf)
        if not math.isfinite(n):
            raise ValueError("temperature=None: expected a number for a population, which has no N")
        temperature = 1 / n
    heat = _heat(temperature)
    rng = _check.generator(rng)
    return drive(
        problem,
        theta,
        _Langevin(heat, rng),
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


def _heat(temperature):
    """Return the temperature as a function of progress, whose values are checked."""
    if not callable(temperature):
        value = _check.number("temperature", temperature, at_least=0)
        return lambda progress: value

    def heat(progress):
        return _check.number(f"temperature({progress:g})", temperature(progress), at_least=0)

    heat(0.0)
    return heat


def posterior_lr(covariance: float | np.ndarray, *, n: int, batch_size: int) -> float:
    r"""Return the constant rate whose cloud is nearest to the posterior: ``2 B d / (n tr Sigma)``.

    It minimizes KL(cloud || posterior) over the learning rate of plain SGD, if

    - the loss is quadratic near its minimum, with a Hessian H of full rank, so that the posterior
      is normal with covariance ``(n H)^-1``;
    - the noise of a batch is normal with covariance Sigma/B, the same everywhere, and independent
      from step to step (batches drawn with replacement, not reshuffled epochs);
    - the run has settled, and ``lr h`` is so small that the continuum's law H S + S H = lr Sigma/B
      is the run's.

    H cancels. There the cloud's mean excess loss is that of the posterior, d/(2 n). Its shape is
    right only where Sigma is a multiple of the identity; for a model that is true Sigma is H, and
    the cloud is round.

    Parameters
    ----------
    covariance
        Sigma of the per-example gradient at the minimum: a number (one parameter), variances (d,),
        or a matrix (d, d). (B is the *batch size* here; in Mandt et al. it is a root of Sigma, and
        the batch size is S.)
    n, batch_size
        Number of examples N, and B.

    Returns
    -------
    float

    Raises
    ------
    ValueError, TypeError
        If `covariance` is none, or zero: no rate gives a cloud then.

    Notes
    -----
    Mandt, Hoffman and Blei (2017), arXiv:1704.04289. Derived in the chapter *Sampling the
    posterior*.

    Examples
    --------
    >>> posterior_lr([4.0, 1.0], n=1000, batch_size=10)
    0.008
    """
    n, batch_size = _check.integer("n", n), _check.integer("batch_size", batch_size)
    covariance = _check.array("covariance", covariance, ndim=(0, 1, 2))
    dim = covariance.shape[0] if covariance.ndim else 1
    total = np.trace(NoisyQuadratic(np.ones(dim), covariance).covariance)
    if total <= 0:
        raise ValueError("covariance: expected some noise, got a trace of 0")
    return float(2 * batch_size * dim / (n * total))


@dataclass(frozen=True)
class Correlation:
    """How long a stationary series remembers, and how much it is worth.

    Attributes
    ----------
    time, stderr
        The integrated autocorrelation time ``1 + 2 (rho_1 + rho_2 + ...)`` in steps, and its
        standard error (Madras and Sokal's, for long series).
    effective
        The effective sample size: that many independent draws give the mean as precisely.
    window
        Lag at which the sum was cut off.
    """

    time: float
    stderr: float
    effective: float
    window: int


def autocorrelation_time(series: np.ndarray) -> Correlation:
    r"""Return the integrated autocorrelation time of a stationary series, and its sample size.

    The sum of the autocorrelations is cut off at the first lag W >= 5 time(W), and not below 10
    (Sokal's window): a longer sum adds noise and hardly any signal. For x <- q x + noise the time
    is (1 + q)/(1 - q).

    Parameters
    ----------
    series
        (t,) of one chain, or (t, R) of R independent chains of one law, whose correlations are
        averaged (about their common mean). Leave out the beginning, before it has settled.

    Raises
    ------
    ValueError, TypeError
        If `series` is constant, or not finite numbers of at least 20 times.
    ArithmeticError
        If no window fits: a series as short as that tells nothing about its correlation time.

    Notes
    -----
    Sokal, Monte Carlo Methods in Statistical Mechanics (1996). Derived in the chapter *Sampling
    the posterior*.

    Examples
    --------
    >>> rng, x = np.random.default_rng(0), np.zeros((5000, 20))
    >>> for t in range(1, 5000): x[t] = 0.8 * x[t - 1] + rng.normal(size=20)
    >>> found = autocorrelation_time(x[100:])
    >>> bool(abs(found.time - 9) < 4 * found.stderr), found.stderr < 0.5
    (True, True)
    """
    series = _check.array("series", series, ndim=(1, 2))
    x = series.reshape(len(series), -1).astype(float)
    count, chains = x.shape
    if count < 20:
        raise ValueError(f"series: expected at least 20 times, got {count}")
    x -= x.mean()
    power = np.abs(np.fft.rfft(x, n=2 * count, axis=0)) ** 2
    covariance = np.fft.irfft(power.sum(axis=1), n=2 * count)[:count] / np.arange(count, 0, -1)
    if covariance[0] <= 1e-24 * max(1.0, np.abs(series).max() ** 2) * chains:
        raise ValueError("series: expected one that varies, got a constant")
    times = 2 * np.cumsum(covariance / covariance[0]) - 1
    fits = np.arange(count) >= np.maximum(5 * times, 10)
    window = int(fits.argmax())
    if not 0 < window <= count // 2 or times[window] <= 0:
        raise ArithmeticError(
            f"series: {count} times are too few for its autocorrelation time, at least "
            f"{times.max():.3g} steps"
        )
    time = float(times[window])
    stderr = time * math.sqrt(2 * (2 * window + 1) / (count * chains))
    return Correlation(time, stderr, count * chains / time, window)
