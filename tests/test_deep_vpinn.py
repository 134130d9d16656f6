"""A variational problem, its points as data: against closed forms and enumerated batches."""

from itertools import combinations, product

import numpy as np
import pytest
import torch
from torch import nn

from sgdlib.deep import (
    DomainPoints,
    Energy,
    PlainSGD,
    SavedBytes,
    SquaredResidual,
    Step,
    WeakResiduals,
    ZeroBoundary,
    accumulate_gradients,
    gauss_legendre,
    integrand,
    laplacian,
    product_of_means,
    squared_mean,
    train,
    train_with,
    value_and_gradient,
)

PI = np.pi


@pytest.fixture(autouse=True)
def _in_float64():
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def source(x):
    """Return f, whose solution is sin(pi x)."""
    return PI**2 * torch.sin(PI * x[..., 0])


def sines(x):
    return torch.sin(PI * torch.arange(1, 4) * x)


class Series(nn.Module):
    """u = sum_k c_k sin(k pi x)."""

    def __init__(self, *coefficients):
        super().__init__()
        self.c = nn.Parameter(torch.tensor(coefficients))

    def forward(self, x):
        k = torch.arange(1, len(self.c) + 1)
        return torch.sin(k * PI * x) @ self.c


def network(dim=1, width=16, seed=0):
    torch.manual_seed(seed)
    layers = [nn.Linear(dim, width), nn.Tanh(), nn.Linear(width, width), nn.Tanh()]
    return ZeroBoundary(nn.Sequential(*layers, nn.Linear(width, 1)))


def gradient(model, loss, *batch, **options):
    model.zero_grad()
    losses = accumulate_gradients(model, loss, batch, **options)
    return losses, torch.cat([p.grad.flatten() for p in model.parameters()])


# -- derivatives --


def test_derivatives_are_those_of_autograd():
    field = network(dim=2)
    x = torch.rand(5, 2, requires_grad=True)
    u, slope = value_and_gradient(field, x.detach())
    value = field(x)
    (expected,) = torch.autograd.grad(value.sum(), x, create_graph=True)
    second = sum(torch.autograd.grad(expected[:, i].sum(), x, retain_graph=True)[0][:, i]
                 for i in range(2))  # fmt: skip
    torch.testing.assert_close(u, value)
    torch.testing.assert_close(slope, expected)
    torch.testing.assert_close(laplacian(field, x.detach()), second)


def test_several_values_have_several_gradients_and_any_leading_shape_will_do():
    x = torch.rand(2, 3, 4, 1)
    v, slope = value_and_gradient(sines, x)
    k = PI * torch.arange(1, 4)
    torch.testing.assert_close(v, torch.sin(k * x))
    torch.testing.assert_close(slope, (k * torch.cos(k * x))[..., None])


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_derivatives_need_no_gradients_around_them(mode):
    field, x = network(), torch.rand(5, 1)
    expected, second = value_and_gradient(field, x), laplacian(field, x)
    with mode():
        u, slope = value_and_gradient(field, torch.clone(x))
        torch.testing.assert_close(laplacian(field, torch.clone(x)), second.detach())
    assert not u.requires_grad
    assert not slope.requires_grad
    torch.testing.assert_close((u, slope), tuple(t.detach() for t in expected))
    u, slope = value_and_gradient(lambda x: 0 * x[..., 0] + 3.0, x)
    assert torch.equal(u, torch.full((5,), 3.0))
    assert not torch.any(slope)
    assert not torch.any(value_and_gradient(lambda x: torch.ones(5), x)[1])  # no x in it


def test_derivatives_of_derivatives():
    x = torch.rand(6, 1)
    _, third = value_and_gradient(lambda x: laplacian(lambda x: x[..., 0] ** 4, x), x)
    torch.testing.assert_close(third, 24 * x)


def test_a_field_keeps_its_boundary():
    field, edge = network(dim=2), torch.rand(8, 2)
    for i, value in product(range(2), (0.0, 1.0)):
        on = edge.clone()
        on[:, i] = value
        assert torch.all(field(on) == 0)
    assert torch.all(field.factor(edge) > 0)


# -- the three forms, on series of sines --


def test_the_energy_is_the_closed_form_and_its_minimum_that_of_the_solution():
    c = torch.tensor([0.7, -0.2, 0.1])
    x, w = map(torch.from_numpy, gauss_legendre(40))
    k2 = torch.arange(1, 4) ** 2
    expected = PI**2 / 4 * (k2 * c**2).sum() - PI**2 / 2 * c[0]
    torch.testing.assert_close(w @ Energy(Series(*c.tolist()), source)(x), expected)
    model = Energy(Series(0.0, 0.3, -0.2), source)
    data = x, len(w) * w
    train(model, integrand, data, batch_size=len(w), epochs=200, lr=0.04, device="cpu")
    np.testing.assert_allclose(model.field.c.detach(), [1, 0, 0], atol=1e-8)
    assert (w @ model(x)).item() == pytest.approx(-(PI**2) / 4, abs=1e-12)  # -2.4674011


