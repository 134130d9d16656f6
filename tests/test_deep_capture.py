"""Recorded steps are the same steps: what can be checked without a GPU, and what cannot."""

import copy
from contextlib import nullcontext

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from sgdlib.deep import (
    PlainSGD,
    Step,
    TensorBatches,
    accumulate_gradients,
    capture,
    train,
    train_with,
)
from sgdlib.deep._inputs import check_capture
from sgdlib.deep.capture import CapturedSteps, put_back
from sgdlib.schedules import cosine

needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")


class Hidden(nn.Module):
    """Draws random numbers, and counts in a buffer that a checkpoint leaves out."""

    def __init__(self):
        super().__init__()
        self.linear, self.norm = nn.Linear(4, 3), nn.BatchNorm1d(3)
        self.register_buffer("calls", torch.zeros(()), persistent=False)

    def forward(self, x):
        self.calls += 1
        return self.norm(F.dropout(self.linear(x), 0.5))


def everything(model):
    return [t.detach().clone() for t in (*model.parameters(), *model.buffers())]


def put_back_what_is_saved(model):
    """The planted bug: what `state_dict` leaves out stays changed."""
    state = copy.deepcopy(model.state_dict())
    yield
    model.load_state_dict(state)


def test_warmup_leaves_no_trace():
    model, x = Hidden(), torch.randn(8, 4, generator=torch.Generator().manual_seed(0))
    addresses = [t.data_ptr() for t in (*model.parameters(), *model.buffers())]
    before, random = everything(model), torch.get_rng_state()

    def warm_up():
        model(x).sum().backward()
        with torch.no_grad():
            for p in model.parameters():
                p -= p.grad
        model.zero_grad()

    with put_back(model, torch.device("cpu")):
        warm_up()
        assert not all(map(torch.equal, everything(model), before))
    assert all(map(torch.equal, everything(model), before))
    assert torch.equal(torch.get_rng_state(), random)
    assert [t.data_ptr() for t in (*model.parameters(), *model.buffers())] == addresses
    bug = put_back_what_is_saved(model)
    next(bug)
    warm_up()
    next(bug, None)
    assert not all(map(torch.equal, everything(model), before))


def test_the_model_is_put_back_when_the_step_fails():
    model = nn.Linear(2, 1)
    before = everything(model)
    with pytest.raises(KeyError), put_back(model, torch.device("cpu")):  # noqa: PT012
        nn.init.zeros_(model.weight)
        raise KeyError
    assert all(map(torch.equal, everything(model), before))


def test_each_batch_size_is_recorded_once_and_at_most_eight(monkeypatch):
    recorded, plain = [], []

    class Recorded:
        def __init__(self, step, model, batch, weights):
            recorded.append(len(weights))

        def replay(self, batch, weights):
            return weights

    monkeypatch.setattr(capture, "_Recorded", Recorded)
    steps = CapturedSteps(lambda batch, weights: plain.append(len(weights)), None)
    for size in [*range(1, 11), 1, 8, 9]:
        steps((torch.ones(size, 2), torch.ones(size)), torch.ones(size))
    assert recorded == list(range(1, 9))
    assert plain == [9, 10, 9]


# -- the order of events, with a stand-in for the GPU --


class Nothing:
    """A stream, or the context of a device or of a stream, that does nothing."""

    def __init__(self, *args):
        pass

    def __enter__(self):
        return self

    def __exit__(self, *args):
        pass

    def wait_stream(self, other):
        pass


class Tape:
    """Replays by running the step again on the tensors with which it was recorded."""

    def replay(self):
        self.run()


class Recording:
    """Like a real capture, leaves no trace of what is run while it lasts."""

    def __init__(self, graph, stream):
        assert isinstance(stream, Nothing)

    def __enter__(self):
        self.undo = put_back(Recording.model, torch.device("cpu"))
        self.undo.__enter__()

    def __exit__(self, *error):
        return self.undo.__exit__(*error)


class Stood(capture._Recorded):
    """A recording whose tape knows the step."""

    def __init__(self, step, model, batch, weights):
        Recording.model = model
        super().__init__(step, model, batch, weights)

        def run():
            self._losses.copy_(step(self._inputs[:-1], self._inputs[-1]))

        self._graph.run = run


@pytest.fixture
def stand_in(monkeypatch):
    for name in ("device", "stream", "Stream", "current_stream"):
        monkeypatch.setattr(torch.cuda, name, Nothing)
    monkeypatch.setattr(torch.cuda, "CUDAGraph", Tape)
    monkeypatch.setattr(torch.cuda, "graph", Recording)
    monkeypatch.setattr(capture, "_Recorded", Stood)


