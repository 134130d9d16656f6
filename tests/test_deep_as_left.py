"""What a run leaves behind that failed, was interrupted, or met layers its caller had set aside."""

import copy

import numpy as np
import pytest
import torch
from checkpoint_worker import problem
from same import assert_same
from torch import nn

from sgdlib.deep import PlainSGD, TensorBatches, load_checkpoint, train
from sgdlib.deep.checkpoints import previous_path
from sgdlib.descent import DivergenceError
from sgdlib.schedules import step_decay

X = torch.randn(64, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
y = X[:, 0].clone()
OPTIONS = {"batch_size": 8, "rng": 0, "device": "cpu"}


def squares(outputs, y):
    return (outputs[:, 0] - y) ** 2


def is_step(outputs):
    """Tell a step from an evaluation, and from the trial of the loss on two or three examples."""
    return outputs.requires_grad and len(outputs) > 3


class Net(nn.Module):
    """Has dropout, batch normalisation, and a buffer that no checkpoint holds."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.layers = nn.Sequential(
            nn.Linear(3, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.2), nn.Linear(8, 1)
        )
        self.register_buffer("calls", torch.zeros(()), persistent=False)
        self.double()

    def forward(self, x):
        if self.training:
            self.calls += 1
        return self.layers(x)


OPTIMIZERS = {
    "plain": lambda p: PlainSGD(p, 0.01),
    "momentum": lambda p: torch.optim.SGD(p, 0.01, momentum=0.9),
    "adam": lambda p: torch.optim.Adam(p, 0.01, amsgrad=True),
    "groups": lambda p: torch.optim.SGD(
        [{"params": [q], "lr": 0.01 * (i + 1)} for i, q in enumerate(p)], momentum=0.5
    ),
}


def everything(model, optimizer):
    tensors = [*model.parameters(), *model.buffers()]
    return [t.detach().clone() for t in tensors], copy.deepcopy(optimizer.state_dict())


# -- divergence --


def diverges_at(step):
    """Return a loss that is not finite at that step."""
    calls = []

    def loss(outputs, y):
        calls.append(is_step(outputs))
        return squares(outputs, y) * (np.inf if sum(calls) == step + 1 else 1.0)

    return loss


@pytest.mark.parametrize("name", OPTIMIZERS)
@pytest.mark.parametrize("step", [0, 5, 19])
def test_a_retry_is_as_if_the_failed_epoch_had_never_been(name, step):
    """Epochs have 8 steps: the twin stops before the one that fails, and goes on like the retry."""
    (model, twin), whole = (Net(), Net()), step // 8
    optimizer, other = (OPTIMIZERS[name](m.parameters()) for m in (model, twin))
    history = []
    if whole:
        train(twin, squares, (X, y), lr=0.05, epochs=whole, optimizer=other, **OPTIONS)
    with pytest.raises(DivergenceError) as caught:
        train(model, diverges_at(step), (X, y), lr=0.05, epochs=9, optimizer=optimizer, **OPTIONS)
    assert caught.value.step == step
    assert len(caught.value.history.losses) == whole
    assert len(caught.value.history.step_losses) > step
    assert_same(everything(model, optimizer), everything(twin, other))
    for m, o in ((model, optimizer), (twin, other)):
        history.append(train(m, squares, (X, y), lr=0.001, epochs=2, optimizer=o, **OPTIONS))
    assert_same(everything(model, optimizer), everything(twin, other))
    assert np.array_equal(history[0].step_losses, history[1].step_losses)


def test_a_momentum_that_overflowed_is_gone():
    """The published case: a rate far too large, then a thousandth of it."""
    data, (model, fresh) = (X.float(), y.float()), (nn.Linear(3, 1) for _ in range(2))
    fresh.load_state_dict(model.state_dict())
    optimizers = [torch.optim.SGD(m.parameters(), 1.0, momentum=0.9) for m in (model, fresh)]
    with pytest.raises(DivergenceError):
        train(model, squares, data, lr=1e6, epochs=3, optimizer=optimizers[0], **OPTIONS)
    runs = [
        train(m, squares, data, lr=1e-3, epochs=2, optimizer=o, **OPTIONS)
        for m, o in zip((model, fresh), optimizers, strict=True)
    ]
    assert np.array_equal(runs[0].step_losses, runs[1].step_losses)
    assert runs[0].losses[-1] < runs[0].losses[0]


def test_a_generator_draws_again_what_it_drew():
    rng, options = np.random.default_rng(3), OPTIONS | {"rng": np.random.default_rng(3)}
    with pytest.raises(DivergenceError):
        train(Net(), diverges_at(3), (X, y), lr=0.05, epochs=1, **options)
    with pytest.raises(ValueError, match="batch_size=65"):
        train(Net(), squares, (X, y), lr=0.05, epochs=1, **options | {"batch_size": 65})
    assert options["rng"].bit_generator.state == rng.bit_generator.state


def checkpointed(path, loss, **options):
    model, optimizer, *_ = problem()
    options = OPTIONS | {"epochs": 4, "checkpoint": path, "checkpoint_every": 3} | options
    data = torch.randn(64, 5, generator=torch.Generator().manual_seed(1)), y.float()
    return model, train(model, loss, data, optimizer=optimizer, lr=0.01, **options)


@pytest.mark.parametrize("step", [4, 15, 21])
def test_the_checkpoint_of_a_run_that_diverged_has_no_part_in_it(tmp_path, step):
    path = tmp_path / "run.pt"
    with pytest.raises(DivergenceError):
        checkpointed(path, diverges_at(step))
    whole = step // 8
    if not whole:  # nothing was there before
        assert list(tmp_path.iterdir()) == []
    else:
        _, expected = checkpointed(tmp_path / "other.pt", squares, epochs=whole)
        saved, twin = load_checkpoint(path), load_checkpoint(tmp_path / "other.pt")
        for state in (saved, twin):
            del state["record"]["rows"]  # has durations
        assert_same(saved, twin)
        assert not previous_path(path).exists()
    model, history = checkpointed(path, squares)
    twin, expected = checkpointed(tmp_path / "third.pt", squares)
    assert_same(model.state_dict(), twin.state_dict())
    assert np.array_equal(history.step_losses, expected.step_losses)


def test_a_run_that_was_taken_up_in_an_epoch_goes_back_to_that_place(tmp_path):
    path = tmp_path / "run.pt"

    def stops(outputs, y, calls=[]):  # noqa: B006
        calls.append(is_step(outputs))
        if sum(calls) == 14:
            raise KeyError
        return squares(outputs, y)

    with pytest.raises(KeyError):
        checkpointed(path, stops)
    before = load_checkpoint(path)
    assert before["record"]["epoch_steps"] == 4  # 12 steps are saved, 8 of them in the first epoch
    with pytest.raises(DivergenceError):
        checkpointed(path, diverges_at(3))
    after = load_checkpoint(path)
    for state in (before, after):
        del state["seconds"]
    assert_same(after, before)


# -- interrupts and other failures --


@pytest.mark.parametrize("error", [KeyboardInterrupt, ZeroDivisionError, MemoryError])
def test_what_ends_a_run_carries_the_record_and_leaves_the_rest_as_it_was(error):
    model, calls = Net(), []
    model.layers[1].eval()
    model.layers[0].requires_grad_(False)
    modes = {m: m.training for m in model.modules()}
    optimizer = torch.optim.SGD(model.parameters(), 0.5, momentum=0.9)
    gradients = [torch.full_like(p, 7.0) for p in model.parameters()]
    for p, g in zip(model.parameters(), gradients, strict=True):
        p.grad = g
    random = torch.get_rng_state()

    def loss(outputs, y):
        calls.append(is_step(outputs))
        if sum(calls) == 21:
            raise error
        return squares(outputs, y)

    with pytest.raises(error) as caught:
        train(model, loss, (X, y), lr=step_decay(0.01), epochs=5, optimizer=optimizer, **OPTIONS)
    history = caught.value.history
    assert history.epochs.tolist() == [1, 2]
    assert history.steps.tolist() == [8, 16]
    assert len(history.step_losses) == len(history.step_sizes) == 20
    assert {m: m.training for m in model.modules()} == modes
    assert [p.requires_grad for p in model.layers[0].parameters()] == [False, False]
    assert optimizer.param_groups[0]["lr"] == 0.5
    assert all(p.grad is g for p, g in zip(model.parameters(), gradients, strict=True))
    assert torch.equal(torch.get_rng_state(), random)
    if error is KeyboardInterrupt:
        assert "history" in caught.value.__notes__[0]


def test_the_record_of_a_run_without_a_whole_epoch_has_its_types():
    def stops(outputs, y):
        if is_step(outputs):
            raise KeyboardInterrupt
        return squares(outputs, y)

    with pytest.raises(KeyboardInterrupt) as caught:
        train(Net(), stops, (X, y), lr=0.1, epochs=1, **OPTIONS)
    history = caught.value.history
    for name in ("steps", "epochs", "examples", "batch_sizes", "step_sizes"):
        assert getattr(history, name).dtype == np.int64
        assert len(getattr(history, name)) == 0
    assert history.losses.dtype == history.lrs.dtype == history.step_losses.dtype == np.float64


# -- layers that the caller set aside --


@pytest.mark.parametrize("root_in_training", [True, False])
def test_a_frozen_normalisation_does_not_move(root_in_training):
    model = Net()
    norm = model.layers[1]
    if not root_in_training:
        model.eval()
    norm.eval().requires_grad_(False)
    before, modes = copy.deepcopy(norm.state_dict()), {m: m.training for m in model.modules()}
    seen = []

    def loss(outputs, y):
        if is_step(outputs):
            seen.append((norm.training, model.layers[3].training))
        return squares(outputs, y)

    train(model, loss, (X, y), lr=0.05, epochs=2, validation=(X, y), **OPTIONS)
    assert set(seen) == {(False, True)}
    assert_same(dict(norm.state_dict()), dict(before))
    assert {m: m.training for m in model.modules()} == modes


def test_a_layer_that_is_only_in_evaluation_learns_without_its_statistics():
    model = Net()
    norm = model.layers[1].eval()
    before = copy.deepcopy(norm.state_dict())
    train(model, squares, (X, y), lr=0.05, epochs=2, **OPTIONS)
    assert torch.equal(norm.running_mean, before["running_mean"])
    assert not torch.equal(norm.weight, before["weight"])
    assert not norm.training


# -- one meaning of an epoch --


@pytest.mark.parametrize("sampling", ["replacement", "subset"])
def test_three_epochs_of_single_draws_are_sixty_examples(sampling):
    model, data = nn.Linear(3, 1).double(), (X[:20], y[:20])
    options = OPTIONS | {"batch_size": 6, "sampling": sampling}
    rates = []

    def lr(progress):
        rates.append(progress)
        return 0.01

    history = train(model, squares, data, lr=lr, epochs=3, **options)
    assert history.examples.tolist() == [24, 42, 60]
    assert history.steps.tolist() == [4, 7, 10]
    np.testing.assert_allclose(rates[-10:], np.arange(10) * 6 / 20)  # the last ten: the run's
    loader = TensorBatches(*data, batch_size=6, sampling=sampling, rng=0)
    assert [len(list(loader)) for _ in range(3)] == [4, 3, 3]


def test_a_batch_longer_than_an_epoch():
    options = OPTIONS | {"batch_size": 50, "sampling": "replacement"}
    model = nn.Linear(3, 1).double()
    history = train(model, squares, (X[:20], y[:20]), lr=0.01, epochs=4, **options)
    assert history.steps.tolist() == [1, 1, 2, 2]
    assert history.examples.tolist() == [50, 50, 100, 100]
    assert np.isnan(history.losses).tolist() == [False, True, False, True]