def test_the_residuals_vanish_at_the_solution_and_have_their_closed_forms():
    x, w = map(torch.from_numpy, gauss_legendre(40))
    assert SquaredResidual(Series(1.0), source)(x).max() < 1e-20
    away = SquaredResidual(Series(1.5, 0.2), source)
    expected = PI**4 * (0.5**2 + (4 * 0.2) ** 2) / 4
    assert (w @ away(x)).item() == pytest.approx(expected)
    weak = WeakResiduals(Series(1.5, 0.2), source, sines)
    np.testing.assert_allclose(
        (w @ weak(x)).detach(), PI**2 / 2 * np.array([0.5, 0.8, 0]), 1e-9, 1e-12
    )


def test_the_plane():
    def load(x):
        return 2 * PI**2 * torch.sin(PI * x).prod(dim=-1)

    class Product(nn.Module):
        def __init__(self):
            super().__init__()
            self.c = nn.Parameter(torch.tensor(1.0))

        def forward(self, x):
            return self.c * torch.sin(PI * x).prod(dim=-1)

    x, w = map(torch.from_numpy, gauss_legendre(12, cells=2, dim=2))
    assert (w @ Energy(Product(), load)(x)).item() == pytest.approx(-(PI**2) / 4)
    assert SquaredResidual(Product(), load)(x).max() < 1e-18


# -- unbiased or not: every batch, enumerated --

NODES = torch.from_numpy(gauss_legendre(6)[0])
COEFFICIENTS = 6 * torch.from_numpy(gauss_legendre(6)[1])


@pytest.mark.parametrize("form", [Energy, SquaredResidual])
@pytest.mark.parametrize("size", [1, 2, 4])
def test_batches_of_nodes_give_the_gradient_of_the_rule_on_average(form, size):
    model = form(network(width=4), source)
    _, whole = gradient(model, integrand, NODES, COEFFICIENTS)
    every = [
        gradient(model, integrand, NODES[[*s]], COEFFICIENTS[[*s]])[1]
        for s in combinations(range(6), size)
    ]
    torch.testing.assert_close(torch.stack(every).mean(dim=0), whole)
    # planted bug: the weights of the nodes forgotten
    plain = [gradient(model, integrand, NODES[[*s]])[1] for s in combinations(range(6), size)]
    assert (torch.stack(plain).mean(dim=0) - whole).norm() > 0.01 * whole.norm()


def weak_values(Q):
    """Return all ordered batches of Q of four points, with replacement: (4^Q, Q, 1)."""
    points = torch.tensor([0.1, 0.35, 0.6, 0.95])
    return torch.cartesian_prod(*Q * [points]).reshape(-1, Q, 1), points[:, None]


@pytest.mark.parametrize("Q", [1, 2, 3])
def test_the_square_of_a_mean_is_biased_by_the_variance_and_the_product_is_not(Q):
    model = WeakResiduals(network(width=4), source, sines)
    batches, points = weak_values(Q)
    exact, whole = gradient(model, squared_mean, points[None])
    losses, biased = gradient(model, squared_mean, batches)
    excess = model(points).detach().var(dim=0, correction=0).sum() / (2 * Q)
    torch.testing.assert_close(losses.mean() - exact[0], excess)
    assert (biased - whole).norm() > 0.05 * whole.norm()
    pairs = torch.stack([torch.stack(pair) for pair in product(batches, batches)])
    losses, unbiased = gradient(model, product_of_means, pairs)
    torch.testing.assert_close(losses.mean(), exact[0])
    torch.testing.assert_close(unbiased, whole)
    # planted bug: one batch, given twice
    _, twice = gradient(model, product_of_means, torch.stack([batches, batches], dim=1))
    torch.testing.assert_close(twice, biased)


