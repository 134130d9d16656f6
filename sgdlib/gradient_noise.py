r"""How a batch gradient scatters about the gradient.

    Cov(g) = Sigma/B (1 + (B - 1) rho)      one formula, with the pair correlation
    rho = 0                                 independent draws (with replacement): Sigma/B
    rho = -1/(N - 1)                        without replacement: Sigma/B (N - B)/(N - 1)
    rho > 0                                 examples alike: never below rho Sigma

Sigma is the covariance of the per-example gradient, with divisor N.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from sgdlib import _check
from sgdlib.problems import FiniteSum

_NUMBERS_AT_ONCE = 1_000_000  # gradient entries gathered together: bounds the memory


def gradient_covariance(problem: FiniteSum, theta: np.ndarray) -> np.ndarray:
    """Return Sigma, the covariance of the per-example gradient, with divisor N.

    Parameters
    ----------
    problem
        A finite sum of N losses over d parameters.
    theta
        Where: (d,).

    Returns
    -------
    np.ndarray
        (d, d), symmetric, in squared units of the gradient.

    Raises
    ------
    ValueError, TypeError
        If theta is not one finite vector of length d, or `problem` is not a finite sum.

    Notes
    -----
    Derived in the chapter *An honest estimate*.

    Examples
    --------
    >>> from sgdlib import LeastSquares
    >>> gradient_covariance(LeastSquares([[1.0], [1.0]], [0.0, 2.0]), [0.0])
    array([[1.]])
    """
    gradients = _gradients(problem, theta)
    away = gradients - gradients.mean(axis=0)
    return away.T @ away / problem.n


def batch_gradient_variance(
    sigma2: float | np.ndarray, batch_size: int, *, n: int | None = None, rho: float | None = None
) -> float | np.ndarray:
    r"""Return the variance (or covariance) of the mean of a batch: ``sigma2/B (1 + (B-1) rho)``.

    Parameters
    ----------
    sigma2
        Variance or covariance matrix (d, d) of one example's gradient (divisor N).
    batch_size
        B.
    n
        Sampled without replacement from this many examples: ``rho = -1/(n - 1)``, so that the
        factor beside sigma2/B is (n - B)/(n - 1), 0 at B = n.
    rho
        Correlation between any two examples of the batch, in [-1/(B - 1), 1]. Give `n` or `rho`,
        not both; neither means independent draws, rho = 0.

    Returns
    -------
    float or np.ndarray
        Of the shape of `sigma2`.

    Raises
    ------
    ValueError, TypeError
        If both are given, B > n, no B variables can have the correlation rho, or `sigma2` is no
        variance.

    Notes
    -----
    Cochran, Sampling Techniques (1977). Derived in the chapter *An honest estimate*.

    Examples
    --------
    >>> batch_gradient_variance(1.0, 64), round(batch_gradient_variance(1.0, 64, rho=0.1), 7)
    (0.015625, 0.1140625)
    >>> batch_gradient_variance(1.0, 8, n=8)
    0.0
    """
    sigma2 = _variance(sigma2)
    n = _check.optional("n", n)
    if n is not None and rho is not None:
        raise ValueError(f"n={n}, rho={_check.shown(rho)}: give one of them, not both")
    if n is not None:
        batch_size = _check.integer("batch_size", batch_size, high=n)
        # 1 - (B - 1)/(n - 1) in one fraction: exactly 0 at B = n
        factor = (n - batch_size) / (n - 1) if n > 1 else 0.0
    else:
        batch_size = _check.integer("batch_size", batch_size)
        rho = _check.number("rho", 0.0 if rho is None else rho, at_least=-1, at_most=1)
        factor = 1 + (batch_size - 1) * rho
        if factor < -1e-12:
            raise ValueError(
                f"rho={rho:g}: {batch_size} variables have no common correlation below "
                f"{-1 / (batch_size - 1):g}"
            )
        factor = max(factor, 0.0)
    return sigma2 * factor / batch_size


@dataclass(frozen=True)
class NoiseScale:
    """The gradient noise scale ``tr(Sigma)/|grad L|^2``, in examples.

    Attributes
    ----------
    estimate, stderr
        The ratio, and its standard error (0 if exact; delta method over the draws otherwise).
    noise, signal
        Estimates of ``tr(Sigma)`` and of ``|grad L|^2``.
    draws
        Number of pairs of batches; 0 if exact.
    """

    estimate: float
    stderr: float
    noise: float
    signal: float
    draws: int


def gradient_noise_scale(
    problem: FiniteSum,
    theta: np.ndarray,
    *,
    small: int | None = None,
    big: int | None = None,
    draws: int = 1000,
    rng: int | np.random.Generator | None = None,
) -> NoiseScale:
    r"""Return the gradient noise scale ``tr(Sigma)/|grad L|^2`` at theta.

    Without `small` and `big` it is computed exactly from all per-example gradients. With them it
    is estimated from pairs of independent batches of the two sizes, drawn with replacement::

        signal = (big |g_big|^2 - small |g_small|^2) / (big - small)
        noise  = (|g_small|^2 - |g_big|^2) / (1/small - 1/big)

    Each is unbiased; their ratio is not, so numerator and denominator are averaged over all
    `draws` before dividing.

    Parameters
    ----------
    problem, theta
        The finite sum, and where: (d,).
    small, big
        Two batch sizes, small < big.
    draws
        Pairs of batches, at least 2.
    rng
        Seed or Generator.

    Raises
    ------
    ValueError, TypeError
        If only one size is given, or not small < big.
    ArithmeticError
        If the gradient is zero, or the estimate of its square is not positive: too few draws.

    Notes
    -----
    McCandlish et al. (2018), arXiv:1812.06162, appendix A. Derived in the chapter *Choosing the
    batch size*.

    Examples
    --------
    >>> from sgdlib import LeastSquares
    >>> problem = LeastSquares([[1.0], [1.0]], [0.0, 2.0])
    >>> gradient_noise_scale(problem, [3.0]).estimate
    0.25
    """
    small, big = _check.optional("small", small), _check.optional("big", big)
    if (small is None) != (big is None):
        raise ValueError(f"small={small}, big={big}: give both sizes, or neither")
    if small is not None and small >= big:
        raise ValueError(f"small={small}, big={big}: expected small < big")
    draws, rng = _check.integer("draws", draws, low=2), _check.generator(rng)
    gradients = _gradients(problem, theta)

    if small is None:
        mean = gradients.mean(axis=0)
        noise = float(np.square(gradients - mean).sum() / problem.n)
        signal = float(np.square(mean).sum())
        if signal == 0:
            raise ArithmeticError("the gradient is zero here: the noise scale is infinite")
        return NoiseScale(noise / signal, 0.0, noise, signal, 0)

    at_small, at_big = (_squared_norms(gradients, size, draws, rng) for size in (small, big))
    signal = (big * at_big - small * at_small) / (big - small)
    noise = (at_small - at_big) / (1 / small - 1 / big)
    if signal.mean() <= 0:
        raise ArithmeticError(
            f"draws={draws}: the estimate of |grad L|^2 is {signal.mean():.2g}, not positive; "
            "more draws or larger batches are needed"
        )
    ratio = noise.mean() / signal.mean()
    # Delta method: the ratio moves with the mean of (noise - ratio signal)/signal.
    stderr = float(np.std(noise - ratio * signal, ddof=1) / np.sqrt(draws) / signal.mean())
    return NoiseScale(float(ratio), stderr, float(noise.mean()), float(signal.mean()), draws)


def _squared_norms(gradients, batch_size, draws, rng):
    """Return |g_B|^2 for `draws` batches drawn with replacement, (draws,)."""
    together, parts = max(1, _NUMBERS_AT_ONCE // (batch_size * gradients.shape[1])), []
    for start in range(0, draws, together):
        shape = (min(together, draws - start), batch_size)
        batch = gradients[rng.integers(0, len(gradients), shape)].mean(axis=1)
        parts.append(np.square(batch).sum(axis=-1))
    return np.concatenate(parts)


def _gradients(problem, theta):
    """Return all per-example gradients (N, d) at one theta (d,)."""
    if not (_check.is_problem(problem) and math.isfinite(problem.n)):
        raise TypeError(f"problem: expected a FiniteSum, got {type(problem).__name__}")
    theta = _check.parameters(theta, problem.dim)
    if theta.ndim != 1:
        raise ValueError(f"theta: expected shape ({problem.dim},), got {theta.shape}")
    return problem.gradients(theta)


def _variance(sigma2):
    """Return a variance, or a covariance matrix, after checking that it can be one."""
    if _check.scalar(sigma2):
        return _check.number("sigma2", sigma2, at_least=0)
    sigma2 = _check.array("sigma2", sigma2, ndim=2)
    if sigma2.shape[0] != sigma2.shape[1]:
        raise ValueError(f"sigma2: expected a number or a (d, d) matrix, got shape {sigma2.shape}")
    if not np.allclose(sigma2, sigma2.T) or np.diag(sigma2).min() < 0:
        raise ValueError("sigma2: expected a symmetric matrix with variances >= 0 on the diagonal")
    return sigma2
