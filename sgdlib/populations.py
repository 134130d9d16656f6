r"""The limit of infinitely many examples: a landscape with additive gradient noise.

A batch of B examples then has the gradient

    g = grad f(theta) + xi,      xi ~ Normal(0, Sigma / B),

with `covariance` = Sigma, the covariance of the per-example gradient. Populations answer to the
same algorithms as finite sums (`loss`, `gradient`, `batch_gradient`); `theta` has shape (d,), or
(R, d) for R replicas.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from sgdlib import _check


class Population:
    """A landscape given by its loss and gradient, seen through batches of noisy examples.

    Parameters
    ----------
    loss, gradient
        Functions of theta (..., d) that return (...) and (..., d).
    dim
        Number of parameters d.
    covariance
        Sigma: a variance shared by all coordinates, variances (d,), or a matrix (d, d). It is
        kept as a read-only matrix.

    Raises
    ------
    ValueError, TypeError
        If `covariance` has the wrong shape or is not positive semidefinite, or a function returns
        the wrong shape.

    Notes
    -----
    Derived in the chapter *Smooth and jittery paths*.

    Examples
    --------
    >>> bowl = Population(lambda t: (t**2).sum(-1) / 2, lambda t: t, dim=2, covariance=1.0)
    >>> bowl.batch_gradient(np.array([1.0, 2.0]), 10**12, rng=0).round(3)
    array([1., 2.])
    """

    def __init__(
        self,
        loss: Callable[[np.ndarray], np.ndarray],
        gradient: Callable[[np.ndarray], np.ndarray],
        *,
        dim: int,
        covariance: float | np.ndarray,
    ):
        self.n, self.dim = math.inf, _check.integer("dim", dim)
        self._loss, self._gradient = loss, gradient
        for name, function, wanted in (("loss", loss, (2,)), ("gradient", gradient, (2, self.dim))):
            values = _check.probed(name, function, np.zeros((2, self.dim)))
            _check.answer(name, values, wanted, "two thetas")
        self.covariance = _covariance(covariance, self.dim)
        # A diagonal Sigma needs standard deviations only, a full one a root S with S S' = Sigma.
        diagonal = np.diag(self.covariance)
        if (self.covariance == np.diag(diagonal)).all():
            self._spread = np.sqrt(np.maximum(diagonal, 0))
            if (self._spread == self._spread[0]).all():
                self._spread = self._spread[:1]
        else:
            values, vectors = np.linalg.eigh(self.covariance)
            self._spread = vectors * np.sqrt(np.maximum(values, 0))

    def loss(self, theta: np.ndarray) -> np.ndarray | float:
        """Return f(theta): a float, or (R,)."""
        value = self._loss(_check.parameters(theta, self.dim))
        return float(value) if np.ndim(value) == 0 else np.array(value)

    def gradient(self, theta: np.ndarray) -> np.ndarray:
        """Return the gradient of f: (d,) or (R, d)."""
        return np.array(self._gradient(_check.parameters(theta, self.dim)))

    def batch_gradient(
        self, theta: np.ndarray, batch_size: int, rng: int | np.random.Generator | None = None
    ) -> np.ndarray:
        """Return the gradient of one batch, independent for each replica: (d,) or (R, d)."""
        theta = _check.parameters(theta, self.dim)
        return self._gradient(theta) + self.noise(theta.shape, rng, batch_size)

    def draw(
        self, replicas: int | None, batch_size: int, rng: np.random.Generator
    ) -> tuple[None, tuple[np.ndarray]]:
        """Return the noise of one batch, or of one for each replica; there are no weights."""
        shape = (self.dim,) if replicas is None else (replicas, self.dim)
        return None, (self._noise(shape, rng, batch_size),)

    def noise(
        self, shape: tuple[int, ...], rng: int | np.random.Generator | None, batch_size: int
    ) -> np.ndarray:
        """Draw the deviations of batch gradients from the gradient, shape (..., d)."""
        batch_size = _check.integer("batch_size", batch_size)
        if not isinstance(shape, tuple) or shape[-1:] != (self.dim,):
            shown = _check.shown(shape)
            raise ValueError(f"shape={shown}: expected a tuple (..., {self.dim})")
        shape = tuple(_check.integer("shape", n) for n in shape)
        return self._noise(shape, _check.generator(rng), batch_size)

    def _noise(self, shape, rng, batch_size):
        white = rng.standard_normal(shape)
        if self._spread.ndim == 1:
            return _scaled(white, self._spread / np.sqrt(batch_size))
        return white @ (self._spread.T / np.sqrt(batch_size))

    def weighted_gradient(self, theta: np.ndarray, weights: None, noise: np.ndarray) -> np.ndarray:
        """Return gradient + noise: the inner loop, as `FiniteSum.weighted_gradient`."""
        return self._gradient(theta) + noise


class NoisyQuadratic(Population):
    """The bowl ``f = (theta - center)' H (theta - center) / 2`` with additive noise.

    Parameters
    ----------
    hessian
        H: curvatures (d,) along the axes, or a symmetric matrix (d, d).
    covariance
        Sigma, as in `Population`.
    center
        The minimizer (d,); zero by default.

    Notes
    -----
    Derived in the chapter *Smooth and jittery paths*.
    """

    def __init__(
        self,
        hessian: np.ndarray,
        covariance: float | np.ndarray,
        *,
        center: np.ndarray | None = None,
    ):
        hessian = _check.frozen(_check.array("hessian", hessian, ndim=(1, 2)))
        self.matrix = _check.frozen(np.diag(hessian)) if hessian.ndim == 1 else hessian
        dim = len(hessian)
        if self.matrix.shape != (dim, dim):
            raise ValueError(f"hessian: expected shape (d,) or (d, d), got {hessian.shape}")
        if not np.allclose(self.matrix, self.matrix.T):
            raise ValueError("hessian: expected a symmetric matrix, got one that is not")
        self.center = _center(center, dim)

        def away(theta):
            return theta - self.center if self.center.any() else theta

        def gradient(theta):
            return _scaled(away(theta), hessian) if hessian.ndim == 1 else away(theta) @ hessian

        def loss(theta):
            return 0.5 * np.vecdot(away(theta), gradient(theta))

        super().__init__(loss, gradient, dim=dim, covariance=covariance)

    def hessian(self, theta: np.ndarray | None = None) -> np.ndarray:
        """Return H, (d, d), the same at every theta."""
        if theta is not None:
            _check.parameters(theta, self.dim)
        return self.matrix.copy()

    def minimizer(self) -> np.ndarray:
        """Return the center, (d,).

        Raises
        ------
        ArithmeticError
            If a curvature is negative: f then has no minimum.
        """
        lowest = np.linalg.eigvalsh(self.matrix)[0]
        if lowest < -1e-12 * np.abs(self.matrix).max():
            raise ArithmeticError(
                f"no minimizer: the hessian has the negative curvature {lowest:g}"
            )
        return self.center.copy()


def _scaled(x, factors):
    """Return x (..., d) times factors (d,), or times one factor (1,)."""
    # Many short rows are multiplied row by row, slowly: a product with a matrix is faster.
    if x.ndim > 1 and 1 < len(factors) <= 8:
        return x @ np.diag(factors)
    return x * factors


def _center(value, dim):
    """Return the center (d,) of a landscape, zero by default, as an array of its own."""
    center = np.zeros(dim) if value is None else _check.array("center", value, ndim=1)
    if center.shape != (dim,):
        raise ValueError(f"center: expected shape ({dim},), got {center.shape}")
    return _check.frozen(center.astype(np.float64, copy=False))


def _covariance(value, dim):
    value = _check.array("covariance", value, ndim=(0, 1, 2))
    if value.ndim == 0:
        matrix = float(value) * np.eye(dim)
    elif value.ndim == 1 and len(value) == dim:
        matrix = np.diag(value)
    elif value.shape == (dim, dim):
        matrix = value
    else:
        raise ValueError(
            f"covariance: expected a number, shape ({dim},) or ({dim}, {dim}), got {value.shape}"
        )
    rounding = 1e-6 * np.abs(matrix).max()  # of a matrix computed in float32
    if not np.allclose(matrix, matrix.T, atol=rounding):
        raise ValueError("covariance: expected a symmetric matrix, got one that is not")
    least = np.linalg.eigvalsh(matrix).min()
    if least < -rounding:
        raise ValueError(f"covariance: expected no negative variance, got {least:g}")
    return _check.frozen(matrix.astype(float, copy=False))