def test_the_bias_is_pi4_over_8_Q_for_the_zero_field():
    """u = 0 and v = sin: the integrand is -pi^2 sin^2, I = -pi^2/2, Var = pi^4/8."""
    model, Q, count = WeakResiduals(Series(0.0), source, lambda x: torch.sin(PI * x)), 16, 60_000
    x = torch.stack(list(DomainPoints(1, steps=count, shape=(2, Q), rng=0)))[:, 0]
    values = model(x).detach()
    excess = 2 * squared_mean(values[:, 0]) - PI**4 / 4
    error = excess.std() / count**0.5
    assert abs(excess.mean() - PI**4 / 8 / Q) < 4 * error  # .76101
    assert abs(excess.mean() - PI**4 / 8 / Q**2) > 10 * error
    assert abs(excess.mean()) > 10 * error
    excess = 2 * product_of_means(values) - PI**4 / 4
    assert abs(excess.mean()) < 4 * excess.std() / count**0.5


class Many(nn.Module):
    """Independent coefficients c of u = c sin(pi x), for points (..., R, *shape, 1)."""

    def __init__(self, replicas, shape):
        super().__init__()
        self.c = nn.Parameter(torch.full((replicas, *(1 for _ in shape)), 0.5))

    def forward(self, x):
        return self.c * torch.sin(PI * x[..., 0])


def displaced(loss, shape, lr=0.005, replicas=400):
    """Return where SGD on a weak residual settles, and the error of that."""
    model = WeakResiduals(Many(replicas, shape), source, lambda x: torch.sin(PI * x))
    step = Step(model, lambda r: loss(r).sum(dim=-1), PlainSGD(model.parameters(), lr))
    kept = []

    def keep(moment):
        if moment.step > 200:
            kept.append(model.field.c.detach().clone())

    points = DomainPoints(1, steps=600, shape=(replicas, *shape), rng=5)
    train_with(step, points, epochs=1, hook=keep, progress=False)
    each = torch.stack(kept).mean(dim=0).flatten()
    return each.mean().item(), each.std().item() / replicas**0.5


def test_training_on_the_square_ends_at_the_displaced_solution_and_on_the_product_does_not():
    Q = 4
    mean, error = displaced(squared_mean, (Q,))
    assert abs(mean - (2 * Q - 1) / (2 * Q + 1)) < 4 * error
    assert abs(mean - 1) > 10 * error
    mean, error = displaced(product_of_means, (2, Q))
    assert abs(mean - 1) < 4 * error


# -- in pieces, and in memory --


def test_the_energy_may_be_accumulated_and_the_square_of_a_mean_not():
    x = torch.rand(64, 1)
    model = Energy(network(), source)
    _, whole = gradient(model, integrand, x)
    torch.testing.assert_close(gradient(model, integrand, x, micro_batch_size=7)[1], whole)
    weak = WeakResiduals(network(), source, sines)
    _, whole = gradient(weak, squared_mean, x[None])
    _, pieces = gradient(weak, squared_mean, x.view(4, 16, 1))  # mean of the pieces' squares
    assert (pieces - whole).norm() > 0.01 * whole.norm()
    # first the residuals, without a graph; then one factor fixed
    with torch.no_grad():
        R = weak(x).mean(dim=0)
    _, passes = gradient(weak, lambda r: r @ R, x, micro_batch_size=16)
    torch.testing.assert_close(passes, whole)


@pytest.mark.parametrize("form", [Energy, SquaredResidual])
def test_activations_grow_with_the_points(form):
    def saved(Q):
        model = form(network(), source)
        with SavedBytes(model.parameters()) as bytes_:
            accumulate_gradients(model, integrand, (torch.rand(Q, 1),))
        return bytes_.peak

    at = [saved(Q) for Q in (1000, 4000, 16000)]
    slopes = np.diff(np.log(at)) / np.log(4)
    np.testing.assert_allclose(slopes, 1, atol=0.02)


# -- at the edge --


def test_what_is_no_field_is_named():
    x = torch.rand(4, 1)
    column = nn.Linear(1, 1)
    with pytest.raises(
        ValueError, match=r"field: expected one value .* shape \(4,\), got \(4, 1\)"
    ):
        Energy(column, source)(x)
    with pytest.raises(ValueError, match=r"source: expected one value .*got \(4, 1\)"):
        SquaredResidual(network(), lambda x: x)(x)
    with pytest.raises(TypeError, match="network: expected a"):
        ZeroBoundary(torch.sin)
    with pytest.raises(TypeError, match="tests"):
        WeakResiduals(network(), source, 3)
    with pytest.raises(ValueError, match=r"x: expected points"):
        laplacian(torch.sin, torch.tensor([1]))
    with pytest.raises(ValueError, match=r"coefficients: expected shape \(3,\), got \(2,\)"):
        integrand(torch.ones(3), torch.ones(2))
    with pytest.raises(ValueError, match="values: expected at least 2 dimensions"):
        squared_mean(torch.ones(3))
    with pytest.raises(ValueError, match="values: expected pairs"):
        product_of_means(torch.ones(1, 3, 4, 1))
