"""Learning rate against batch size, and the limits of both."""

from __future__ import annotations

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
    if nesterov:
        return 2 * (1 + beta) / ((1 + 2 * beta) * curvature)
    return 2 * (1 + beta) / curvature
