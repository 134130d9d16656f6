"""The range test: it leaves no trace, smooths without bias, and suggests a rate that trains."""

import copy

import numpy as np
import pytest
import torch
from torch import nn

from sgdlib.deep import PlainSGD, TensorBatches, train
from sgdlib.deep.lr_range import local_lines, lr_range_test


def squares(outputs, y):
    return (outputs[:, 0] - y) ** 2 / 2


class Net(nn.Module):
    """Everything that has a state: weights, BatchNorm, dropout, a buffer that is replaced."""

    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(
            nn.Linear(3, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.2), nn.Linear(8, 1)
        )
        self.register_buffer("calls", torch.zeros(()), persistent=False)

    def forward(self, x):
        self.calls = self.calls + 1  # a new tensor takes the old one's place
        return self.body(x)


@pytest.fixture
def data():
    generator = torch.Generator().manual_seed(0)
    X = torch.randn(200, 3, generator=generator)
    return X, X @ torch.tensor([1.0, -2.0, 0.5])


@pytest.fixture
def model():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return Net()


OPTIMIZERS = {
    "none": lambda p: None,
    "plain": lambda p: PlainSGD(p, 0.01),
    "momentum": lambda p: torch.optim.SGD(p, lr=0.01, momentum=0.9),
    "adam": lambda p: torch.optim.Adam(p, lr=0.01),
}


def everything(model, optimizer):
    """Return a copy of all that the test could have changed."""
    return copy.deepcopy(
        {
            "tensors": {k: v.detach() for k, v in model.named_parameters()}
            | dict(model.named_buffers()),
            "gradients": {k: v.grad for k, v in model.named_parameters()},
            "modes": [m.training for m in model.modules()],
            "optimizer": optimizer and optimizer.state_dict(),
            "random": torch.get_rng_state(),
            "numpy": np.random.get_state()[1],  # noqa: NPY002
        }
    )


def assert_same(before, after, path="state"):
    assert type(before) is type(after), path
    if isinstance(before, dict):
        assert before.keys() == after.keys(), path
        for key in before:
            assert_same(before[key], after[key], f"{path}.{key}")
    elif isinstance(before, list):
        for i, (a, b) in enumerate(zip(before, after, strict=True)):
            assert_same(a, b, f"{path}[{i}]")
    elif isinstance(before, torch.Tensor | np.ndarray):
        assert (before == after).all(), path
    else:
        assert before == after, path


def warmed_up(model, optimizer, data):
    """Make a few steps so that the optimizer has a state, and leave gradients behind."""
    for _ in range(3):
        squares(model(data[0]), data[1]).mean().backward()
        if optimizer is not None:
            optimizer.step()


@pytest.mark.parametrize("name", OPTIMIZERS)
@pytest.mark.parametrize("fresh", [True, False])
def test_leaves_no_trace(model, data, name, fresh):
    optimizer = OPTIMIZERS[name](model.parameters())
    if not fresh:
        warmed_up(model, optimizer, data)
    model.body[3].eval()  # modes of single layers are kept too
    identities = [id(p) for p in model.parameters()]
    before = everything(model, optimizer)
    lr_range_test(model, squares, data, batch_size=16, steps=40, optimizer=optimizer, rng=0)
    assert_same(before, everything(model, optimizer))
    assert identities == [id(p) for p in model.parameters()]


def test_planted_bug_a_test_that_forgets_the_buffers(model, data):
    before = everything(model, None)
    weights = copy.deepcopy(dict(model.named_parameters()))
    for _ in range(3):
        model(data[0])
    with torch.no_grad():
        for name, p in model.named_parameters():
            p.copy_(weights[name])
    with pytest.raises(AssertionError, match="tensors"):
        assert_same(before, everything(model, None))


def test_leaves_no_trace_when_it_fails(model, data):
    calls = []

    def breaks(outputs, y):
        calls.append(1)
        if len(calls) == 15:
            raise RuntimeError("out of order")
        return squares(outputs, y)

    optimizer = torch.optim.Adam(model.parameters())
    warmed_up(model, optimizer, data)
    before = everything(model, optimizer)
    with pytest.raises(RuntimeError, match="out of order"):
        lr_range_test(model, breaks, data, batch_size=16, optimizer=optimizer, rng=0)
    assert_same(before, everything(model, optimizer))


