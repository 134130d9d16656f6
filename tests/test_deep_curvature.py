"""Hessian eigenvalues: equal to closed forms, the right end of the spectrum, honest residuals."""

import copy

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.func import functional_call
from torch.nn.attention import SDPBackend, sdpa_kernel

from sgdlib.deep.curvature import hessian_eigenvalues, hessian_product
from sgdlib.linear import LeastSquares, Logistic

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
    # zero to rounding: the first direction is random, and what is idle in it dies out
    assert abs(found.eigenvectors[0, D:]).max() < 1e-12


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


def test_statistics_do_not_move():
    model = nn.Sequential(nn.Linear(D, 6), nn.BatchNorm1d(6), nn.Linear(6, CLASSES)).double()
    before = copy.deepcopy(dict(model.named_buffers()))
    hessian_eigenvalues(model, cross_entropy, (X, LABELS), rng=0)
    hessian_product(model, cross_entropy, (X, LABELS), gaussian(D * 6 + 6 + 12 + 6 * 4 + 4, seed=1))
    assert model.training
    for name, value in model.named_buffers():
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


def broken():
    model = network()
    model[2].weight.data[0, 0] = torch.inf
    return model


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
        ({"tol": 1.0}, ValueError, "tol=1.0"),
        ({"tol": "small"}, TypeError, "tol='small'"),
        ({"k": True}, TypeError, "k=True"),
        ({"batch_size": 2.5}, TypeError, "batch_size=2.5"),
        ({"model": nn.Linear(D, 1, dtype=torch.complex128)}, TypeError, "real parameters"),
        ({"model": broken()}, ArithmeticError, "a Hessian product is not finite"),
    ],
)
def test_bad_input_is_named(change, error, words):
    arguments = {"model": linear(), "loss": squares, "data": (X, Y), "rng": 0} | change
    with pytest.raises(error) as caught:
        hessian_eigenvalues(**arguments)
    assert words in str(caught.value)


@pytest.mark.parametrize(
    ("vector", "error", "words"),
    [
        (torch.zeros(D - 1), ValueError, "vector: expected shape (30,), got (29,)"),
        (torch.zeros(D, dtype=torch.int64), TypeError, "vector: expected a torch.Tensor of float"),
        (np.zeros(D), TypeError, "got ndarray"),
        (torch.full((D,), torch.nan), ValueError, "vector: expected finite numbers"),
    ],
)
def test_a_bad_vector_is_named(vector, error, words):
    with pytest.raises(error) as caught:
        hessian_product(linear(), squares, (X, Y), vector)
    assert words in str(caught.value)


# -- repeated and clustered eigenvalues --


class Quadratic(nn.Module):
    """A loss p'Hp/2 with a Hessian of our choice."""

    def __init__(self, hessian):
        super().__init__()
        self.p = nn.Parameter(torch.ones(len(hessian), dtype=torch.float64))
        self.h = torch.as_tensor(hessian)

    def forward(self, x):
        return x[:, :1] * 0 + self.p @ self.h @ self.p / 2


def with_eigenvalues(values, seed=0):
    q, _ = np.linalg.qr(np.random.default_rng(seed).standard_normal((len(values),) * 2))
    return Quadratic(q @ np.diag(values) @ q.T)


SPECTRA = {
    "five equal": [20.44] * 5 + list(np.linspace(0, 1.5, 70)),
    "pairs": list(np.repeat([9.0, 7.0, 5.0, 3.0], 2)) + list(np.linspace(-4, 1, 60)),
    "a cluster": list(20.44 + 1e-4 * np.arange(5)) + list(np.linspace(0, 1.5, 70)),
    "all equal": [2.0] * 50,
    "all equal and negative": [-2.0] * 50,
    "zero at the top": [0.0] * 4 + list(np.linspace(-50, -1, 60)),
    "many zeros": [3.0, 3.0] + [0.0] * 80,
    "one outlier": [100.0] + [1.0] * 60 + [-1.0] * 10,
}


@pytest.mark.parametrize("name", SPECTRA)
@pytest.mark.parametrize("k", [1, 2, 5, 7])
def test_every_copy_of_an_eigenvalue_is_found(name, k):
    values = np.sort(SPECTRA[name])[::-1]
    found = hessian_eigenvalues(with_eigenvalues(values), itself, (X, Y), k, tol=1e-6, rng=0)
    scale = max(abs(values[0]), np.sqrt(np.mean(values**2)))
    np.testing.assert_allclose(found.eigenvalues, values[:k], rtol=0, atol=1e-6 * scale)
    assert found.converged
    np.testing.assert_allclose(found.eigenvectors @ found.eigenvectors.T, np.eye(k), atol=1e-9)
    assert (found.residuals <= 3e-6 * scale).all()


