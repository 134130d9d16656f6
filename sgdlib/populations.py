r"""The limit of infinitely many examples: a landscape with additive gradient noise.

A batch of B examples then has the gradient

    g = grad f(theta) + xi,      xi ~ Normal(0, Sigma / B),

with `covariance` = Sigma, the covariance of the per-example gradient. Populations answer to the
same algorithms as finite sums (`loss`, `gradient`, `batch_gradient`); `theta` has shape (d,), or
(R, d) for R replicas.
"""

from __future__ import annotations

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
        Sigma: a variance shared by all coordinates, variances (d,), or a matrix (d, d).

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
        self.dim = _check.integer("dim", dim)
        self._loss, self._gradient = loss, gradient
        for name, function, wanted in (("loss", loss, (2,)), ("gradient", gradient, (2, self.dim))):
            _check.function(name, function)
            with np.errstate(all="ignore"):
                shape = np.shape(function(np.zeros((2, self.dim))))
            if shape != wanted:
                raise ValueError(f"{name}: expected shape {wanted} of two thetas, got {shape}")
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
        return float(value) if np.ndim(value) == 0 else value

    def gradient(self, theta: np.ndarray) -> np.ndarray:
        """Return the gradient of f: (d,) or (R, d)."""
        return self._gradient(_check.parameters(theta, self.dim))

    def batch_gradient(
        self, theta: np.ndarray, batch_size: int, rng: int | np.random.Generator | None = None
    ) -> np.ndarray:
        """Return the gradient of one batch, independent for each replica: (d,) or (R, d)."""
        theta = _check.parameters(theta, self.dim)
        batch_size = _check.integer("batch_size", batch_size)
        noise = self.noise(theta.shape, _check.generator(rng), batch_size)
        return self.weighted_gradient(theta, None, noise)

    def noise(
        self, shape: tuple[int, ...], rng: np.random.Generator, batch_size: int
    ) -> np.ndarray:
        """Draw the deviations of batch gradients from the gradient, shape (..., d)."""
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
        hessian = _check.array("hessian", hessian, ndim=(1, 2))
        self.matrix = np.diag(hessian) if hessian.ndim == 1 else hessian
        dim = len(hessian)
        if self.matrix.shape != (dim, dim):
            raise ValueError(f"hessian: expected shape (d,) or (d, d), got {hessian.shape}")
        if not np.allclose(self.matrix, self.matrix.T):
            raise ValueError("hessian: expected a symmetric matrix, got one that is not")
        self.center = np.zeros(dim) if center is None else _check.array("center", center, ndim=1)
        if self.center.shape != (dim,):
            raise ValueError(f"center: expected shape ({dim},), got {self.center.shape}")

        def away(theta):
            return theta - self.center if self.center.any() else theta

        def gradient(theta):
            return _scaled(away(theta), hessian) if hessian.ndim == 1 else away(theta) @ hessian

        def loss(theta):
            return 0.5 * np.vecdot(away(theta), gradient(theta))

        super().__init__(loss, gradient, dim=dim, covariance=covariance)

    def hessian(self, theta: np.ndarray | None = None) -> np.ndarray:
        """Return H, (d, d), the same at every theta."""
        return self.matrix

    def minimizer(self) -> np.ndarray:
        """Return the center, (d,)."""
        return self.center


class Saddle(Population):
    """The saddle ``f = (stiffness x^2 - instability y^2) / 2`` with additive noise.

    Notes
    -----
    Derived in the chapter *Saddle points*.
    """

    def __init__(
        self, covariance: float | np.ndarray, *, stiffness: float = 1.0, instability: float = 1.0
    ):
        self.stiffness = _check.number("stiffness", stiffness, above=0)
        self.instability = _check.number("instability", instability, above=0)
        bend = np.array([self.stiffness, -self.instability])
        super().__init__(
            lambda theta: 0.5 * np.square(theta) @ bend,
            lambda theta: _scaled(theta, bend),
            dim=2,
            covariance=covariance,
        )


class DoubleWell(Population):
    """Two wells at x = -1 and 1: ``f = (x^2 - 1)^2 / 4 + tilt x``, barrier 1/4 if untilted.

    Notes
    -----
    Derived in the chapter *Over the barrier*.
    """

    def __init__(self, covariance: float | np.ndarray, *, tilt: float = 0.0):
        self.tilt = _check.number("tilt", tilt)

        def loss(theta):
            x = theta[..., 0]
            return (x**2 - 1) ** 2 / 4 + self.tilt * x

        super().__init__(loss, lambda x: x * (x * x - 1) + self.tilt, dim=1, covariance=covariance)


def _scaled(x, factors):
    """Return x (..., d) times factors (d,), or times one factor (1,)."""
    # Many short rows are multiplied row by row, slowly: a product with a matrix is faster.
    if x.ndim > 1 and 1 < len(factors) <= 8:
        return x @ np.diag(factors)
    return x * factors


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
    return matrix.astype(float)
