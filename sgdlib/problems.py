r"""What is summed: finite sums of per-example losses.

    L(theta) = (1/N) sum_i l_i(theta)          grad L(theta) = (1/N) sum_i grad l_i(theta)

Everywhere `theta` has shape (d,), or (R, d) for R replicas at once. A problem keeps its data in
arrays with one row per example; algorithms gather rows (a block of whole batches at a time) and
hand slices of them to `weighted_gradient`, so that one protocol serves every problem at full speed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

import numpy as np

from sgdlib import _check

_LOSSES_AT_ONCE = 1_000_000  # examples x replicas evaluated together: bounds the memory


class Problem(Protocol):
    """What algorithms ask of a problem, be it a finite sum or a population.

    `n` is the number of examples, infinite for a population. A batch is what `draw` returns:
    weights, and the rows that go with them. A run gathers its rows itself, from the `arrays` of a
    finite sum, and draws the `noise` of a population, several steps at a time.
    """

    n: int | float
    dim: int

    def loss(self, theta: np.ndarray) -> np.ndarray | float:
        """Return the full loss: a float, or (R,)."""

    def gradient(self, theta: np.ndarray) -> np.ndarray:
        """Return the full gradient: (d,) or (R, d)."""

    def draw(
        self, replicas: int | None, batch_size: int, rng: np.random.Generator
    ) -> tuple[np.ndarray | float | None, tuple[np.ndarray, ...]]:
        """Return weights and rows of an independent batch, or of one for each replica."""

    def weighted_gradient(
        self, theta: np.ndarray, weights: np.ndarray | float | None, *rows: np.ndarray
    ) -> np.ndarray:
        """Return the batch gradient: (d,) or (R, d)."""


class FiniteSum:
    """A finite sum of N losses over `dim` parameters.

    Parameters
    ----------
    arrays
        The data: arrays of equal length N, one row per example. They are copied, so that nothing
        changes them later; an array that cannot be written into (``X.flags.writeable = False``, a
        memory map opened with mode "r") is not, which saves memory.
    dim
        Number of parameters d.

    Raises
    ------
    ValueError, TypeError
        If the arrays' lengths differ, or data are empty, missing, masked or not finite.

    Notes
    -----
    A subclass supplies `row_losses` and `row_gradients` on rows of its arrays; everything else
    follows, and may be overridden where a closed form is known. Derived in the chapter *The
    gradient-descent spectrum*.
    """

    def __init__(self, arrays: Sequence[np.ndarray], dim: int):
        if isinstance(arrays, str) or not isinstance(arrays, Sequence):
            one = isinstance(arrays, np.ndarray)
            got = f"one of shape {arrays.shape}" if one else f"a {type(arrays).__name__}"
            raise TypeError(f"arrays: expected a list of arrays, got {got}")
        if not arrays:
            raise ValueError("arrays=(): expected at least one array of examples")
        checked = [_check.data("arrays", a) for a in arrays]
        if any(a.ndim == 0 for a in checked):
            raise ValueError("arrays: expected one row per example, got a single number")
        lengths = [len(a) for a in checked]
        if len(set(lengths)) != 1:
            raise ValueError(f"arrays: expected the same number of rows in each, got {lengths}")
        self.arrays = tuple(_check.frozen(a) for a in checked)
        self.n = lengths[0]
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

    def draw(
        self, replicas: int | None, batch_size: int, rng: np.random.Generator
    ) -> tuple[float, tuple[np.ndarray, ...]]:
        """Return weight and rows of a batch drawn with replacement, or of one for each replica."""
        lead = () if replicas is None else (replicas,)
        indices = rng.integers(self.n, size=(*lead, batch_size))
        return 1 / batch_size, tuple(a.take(indices, axis=0) for a in self.arrays)

    # -- the public protocol --

    def losses(self, theta: np.ndarray, indices: np.ndarray | None = None) -> np.ndarray:
        """Return per-example losses: (B,) or (R, B); all N examples if `indices` is None."""
        theta = _check.parameters(theta, self.dim)
        return _own(self.row_losses(theta, *self._rows(indices, _replicas(theta))))

    def gradients(self, theta: np.ndarray, indices: np.ndarray | None = None) -> np.ndarray:
        """Return per-example gradients, (B, d) or (R, B, d); of all N if `indices` is None."""
        theta = _check.parameters(theta, self.dim)
        return _own(self.row_gradients(theta, *self._rows(indices, _replicas(theta))))

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
        rows, weights = self.batch_rows(indices, weights, _replicas(theta))
        return self.weighted_gradient(theta, weights, *rows)

    def batch_rows(
        self, indices: np.ndarray, weights: np.ndarray, replicas: int | None = None
    ) -> tuple[tuple[np.ndarray, ...], np.ndarray]:
        """Return the rows of the arrays at `indices`, and the weights, after checking both.

        `indices` is (B,), or (R, B) for a number R of `replicas`.
        """
        if indices is None:
            raise TypeError("indices=None: expected an array of integers")
        replicas = None if replicas is None else _check.integer("replicas", replicas)
        indices = _check.plain("indices", indices)
        rows = self._rows(indices, replicas)
        weights, wanted = _check.array("weights", weights), indices.shape[-1:]
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

    def _rows(self, indices, replicas):
        if indices is None:
            return self.arrays
        indices = _check.plain("indices", indices)
        if indices.size == 0:
            raise ValueError(f"indices: expected at least one, got shape {indices.shape}")
        if indices.dtype.kind not in "iu":
            raise TypeError(f"indices: expected integers, got dtype {indices.dtype}")
        wanted = "(B,)" if replicas is None else f"(B,) or ({replicas}, B)"
        if indices.ndim != 1 and (replicas is None or indices.shape[:-1] != (replicas,)):
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
    return _OwnLoss(arrays, losses, gradients, dim)


def _replicas(theta):
    return None if theta.ndim == 1 else len(theta)


def _own(values):
    """Return an array that is no view of another: the caller may write into it."""
    own = values.flags.owndata and values.flags.writeable
    return values if own else values.copy()


class _OwnLoss(FiniteSum):
    def __init__(self, arrays, losses, gradients, dim):
        super().__init__(arrays, dim)
        self._losses, self._gradients = losses, gradients
        few = [a[:2] for a in self.arrays]
        count = len(few[0])
        for name, function, wanted in (
            ("losses", losses, (count,)),
            ("gradients", gradients, (count, self.dim)),
        ):
            values = _check.probed(name, function, np.zeros(self.dim), *few)
            _check.answer(name, values, wanted, f"{count} rows")

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
