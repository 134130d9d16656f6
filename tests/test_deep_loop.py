"""Loaders of every kind make the same steps; a hook sees, turns knobs and stops."""

import copy

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader, IterableDataset, TensorDataset

from sgdlib.controllers import NormTest, ReduceOnPlateau
from sgdlib.deep import (
    IndexBatches,
    Moment,
    PlainSGD,
    Step,
    TensorBatches,
    accumulate_gradients,
    load_checkpoint,
    train,
    train_with,
)
from sgdlib.descent import DivergenceError
from sgdlib.schedules import cosine

N, B = 50, 8
X = torch.randn(N, 6, generator=torch.Generator().manual_seed(0))
LABELS = X[:, :4].argmax(1)
OPTIONS = {"epochs": 3, "lr": 0.2, "device": "cpu"}


def cross_entropy(outputs, labels):
    return F.cross_entropy(outputs, labels, reduction="none")


def network(*extra):
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 7), nn.Tanh(), *extra, nn.Linear(7, 4))


def assert_same_run(outcome, expected):
    (model, history), (judge, record) = outcome, expected
    assert np.array_equal(history.step_losses, record.step_losses)
    assert np.array_equal(history.lrs, record.lrs)
    for p, q in zip(model.parameters(), judge.parameters(), strict=True):
        assert torch.equal(p, q)


def outcome(data, *, model=None, **options):
    model = network() if model is None else model
    return model, train(model, cross_entropy, data, **OPTIONS | options)


def with_tensors(**options):
    return outcome((X, LABELS), batch_size=B, last="keep", rng=3, **options)


# -- loaders --


class Weighted:
    """The shortest loader: what a stream, or the points of a domain, would be."""

    yields_weights = True

    def __init__(self, seed=3):
        self.order = IndexBatches(N, B, last="keep", rng=seed)

    def __iter__(self):
        for rows in self.order:
            yield X[rows], LABELS[rows], torch.full((len(rows),), 1 / len(rows))


class Numbered(Weighted):
    """The same, with an order that follows from the epoch, and a known number of examples."""

    n = N

    def set_epoch(self, epoch):
        self.order.set_epoch(epoch)


class Stream(IterableDataset):
    """Batches of rows from a dataset that has no length."""

    def __init__(self):
        self.order = IndexBatches(N, B, last="keep", rng=3)

    def __iter__(self):
        for rows in self.order:
            yield from zip(X[rows], LABELS[rows], strict=True)


def torchs_loader(**options):
    sampler = IndexBatches(N, B, last="keep", rng=3)
    return DataLoader(TensorDataset(X, LABELS), batch_sampler=sampler, **options)


LOADERS = {
    "torch": torchs_loader,
    "workers": lambda: torchs_loader(num_workers=1),
    "tensors": lambda: TensorBatches(X, LABELS, batch_size=B, last="keep", rng=3),
    "weights": Weighted,
    "numbered": Numbered,
    "list": lambda: [(X[i : i + B], LABELS[i : i + B]) for i in range(0, N, B)],
}


@pytest.mark.parametrize("name", LOADERS)
def test_every_loader_makes_the_steps_of_the_tensors(name):
    expected = with_tensors() if name != "list" else outcome(
        (X, LABELS), batch_size=B, last="keep", sampling="sequential"
    )  # fmt: skip
    assert_same_run(outcome(LOADERS[name]()), expected)


@pytest.mark.parametrize("name", ["torch", "tensors", "numbered"])
def test_a_schedule_moves_with_the_examples_where_their_number_is_known(name):
    schedule = cosine(0.3, length=3)
    assert_same_run(outcome(LOADERS[name](), lr=schedule), with_tensors(lr=schedule))


def test_a_schedule_moves_with_the_batches_or_the_epochs_otherwise():
    places = []

    def lr(progress):
        places.append(progress)
        return 0.1

    batches = [(X[i : i + 20], LABELS[i : i + 20]) for i in (0, 20, 40)]
    outcome(batches, lr=lr, epochs=2)
    np.testing.assert_allclose(places[-6:], np.arange(6) / 3)
    outcome(DataLoader(Stream(), batch_size=20), lr=lr, epochs=2)
    assert places[-6:] == [0.0] * 3 + [1.0] * 3


