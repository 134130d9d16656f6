r"""Losses of a linear prediction z_i = x_i . theta: least squares and logistic regression."""

from __future__ import annotations

import numpy as np

from sgdlib import _check
from sgdlib.problems import FiniteSum


class _Linear(FiniteSum):
    """A loss of the linear prediction z_i = x_i . theta, with an l2 penalty on every example."""

    def __init__(self, X: np.ndarray, y: np.ndarray, l2: float):
        X, y = _check.array("X", X, ndim=2), _check.array("y", y, ndim=1)
        if len(X) != len(y):
            raise ValueError(f"X, y: expected the same number of rows, got {len(X)} and {len(y)}")
        self.l2 = _check.number("l2", l2, at_least=0)
        super().__init__((X, y), X.shape[1])

    X = property(lambda self: self.arrays[0], doc="The (N, d) inputs, read-only.")
    y = property(lambda self: self.arrays[1], doc="The (N,) targets, read-only.")

    def _predict(self, theta, X):
        """Return the predictions z: (B,) or (R, B)."""
        if theta.ndim == 1:
            return X.dot(theta)  # on a small batch `dot` takes half the time of `@`
        return theta.dot(X.T) if X.ndim == 2 else np.matvec(X, theta)

    def _slope(self, z, y):
        """Return the derivative of the loss with respect to z, in the memory of z."""
        raise TypeError(f"{type(self).__name__} does not define _slope")

    def row_gradients(self, theta, X, y):
        """Return ``slope_i x_i + l2 theta`` for each row."""
        slope = self._slope(self._predict(theta, X), y)
        return slope[..., None] * X + self.l2 * theta[..., None, :]

    def weighted_gradient(self, theta, weights, X, y):
        """Return ``X' (weights * slope) + l2 sum(weights) theta``."""
        slope, uniform = self._slope(self._predict(theta, X), y), isinstance(weights, float)
        if not uniform:
            slope *= weights
        gradient = slope.dot(X) if X.ndim == 2 else np.vecmat(slope, X)
        if uniform:
            gradient *= weights
        if self.l2:
            total = weights * y.shape[-1] if uniform else weights.sum()
            gradient += (self.l2 * total) * theta
        return gradient

    def _penalized(self, losses, theta):
        """Add the penalty to the losses, in place."""
        if self.l2:
            losses += self.l2 / 2 * np.square(theta).sum(axis=-1)[..., None]
        return losses


class LeastSquares(_Linear):
    """Linear least squares: ``l_i(theta) = (x_i . theta - y_i)^2 / 2 + l2 |theta|^2 / 2``.

    Parameters
    ----------
    X, y
        Inputs (N, d) and targets (N,); add a column of ones for an intercept.
    l2
        Ridge penalty, part of every example's loss.

    Raises
    ------
    ValueError, TypeError
        If shapes do not fit, data are empty or not finite, or `l2` is negative.

    Notes
    -----
    Derived in the chapter *The gradient-descent spectrum*.

    Examples
    --------
    >>> problem = LeastSquares([[1.0], [2.0]], [1.0, 2.0])
    >>> problem.minimizer(), problem.loss(np.zeros(1))
    (array([1.]), 1.25)
    """

    def __init__(self, X: np.ndarray, y: np.ndarray, *, l2: float = 0.0):
        super().__init__(X, y, l2)

    def _slope(self, z, y):
        z -= y
        return z

    def row_losses(self, theta, X, y):
        """Return half the squared residuals, plus the penalty."""
        losses = self._predict(theta, X)
        losses -= y
        losses *= losses
        losses *= 0.5
        return self._penalized(losses, theta)

    def hessian(self, theta: np.ndarray | None = None) -> np.ndarray:
        """Return ``X'X/N + l2 I``, the same at every theta."""
        if theta is not None:
            self._single(theta)
        X = self.X.astype(float, copy=False)
        return X.T @ X / self.n + self.l2 * np.eye(self.dim)

    def minimizer(self) -> np.ndarray:
        """Return the minimizer (d,), of least norm where there are several."""
        X, y = self.X.astype(float, copy=False), self.y.astype(float, copy=False)
        if self.l2:
            return np.linalg.solve(self.hessian(), X.T @ y / self.n)
        return np.linalg.lstsq(X, y)[0]


class Logistic(_Linear):
    """Logistic regression with labels 0 and 1.

    ``l_i(theta) = log(1 + exp(z_i)) - y_i z_i + l2 |theta|^2 / 2`` with ``z_i = x_i . theta``.

    Parameters
    ----------
    X, y
        Inputs (N, d) and labels (N,) in {0, 1}.
    l2
        Penalty, part of every example's loss. Without it separable data have no minimizer.

    Raises
    ------
    ValueError, TypeError
        If shapes do not fit, a label is not 0 or 1, or `l2` is negative.

    Notes
    -----
    Used from the chapter *An honest estimate* on.
    """

    def __init__(self, X: np.ndarray, y: np.ndarray, *, l2: float = 0.0):
        super().__init__(X, y, l2)
        other = self.y[(self.y != 0) & (self.y != 1)]
        if other.size:
            raise ValueError(f"y: expected labels 0 and 1, got {other[0]:g}")

    def _slope(self, z, y):
        # sigmoid(z) = (1 + tanh(z/2)) / 2 does not overflow
        z *= 0.5
        np.tanh(z, out=z)
        z += 1.0
        z *= 0.5
        z -= y
        return z

    def row_losses(self, theta, X, y):
        """Return the cross-entropies, plus the penalty."""
        z = self._predict(theta, X)
        return self._penalized(np.logaddexp(0.0, z) - y * z, theta)

    def hessian(self, theta: np.ndarray) -> np.ndarray:
        """Return ``X' diag(p (1-p)) X / N + l2 I`` with ``p = sigmoid(X theta)``, (d, d)."""
        z = self.X @ self._single(theta)
        p = 0.5 * (1 + np.tanh(z / 2))
        return (self.X.T * (p * (1 - p))) @ self.X / self.n + self.l2 * np.eye(self.dim)

    def minimizer(self) -> np.ndarray:
        """Return the minimizer (d,) by Newton's method with step halving.

        Raises
        ------
        ArithmeticError
            If the iteration does not converge: without `l2` the data may be separable.
        """
        theta = np.zeros(self.dim)
        for _ in range(100):
            gradient = self.gradient(theta)
            step = np.linalg.lstsq(self.hessian(theta), gradient)[0]
            if np.abs(step).max() < 1e-9 * (1 + np.abs(theta).max()):
                return theta - step
            if np.abs(gradient).max() < 1e-12:
                break  # the slope has faded but the way goes on: the infimum is at infinity
            scale, highest = 1.0, self.loss(theta) * (1 + 1e-12)  # up to rounding
            while self.loss(theta - scale * step) > highest and scale > 1e-8:
                scale /= 2
            theta = theta - scale * step
        raise ArithmeticError("no minimizer found: separable data need l2 > 0")
