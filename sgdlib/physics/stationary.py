r"""The temperature of SGD, and the cloud in which it settles.

::

    T = eta sigma^2 / (2 B)                  a subset of N: times (N - B)/(N - 1)
                                             with momentum: divided by 1 - beta
    S_ij = eta/B Sigma_ij / (h_i + h_j - eta h_i h_j)         exact, in the axes of H
    S_ij = eta/B Sigma_ij / (h_i + h_j)                       its continuum limit

S is the stationary covariance of theta on a quadratic of Hessian H with additive noise.
"""

from __future__ import annotations

import numpy as np

from sgdlib import _check
from sgdlib.gradient_noise import batch_gradient_variance
from sgdlib.populations import NoisyQuadratic
from sgdlib.stability import stability_limit

__all__ = ["continuum_covariance", "stationary_covariance", "temperature"]


def temperature(
    lr: float,
    batch_size: int,
    sigma2: float | np.ndarray,
    *,
    n: int | None = None,
    momentum: float = 0.0,
) -> float | np.ndarray:
    r"""Return the temperature ``T = lr sigma2/(2 B)``.

    It is the variance of a step, divided by twice the time ``lr`` that the step takes: SGD then
    moves as ``d theta = -grad L dt + sqrt(2 T) dW``. With momentum the time of a step is
    ``lr/(1 - momentum)``.

    Parameters
    ----------
    lr
        Learning rate eta.
    batch_size
        B.
    sigma2
        Variance of one example's gradient (divisor N): a number, variances (d,), or a covariance
        matrix (d, d).
    n
        Each batch is an independent random subset of this many examples (``sampling="subset"``):
        the factor (n - B)/(n - 1). Leave it out for draws with replacement and populations. For
        reshuffled epochs no single number will do.
    momentum
        beta in [0, 1), in torch's convention.

    Returns
    -------
    float or np.ndarray
        Of the shape of `sigma2`: in units of the loss where sigma2 is measured in squared units
        of the gradient and lr in theta per gradient.

    Raises
    ------
    ValueError, TypeError
        If an argument is outside its range, or B > n.

    Notes
    -----
    Jastrzebski et al. (2017), arXiv:1711.04623; Mandt, Hoffman and Blei (2017), arXiv:1704.04289.
    Derived in the chapter *Temperature*.

    Examples
    --------
    >>> temperature(0.1, 8, 4.0), temperature(0.1, 8, 4.0, n=8), temperature(0.1, 8, [4.0, 1.0])
    (0.025, 0.0, array([0.025  , 0.00625]))
    """
    lr = _check.number("lr", lr, above=0)
    beta = _check.number("momentum", momentum, at_least=0, below=1)
    if not _check.scalar(sigma2) and _check.array("sigma2", sigma2, ndim=(1, 2)).ndim == 1:
        sigma2 = _check.array("sigma2", sigma2)
        if sigma2.min() < 0:
            raise ValueError(f"sigma2={sigma2.min():g}: expected no negative variance")
        variance = sigma2 * batch_gradient_variance(1.0, batch_size, n=n)
    else:
        variance = batch_gradient_variance(sigma2, batch_size, n=n)
    return lr * variance / (2 * (1 - beta))