def test_the_weights_of_a_loader_count():
    """The planted bug: a loader whose weights are taken for one more tensor of the batch."""

    class Heavier(Weighted):
        def __iter__(self):
            for x, y, w in super().__iter__():
                yield x, y, 2 * w

    twice, expected = outcome(Heavier()), with_tensors(lr=0.4)
    for p, q in zip(twice[0].parameters(), expected[0].parameters(), strict=True):
        torch.testing.assert_close(p, q)
    with pytest.raises(AssertionError):
        assert_same_run(outcome(Heavier()), with_tensors())


@pytest.mark.parametrize("kind", [lambda: X, lambda: DataLoader(X, 10), lambda: X.split(10)])
def test_inputs_alone(kind):
    """Points of a domain: what the model makes of them is all that the loss is told."""
    model, judge = network(), network()

    def energy(outputs):
        return outputs.square().sum(1) / 2 - outputs[:, 0]

    data = kind()
    data = list(data) if isinstance(data, tuple) else data
    own = {"batch_size": 10, "sampling": "sequential"} if isinstance(data, torch.Tensor) else {}
    options = OPTIONS | {"validation": X} | own
    if isinstance(data, list):
        data = [(x,) for x in data]
    history = train(model, energy, data, **options)
    for _ in range(3):
        for x in X.split(10):
            judge.zero_grad()
            energy(judge(x)).mean().backward()
            with torch.no_grad():
                for p in judge.parameters():
                    p -= 0.2 * p.grad
    for p, q in zip(model.parameters(), judge.parameters(), strict=True):
        torch.testing.assert_close(p, q)
    assert history.validation_losses[-1] == pytest.approx(energy(judge(X)).mean().item(), rel=1e-5)


def run_until(path, loader, stop_at=None, epochs=3, **options):
    """Run with a checkpoint after every second step; fail at a step of training."""
    model = network(nn.Dropout(0.2))
    calls = []

    def loss(outputs, labels):
        calls.append(model.training and outputs.requires_grad)
        if sum(calls) == stop_at:
            raise KeyError
        return cross_entropy(outputs, labels)

    options = OPTIONS | {"checkpoint": path, "checkpoint_every": 2, "rng": 5} | options
    return model, train(model, loss, loader, **options | {"epochs": epochs})


@pytest.mark.parametrize("shuffled", [True, False])
@pytest.mark.parametrize("stop_at", [4, 12, 19])
def test_a_run_over_a_loader_is_taken_up_where_it_stopped(tmp_path, shuffled, stop_at):
    def loader():
        if not shuffled:
            return Numbered()
        return DataLoader(TensorDataset(X, LABELS), B, shuffle=True)

    expected = run_until(tmp_path / "whole.pt", loader())
    with pytest.raises(KeyError):
        run_until(tmp_path / "run.pt", loader(), stop_at)
    assert (
        load_checkpoint(tmp_path / "run.pt")["record"]["losses"].numel() == (stop_at - 1) // 2 * 2
    )
    assert_same_run(run_until(tmp_path / "run.pt", loader()), expected)


class Endless:
    def __iter__(self):
        return iter([(X, LABELS)])


@pytest.mark.parametrize(
    ("data", "options", "error", "words"),
    [
        (
            torchs_loader(),
            {"batch_size": 8},
            ValueError,
            "batch_size: expected none beside a loader",
        ),
        (torchs_loader(), {"sampling": "subset"}, ValueError, "sampling: expected none beside"),
        (torchs_loader(), {"last": "keep"}, ValueError, "last: expected none beside a loader"),
        (iter([(X, LABELS)]), {}, TypeError, "iterated anew for each epoch, got list_iterator"),
        ((X, LABELS), {}, ValueError, r"batch_size=None: expected an int in 1\.\.50"),
        (3, {}, TypeError, "data: expected inputs and targets"),
        (X.numpy(), {"batch_size": 8}, TypeError, "data: expected inputs and targets"),
        ([], {}, TypeError, "data: expected inputs and targets"),
        ([({"x": X}, LABELS)], {}, TypeError, r"batch\[0\]: expected a torch.Tensor, got dict"),
        ([[X, LABELS[:3]]], {}, ValueError, "batch: expected equal numbers of rows, got 50, 3"),
        (DataLoader(TensorDataset(X, LABELS), 64, drop_last=True), {}, ValueError, "gave none"),
        (Endless(), {"hook": 3}, TypeError, "hook=3: expected a function"),
        (Endless(), {"hook": lambda moment: 3}, TypeError, "what the hook returned=3"),
        (Endless(), {"lr": lambda p: -p}, ValueError, r"lr\(1\)=-1"),
        ([[X, LABELS + 9]], {}, ValueError, r"batch\[1\]: expected labels in 0\.\.3"),
        ([[X.double(), LABELS]], {}, ValueError, r"batch\[0\]: expected torch.float32"),
    ],
)
def test_bad_loaders_are_named(data, options, error, words):
    with pytest.raises(error, match=words):
        train(network(), cross_entropy, data, **OPTIONS | options)