def test_leaves_no_trace_of_lazy_layers_but_their_shapes(data):
    model = nn.Sequential(nn.LazyLinear(4), nn.LazyBatchNorm1d(), nn.Linear(4, 1))
    before = everything(nn.Linear(1, 1), None)["random"]
    lr_range_test(model, squares, data, batch_size=16, steps=20, rng=0)
    assert (torch.get_rng_state() == before).all()
    assert model[1].num_batches_tracked == 0
    again = everything(model, None)
    lr_range_test(model, squares, data, batch_size=16, steps=20, rng=0)
    assert_same(again, everything(model, None))


def test_the_callers_own_groups_and_tensors_come_back(model, data):
    optimizer = torch.optim.Adam(model.parameters(), lr=torch.tensor(0.01))
    group, rate = optimizer.param_groups[0], optimizer.param_groups[0]["lr"]
    lr_range_test(model, squares, data, batch_size=16, steps=20, optimizer=optimizer, rng=0)
    assert optimizer.param_groups[0] is group
    assert group["lr"] is rate
    assert rate == torch.tensor(0.01)


def test_a_layer_set_aside_is_not_trained_on(model, data):
    """Its statistics do not move, not even during the test: they would change the losses."""
    model.body[1].eval().requires_grad_(False)
    seen = []

    def watch(outputs, y):
        seen.append(model.body[1].running_mean.clone())
        return squares(outputs, y)

    lr_range_test(model, watch, data, batch_size=16, steps=20, rng=0)
    assert all(torch.equal(s, seen[0]) for s in seen)
    assert not model.body[1].training


def plain(seed=0):
    torch.manual_seed(seed)
    return nn.Linear(3, 1, dtype=torch.float64)


@pytest.mark.parametrize("micro", [1, 5, 16, 40])
def test_micro_batches_change_nothing(data, micro):
    data = tuple(t.double() for t in data)
    options = {"batch_size": 16, "steps": 30, "rng": 0}
    whole = lr_range_test(plain(), squares, data, **options)
    pieces = lr_range_test(plain(), squares, data, micro_batch_size=micro, **options)
    np.testing.assert_allclose(pieces.losses, whole.losses, rtol=1e-10)


def clipped_listing(clip, data):
    """The sweep written out, with the gradient shortened before each step."""
    model, losses = plain(), []
    loader = TensorBatches(*data, batch_size=16, last="drop", rng=0)
    batches = [b for epoch in range(4) for b in loader.iterate(epoch)]
    for k, lr in enumerate(np.geomspace(1e-2, 1.0, 20)):
        x, y, _ = batches[k]
        gradients = torch.autograd.grad(squares(model(x), y).mean(), list(model.parameters()))
        norm = sum((g**2).sum() for g in gradients).sqrt()
        for p, g in zip(model.parameters(), gradients, strict=True):
            p.data -= lr * g * min(1.0, clip / (norm.item() + 1e-6))
        x, y, _ = batches[k + 1]
        losses.append(squares(model(x), y).mean().item())
    return losses


def test_clipping_is_that_of_the_listing(data):
    data = tuple(t.double() for t in data)
    options = {"batch_size": 16, "steps": 20, "low": 1e-2, "high": 1.0, "rng": 0}
    found = lr_range_test(plain(), squares, data, clip=0.3, micro_batch_size=5, **options)
    np.testing.assert_allclose(found.losses, clipped_listing(0.3, data), rtol=1e-9)
    free = lr_range_test(plain(), squares, data, **options)
    assert abs(free.losses - found.losses).max() > 0.01


def test_bf16_is_close_and_leaves_no_trace(model, data):
    before = everything(model, None)
    full = lr_range_test(model, squares, data, batch_size=64, rng=0)
    half = lr_range_test(model, squares, data, batch_size=64, precision="bf16", rng=0)
    assert_same(before, everything(model, None))
    first = slice(None, 20)
    assert (half.losses[first] != full.losses[first]).any()
    np.testing.assert_allclose(half.losses[first], full.losses[first], rtol=0.03)


