r"""A boundary value problem on the unit cube, its points as data.

::

    -lap u = f inside,  u = 0 on the boundary

    energy            J = int e,       e = |grad u|^2 / 2 - f u
    squared residual  S = int s,       s = (lap u + f)^2 / 2
    weak residuals    W = sum_k R_k^2 / 2,   R_k = int r_k,   r_k = grad u . grad v_k - f v_k

A *field* is a module that maps points (..., d) to values (...), each point by itself. From it
`Energy`, `SquaredResidual` and `WeakResiduals` make modules that return an integrand at their
points. So `sgdlib.deep.train` minimizes an integral without targets: J and S are means over points,
and a batch of points gives an unbiased gradient. W is a square *of* means: the square of a batch's
mean is biased by Var/Q, the product of the means of two independent batches is not. There an
example is a whole batch of Q points, or a pair of them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import nn
from torch.autograd import forward_ad

from sgdlib import _check
from sgdlib.deep._models import check_model

Function = Callable[[torch.Tensor], torch.Tensor]


def value_and_gradient(field: Function, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return a field's values (...) at points x (..., d), and its gradients there (..., d).

    Both can be differentiated with respect to the field's parameters, where gradients are enabled.
    A field with values (..., K) has gradients (..., K, d).

    Raises
    ------
    ValueError, TypeError
        If `x` is no tensor of points, or the field is no function.

    Notes
    -----
    Derived in the chapter *Physics-informed networks*.

    Examples
    --------
    >>> with torch.no_grad():
    ...     value_and_gradient(lambda x: x[..., 0] * x[..., 1] ** 2, torch.tensor([[1.0, 3.0]]))
    (tensor([9.]), tensor([[9., 6.]]))
    """
    with _differentiable(field, x) as x:
        u = _values(field, x)
        each = u[..., None] if u.shape == x.shape[:-1] else u
        slopes = [_slope(values, x) for values in each.unbind(dim=-1)]
        slope = slopes[0] if each is not u else torch.stack(slopes, dim=-2)
    return (u, slope) if torch.is_grad_enabled() else (u.detach(), slope.detach())


def laplacian(field: Function, x: torch.Tensor) -> torch.Tensor:
    """Return the sum of a field's second derivatives (...) at points x (..., d).

    Raises
    ------
    ValueError, TypeError
        If `x` is no tensor of points, or the field is no function.

    Notes
    -----
    Derived in the chapter *Physics-informed networks*.

    Examples
    --------
    >>> with torch.no_grad():
    ...     laplacian(lambda x: x[..., 0] * x[..., 1] ** 2, torch.tensor([[1.0, 3.0]]))
    tensor([2.])
    """
    with _differentiable(field, x) as x:
        slopes = _slope(_values(field, x), x).unbind(dim=-1)
        second = sum(_slope(slope, x)[..., i] for i, slope in enumerate(slopes))
    return second if torch.is_grad_enabled() else second.detach()


@contextmanager
def _differentiable(field: Function, x: torch.Tensor) -> Iterator[torch.Tensor]:
    """Give the points as a tensor that asks for a gradient, whatever the caller is in."""
    _check.function("field", field)
    if not isinstance(x, torch.Tensor):
        raise TypeError(f"x: expected a tensor of points, got {type(x).__name__}")
    if x.ndim < 1 or not x.numel() or not x.is_floating_point():
        raise ValueError(
            f"x: expected points (..., d), real numbers, got {tuple(x.shape)} of {x.dtype}"
        )
    with torch.inference_mode(False), torch.enable_grad():
        yield x if x.requires_grad else x.clone().requires_grad_()


def _values(field: Function, x: torch.Tensor) -> torch.Tensor:
    values = field(x)
    if not isinstance(values, torch.Tensor):
        raise TypeError(f"field: expected a tensor of values, got {type(values).__name__}")
    return values


