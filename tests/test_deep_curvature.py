"""Hessian eigenvalues: equal to closed forms, the right end of the spectrum, honest residuals."""

import copy

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from sgdlib.deep.curvature import hessian_eigenvalues, hessian_product
from sgdlib.problems import LeastSquares, Logistic

N, D, CLASSES = 60, 30, 4


def gaussian(*shape, seed=0, dtype=torch.float64):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


X = gaussian(N, D)
Y = gaussian(N, seed=1)
BITS = (gaussian(N, seed=2) > 0).double()
LABELS = (X @ gaussian(D, CLASSES, seed=3)).argmax(1)


def squares(outputs, y):
    return (outputs[:, 0] - y) ** 2 / 2


def logistic(outputs, y):
    return F.binary_cross_entropy_with_logits(outputs[:, 0], y, reduction="none")


def cross_entropy(outputs, labels):
    return F.cross_entropy(outputs, labels, reduction="none")


def linear(outputs_n=1, seed=4):
    model = nn.Linear(D, outputs_n, bias=False, dtype=torch.float64)
    model.weight.data = 0.3 * gaussian(outputs_n, D, seed=seed)
    return model


def network(dtype=torch.float64, seed=5):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(D, 6), nn.Tanh(), nn.Linear(6, CLASSES)).to(dtype)


def softmax_hessian(weight):
    """H = mean_i (diag(p_i) - p_i p_i') kron x_i x_i', in the order of `weight.flatten()`."""
    p = F.softmax(X @ weight.T, dim=1).detach().numpy()
    blocks = [
        np.kron(np.diag(q) - np.outer(q, q), np.outer(x, x))
        for q, x in zip(p, X.numpy(), strict=True)
    ]
    return np.mean(blocks, axis=0)


CASES = {
    "linear": (linear(), squares, Y, lambda m: LeastSquares(X.numpy(), Y.numpy()).hessian()),
    "logistic": (
        linear(),
        logistic,
        BITS,
        lambda m: Logistic(X.numpy(), BITS.numpy()).hessian(m.weight.detach().numpy()[0]),
    ),
    "softmax": (linear(CLASSES), cross_entropy, LABELS, lambda m: softmax_hessian(m.weight)),
}