def test_within_a_callers_no_grad_it_is_the_same(model, data):
    expected = lr_range_test(model, squares, data, batch_size=16, steps=20, rng=0).losses
    for place in (torch.no_grad(), torch.inference_mode(), torch.autocast("cpu")):
        with place:
            found = lr_range_test(model, squares, data, batch_size=16, steps=20, rng=0).losses
        np.testing.assert_array_equal(found, expected)


def test_the_optimizer_of_another_model_is_named(model, data):
    other = torch.optim.SGD(copy.deepcopy(model).parameters(), lr=0.1)
    with pytest.raises(ValueError, match="optimizer: expected parameters of the model"):
        lr_range_test(model, squares, data, batch_size=16, optimizer=other)


def test_groups_keep_the_ratio_of_their_rates(data):
    """The second group moves ten times as fast, as in a run with a schedule."""
    data = tuple(t.double() for t in data)
    model = plain()
    groups = [{"params": [model.weight], "lr": 0.01}, {"params": [model.bias], "lr": 0.1}]
    optimizer = torch.optim.SGD(groups)
    options = {"batch_size": 16, "steps": 20, "low": 1e-4, "high": 1e-2, "rng": 0}
    found = lr_range_test(model, squares, data, optimizer=optimizer, **options)
    assert [g["lr"] for g in optimizer.param_groups] == [0.01, 0.1]
    judge, losses = plain(), []
    loader = TensorBatches(*data, batch_size=16, last="drop", rng=0)
    batches = [b for epoch in range(4) for b in loader.iterate(epoch)]
    for k, lr in enumerate(np.geomspace(1e-4, 1e-2, 20)):
        x, y, _ = batches[k]
        w, b = torch.autograd.grad(squares(judge(x), y).mean(), list(judge.parameters()))
        judge.weight.data -= lr * w
        judge.bias.data -= 10 * lr * b
        x, y, _ = batches[k + 1]
        losses.append(squares(judge(x), y).mean().item())
    np.testing.assert_allclose(found.losses, losses, rtol=1e-9)


@pytest.mark.parametrize(
    ("options", "words"),
    [({"batch_size": 1}, "batch_size: expected"), ({"micro_batch_size": 3}, "micro_batch_size=3")],
)
def test_batches_too_small_for_batch_normalisation(model, data, options, words):
    before = everything(model, None)
    with pytest.raises(ValueError, match=words):
        lr_range_test(model, squares, data, **({"batch_size": 16} | options))
    assert_same(before, everything(model, None))


def test_parameters_of_the_loss_are_put_back_too(model, data):
    class Scaled(nn.Module):
        def __init__(self):
            super().__init__()
            self.scale = nn.Parameter(torch.ones(1))

        def forward(self, outputs, y):
            return squares(outputs * self.scale, y)

    loss = Scaled()
    both = torch.optim.SGD([*model.parameters(), *loss.parameters()], lr=0.1)
    lr_range_test(model, loss, data, batch_size=16, optimizer=both, rng=0)
    assert loss.scale.item() == 1.0


def test_training_afterwards_is_the_same_bit_for_bit(model, data):
    runs = []
    for with_test in (False, True):
        net = copy.deepcopy(model)
        optimizer = torch.optim.SGD(net.parameters(), lr=0.05, momentum=0.9)
        if with_test:
            lr_range_test(net, squares, data, batch_size=16, optimizer=optimizer, rng=5)
        train(net, squares, data, batch_size=16, epochs=2, optimizer=optimizer, rng=1)
        runs.append(everything(net, optimizer))
    assert_same(*runs)


def test_a_second_test_gives_the_same_result(model, data):
    one, two = (lr_range_test(model, squares, data, batch_size=16, rng=3) for _ in range(2))
    assert (one.losses == two.losses).all()
    assert one.suggestion == two.suggestion


