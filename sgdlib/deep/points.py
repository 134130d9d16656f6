"""Points of a domain as data: the nodes of a quadrature, or random points.

A mean over the unit cube is a sum over nodes with weights, or an expectation over a random point.
Either way a batch of points estimates it without bias; how far it scatters depends on how the
points of a batch lie to each other.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch

from sgdlib import _check
from sgdlib.deep.sampler import draw_seed

PLACEMENTS = ("independent", "patch", "stratified")
_BLOCK_NUMBERS = 1 << 17  # drawn at once: a megabyte


def gauss_legendre(points: int, *, cells: int = 1, dim: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """Return the nodes (n, dim) and weights (n,) of a Gauss-Legendre rule on the unit cube.

    Parameters
    ----------
    points
        Nodes in each cell and direction: exact for polynomials of degree ``2 points - 1``.
    cells
        Equal cells in each direction.
    dim
        Dimension of the cube; n is ``(points * cells) ** dim``.

    Raises
    ------
    ValueError, TypeError
        For a number that is not an int >= 1.

    Notes
    -----
    Used in the chapter *Physics-informed networks*.

    Examples
    --------
    >>> x, w = gauss_legendre(3)
    >>> round(float(w @ x[:, 0] ** 5), 12)
    0.166666666667
    """
    points = _check.integer("points", points, high=1000)
    cells = _check.integer("cells", cells, high=1_000_000)
    dim = _check.integer("dim", dim, high=3)
    x, w = np.polynomial.legendre.leggauss(points)
    x = (np.arange(cells)[:, None] + (x + 1) / 2).ravel() / cells
    w = np.tile(w / 2, cells) / cells
    nodes = np.stack(np.meshgrid(*dim * [x], indexing="ij"), axis=-1).reshape(-1, dim)
    weights = np.prod(np.meshgrid(*dim * [w], indexing="ij"), axis=0).ravel()
    return nodes, weights


class DomainPoints:
    """Batches of fresh random points of the unit cube: a loader, see `sgdlib.deep.loading`.

    Whatever the placement, each point by itself is uniform, so the mean of an integrand over a
    batch is unbiased. What differs is how the points of a batch lie to each other.

    Parameters
    ----------
    batch_size
        Examples in a batch, B.
    steps
        Batches in an epoch.
    shape
        Of an example, before the coordinates: ``()`` is one point, ``(R,)`` a point for each of R
        networks, ``(2, Q)`` a pair of batches of Q points. A batch has shape
        ``(B, *shape, dim)``; along `shape` everything is independent.
    dim
        Dimension of the cube, d.
    placement
        ``"independent"``; ``"patch"``: all B points in a cube of side `patch`, at a random place,
        the domain closed to a torus; ``"stratified"``: one in each of B equal cells, where B is
        the d-th power of an integer.
    patch
        Side of the patch, in (0, 1]; with ``placement="patch"`` alone.
    rng
        Seed or NumPy Generator. The points of an epoch follow from seed and epoch.

    Raises
    ------
    ValueError, TypeError
        For an argument out of range.

    Notes
    -----
    Used in the chapter *Physics-informed networks*.

    Examples
    --------
    >>> loader = DomainPoints(4, steps=2, placement="stratified", rng=0)
    >>> [(4 * x[:, 0]).floor().tolist() for x in loader]
    [[0.0, 1.0, 2.0, 3.0], [0.0, 1.0, 2.0, 3.0]]
    """

    def __init__(
        self,
        batch_size: int,
        *,
        steps: int,
        shape: tuple[int, ...] = (),
        dim: int = 1,
        placement: str = "independent",
        patch: float | None = None,
        rng: int | np.random.Generator | None = None,
    ):
        self.batch_size = _check.integer("batch_size", batch_size)
        self.steps = _check.integer("steps", steps)
        if not isinstance(shape, tuple):
            raise TypeError(
                f"shape={_check.shown(shape)}: expected a tuple of ints, such as (2, 16)"
            )
        shape = tuple(_check.integer("shape", length) for length in shape)
        dim = _check.integer("dim", dim, high=100)
        self.placement = _check.option("placement", placement, PLACEMENTS)
        self._size = (self.batch_size, *shape, dim)
        if (patch is not None) != (placement == "patch"):
            raise ValueError(
                f"patch={_check.shown(patch)}: expected a side in (0, 1] with placement='patch', "
                f"and None with the others; placement={placement!r}"
            )
        self.patch = patch if patch is None else _check.number("patch", patch, above=0, at_most=1)
        if placement == "stratified":
            per_side = round(self.batch_size ** (1 / dim))
            if per_side**dim != self.batch_size:
                raise ValueError(
                    f"batch_size={batch_size}: expected the power {dim} of an int, one point for "
                    "each of equal cells"
                )
            cells = np.stack(np.unravel_index(np.arange(self.batch_size), dim * (per_side,)), -1)
            self._cells = cells.reshape(self.batch_size, *(1 for _ in shape), dim)
            self._per_side = per_side
        self.epoch, self.seed = 0, draw_seed(_check.generator(rng))

    @property
    def n(self) -> int:
        """The number of examples in an epoch."""
        return self.steps * self.batch_size

    def __len__(self) -> int:
        return self.steps

    def set_epoch(self, epoch: int) -> None:
        """Let the next iteration run through `epoch` (an int >= 0)."""
        self.epoch = _check.integer("epoch", epoch, low=0)

    def __iter__(self) -> Iterator[torch.Tensor]:
        """Yield the batches of the next epoch."""
        rng = np.random.default_rng([self.seed, self.epoch])
        self.epoch += 1
        most = max(1, _BLOCK_NUMBERS // int(np.prod(self._size)))
        for start in range(0, self.steps, most):
            block = self._draw(rng, min(most, self.steps - start))
            yield from torch.from_numpy(block).to(torch.get_default_dtype())

    def _draw(self, rng: np.random.Generator, count: int) -> np.ndarray:
        x = rng.random((count, *self._size))
        if self.placement == "patch":
            return (rng.random((count, 1, *self._size[1:])) + self.patch * x) % 1
        if self.placement == "stratified":
            return (self._cells + x) / self._per_side
        return x
