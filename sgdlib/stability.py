"""The largest learning rate that is stable: plain, with momentum, stale, and of a mini-batch."""

from __future__ import annotations

import math

import numpy as np

from sgdlib import _check


def stability_limit(curvature: float, *, momentum: float = 0.0, nesterov: bool = False) -> float:
    """Return the learning rate above which full-batch descent diverges on a quadratic.

    ``2/L`` for plain descent, ``2 (1 + beta)/L`` for the heavy ball, and
    ``2 (1 + beta)/((1 + 2 beta) L)`` for Nesterov's momentum, which is below ``2/L``.

    Parameters
    ----------
    curvature
        L > 0, the largest eigenvalue of the Hessian.
    momentum
        beta in [0, 1).
    nesterov
        Nesterov's variant, in torch's convention.

    Raises
    ------
    ValueError, TypeError
        If an argument is outside its range.

    Notes
    -----
    Derived in the chapter *The learning rate*.

    Examples
    --------
    >>> stability_limit(2.0)
    1.0
    >>> stability_limit(1.0, momentum=0.9)
    3.8
    """
    curvature = _check.number("curvature", curvature, above=0)
    beta = _check.number("momentum", momentum, at_least=0, below=1)
    if _check.flag("nesterov", nesterov):
        return 2 * (1 + beta) / ((1 + 2 * beta) * curvature)
    return 2 * (1 + beta) / curvature


def staleness_stability_limit(staleness: int, *, curvature: float = 1.0) -> float:
    """Return the learning rate above which descent with old gradients diverges on a quadratic.

    ``theta_{t+1} = theta_t - lr L theta_{t - tau}`` converges for all starts where
    ``lr < 2 sin(pi / (2 (2 tau + 1))) / L``, about ``pi / ((2 tau + 1) L)`` for large tau.

    Parameters
    ----------
    staleness
        tau >= 0, the same at every step; 0 gives ``2/L``.
    curvature
        L > 0, the largest eigenvalue of the Hessian.

    Raises
    ------
    ValueError, TypeError
        If an argument is outside its range.

    Notes
    -----
    Derived in the chapter *Asynchronous SGD*.

    Examples
    --------
    >>> [round(staleness_stability_limit(tau), 4) for tau in (0, 1, 2, 4)]
    [2.0, 1.0, 0.618, 0.3473]
    """
    staleness = _check.integer("staleness", staleness, low=0)
    curvature = _check.number("curvature", curvature, above=0)
    return 2 * math.sin(math.pi / (2 * (2 * staleness + 1))) / curvature


def minibatch_stability_limit(
    curvatures: np.ndarray, batch_size: int, *, replacement: bool = False
) -> float:
    r"""Return the learning rate above which the mean-square error of mini-batch SGD grows.

    For quadratic losses with Hessians H_i, of mean H, a step maps the second moment M of the error
    to ``E[(I - lr H_B) M (I - lr H_B)] = M - lr A(M) + lr^2 Q(M)`` with

        A(M) = H M + M H,    Q(M) = H M H + c (mean_i H_i M H_i - H M H),
        c = (N - B)/(B (N - 1))  without replacement,  1/B  with,

    and the limit is 1/(largest eigenvalue of A^-1 Q). In one dimension, with mean curvature a and
    variance s^2 over the examples, that is ``2 a/(a^2 + c s^2)``; at B = N it is ``2/L``.

    Parameters
    ----------
    curvatures
        (N,) curvatures of the per-example losses, or (N, d, d) Hessians (for least squares
        ``x x'``); memory grows as d^4.
    batch_size
        B. Each batch is drawn independently of the others, as with ``sampling="subset"`` or
        ``"replacement"``.
    replacement
        Whether the examples of a batch are drawn with replacement.

    Raises
    ------
    ValueError, TypeError
        If shapes do not fit, B > N without replacement, or the mean Hessian has a negative
        eigenvalue or is zero.

    Notes
    -----
    Ma, Bassily and Belkin (2018), Wu, Ma and E (2018). Derived in the chapter *The learning rate*.

    Examples
    --------
    >>> minibatch_stability_limit([1.0, 3.0], 2), minibatch_stability_limit([1.0, 3.0], 1)
    (1.0, 0.8)
    """
    hessians = _check.array("curvatures", curvatures, ndim=(1, 3))
    n = len(hessians)
    hessians = hessians.reshape(n, -1, 1) if hessians.ndim == 1 else hessians
    d = hessians.shape[-1]
    if hessians.shape != (n, d, d):
        raise ValueError(f"curvatures: expected shape (N,) or (N, d, d), got {hessians.shape}")
    replacement = _check.flag("replacement", replacement)
    batch_size = _check.integer("batch_size", batch_size, high=None if replacement else n)
    c = 1 / batch_size if replacement else (n - batch_size) / max(1, n - 1) / batch_size
    mean, flat = hessians.mean(axis=0), hessians.reshape(n, d * d)
    second = (flat.T @ flat / n).reshape(d, d, d, d).swapaxes(1, 2).reshape(d * d, d * d)
    squared = np.kron(mean, mean)
    A = np.kron(mean, np.eye(d)) + np.kron(np.eye(d), mean)
    Q = squared + c * (second - squared)
    values, vectors = np.linalg.eigh(A)
    if values[0] < -1e-9 * values[-1] or values[-1] <= 0:
        raise ValueError(
            f"curvatures: expected a mean Hessian without negative eigenvalues, "
            f"got {values[0] / 2:g}..{values[-1] / 2:g}"
        )
    seen = values > 1e-12 * values[-1]  # no loss bends in the other directions
    root = vectors[:, seen] / np.sqrt(values[seen])
    return float(1 / np.linalg.eigvalsh(root.T @ Q @ root)[-1])