def test_the_losses_are_those_of_the_next_batch():
    # a slow listing on the same batches
    generator = torch.Generator().manual_seed(1)
    X = torch.randn(50, 2, generator=generator, dtype=torch.float64)
    y = X @ torch.tensor([1.0, -1.0], dtype=torch.float64)
    model = nn.Linear(2, 1, bias=False, dtype=torch.float64)
    test = lr_range_test(model, squares, (X, y), batch_size=8, low=1e-3, high=0.1, steps=30, rng=7)
    loader = TensorBatches(X, y, batch_size=8, last="drop", rng=7)
    batches = [b for epoch in range(6) for b in loader.iterate(epoch)]
    theta = model.weight.detach().clone()[0]
    for k, lr in enumerate(np.geomspace(1e-3, 0.1, 30)):
        x, t, _ = batches[k]
        assert test.lrs[k] == pytest.approx(lr)
        theta = theta - lr * (x @ theta - t) @ x / 8
        x, t, _ = batches[k + 1]
        expected = ((x @ theta - t) ** 2).mean().item() / 2
        assert test.losses[k] == pytest.approx(expected, rel=1e-12)


# -- reading the curve ---------------------------------------------------------------------------


def assert_smooths_without_bias(smooth):
    """A straight line comes out as it went in, up to both ends."""
    x = np.linspace(0, 5, 60)
    for y in (3 - 0.4 * x, np.full(60, -2.0), 0.7 * x):
        np.testing.assert_allclose(smooth(x, y), y, atol=1e-9)


def running_average(x, y, beta=0.98, corrected=False):
    out, average = [], 0.0
    for k, value in enumerate(y):
        average = beta * average + (1 - beta) * value
        out.append(average / (1 - beta ** (k + 1)) if corrected else average)
    return np.array(out)


def test_smoothing_has_no_bias_on_straight_lines():
    assert_smooths_without_bias(lambda x, y: local_lines(x, y, 0.4)[0])


@pytest.mark.parametrize("corrected", [False, True])
def test_planted_bug_a_running_average(corrected):
    with pytest.raises(AssertionError):
        assert_smooths_without_bias(lambda x, y: running_average(x, y, corrected=corrected))


def test_smoothing_knows_its_standard_error():
    rng = np.random.default_rng(0)
    x = np.linspace(0, 1, 80)
    draws = [local_lines(x, rng.normal(size=80), 0.05) for _ in range(2000)]
    measured = np.std([level for level, _ in draws], axis=0)
    np.testing.assert_allclose(measured, draws[0][1], rtol=0.1)


def bowl(curvature, n=4000, seed=0):
    """Return a linear model on inputs of one curvature in three directions, with noisy targets."""
    generator = torch.Generator().manual_seed(seed)
    X = torch.randn(n, 3, generator=generator, dtype=torch.float64) * curvature**0.5
    y = X.sum(1) + torch.randn(n, generator=generator, dtype=torch.float64)
    model = nn.Linear(3, 1, bias=False, dtype=torch.float64)
    nn.init.zeros_(model.weight)
    return model, (X, y)


def test_the_result_scales_with_the_curvature():
    # inputs ten times as large, curvature a hundred times: every rate a hundred times smaller
    tests = [
        lr_range_test(model, squares, data, batch_size=64, low=low, high=1e6 * low, rng=0)
        for (model, data), low in ((bowl(1.0), 1e-4), (bowl(100.0), 1e-6))
    ]
    ratio = tests[0].lowest / tests[1].lowest
    assert 50 < ratio < 200
    assert all(t.blew_up for t in tests)


def test_the_suggestion_is_stable_and_the_start_is_not():
    model, data = bowl(1.0)
    test = lr_range_test(model, squares, data, batch_size=64, low=1e-4, high=100, steps=200, rng=0)
    assert test.suggestion == test.lowest / 3
    assert 0.05 < test.suggestion < 2 / (1 + 3 / 64)
    assert test.fall > 4 * test.stderr
    assert test.lrs[-1] < 20  # it stopped soon after
    assert len(test.lrs) == len(test.losses) == len(test.smoothed) < 200