def steps_of(last, *, captured, forget_weights=False):
    """Train with a rate that changes, dropout and a ragged tail; return losses and parameters."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 32), nn.Dropout(0.3), nn.ReLU(), nn.Linear(32, 4))
    optimizer = PlainSGD(model.parameters(), 0.1)
    lr = optimizer.param_groups[0]["lr"] = torch.tensor(0.1)

    def step(batch, weights):
        if forget_weights:
            weights = torch.full_like(weights, 1 / len(weights))
        losses = accumulate_gradients(model, cross_entropy, batch, weights)
        optimizer.step()
        optimizer.zero_grad()
        return losses

    one = CapturedSteps(step, model) if captured else step
    losses = []
    for epoch in range(3):
        lr.fill_(0.1 / (1 + epoch))
        for *batch, weights in TensorBatches(*data(), batch_size=8, last=last, rng=0):
            losses.append(one(batch, weights))
    return torch.cat(losses), torch.cat([p.detach().flatten() for p in model.parameters()])


@pytest.mark.parametrize("last", ["scale", "keep", "pad", "wrap", "drop"])
def test_replayed_steps_are_the_plain_steps_bit_for_bit(last, stand_in):
    expected = steps_of(last, captured=False)
    got = steps_of(last, captured=True)
    assert all(map(torch.equal, got, expected))
    if last in ("scale", "pad"):  # the planted bug: weights that do not reach the recording
        wrong = steps_of(last, captured=True, forget_weights=True)
        assert not torch.equal(wrong[1], expected[1])


def trained_by_step(make, lr, *, captured, epochs=3):
    """Train over `Step` with a rate that changes; return losses, parameters and the optimizer."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 32), nn.Dropout(0.3), nn.ReLU(), nn.Linear(32, 4))
    optimizer = make(model.parameters())
    step = Step(model, cross_entropy, optimizer)
    step.capture = captured  # which is refused at first, where there is no GPU
    batches = TensorBatches(*data(), batch_size=8, rng=0)
    history = train_with(step, batches, epochs=epochs, lr=lr)
    end = torch.cat([p.detach().flatten() for p in model.parameters()])
    return history.step_losses, end.numpy(), optimizer


def with_momentum(parameters):
    """The state of an optimizer that a graph can record, on a CPU: torch's own ask for a GPU."""
    optimizer = torch.optim.SGD(parameters, lr=0.1, momentum=0.9, foreach=False)
    optimizer.param_groups[0]["capturable"] = True
    return optimizer


@pytest.mark.parametrize("make", [lambda p: PlainSGD(p, 0.1), with_momentum])
@pytest.mark.parametrize(
    "lr", [None, 0.05, cosine(0.1, length=3)], ids=["own", "number", "schedule"]
)
def test_an_optimizers_state_and_rates_go_through_the_recording(make, lr, stand_in):
    *expected, judge = trained_by_step(make, lr, captured=False)
    *got, optimizer = trained_by_step(make, lr, captured=True)
    for a, b in zip(got, expected, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-7)
    if hasattr(optimizer, "state"):
        for ours, theirs in zip(optimizer.state.values(), judge.state.values(), strict=True):
            torch.testing.assert_close(ours["momentum_buffer"], theirs["momentum_buffer"])
    assert optimizer.param_groups[0]["lr"] == 0.1  # a number again


def test_a_step_that_is_used_again_is_recorded_again(stand_in):
    """The rates of the second run are in other tensors than those of the first."""
    outcomes = []
    for captured in (True, False):
        torch.manual_seed(0)
        model = nn.Linear(6, 4)
        step = Step(model, cross_entropy, with_momentum(model.parameters()))
        step.capture = captured
        batches = TensorBatches(*data(), batch_size=8, rng=0)
        for lr in (0.1, 0.01):
            history = train_with(step, batches, epochs=2, lr=lr)
        outcomes.append(history.step_losses)
    np.testing.assert_allclose(*outcomes, rtol=1e-5)


def test_a_state_that_the_warmup_moves_would_be_seen(stand_in, monkeypatch):
    """The planted bug: the momentum keeps what the warmup of the recording put into it."""
    expected, *_ = trained_by_step(with_momentum, None, captured=False)
    monkeypatch.setattr(capture, "_state_put_back", lambda optimizer: nullcontext())
    got, *_ = trained_by_step(with_momentum, None, captured=True)
    assert not np.allclose(got, expected, rtol=1e-3)


@needs_gpu
@pytest.mark.parametrize("kind", ["Adam", "AdamW", "RAdam", "RMSprop"])
def test_torchs_optimizers_are_recorded(kind):
    make = getattr(torch.optim, kind)
    outcomes = []
    for captured in (True, False):
        model = network().cuda()
        optimizer = make(model.parameters(), lr=0.01, capturable=captured)
        options = {"batch_size": 8, "epochs": 4, "device": "cuda", "rng": 0, "capture": captured}
        rate = cosine(0.01, length=4)
        history = train(model, cross_entropy, data(), optimizer=optimizer, lr=rate, **options)
        outcomes.append(history.step_losses)
    np.testing.assert_allclose(*outcomes, rtol=1e-3)