@pytest.mark.parametrize("name", CASES)
def test_products_are_those_of_the_closed_form(name):
    model, loss, targets, closed = CASES[name]
    matrix = closed(model)
    v = gaussian(len(matrix), seed=6)
    for batch_size in (7, 4096):
        product = hessian_product(model, loss, (X, targets), v, batch_size=batch_size)
        np.testing.assert_allclose(product.numpy(), matrix @ v.numpy(), rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("k", [1, 3])
def test_eigenvalues_are_those_of_the_closed_form(name, k):
    model, loss, targets, closed = CASES[name]
    values, vectors = np.linalg.eigh(closed(model))
    found = hessian_eigenvalues(model, loss, (X, targets), k, tol=1e-8, rng=0)
    np.testing.assert_allclose(found.eigenvalues, values[::-1][:k], rtol=1e-7)
    assert found.converged
    assert found.eigenvectors.shape == (k, len(values))
    assert (found.residuals < 1e-4 * values[-1]).all()
    overlap = np.abs(vectors[:, ::-1][:, :k].T @ found.eigenvectors.T)
    np.testing.assert_allclose(overlap, np.eye(k), atol=1e-3)


def by_differences(model, loss, data, v, h=1e-5):
    """Return H v as the central difference of two gradients."""
    ends = []
    for sign in (1, -1):
        moved = copy.deepcopy(model)
        flat = nn.utils.parameters_to_vector(moved.parameters()).detach()
        nn.utils.vector_to_parameters(flat + sign * h * v, moved.parameters())
        loss(moved(data[0]), *data[1:]).mean().backward()
        ends.append(torch.cat([p.grad.flatten() for p in moved.parameters()]))
    return (ends[0] - ends[1]) / (2 * h)


def check_product(product):
    """`product(model, loss, data, v)` is the derivative of the gradient along v."""
    model, data = network(), (X, LABELS)
    v = gaussian(sum(p.numel() for p in model.parameters()), seed=7)
    expected = by_differences(model, cross_entropy, data, v)
    torch.testing.assert_close(product(model, cross_entropy, data, v), expected, atol=1e-7, rtol=0)


def test_a_networks_product_is_the_difference_of_gradients():
    check_product(hessian_product)


def test_a_mean_of_batch_means_would_be_seen():
    def planted(model, loss, data, v):  # the last, shorter piece weighs too much
        pieces = list(zip(*(t.split(25) for t in data), strict=True))
        return sum(hessian_product(model, loss, p, v) for p in pieces) / len(pieces)

    with pytest.raises(AssertionError):
        check_product(planted)


class Bends(nn.Module):
    """A loss sum_j c_j p_j^2 / 2 with curvatures c of both signs."""

    def __init__(self, curvatures):
        super().__init__()
        self.p = nn.Parameter(torch.ones(len(curvatures), dtype=torch.float64))
        self.c = torch.as_tensor(curvatures, dtype=torch.float64)

    def forward(self, x):
        return x[:, :1] * 0 + (self.c * self.p**2).sum() / 2


def itself(outputs, y):
    return outputs[:, 0]


@pytest.mark.parametrize("count", [5, 40])
def test_the_largest_not_the_largest_in_magnitude(count):
    curvatures = np.linspace(-50, 3, count)
    found = hessian_eigenvalues(Bends(curvatures), itself, (X, Y), 2, tol=1e-6, rng=0)
    np.testing.assert_allclose(found.eigenvalues, curvatures[::-1][:2], rtol=1e-4, atol=1e-4)


def test_a_repeated_eigenvalue_has_its_value():
    found = hessian_eigenvalues(Bends([2.0] * 30), itself, (X, Y), rng=0)
    assert found.eigenvalues[0] == pytest.approx(2)


@pytest.mark.parametrize("count", [1, 3])
def test_all_eigenvalues_of_a_small_model(count):
    curvatures = np.arange(1.0, count + 1)
    found = hessian_eigenvalues(Bends(curvatures), itself, (X, Y), count, rng=0)
    np.testing.assert_allclose(found.eigenvalues, curvatures[::-1])


@pytest.mark.parametrize("count", [4, 40])
def test_no_curvature_at_all_is_zero(count):
    found = hessian_eigenvalues(
        nn.Linear(count, 1, dtype=torch.float64), itself, (gaussian(N, count), Y), rng=0
    )
    assert found.eigenvalues[0] == pytest.approx(0, abs=1e-12)
    assert found.converged


def test_a_parameter_that_the_loss_does_not_use_adds_zeros():
    model = nn.ModuleDict({"used": linear(), "idle": nn.Linear(3, 2)})
    model.forward = lambda x: model["used"](x)
    found = hessian_eigenvalues(model, squares, (X, Y), tol=1e-6, rng=0)
    expected = np.linalg.eigvalsh(LeastSquares(X.numpy(), Y.numpy()).hessian())[-1]
    assert found.eigenvalues[0] == pytest.approx(expected, rel=1e-6)
    assert not found.eigenvectors[0, D:].any()


def test_a_frozen_layer_has_no_part_in_it():
    model = network()
    for p in model[0].parameters():
        p.requires_grad_(False)
    head = copy.deepcopy(model[2])
    found = hessian_eigenvalues(model, cross_entropy, (X, LABELS), tol=1e-6, rng=0)
    hidden = model[:2](X).detach()
    alone = hessian_eigenvalues(head, cross_entropy, (hidden, LABELS), tol=1e-6, rng=1)
    assert found.eigenvectors.shape == (1, 6 * CLASSES + CLASSES)
    assert found.eigenvalues[0] == pytest.approx(alone.eigenvalues[0], rel=1e-5)


def test_float32_agrees_with_float64_even_when_asked_for_too_much():
    model = network()
    exact = hessian_eigenvalues(model, cross_entropy, (X, LABELS), tol=1e-8, rng=0)
    rough = hessian_eigenvalues(
        copy.deepcopy(model).float(), cross_entropy, (X.float(), LABELS), tol=1e-10, rng=0
    )
    assert rough.eigenvalues[0] == pytest.approx(exact.eigenvalues[0], rel=1e-4)
    assert rough.products < 500


def test_the_model_is_left_as_found():
    model = nn.Sequential(nn.Linear(D, 6), nn.Dropout(0.5), nn.Linear(6, CLASSES)).double()
    model[0].eval()
    before = copy.deepcopy(model.state_dict())
    first = hessian_eigenvalues(model, cross_entropy, (X, LABELS), rng=0)  # dropout is off
    again = hessian_eigenvalues(model, cross_entropy, (X, LABELS), rng=0)
    assert first.eigenvalues == again.eigenvalues
    assert [m.training for m in model] == [False, True, True]
    assert all(p.grad is None for p in model.parameters())
    for name, value in model.state_dict().items():
        assert torch.equal(value, before[name])


def test_rescaling_a_relu_network_changes_sharpness_and_not_the_function():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(D, 6), nn.ReLU(), nn.Linear(6, CLASSES)).double()
    twin = copy.deepcopy(model)
    with torch.no_grad():
        twin[0].weight *= 16
        twin[0].bias *= 16
        twin[2].weight /= 16
    assert torch.equal(model(X), twin(X))
    top = [
        hessian_eigenvalues(m, cross_entropy, (X, LABELS), rng=0).eigenvalues[0]
        for m in (model, twin)
    ]
    assert top[1] > 16 * top[0]


class Dice(nn.Module):
    def __init__(self):
        super().__init__()
        self.inner = linear()

    def forward(self, x):
        return self.inner(x * torch.rand(1))


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        ({"k": 0}, ValueError, "k=0: expected an int"),
        ({"k": D + 1}, ValueError, f"k={D + 1}: expected an int in 1..{D}"),
        ({"k": 1.5}, TypeError, "k=1.5"),
        ({"tol": 0}, ValueError, "tol=0"),
        ({"batch_size": 0}, ValueError, "batch_size=0"),
        ({"data": (X,)}, TypeError, "data: expected inputs and targets"),
        ({"data": (X, Y[:-1])}, ValueError, f"got {N}, {N - 1}"),
        ({"data": (X * np.nan, Y)}, ValueError, "expected finite numbers"),
        ({"loss": lambda o, y: squares(o, y).mean()}, ValueError, "one loss per example"),
        ({"model": Dice()}, ArithmeticError, "random"),
        ({"model": nn.Identity()}, ValueError, "parameters that ask for a gradient"),
        ({"rng": "x"}, TypeError, "rng='x'"),
    ],
)
def test_bad_input_is_named(change, error, words):
    arguments = {"model": linear(), "loss": squares, "data": (X, Y), "rng": 0} | change
    with pytest.raises(error) as caught:
        hessian_eigenvalues(**arguments)
    assert words in str(caught.value)


def test_a_vector_of_the_wrong_length_is_named():
    with pytest.raises(ValueError, match=r"vector: expected shape \(30,\), got \(29,\)"):
        hessian_product(linear(), squares, (X, Y), torch.zeros(D - 1))
