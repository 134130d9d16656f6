r"""Landscapes with known answers: a saddle, two wells, and one that is hard to search."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from sgdlib import _check
from sgdlib.populations import Population, _center, _scaled

_MOST_POINTS = 1_000_000  # of the grid on which minima are looked for


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


class Rugged(Population):
    r"""A bowl with ripples: many minima, and one lowest, the center, where f is 0.

    With x = theta - center, summed over the d coordinates::

        f = sum_j ( bowl x_j^2 / 2 + sum_r a_r (1 - cos(2 pi x_j / p_r)) )

    No term is ever negative, and the first is zero only at x = 0. So the center is the global
    minimum, the only one, whatever the ripples; every other minimum is a trap.

    Parameters
    ----------
    covariance
        Sigma, as in `Population`.
    dim
        Number of parameters d.
    bowl
        Curvature of the bowl, > 0.
    ripples
        Pairs (a_r, p_r): amplitude and period, both > 0. The default has two scales, long waves
        whose valleys are full of short ones: 29 minima along each axis.
    center
        The global minimizer (d,); zero by default.

    Raises
    ------
    ValueError, TypeError
        If an argument is outside its range.

    Notes
    -----
    With one ripple it is Rastrigin's function. Minima are found to rounding, if the slope keeps its
    sign on either side for 1/64 of the shortest period. Used in the chapter *Simulated annealing by
    batch size*.

    Examples
    --------
    >>> f = Rugged(1.0, dim=2)
    >>> len(f.minima()), f.loss([0.0, 0.0])
    (29, 0.0)
    >>> f.in_global_basin([[0.1, -0.2], [0.1, 0.6]]).tolist()
    [True, False]
    """

    def __init__(
        self,
        covariance: float | np.ndarray,
        *,
        dim: int = 1,
        bowl: float = 0.06,
        ripples: Sequence[tuple[float, float]] = ((0.12, 3.0), (0.05, 0.6)),
        center: np.ndarray | None = None,
    ):
        dim, self.bowl = _check.integer("dim", dim), _check.number("bowl", bowl, above=0)
        pairs = _check.array("ripples", ripples, ndim=2)
        if pairs.shape[1] != 2 or pairs.min() <= 0:
            shown = _check.shown(ripples)
            raise ValueError(f"ripples={shown}: expected pairs (amplitude, period), all > 0")
        self.center = _center(center, dim)
        self._waves = [(a, 2 * math.pi / p) for a, p in pairs.tolist()]
        self._minima, tops = self._turning_points(pairs[:, 1].min() / 64)
        self._rim = tops[tops > 0].min(initial=math.inf)  # the first maximum beside the center

        def loss(theta):
            x = theta - self.center
            each = self.bowl / 2 * x * x
            for a, w in self._waves:
                each += a - a * np.cos(w * x)
            return each.sum(axis=-1)

        super().__init__(
            loss, lambda theta: self._slope(theta - self.center), dim=dim, covariance=covariance
        )

    def _slope(self, x):
        """Return the derivative of one coordinate's f at a distance x from the center."""
        g = self.bowl * x
        for a, w in self._waves:
            g += (a * w) * np.sin(w * x)
        return g

    def _turning_points(self, step):
        """Return the minima and the maxima of one coordinate, by bisection on a grid."""
        # Beyond this distance the bowl is steeper than all ripples together.
        count = 2 + sum(a * w for a, w in self._waves) / self.bowl / step
        if count > _MOST_POINTS:
            raise ValueError(f"bowl={self.bowl:g}: expected a steeper one, with fewer minima")
        grid = step * (np.arange(int(count) + 1) + 0.5)  # to the right: f is symmetric
        up = self._slope(grid) > 0
        turns = np.flatnonzero(up[1:] != up[:-1])
        low, high, rising = grid[turns], grid[turns + 1], up[turns + 1]
        for _ in range(60):
            middle = (low + high) / 2
            before = (self._slope(middle) > 0) == rising
            low, high = np.where(before, low, middle), np.where(before, middle, high)
        minima, tops = low[rising], low[~rising]
        return np.concatenate([-minima[::-1], [0.0], minima]), np.append(-tops[::-1], tops)

    def minimizer(self) -> np.ndarray:
        """Return the global minimizer, (d,)."""
        return self.center.copy()

    def minima(self) -> np.ndarray:
        """Return the minima of one coordinate, as distances from the center, ascending: (m,).

        The coordinates do not know of each other, so f has m^d minima.
        """
        return self._minima.copy()

    def in_global_basin(self, theta: np.ndarray) -> np.ndarray:
        """Tell whether the slope leads from theta down to the center: () or (R,)."""
        theta = _check.parameters(theta, self.dim)
        return (np.abs(theta - self.center) < self._rim).all(axis=-1)