def test_a_run_without_a_step_is_named():
    with pytest.raises(TypeError, match=r"step: expected a sgdlib\.deep\.Step, got function"):
        train_with(cross_entropy, [(X, LABELS)], epochs=1)


# -- the hook --


def test_a_hook_sees_every_step_and_every_epoch():
    seen = []
    model, history = with_tensors(hook=seen.append, validation=(X, LABELS))
    steps, epochs = [m for m in seen if m.history is None], [m for m in seen if m.history]
    assert [m.step for m in steps] == list(range(1, 22))
    assert [m.step for m in epochs] == [7, 14, 21]
    assert [m.epoch for m in epochs] == [1, 2, 3]
    means = [m.losses.double().mean().item() for m in steps]
    np.testing.assert_allclose(means, history.step_losses, rtol=1e-6)
    expected = [e + min(8 * (i + 1), N) / N for e in range(3) for i in range(7)]
    np.testing.assert_allclose([m.progress for m in steps], expected)
    assert [m.progress for m in epochs] == [1.0, 2.0, 3.0]
    assert all(len(m.batch) == 2 and m.validation is None for m in steps)
    assert [m.validation.loss for m in epochs] == history.validation_losses.tolist()
    assert all(m.batch is None and m.losses is None for m in epochs)
    assert np.array_equal(epochs[1].history.step_losses, history.step_losses[:14])
    assert all(m.model is model and isinstance(m.optimizer, PlainSGD) for m in seen)
    assert all(isinstance(m, Moment) for m in seen)


def test_a_hook_that_only_looks_changes_nothing():
    assert_same_run(with_tensors(hook=lambda moment: False), with_tensors())


@pytest.mark.parametrize("verdict", [True, "stop", np.bool_(True)])
@pytest.mark.parametrize(("at", "steps", "epochs"), [(10, 10, 1), (14, 14, 1), (1, 1, 0)])
def test_a_hook_stops_after_a_step(verdict, at, steps, epochs):
    _, history = with_tensors(hook=lambda m: m.step == at and m.history is None and verdict)
    assert len(history.step_losses) == steps
    assert len(history.epochs) == epochs
    assert history.stopped_early


def test_a_hook_stops_after_an_epoch():
    _, history = with_tensors(hook=lambda m: m.history is not None and m.epoch == 2)
    assert history.steps.tolist() == [7, 14]
    assert history.stopped_early


def test_early_stopping_is_a_hook():
    """What `patience` does, without going back to the best weights."""
    wrong = X, (LABELS + 1) % 4
    best = {"loss": np.inf, "epoch": 0}

    def hook(moment):
        if moment.history is None:
            return False
        if moment.validation.loss < best["loss"]:
            best.update(loss=moment.validation.loss, epoch=moment.epoch)
        return moment.epoch - best["epoch"] >= 3

    options = {"epochs": 40, "validation": wrong}
    _, by_hook = with_tensors(hook=hook, **options)
    _, by_patience = with_tensors(patience=3, **options)
    assert by_hook.epochs.tolist() == by_patience.epochs.tolist()
    assert best["epoch"] == by_patience.best_epoch