def five_outputs(count=5):
    """Return a linear net of equal outputs, the data, and the Hessian: one block for each."""
    inputs = gaussian(N, 8) * torch.linspace(4, 0.2, 8, dtype=torch.float64)
    model = nn.Linear(8, count, bias=False, dtype=torch.float64)
    block = 2 * (inputs.T @ inputs / N).numpy()
    return model, (inputs, gaussian(N, count, seed=1)), np.kron(np.eye(count), block)


def many_squares(outputs, y):
    return ((outputs - y) ** 2).sum(1)


def check_five(eigenvalues):
    _, _, dense = five_outputs()
    np.testing.assert_allclose(eigenvalues, np.linalg.eigvalsh(dense)[::-1][:5], rtol=1e-5)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("seed", range(4))
def test_five_equal_outputs_have_the_largest_eigenvalue_five_times(dtype, seed):
    model, data, _ = five_outputs()
    data = tuple(t.to(dtype) for t in data)
    found = hessian_eigenvalues(model.to(dtype), many_squares, data, 5, rng=seed)
    check_five(found.eigenvalues)
    assert found.converged
    assert np.ptp(found.eigenvalues) < 1e-5 * found.eigenvalues[0]


def test_planted_bug_one_lanczos_run():
    from scipy.sparse.linalg import eigsh

    _, _, dense = five_outputs()
    start = np.random.default_rng(0).standard_normal(len(dense))
    with pytest.raises(AssertionError):
        check_five(eigsh(dense, k=5, which="LA", tol=1e-4, v0=start)[0][::-1])


@pytest.mark.parametrize("seed", range(3))
def test_equal_to_the_dense_hessian_of_a_network(seed):
    model = network(seed=seed)
    dense = dense_hessian(model, cross_entropy, (X, LABELS))
    expected = np.linalg.eigvalsh(dense)[::-1][:6]
    found = hessian_eigenvalues(model, cross_entropy, (X, LABELS), 6, tol=1e-6, rng=seed)
    np.testing.assert_allclose(found.eigenvalues, expected, rtol=1e-6)
    assert found.converged


def dense_hessian(model, loss, data):
    """Return the matrix by torch's own nested derivatives."""
    parameters = dict(model.named_parameters())
    sizes = [p.numel() for p in parameters.values()]
    flat = torch.cat([p.detach().flatten() for p in parameters.values()])

    def mean(flat):
        parts = flat.split(sizes)
        named = {k: v.view_as(p) for (k, p), v in zip(parameters.items(), parts, strict=True)}
        with sdpa_kernel(SDPBackend.MATH):
            return loss(functional_call(model, named, (data[0],)), *data[1:]).mean()

    return torch.autograd.functional.hessian(mean, flat).numpy()


def test_converged_means_what_it_says():
    values = np.linspace(0, 1, 400)  # the largest are close together: hard
    model = with_eigenvalues(values)
    for tol in (1e-1, 1e-3, 1e-6):
        found = hessian_eigenvalues(model, itself, (X, Y), tol=tol, rng=0)
        assert found.converged
        assert found.residuals[0] <= tol
        assert 1 - tol <= found.eigenvalues[0] <= 1 + 1e-9
    rough = hessian_eigenvalues(
        network(torch.float32), cross_entropy, (X.float(), LABELS), tol=1e-10, rng=0
    )
    assert rough.residuals[0] > 1e-10 * rough.eigenvalues[0]  # rounding alone is more
    assert not rough.converged


# -- layers whose fast kernels have no second derivative --


class Sequence(nn.Module):
    """Reads the inputs as a sequence, by a layer of some kind."""

    def __init__(self, kind):
        super().__init__()
        torch.manual_seed(0)
        self.embed, self.kind = nn.Linear(5, 8), kind
        self.layer = {
            "encoder": lambda: nn.TransformerEncoderLayer(8, 2, 12, batch_first=True),
            "two encoders": lambda: nn.TransformerEncoder(
                nn.TransformerEncoderLayer(8, 2, 12, batch_first=True), 2
            ),
            "multihead": lambda: nn.MultiheadAttention(8, 2, batch_first=True),
            "function": nn.Identity,
            "causal": nn.Identity,
            "lstm": lambda: nn.LSTM(8, 6, batch_first=True),
            "gru": lambda: nn.GRU(8, 6, batch_first=True),
            "rnn": lambda: nn.RNN(8, 6, batch_first=True),
        }[kind]()
        self.head = nn.LazyLinear(CLASSES)

    def forward(self, x):
        h = self.embed(x.unflatten(1, (-1, 5)))
        if self.kind == "multihead":
            h = self.layer(h, h, h, need_weights=False)[0]
        elif self.kind in ("function", "causal"):
            h = F.scaled_dot_product_attention(h, h, h, is_causal=self.kind == "causal")
        elif self.kind in ("lstm", "gru", "rnn"):
            h = self.layer(h)[0]
        else:
            h = self.layer(h)
        return self.head(h.mean(1))