def test_an_optimizer_that_a_graph_cannot_record_is_refused():
    p = list(network().parameters())
    for made, passes in (
        (torch.optim.Adam(p, capturable=True), True),
        (torch.optim.Adam(p), False),
        (torch.optim.SGD(p, 0.1), False),
        (PlainSGD(p, 0.1), True),
    ):
        if passes:
            check_capture(True, torch.device("cuda"), made)
        else:
            with pytest.raises(ValueError, match=r"capturable=True, got (Adam|SGD) without"):
                check_capture(True, torch.device("cuda"), made)


def test_a_step_that_cannot_be_recorded_is_refused_and_leaves_no_trace(stand_in, monkeypatch):
    model, calls = nn.Linear(2, 1), []
    before = everything(model)

    def step(batch, weights):
        calls.append(None)
        nn.init.zeros_(model.weight)
        if len(calls) > capture._WARMUP_STEPS:
            raise RuntimeError("operation not permitted when stream is capturing\ndetails")
        return weights

    with pytest.raises(ValueError, match=r"could not record this one \(operation not permitted"):
        CapturedSteps(step, model)((torch.ones(3, 2),), torch.ones(3))
    assert all(map(torch.equal, everything(model), before))


# -- on a GPU --


def cross_entropy(outputs, labels):
    return F.cross_entropy(outputs, labels, reduction="none")


def data(n=83):
    generator = torch.Generator().manual_seed(0)
    return torch.randn(n, 6, generator=generator), torch.arange(n) % 4


def network(*extra):
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 32), *extra, nn.ReLU(), nn.Linear(32, 4))


def both_ways(*extra, **options):
    """Return the models and the step losses of a run with capture and of one without."""
    outcomes = []
    for captured in (True, False):
        model = network(*extra)
        history = train(
            model,
            cross_entropy,
            data(),
            epochs=4,
            device="cuda",
            capture=captured,
            rng=0,
            **{"batch_size": 8, "lr": 0.1} | options,
        )
        outcomes.append((model, history.step_losses))
    return outcomes


@needs_gpu
@pytest.mark.parametrize("last", ["scale", "keep", "pad", "wrap", "drop"])
@pytest.mark.parametrize("precision", ["float32", "bf16"])
def test_captured_steps_are_the_eager_steps(last, precision):
    (a, losses), (b, expected) = both_ways(last=last, precision=precision, clip=0.5)
    np.testing.assert_allclose(losses, expected, rtol=1e-2 if precision == "bf16" else 1e-4)
    assert losses[-1] != losses[0]
    for p, q in zip(a.parameters(), b.parameters(), strict=True):
        torch.testing.assert_close(p, q, rtol=1e-2, atol=1e-3)


@needs_gpu
def test_captured_steps_inside_an_outer_autocast_use_new_weights():
    with torch.autocast("cuda", dtype=torch.bfloat16):
        (_, losses), _ = both_ways(precision="bf16", lr=0.3)
    _, (_, expected) = both_ways(precision="bf16", lr=0.3)
    np.testing.assert_allclose(losses, expected, rtol=5e-2)


@needs_gpu
def test_dropout_draws_anew_in_every_replay():
    model = nn.Sequential(nn.Dropout(0.5)).cuda()
    seen = []

    def step(batch, weights):
        return model(batch[0]).sum(1)

    steps = CapturedSteps(step, model)
    x, w = torch.ones(16, 100, device="cuda"), torch.ones(16, device="cuda")
    seen = torch.stack([steps((x,), w) for _ in range(50)])
    assert len({tuple(row.tolist()) for row in seen}) == 50
    assert abs(seen.mean().item() - 100) < 5 * 10 / (16 * 50) ** 0.5


@needs_gpu
def test_batch_normalisation_counts_each_step_once():
    (a, _), (b, _) = both_ways(nn.BatchNorm1d(32))
    assert a[1].num_batches_tracked == b[1].num_batches_tracked
    torch.testing.assert_close(a[1].running_var, b[1].running_var, rtol=1e-2, atol=1e-4)


@needs_gpu
def test_a_step_that_waits_for_the_gpu_is_refused_in_words():
    def waits(outputs, labels):
        losses = cross_entropy(outputs, labels)
        return losses * (1 if losses.sum().item() > 0 else 2)

    with pytest.raises(ValueError, match="capture=True: expected a step that never waits"):
        train(network(), waits, data(), batch_size=8, epochs=1, lr=0.1, device="cuda", capture=True)
