r"""Two models whose posterior is known exactly: it is normal, whatever the data.

    y_i ~ Normal(theta, C)             a mean, C known              `normal_mean`
    y_i ~ Normal(x_i . theta, s^2)     a linear model, s known      `linear_regression`

Each comes as a finite sum of losses whose sum is minus the log posterior up to a constant, with a
share 1/N of the log prior in each: the convention of `sgdlib.physics.langevin`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from sgdlib import _check
from sgdlib._trace import Result
from sgdlib.linear import LeastSquares
from sgdlib.problems import FiniteSum

__all__ = ["ConjugateModel", "Normal", "linear_regression", "normal_mean"]


@dataclass(frozen=True, eq=False)
class Normal(Result):
    """A normal law in d dimensions.

    Attributes
    ----------
    mean, covariance
        (d,) and (d, d).
    """

    mean: np.ndarray
    covariance: np.ndarray

    def divergence(self, other: Normal) -> float:
        """Return KL(self || other), in nats: the mean under self of log(self/other).

        Both must have covariances of full rank.
        """
        d, away = len(self.mean), other.mean - self.mean
        ratio = np.linalg.solve(other.covariance, self.covariance)
        far = away @ np.linalg.solve(other.covariance, away)
        return float((np.trace(ratio) - d - np.linalg.slogdet(ratio)[1] + far) / 2)


@dataclass(frozen=True, eq=False)
class ConjugateModel(Result):
    """A model and its exact posterior.

    Attributes
    ----------
    problem
        The finite sum: N times its mean loss is minus the log posterior, up to a constant.
    posterior
        The exact posterior; its covariance is the inverse of N times the Hessian.
    """

    problem: FiniteSum
    posterior: Normal


class _NormalMean(FiniteSum):
    """``l_i = (theta - y_i)' P (theta - y_i)/2 + |theta|^2/(2 N tau^2)``."""

    def __init__(self, y, precision, decay):
        super().__init__((y,), y.shape[1])
        self._precision, self._decay = precision, decay

    def row_losses(self, theta, y):
        away = theta[..., None, :] - y
        square = self._decay * np.square(theta).sum(axis=-1)[..., None]
        return (np.vecdot(away, away @ self._precision) + square) / 2

    def row_gradients(self, theta, y):
        away = theta[..., None, :] - y
        return away @ self._precision + self._decay * theta[..., None, :]

    def hessian(self, theta=None):
        """Return P + 1/(N tau^2), the same at every theta and for every example."""
        return self._precision + self._decay * np.eye(self.dim)


def normal_mean(
    y: np.ndarray, *, covariance: float | np.ndarray, prior_variance: float | None = None
) -> ConjugateModel:
    """Return the model ``y_i ~ Normal(theta, covariance)`` with its posterior.

    Every example has the same Hessian, so the noise of a batch gradient does not depend on theta.
    The data need not follow the model: their scatter makes the gradient noise, the model's
    `covariance` the posterior.

    Parameters
    ----------
    y
        (N, d) observations.
    covariance
        Of one observation in the model: a variance, variances (d,), or a matrix (d, d).
    prior_variance
        tau^2 of the prior Normal(0, tau^2 I); None: a flat prior.

    Raises
    ------
    ValueError, TypeError
        If shapes do not fit, or a variance is not positive.

    Notes
    -----
    Used in the chapter *Sampling the posterior*.

    Examples
    --------
    >>> model = normal_mean([[1.0], [3.0]], covariance=2.0)
    >>> model.posterior.mean, model.posterior.covariance
    (array([2.]), array([[1.]]))
    """
    y = _check.array("y", y, ndim=2).astype(float)
    n, d = y.shape
    precision = np.linalg.inv(_positive("covariance", covariance, d))
    problem = _NormalMean(y, (precision + precision.T) / 2, _decay(prior_variance, n))
    spread = np.linalg.inv(n * problem.hessian())
    mean = spread @ precision @ y.sum(axis=0)
    return ConjugateModel(problem, Normal(mean, (spread + spread.T) / 2))


def linear_regression(
    X: np.ndarray,
    y: np.ndarray,
    *,
    noise_variance: float,
    prior_variance: float | None = None,
) -> ConjugateModel:
    """Return the model ``y_i ~ Normal(x_i . theta, noise_variance)`` with its posterior.

    The problem is `LeastSquares`, its residuals measured in standard deviations of the noise, with
    the penalty ``l2 = 1/(N prior_variance)``.

    Parameters
    ----------
    X, y
        Inputs (N, d) and targets (N,); add a column of ones for an intercept.
    noise_variance
        s^2, known.
    prior_variance
        tau^2 of the prior Normal(0, tau^2 I); None: a flat prior, for which X must have rank d.

    Raises
    ------
    ValueError, TypeError
        If shapes do not fit, a variance is not positive, or there is no proper posterior.

    Notes
    -----
    Used in the chapter *Sampling the posterior*.

    Examples
    --------
    >>> model = linear_regression([[1.0], [2.0]], [1.0, 2.0], noise_variance=5.0)
    >>> model.posterior.mean, model.posterior.covariance
    (array([1.]), array([[1.]]))
    """
    X, y = _check.array("X", X, ndim=2), _check.array("y", y, ndim=1)
    s = _check.number("noise_variance", noise_variance, above=0) ** 0.5
    problem = LeastSquares(X / s, y / s, l2=_decay(prior_variance, len(X)))
    precision = problem.n * problem.hessian()
    if np.linalg.cond(precision) > 1e12:
        raise ValueError("X: expected columns of full rank, or prior_variance= as well")
    spread = np.linalg.inv(precision)
    return ConjugateModel(problem, Normal(problem.minimizer(), (spread + spread.T) / 2))


def _decay(prior_variance, n):
    """Return 1/(N tau^2): what the prior adds to the curvature of every example."""
    if prior_variance is None:
        return 0.0
    return 1 / (n * _check.number("prior_variance", prior_variance, above=0))


def _positive(name, value, dim):
    """Return a number, variances (d,) or a matrix as a positive definite matrix (d, d)."""
    value = _check.array(name, value, ndim=(0, 1, 2)).astype(float)
    if value.ndim < 2 and value.shape in ((), (dim,)):
        value = value * np.eye(dim)
    if value.shape != (dim, dim):
        raise ValueError(
            f"{name}: expected a number, shape ({dim},) or ({dim}, {dim}), got {value.shape}"
        )
    if not np.allclose(value, value.T):
        raise ValueError(f"{name}: expected a symmetric matrix, got one that is not")
    least = np.linalg.eigvalsh(value)[0]
    if least <= 0:
        raise ValueError(
            f"{name}: expected a positive definite matrix, got an eigenvalue {least:g}"
        )
    return value