KINDS = ["encoder", "two encoders", "multihead", "function", "causal", "lstm", "gru", "rnn"]


@pytest.mark.filterwarnings("ignore:.*nested_tensor")
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_layers_without_second_derivatives_use_kernels_that_have_them(kind, dtype):
    model, data = Sequence(kind).to(dtype), (X[:12].to(dtype), LABELS[:12])
    with torch.no_grad():
        model.eval()(data[0])  # the head gets its shape
    v = gaussian(sum(p.numel() for p in model.parameters()), seed=7)
    product = hessian_product(model, cross_entropy, data, v.to(dtype))
    exact = copy.deepcopy(model).double()
    expected = by_differences(exact, cross_entropy, (X[:12], LABELS[:12]), v)
    tol = 1e-6 if dtype == torch.float64 else 1e-3
    assert (product.double() - expected).norm() < tol * expected.norm()
    model.train()
    found = hessian_eigenvalues(model, cross_entropy, data, 2, rng=0)
    assert found.converged
    assert model.training


def test_attention_against_the_dense_hessian():
    model = Sequence("encoder").double()
    model.embed.requires_grad_(False)
    with torch.no_grad():
        model.eval()(X[:12])
    for p in model.layer.parameters():
        p.requires_grad_(p.ndim == 1)  # few enough for a dense matrix
    data, trained = (X[:12], LABELS[:12]), [p for p in model.parameters() if p.requires_grad]
    count = sum(p.numel() for p in trained)
    columns = [hessian_product(model, cross_entropy, data, v) for v in torch.eye(count).double()]
    dense = torch.stack(columns).numpy()
    np.testing.assert_allclose(dense, dense.T, atol=1e-10)
    found = hessian_eigenvalues(model, cross_entropy, data, 4, tol=1e-7, rng=0)
    expected = np.linalg.eigvalsh(dense)[::-1][:4]
    np.testing.assert_allclose(found.eigenvalues, expected, rtol=1e-6)


class Once(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x**2

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, grad):
        return 2 * ctx.saved_tensors[0] * grad


class Squared(nn.Module):
    def forward(self, x):
        return Once.apply(x)


class Margins(nn.Module):
    """Torch has no second derivative of these."""

    def forward(self, x):
        first = torch.zeros(len(x), dtype=torch.long)
        return F.multi_margin_loss(x, first, reduction="none")[:, None]


@pytest.mark.parametrize("layer", [Squared, Margins])
def test_a_layer_that_cannot_be_differentiated_twice_is_named(layer):
    model = nn.Sequential(nn.Linear(D, 6), nn.Tanh(), layer(), nn.LazyLinear(CLASSES)).double()
    with torch.no_grad():
        model(X)
    model.train()
    with pytest.raises(ValueError) as caught:
        hessian_eigenvalues(model, cross_entropy, (X, LABELS), rng=0)
    assert f"differentiated twice, got 2 ({layer.__name__})" in str(caught.value)
    assert model.training
    assert not model[2]._forward_hooks


def test_a_loss_that_cannot_be_differentiated_twice_is_told_from_the_layers():
    def margin(outputs, labels):
        return F.multi_margin_loss(outputs, labels, reduction="none")

    with pytest.raises(ValueError, match=r"outside of layers: .*multi_margin_loss_backward"):
        hessian_eigenvalues(network(), margin, (X, LABELS), rng=0)


def test_within_a_callers_no_grad_it_is_the_same():
    model = network()
    expected = hessian_eigenvalues(model, cross_entropy, (X, LABELS), rng=0)
    for place in (torch.no_grad(), torch.inference_mode()):
        with place:
            found = hessian_eigenvalues(model, cross_entropy, (X, LABELS), rng=0)
        assert found.eigenvalues[0] == pytest.approx(expected.eigenvalues[0], rel=1e-12)