def test_reduce_on_plateau_is_torchs():
    """Our controller in the hook, torch's scheduler in the hook: the same rates, the same steps."""
    held_out, options = (X[:10], (LABELS[:10] + 1) % 4), {"epochs": 12}

    def ours(moment):
        if moment.history is not None:
            moment.optimizer.param_groups[0]["lr"] = controller.update(moment.validation.loss)

    def torchs(moment):
        if moment.history is not None:
            scheduler.step(moment.validation.loss)

    outcomes = []
    for hook in (ours, torchs):
        model = network()
        optimizer = torch.optim.SGD(model.parameters(), 0.2, momentum=0.9)
        controller = ReduceOnPlateau(0.2, factor=0.3, patience=1)
        scheduler = torch.optim.lr_scheduler.ReduceLROnPlateau(
            optimizer, factor=0.3, patience=1, threshold=0.0, threshold_mode="abs", eps=0
        )
        outcomes.append(
            outcome(
                (X, LABELS), model=model, batch_size=B, rng=3, lr=None, optimizer=optimizer,
                validation=held_out, hook=hook, **options,
            )
        )  # fmt: skip
    assert_same_run(*outcomes)
    assert len(set(outcomes[0][1].lrs)) > 2


class Growing:
    """Batches whose size is a knob."""

    n = N

    def __init__(self, batch_size):
        self.batch_size, self._rng = batch_size, np.random.default_rng(3)

    def __iter__(self):
        order = torch.from_numpy(self._rng.permutation(N))
        while len(order):
            rows, order = order[: self.batch_size], order[self.batch_size :]
            yield X[rows], LABELS[rows]


def test_the_norm_test_lets_the_batch_grow():
    """The controller looks at the gradients of single examples of the batch, before the next."""
    loader, test = Growing(2), NormTest(2, theta=0.8, maximum=32)
    sizes, wanted = [], []

    def gradients(model, batch):
        for x, y in zip(*(t.split(1) for t in batch), strict=True):
            model.zero_grad()
            accumulate_gradients(model, cross_entropy, (x, y))
            yield torch.cat([p.grad.flatten() for p in model.parameters()])

    def hook(moment):
        if moment.history is not None or len(moment.batch[0]) != loader.batch_size:
            return
        sizes.append(len(moment.batch[0]))
        parts = torch.stack(list(gradients(copy.deepcopy(moment.model), moment.batch)))
        loader.batch_size = test.update(parts)
        wanted.append(loader.batch_size)

    _, history = outcome(loader, hook=hook, epochs=6)
    assert sizes[0] == 2
    assert sizes[1:] == wanted[:-1]  # each test decides about the next batch
    assert sizes[-1] > 2
    assert set(sizes) <= set(history.step_sizes)


def test_a_hook_that_turns_the_rate_survives_a_number_but_not_a_schedule():
    def halve(moment):
        if moment.history is not None:
            for group in moment.optimizer.param_groups:
                group["lr"] /= 2

    assert with_tensors(hook=halve)[1].lrs.tolist() == [0.2, 0.1, 0.05]
    schedule = cosine(0.2, length=9)
    assert np.array_equal(with_tensors(hook=halve, lr=schedule)[1].lrs,
                          with_tensors(lr=schedule)[1].lrs)  # fmt: skip


def test_a_knob_that_was_turned_is_in_the_checkpoint(tmp_path):
    def halve(moment):
        if moment.history is not None:
            moment.optimizer.param_groups[0]["lr"] /= 2

    options = {"hook": halve, "lr": None}
    expected = outcome(Numbered(), **options | with_momentum(model := network()), model=model)
    for epochs in (1, 3):
        options |= with_momentum(model := network()) | {"epochs": epochs}
        got = outcome(Numbered(), checkpoint=tmp_path / "run.pt", model=model, **options)
    assert_same_run(got, expected)
    assert got[1].lrs.tolist() == [0.2, 0.1, 0.05]


def with_momentum(model):
    return {"optimizer": torch.optim.SGD(model.parameters(), 0.2, momentum=0.5)}


def test_a_run_that_a_hook_stopped_can_go_on(tmp_path):
    options = {"checkpoint": tmp_path / "run.pt", "checkpoint_every": 1}
    with_tensors(hook=lambda m: m.step == 10, **options)
    assert_same_run(with_tensors(**options), with_tensors())


def test_what_a_hook_did_to_an_optimizer_is_undone_by_divergence():
    model = network()
    optimizer = torch.optim.SGD(model.parameters(), 0.2, momentum=0.5)

    def explode(moment):
        if moment.step == 9:
            moment.optimizer.param_groups[0]["lr"] = np.inf
            moment.optimizer.param_groups[0]["momentum"] = 0.0

    with pytest.raises(DivergenceError):
        outcome((X, LABELS), model=model, batch_size=B, lr=None, optimizer=optimizer, hook=explode)
    assert optimizer.param_groups[0]["lr"] == 0.2
    assert optimizer.param_groups[0]["momentum"] == 0.5