def test_small_batches_explode_sooner():
    # normal inputs in three dimensions: the stability limit is 2/5 for B=1 and nearly 2 for 256
    model, data = bowl(1.0)
    options = {"low": 1e-3, "high": 100, "steps": 200}
    last = {
        b: np.median(
            [
                lr_range_test(model, squares, data, batch_size=b, rng=seed, **options).lrs[-1]
                for seed in range(5)
            ]
        )
        for b in (1, 256)
    }
    assert last[1] < last[256] / 2


@pytest.mark.parametrize("shift", [-1000.0, 1000.0])
def test_adding_a_constant_to_the_loss_changes_nothing(shift):
    model, data = bowl(1.0)
    plain = lr_range_test(model, squares, data, batch_size=64, rng=0)
    moved = lr_range_test(model, lambda o, y: squares(o, y) + shift, data, batch_size=64, rng=0)
    assert len(plain.lrs) == len(moved.lrs)
    assert plain.suggestion == pytest.approx(moved.suggestion)
    np.testing.assert_allclose(plain.smoothed, moved.smoothed - shift, atol=1e-6)


def test_no_suggestion_where_nothing_falls():
    # the targets are noise with mean zero and the start is the best there is
    generator = torch.Generator().manual_seed(0)
    X = torch.randn(2000, 3, generator=generator)
    y = torch.randn(2000, generator=generator)
    model = nn.Linear(3, 1, bias=False)
    nn.init.zeros_(model.weight)
    for seed in range(10):
        test = lr_range_test(model, squares, (X, y), batch_size=8, steps=60, rng=seed)
        assert test.suggestion is None
        assert test.fall <= 4 * test.stderr


def test_a_loss_that_explodes_at_once():
    model, data = bowl(1e6)
    with pytest.raises(ArithmeticError, match=r"low=1: the loss blew up within \d+ of 100 steps"):
        lr_range_test(model, squares, data, batch_size=64, low=1.0, high=10.0, rng=0)
    assert (model.weight == 0).all()


@pytest.mark.filterwarnings("ignore:Using a target size")
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"low": 0}, "low=0.0: expected a finite number > 0"),
        ({"low": 1.0, "high": 0.1}, "high=0.1: expected a finite number > 1"),
        ({"high": float("inf")}, "high=inf: expected a finite number > 1e-05"),
        ({"steps": 5}, "steps=5: expected an int >= 20"),
        ({"steps": 10**9}, r"steps=1000000000: expected an int in 20\.\.1000000"),
        ({"batch_size": 0}, r"batch_size=0: expected an int in 1\.\.200"),
        ({"batch_size": 201}, r"batch_size=201: expected an int in 1\.\.200"),
        ({"batch_size": 2.5}, r"batch_size=2.5: expected an int in 1\.\.200"),
        ({"rng": -1}, "rng=-1: expected an int >= 0"),
        ({"loss": nn.MSELoss()}, "one loss per example"),
        ({"micro_batch_size": 0}, "micro_batch_size=0: expected an int in 1"),
        ({"micro_batch_size": "all"}, "micro_batch_size='all': expected an int"),
        ({"clip": 0.0}, "clip=0.0: expected a finite number > 0"),
        ({"clip": True}, "clip=True: expected a finite number"),
        ({"precision": "fp16"}, "precision='fp16': expected one of 'float32', 'bf16'"),
        ({"optimizer": "sgd"}, "optimizer='sgd': expected a torch optimizer"),
    ],
)
def test_bad_input(model, data, options, message):
    options = {"batch_size": 16, "loss": squares} | options
    before = everything(model, None)
    with pytest.raises((ValueError, TypeError), match=message):
        lr_range_test(model, options.pop("loss"), data, **options)
    assert_same(before, everything(model, None))


def test_bad_data(model, data):
    X, y = data
    with pytest.raises(ValueError, match="expected equal numbers of rows, got 200, 199"):
        lr_range_test(model, squares, (X, y[1:]), batch_size=16)
    with pytest.raises(ValueError, match="expected finite numbers, got nan"):
        lr_range_test(model, squares, (X, y * float("nan")), batch_size=16)
