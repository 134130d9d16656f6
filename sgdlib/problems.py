r"""What is summed: finite sums of per-example losses.

    L(theta) = (1/N) sum_i l_i(theta)          grad L(theta) = (1/N) sum_i grad l_i(theta)

Everywhere `theta` has shape (d,), or (R, d) for R replicas at once. A problem keeps its data in
arrays with one row per example; algorithms gather rows (a block of whole batches at a time) and
hand slices of them to `weighted_gradient`, so that one protocol serves every problem at full speed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from sgdlib import _check

_LOSSES_AT_ONCE = 1_000_000  # examples x replicas evaluated together: bounds the memory


class FiniteSum:
    """A finite sum of N losses over `dim` parameters.

    Parameters
    ----------
    arrays
        The data: arrays of equal length N, one row per example.
    dim
        Number of parameters d.

    Notes
    -----
    A subclass supplies `row_losses` and `row_gradients` on rows of its arrays; everything else
    follows, and may be overridden where a closed form is known. Derived in the chapter *The
    gradient-descent spectrum*.
    """

    def __init__(self, arrays: Sequence[np.ndarray], dim: int):
        if not arrays:
            raise ValueError("arrays=(): expected at least one array of examples")
        if any(np.ndim(a) == 0 for a in arrays):
            raise ValueError("arrays: expected one row per example, got a single number")
        lengths = [len(a) for a in arrays]
        if len(set(lengths)) != 1:
            raise ValueError(f"arrays: expected the same number of rows in each, got {lengths}")
        self.arrays = tuple(arrays)
        self.n = _check.integer("number of examples", lengths[0])
        self.dim = _check.integer("dim", dim)

    # -- supplied by subclasses: rows have a leading axis (B,), or (R, B) beside theta (R, d) --

    def row_losses(self, theta: np.ndarray, *rows: np.ndarray) -> np.ndarray:
        """Return the losses (B,) or (R, B) of the given rows."""
        raise TypeError(f"{type(self).__name__} does not define row_losses")

    def row_gradients(self, theta: np.ndarray, *rows: np.ndarray) -> np.ndarray:
        """Return the gradients (B, d) or (R, B, d) of the given rows."""
        raise TypeError(f"{type(self).__name__} does not define row_gradients")

    def weighted_gradient(
        self, theta: np.ndarray, weights: np.ndarray | float, *rows: np.ndarray
    ) -> np.ndarray:
        """Return ``sum_i weights[i] grad l_i`` over the given rows: (d,) or (R, d).

        `weights` is (B,), or one float shared by all rows, multiplied in once.
        """
        gradients = self.row_gradients(theta, *rows)
        if isinstance(weights, float):
            return weights * gradients.sum(axis=-2)
        return np.vecmat(weights, gradients)

    # -- the public protocol --

    def losses(self, theta: np.ndarray, indices: np.ndarray | None = None) -> np.ndarray:
        """Return per-example losses: (B,) or (R, B); all N examples if `indices` is None."""
        theta = _check.parameters(theta, self.dim)
        return self.row_losses(theta, *self._rows(indices, theta))

    def gradients(self, theta: np.ndarray, indices: np.ndarray | None = None) -> np.ndarray:
        """Return per-example gradients, (B, d) or (R, B, d); of all N if `indices` is None."""
        theta = _check.parameters(theta, self.dim)
        return self.row_gradients(theta, *self._rows(indices, theta))

    def batch_gradient(
        self, theta: np.ndarray, indices: np.ndarray, weights: np.ndarray
    ) -> np.ndarray:
        """Return the batch gradient ``sum_i weights[i] grad l[indices[i]]``.

        Parameters
        ----------
        theta
            (d,) or (R, d).
        indices
            (B,), or (R, B) with one row per replica.
        weights
            (B,), shared by the replicas.

        Raises
        ------
        ValueError, TypeError
            If the shapes do not fit, or a weight is not finite.
        IndexError
            If an index is outside 0..N-1.
        """
        theta = _check.parameters(theta, self.dim)
        rows, weights = self.batch_rows(theta, indices, weights)
        return self.weighted_gradient(theta, weights, *rows)

    def batch_rows(
        self, theta: np.ndarray, indices: np.ndarray, weights: np.ndarray
    ) -> tuple[tuple[np.ndarray, ...], np.ndarray]:
        """Return the rows of the arrays at `indices`, and the weights, after checking both."""
        if indices is None:
            raise TypeError("indices=None: expected an array of integers")
        rows = self._rows(indices, theta)
        weights, wanted = _check.array("weights", weights), np.shape(indices)[-1:]
        if weights.shape != wanted:
            raise ValueError(f"weights: expected shape {wanted}, got {weights.shape}")
        return rows, weights

    def loss(self, theta: np.ndarray) -> np.ndarray | float:
        """Return the full loss L(theta): a float, or (R,)."""
        theta = _check.parameters(theta, self.dim)
        if theta.ndim == 1:
            return float(self.row_losses(theta, *self.arrays).mean())
        parts = [self.row_losses(t, *self.arrays).mean(axis=-1) for t in self._groups(theta)]
        return np.concatenate(parts)

    def gradient(self, theta: np.ndarray) -> np.ndarray:
        """Return the full gradient: (d,) or (R, d)."""
        theta = _check.parameters(theta, self.dim)
        if theta.ndim == 1:
            return self.weighted_gradient(theta, 1 / self.n, *self.arrays)
        parts = [self.weighted_gradient(t, 1 / self.n, *self.arrays) for t in self._groups(theta)]
        return np.concatenate(parts)

    def hessian(self, theta: np.ndarray) -> np.ndarray:
        """Return the (d, d) Hessian of L at theta (d,), by central differences of the gradient."""
        theta = self._single(theta)
        step = 1e-5 * np.maximum(1.0, np.abs(theta))
        shifts = np.diag(step)
        columns = [self.gradient(theta + s) - self.gradient(theta - s) for s in shifts]
        hessian = np.array(columns) / (2 * step[:, None])
        return (hessian + hessian.T) / 2

    def minimizer(self) -> np.ndarray:
        """Return a local minimizer of L, (d,), found by BFGS from zero.

        Raises
        ------
        ArithmeticError
            If no point with a gradient near zero was found.
        """
        from scipy.optimize import minimize

        def loss(theta):
            return self.row_losses(theta, *self.arrays).mean()

        def gradient(theta):
            return self.weighted_gradient(theta, 1 / self.n, *self.arrays)

        with np.errstate(all="ignore"):  # without a minimizer theta runs away
            end = minimize(loss, np.zeros(self.dim), jac=gradient, options={"gtol": 1e-9}).x
            size = float(np.abs(gradient(end)).max())
        if not size < 1e-6:
            raise ArithmeticError(f"no minimizer found: the largest gradient entry is {size:.1e}")
        return end

    # -- helpers --

    def _groups(self, theta):
        """Cut replicas (R, d) into groups for which all N examples fit in memory."""
        group = max(1, _LOSSES_AT_ONCE // self.n)
        return [theta[i : i + group] for i in range(0, len(theta), group)]

    def _rows(self, indices, theta):
        if indices is None:
            return self.arrays
        indices = np.asarray(indices)
        if indices.size == 0:
            raise ValueError(f"indices: expected at least one, got shape {indices.shape}")
        if indices.dtype.kind not in "iu":
            raise TypeError(f"indices: expected integers, got dtype {indices.dtype}")
        wanted = "(B,)" if theta.ndim == 1 else f"(B,) or ({len(theta)}, B)"
        if indices.ndim != 1 and (theta.ndim == 1 or indices.shape[:-1] != theta.shape[:-1]):
            raise ValueError(f"indices: expected shape {wanted}, got {indices.shape}")
        if not (indices.min() >= 0 and indices.max() < self.n):
            raise IndexError(
                f"indices: expected 0..{self.n - 1}, got {indices.min()}..{indices.max()}"
            )
        return tuple(a[indices] for a in self.arrays)

    def _single(self, theta):
        theta = _check.parameters(theta, self.dim)
        if theta.ndim != 1:
            raise ValueError(f"theta: expected shape ({self.dim},), got {theta.shape}")
        return theta


class _Linear(FiniteSum):
    """A loss of the linear prediction z_i = x_i . theta, with an l2 penalty on every example."""

    def __init__(self, X: np.ndarray, y: np.ndarray, l2: float):
        X, y = _check.array("X", X, ndim=2), _check.array("y", y, ndim=1)
        if len(X) != len(y):
            raise ValueError(f"X, y: expected the same number of rows, got {len(X)} and {len(y)}")
        self.l2 = _check.number("l2", l2, at_least=0)
        super().__init__((np.ascontiguousarray(X), y), X.shape[1])

    X = property(lambda self: self.arrays[0], doc="The (N, d) inputs.")
    y = property(lambda self: self.arrays[1], doc="The (N,) targets.")

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
        X = self.X.astype(float, copy=False)
        return X.T @ X / self.n + self.l2 * np.eye(self.dim)

    def minimizer(self) -> np.ndarray:
        """Return the minimizer (d,), of least norm where there are several."""
        if self.l2:
            return np.linalg.solve(self.hessian(), self.X.T @ self.y / self.n)
        return np.linalg.lstsq(self.X.astype(float), self.y.astype(float))[0]


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


def from_arrays(
    arrays: Sequence[np.ndarray],
    losses: Callable[..., np.ndarray],
    gradients: Callable[..., np.ndarray],
    *,
    dim: int,
) -> FiniteSum:
    """Return the finite sum of your own loss, given as functions of array rows.

    Parameters
    ----------
    arrays
        The data, one row per example.
    losses, gradients
        ``losses(theta, *rows) -> (B,)`` and ``gradients(theta, *rows) -> (B, d)`` for one theta
        (d,) and B rows of each array. Replicas are evaluated one after another.
    dim
        Number of parameters d.

    Raises
    ------
    ValueError, TypeError
        If a function returns the wrong shape for two examples, the arrays' lengths differ, or
        data are empty or not finite.

    Examples
    --------
    >>> x = np.array([1.0, 2.0, 6.0])
    >>> spread = from_arrays(
    ...     [x], lambda t, x: (t[0] - x) ** 2 / 2, lambda t, x: t - x[:, None], dim=1
    ... )
    >>> spread.gradient([0.0])
    array([-3.])
    """
    if isinstance(arrays, np.ndarray):
        raise TypeError(f"arrays: expected a list of arrays, got one of shape {arrays.shape}")
    arrays = [_check.data("arrays", np.asarray(a)) for a in arrays]
    return _OwnLoss(arrays, losses, gradients, dim)


class _OwnLoss(FiniteSum):
    def __init__(self, arrays, losses, gradients, dim):
        super().__init__(arrays, dim)
        self._losses = _check.function("losses", losses)
        self._gradients = _check.function("gradients", gradients)
        few = [a[:2] for a in self.arrays]
        count = len(few[0])
        for name, function, wanted in (
            ("losses", losses, (count,)),
            ("gradients", gradients, (count, self.dim)),
        ):
            with np.errstate(all="ignore"):
                shape = np.shape(function(np.zeros(self.dim), *few))
            if shape != wanted:
                raise ValueError(f"{name}: expected shape {wanted} of {count} rows, got {shape}")

    def row_losses(self, theta, *rows):
        return self._each(self._losses, theta, rows)

    def row_gradients(self, theta, *rows):
        return self._each(self._gradients, theta, rows)

    def _each(self, function, theta, rows):
        if theta.ndim == 1:
            return np.asarray(function(theta, *rows))
        own = rows[0].ndim > self.arrays[0].ndim  # each replica has rows of its own
        return np.stack(
            [function(t, *((r[i] for r in rows) if own else rows)) for i, t in enumerate(theta)]
        )