def test_an_error_in_a_hook_carries_the_record():
    with pytest.raises(ZeroDivisionError) as caught:
        with_tensors(hook=lambda m: 1 / (m.step - 9) > 1)
    assert len(caught.value.history.step_losses) == 9


def test_a_step_of_ones_own_goes_into_the_loop():
    """Sharpness-aware minimisation, over `Step`: the gradient is taken a little uphill."""

    class Uphill(Step):
        def __call__(self, batch, weights=None):
            at = [p.detach().clone() for p in self.parameters()]
            losses = accumulate_gradients(self.model, self.loss, batch, weights)
            with torch.no_grad():
                for p in self.parameters():
                    p += 0.05 * p.grad
                    p.grad = None
            accumulate_gradients(self.model, self.loss, batch, weights)
            with torch.no_grad():
                for p, old in zip(self.parameters(), at, strict=True):
                    p.copy_(old)
            self.optimizer.step()
            self.optimizer.zero_grad()
            return losses

    model, plain = network(), network()
    for net, kind in ((model, Uphill), (plain, Step)):
        step = kind(net, cross_entropy, PlainSGD(net.parameters(), 0.2))
        history = train_with(step, TensorBatches(X, LABELS, batch_size=B, rng=0), epochs=4)
        assert history.losses[-1] < history.losses[0]
    assert not torch.equal(model[0].weight, plain[0].weight)


def test_what_a_hook_breaks_after_an_epoch_is_undone(tmp_path):
    def breaks(moment):
        if moment.history is not None and moment.epoch == 2:
            nn.init.constant_(moment.model[0].weight, float("nan"))

    path, options = tmp_path / "run.pt", {"checkpoint_every": 3}
    with pytest.raises(DivergenceError, match="beginning of epoch 2"):
        with_tensors(hook=breaks, checkpoint=path, **options)
    assert load_checkpoint(path)["epoch"] == 1
    assert_same_run(with_tensors(checkpoint=path, **options), with_tensors())


def test_a_knob_that_a_hook_turned_stays_where_nobody_gave_a_rate():
    optimizer = torch.optim.SGD((model := network()).parameters(), 0.2)

    def halve(moment):
        if moment.history is not None:
            moment.optimizer.param_groups[0]["lr"] /= 2

    outcome((X, LABELS), model=model, batch_size=B, lr=None, optimizer=optimizer, hook=halve)
    assert optimizer.param_groups[0]["lr"] == 0.025


# -- what has no place there --

NOTHING = (
    None,
    "a",
    -1,
    1.5,
    float("nan"),
    [],
    {},
    object(),
    np.array([1, 2]),
    np.array(3),
    1j,
    b"a",
)


@pytest.mark.parametrize(
    "bad",
    NOTHING,
    ids=[type(bad).__name__ for bad in NOTHING],
)
@pytest.mark.parametrize(
    ("name", "call"),
    [
        ("data", lambda bad: train_with(step(), bad, epochs=1)),
        ("epoch", lambda bad: TensorBatches(X, batch_size=8).iterate(bad)),
        ("skip", lambda bad: TensorBatches(X, batch_size=8).iterate(0, bad)),
        ("epoch", lambda bad: IndexBatches(9, 2).blocks(bad)),
        ("rows", lambda bad: IndexBatches(9, 2).blocks(0, rows=bad)),
        ("device", lambda bad: IndexBatches(9, 2).blocks(0, device=bad)),
        ("epoch", lambda bad: list(IndexBatches(9, 2).steps(bad))),
        ("epoch", lambda bad: IndexBatches(9, 2).start(bad)),
        ("batch", lambda bad: step()(bad)),
        ("batch", lambda bad: step()(bad, torch.ones(2))),
    ],
)
def test_what_has_no_place_is_named(name, call, bad):
    with pytest.raises((TypeError, ValueError), match=name):
        call(bad)


def step():
    model = network()
    return Step(model, cross_entropy, PlainSGD(model.parameters(), 0.1))