def stationary_covariance(
    hessian: float | np.ndarray,
    covariance: float | np.ndarray,
    *,
    lr: float,
    batch_size: int,
    n: int | None = None,
    momentum: float = 0.0,
    nesterov: bool = False,
) -> float | np.ndarray:
    r"""Return the exact stationary covariance of theta on a quadratic with additive noise.

    In the axes of H each pair of directions obeys a recursion of its own. Without momentum::

        S_ij = (lr/B) Sigma_ij/(h_i + h_j - lr h_i h_j),    in 1-d: lr sigma^2/(B h (2 - lr h))

    With momentum (theta, velocity) is the state, and its covariance X solves ``X = A X A' + Q``;
    in 1-d: ``lr sigma^2 (1 + beta)/(B h (1 - beta)(2 (1 + beta) - lr h))``.

    Parameters
    ----------
    hessian
        H: a curvature, curvatures (d,), or a symmetric matrix (d, d); all curvatures > 0.
    covariance
        Sigma of the per-example gradient: a number, variances (d,), or a matrix (d, d).
    lr, batch_size
        Learning rate and B.
    n
        Independent random subsets of n examples: the factor (n - B)/(n - 1) on Sigma/B.
    momentum, nesterov
        As in `sgdlib.minibatch_sgd`.

    Returns
    -------
    float or np.ndarray
        (d, d), or a float if `hessian` is a number.

    Raises
    ------
    ValueError, TypeError
        If a curvature is not positive or an argument outside its range, and if `lr` is at or
        above the stability limit, where no stationary law exists.

    Notes
    -----
    The noise is additive and white: it does not depend on theta, and batches are independent. A
    reshuffled epoch is much colder in flat directions, noise in the curvature adds variance.
    Derived in the chapter *Temperature*.

    Examples
    --------
    >>> round(stationary_covariance(2.0, 1.5**2, lr=0.9, batch_size=1), 10)
    5.0625
    >>> stationary_covariance([1.0, 0.5], [1.0, 0.5], lr=0.2, batch_size=10).round(5)
    array([[0.01111, 0.     ],
           [0.     , 0.01053]])
    """
    h, axes, noise, lr, beta = _quadratic(hessian, covariance, lr, batch_size, n, momentum)
    if _check.flag("nesterov", nesterov) and not beta:
        raise ValueError("nesterov=True: expected momentum > 0")
    limit = stability_limit(h.max(), momentum=beta, nesterov=nesterov)
    if lr >= limit:
        raise ValueError(
            f"lr={lr:g}: expected less than the stability limit {limit:g} at the largest "
            f"curvature {h.max():g}; above it theta has no stationary law"
        )
    a, b = h[:, None], h[None, :]
    if beta == 0:
        S = lr * noise / (a + b - lr * a * b)
    else:
        # one step of (theta, velocity) along each axis, and what the noise adds to it
        kick = np.array([-lr * (1 + beta if nesterov else 1.0), 1.0])
        step = np.empty((len(h), 2, 2))
        step[:, 0, 0], step[:, 0, 1] = 1 + kick[0] * h, -lr * beta * (beta if nesterov else 1.0)
        step[:, 1, 0], step[:, 1, 1] = h, beta
        # X_ij = A_i X_ij A_j' + kick kick' noise_ij: four equations for each pair
        pairs = np.einsum("iab,jcd->ijacbd", step, step).reshape(len(h), len(h), 4, 4)
        unit = np.linalg.solve(np.eye(4) - pairs, np.outer(kick, kick).reshape(4, 1))
        S = unit[..., 0, 0] * noise
    return _back(S, axes, hessian)


def continuum_covariance(
    hessian: float | np.ndarray,
    covariance: float | np.ndarray,
    *,
    lr: float,
    batch_size: int,
    n: int | None = None,
    momentum: float = 0.0,
) -> float | np.ndarray:
    r"""Return the stationary covariance in continuous time: ``H S + S H = (lr/B) Sigma``.

    It is the law of the Ornstein-Uhlenbeck process ``d theta = -H theta dt + sqrt(lr Sigma/B) dW``
    and the limit of `stationary_covariance` as ``lr h`` goes to 0. With momentum lr is replaced by
    lr/(1 - momentum).

    Parameters
    ----------
    hessian, covariance, lr, batch_size, n, momentum
        As in `stationary_covariance`.

    Returns
    -------
    float or np.ndarray
        (d, d), or a float if `hessian` is a number: ``lr sigma^2/(2 B h)``, which is T/h.

    Raises
    ------
    ValueError, TypeError
        If a curvature is not positive or an argument outside its range.

    Notes
    -----
    Uhlenbeck and Ornstein (1930); Mandt, Hoffman and Blei (2017), arXiv:1704.04289. Derived in
    the chapter *Temperature*.

    Examples
    --------
    >>> continuum_covariance(2.0, 1.5**2, lr=0.9, batch_size=1)
    0.50625
    """
    h, axes, noise, lr, beta = _quadratic(hessian, covariance, lr, batch_size, n, momentum)
    S = lr / (1 - beta) * noise / (h[:, None] + h[None, :])
    return _back(S, axes, hessian)


def _quadratic(hessian, covariance, lr, batch_size, n, momentum):
    """Check; return the curvatures, their axes, and Cov(batch gradient) in these axes."""
    lr = _check.number("lr", lr, above=0)
    beta = _check.number("momentum", momentum, at_least=0, below=1)
    hessian = _check.array("hessian", hessian, ndim=(0, 1, 2))
    bowl = NoisyQuadratic(np.atleast_1d(hessian), covariance)
    h, axes = np.linalg.eigh(bowl.matrix)
    if h[0] <= 0:
        raise ValueError(f"hessian: expected curvatures > 0, got {h[0]:g}")
    noise = axes.T @ bowl.covariance @ axes * batch_gradient_variance(1.0, batch_size, n=n)
    return h, axes, noise, lr, beta


def _back(S, axes, hessian):
    """Return S in the coordinates of theta, symmetric; a float for a scalar curvature."""
    if _check.scalar(hessian):
        return float(S[0, 0])
    S = axes @ S @ axes.T
    return (S + S.T) / 2