def _slope(values: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    """Return the gradient of each value at its own point: that of their sum."""
    if not values.requires_grad:
        return torch.zeros_like(x)
    (slope,) = torch.autograd.grad(values.sum(), x, create_graph=True, materialize_grads=True)
    return slope


class ZeroBoundary(nn.Module):
    """A network times a factor that is 0 on the boundary: a field that keeps its condition.

    Parameters
    ----------
    network
        Module that maps points (..., d) to (..., 1).
    factor
        Function of points (..., d) with values (...), 0 on the boundary and positive inside; None:
        ``prod_i 4 x_i (1 - x_i)``, for the unit cube.

    Raises
    ------
    TypeError
        If the network is no module or the factor no function.

    Notes
    -----
    Used in the chapter *Physics-informed networks*.

    Examples
    --------
    >>> field = ZeroBoundary(nn.Linear(1, 1))
    >>> field(torch.tensor([[0.0], [1.0]])).abs().tolist()
    [0.0, 0.0]
    """

    def __init__(self, network: nn.Module, factor: Function | None = None):
        super().__init__()
        check_model(network, "network")
        self.network = network
        self.factor = _bubble if factor is None else _check.function("factor", factor)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the values (...) at points (..., d)."""
        return self.factor(x) * self.network(x)[..., 0]


def _bubble(x):
    return (4 * x * (1 - x)).prod(dim=-1)


class _Integrand(nn.Module):
    """What `Energy`, `SquaredResidual` and `WeakResiduals` have in common."""

    def __init__(self, field: nn.Module, source: Function):
        super().__init__()
        check_model(field, "field")
        self.field, self.source = field, _check.function("source", source)

    def _load(self, x, values):
        """Return f at the points, where it and the field have one value for each."""
        load = self.source(x)
        for name, each in ("field", values), ("source", load):
            if each.shape != x.shape[:-1]:
                raise ValueError(
                    f"{name}: expected one value for each point, shape {tuple(x.shape[:-1])}, "
                    f"got {tuple(each.shape)}"
                )
        return load


class Energy(_Integrand):
    """The energy density ``|grad u|^2 / 2 - f u`` (...) of a field at points (..., d).

    Parameters
    ----------
    field
        Module that maps points (..., d) to values (...), 0 on the boundary.
    source
        The function f, from points (..., d) to values (...).

    Raises
    ------
    TypeError
        If the field is no module or the source no function.

    Notes
    -----
    Derived in the chapter *Physics-informed networks*, after E and Yu, *The deep Ritz method*,
    2018.

    Examples
    --------
    >>> from sgdlib.deep import gauss_legendre, train
    >>> x, w = (torch.tensor(a, dtype=torch.float32) for a in gauss_legendre(4))
    >>> model = Energy(ZeroBoundary(nn.Linear(1, 1)), lambda x: torch.ones_like(x[..., 0]))
    >>> data = x, len(w) * w
    >>> history = train(model, integrand, data, batch_size=4, epochs=400, lr=0.1)
    >>> round(model.field(torch.tensor([[0.5]])).item(), 4)      # u = x (1 - x) / 2
    0.125
    """

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the density (...) at points (..., d)."""
        u, slope = value_and_gradient(self.field, x)
        return slope.square().sum(dim=-1) / 2 - self._load(x, u) * u


class SquaredResidual(_Integrand):
    """The squared residual ``(lap u + f)^2 / 2`` (...) of a field at points (..., d).

    Parameters
    ----------
    field, source
        As in `Energy`; the field is differentiated twice.

    Raises
    ------
    TypeError
        As in `Energy`.

    Notes
    -----
    Derived in the chapter *Physics-informed networks*, after Raissi, Perdikaris and Karniadakis,
    2019.

    Examples
    --------
    >>> model = SquaredResidual(ZeroBoundary(nn.Linear(1, 1)), lambda x: x[..., 0])
    >>> tuple(model(torch.rand(5, 1)).shape)
    (5,)
    """

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the density (...) at points (..., d)."""
        second = laplacian(self.field, x)
        return (second + self._load(x, second)).square() / 2


class WeakResiduals(_Integrand):
    """The integrands ``grad u . grad v_k - f v_k`` (..., K) of weak residuals at points (..., d).

    Parameters
    ----------
    field, source
        As in `Energy`.
    tests
        The K test functions, 0 on the boundary: from points (..., d) to values (..., K).

    Raises
    ------
    TypeError
        As in `Energy`.

    Notes
    -----
    Derived in the chapter *Physics-informed networks*, after Kharazmi, Zhang and Karniadakis, 2019.

    Examples
    --------
    >>> sines = lambda x: torch.sin(torch.pi * torch.arange(1, 4) * x)
    >>> model = WeakResiduals(ZeroBoundary(nn.Linear(1, 1)), lambda x: x[..., 0], sines)
    >>> x = torch.rand(1, 2, 16, 1)                  # one pair of batches of 16 points
    >>> tuple(model(x).shape), tuple(product_of_means(model(x)).shape)
    ((1, 2, 16, 3), (1,))
    """

    def __init__(self, field: nn.Module, source: Function, tests: Function):
        super().__init__(field, source)
        self.tests = _check.function("tests", tests)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the integrands (..., K) at points (..., d)."""
        u, slope = value_and_gradient(self.field, x)
        v, v_slope = _forward_mode(self.tests, x)
        return (slope[..., None, :] * v_slope).sum(dim=-1) - self._load(x, u)[..., None] * v


@torch.no_grad()
def _forward_mode(tests: Function, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return values (..., K) and gradients (..., K, d): d sweeps, where reverse mode needs K."""
    slopes = []
    for unit in torch.eye(x.shape[-1], dtype=x.dtype, device=x.device):
        with forward_ad.dual_level():
            dual = tests(forward_ad.make_dual(x.detach(), unit.expand_as(x).clone()))
            v, slope = forward_ad.unpack_dual(dual)
        slopes.append(torch.zeros_like(v) if slope is None else slope)
    return v, torch.stack(slopes, dim=-1)


def integrand(values: torch.Tensor, coefficients: torch.Tensor | None = None) -> torch.Tensor:
    """Return the loss of each point (B,): its value, times ``N w_i`` for a node of a quadrature.

    With ``coefficients = N w`` as targets, the mean over N nodes is the sum of the rule, and a
    batch of nodes an unbiased estimate of it.

    Raises
    ------
    ValueError, TypeError
        If the values are no tensor (B, ...), or the coefficients have another shape.

    Notes
    -----
    Used in the chapter *Physics-informed networks*.

    Examples
    --------
    >>> integrand(torch.tensor([1.0, 2.0]), torch.tensor([3.0, 0.5])).tolist()
    [3.0, 1.0]
    """
    _check_values(values, 1)
    if coefficients is None:
        return values
    if not isinstance(coefficients, torch.Tensor) or coefficients.shape != values.shape:
        got = getattr(coefficients, "shape", type(coefficients).__name__)
        got = tuple(got) if isinstance(got, torch.Size) else got
        raise ValueError(f"coefficients: expected shape {tuple(values.shape)}, got {got}")
    return coefficients * values


def squared_mean(values: torch.Tensor) -> torch.Tensor:
    """Return ``sum_k mean_q(values)^2 / 2`` (...) of integrands (..., Q, K): **biased**.

    Its expectation over Q independent points exceeds the squared integrals' by the sum over k of
    ``Var(r_k) / (2 Q)``. Right where the Q points are the whole sum.

    Raises
    ------
    ValueError, TypeError
        If the values are no tensor (..., Q, K).

    Notes
    -----
    Derived in the chapter *Physics-informed networks*.

    Examples
    --------
    >>> squared_mean(torch.tensor([[[1.0], [3.0]]])).tolist()
    [2.0]
    """
    _check_values(values, 2)
    return values.mean(dim=-2).square().sum(dim=-1) / 2


def product_of_means(values: torch.Tensor) -> torch.Tensor:
    """Return ``sum_k mean_q(first) mean_q(second) / 2`` (...) of pairs (..., 2, Q, K): unbiased.

    Raises
    ------
    ValueError, TypeError
        If the values are no tensor (..., 2, Q, K).

    Notes
    -----
    Derived in the chapter *Physics-informed networks*.

    Examples
    --------
    >>> product_of_means(torch.tensor([[[[1.0], [3.0]], [[5.0], [5.0]]]])).tolist()
    [5.0]
    """
    _check_values(values, 3)
    if values.shape[-3] != 2:
        raise ValueError(f"values: expected pairs, shape (..., 2, Q, K), got {tuple(values.shape)}")
    return values.mean(dim=-2).prod(dim=-2).sum(dim=-1) / 2


def _check_values(values, ndim):
    if not isinstance(values, torch.Tensor):
        raise TypeError(f"values: expected a tensor of integrands, got {type(values).__name__}")
    if values.ndim < ndim:
        raise ValueError(
            f"values: expected at least {ndim} dimensions, got shape {tuple(values.shape)}"
        )
