"""A step alone: the sum, the reduction, the clipping and the update, each in its place."""

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from sgdlib.deep import PlainSGD, Step, TensorBatches, train, train_with

X = torch.randn(48, 6, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
LABELS = X[:, :4].argmax(1)


def cross_entropy(outputs, labels):
    return F.cross_entropy(outputs, labels, reduction="none")


def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 7), nn.Tanh(), nn.Linear(7, 4)).double()


def same(a, b, **tolerance):
    for p, q in zip(a.parameters(), b.parameters(), strict=True):
        torch.testing.assert_close(p, q, **tolerance or {"rtol": 1e-12, "atol": 1e-14})


WEIGHTS = torch.linspace(0, 0.1, 20, dtype=torch.float64)


@pytest.mark.parametrize("micro", [None, 1, 7])
@pytest.mark.parametrize("weights", [None, WEIGHTS])
@pytest.mark.parametrize("clip", [None, 0.05])
def test_a_step_is_the_sum_written_out(micro, weights, clip):
    model, judge = network(), network()
    optimizer, other = (torch.optim.Adam(m.parameters(), 0.01) for m in (model, judge))
    step = Step(model, cross_entropy, optimizer, micro_batch_size=micro, clip=clip)
    model[0].weight.grad = torch.ones_like(model[0].weight)  # forgotten by the first call
    for start in (0, 20):
        batch = X[start : start + 20], LABELS[start : start + 20]
        losses = step(batch, weights)
        other.zero_grad()
        each = [F.cross_entropy(judge(x[None]), y[None]) for x, y in zip(*batch, strict=True)]
        w = torch.full((20,), 1 / 20) if weights is None else weights
        sum(a * b for a, b in zip(w, each, strict=True)).backward()
        if clip is not None:
            norm = sum((p.grad**2).sum() for p in judge.parameters()).sqrt()
            assert norm > clip
            for p in judge.parameters():
                p.grad *= clip / (norm + 1e-6)
        other.step()
        torch.testing.assert_close(losses, torch.stack(each).detach())
        assert not losses.requires_grad
        assert all(p.grad is None for p in model.parameters())
    same(model, judge, rtol=1e-9, atol=1e-12)


def test_two_workers_that_add_up_their_gradients_are_one():
    """`reduce` in the place of processes: each worker has half of every batch, then both sum."""
    models, whole = [network(), network()], network()
    gradients = [None, None]

    def reduce(me):
        def reduce(parameters):
            gradients[me] = [p.grad for p in parameters]
            raise StopIteration  # wait for the other

        return reduce

    for start in range(0, 48, 16):
        rows = slice(start, start + 16)
        for me, model in enumerate(models):
            half = slice(start + 8 * me, start + 8 * me + 8)
            step = Step(model, cross_entropy, PlainSGD(model.parameters(), 0.3), reduce=reduce(me))
            with pytest.raises(StopIteration):
                step((X[half], LABELS[half]), torch.full((8,), 1 / 16, dtype=torch.float64))
        for model in models:
            with torch.no_grad():
                for p, *parts in zip(model.parameters(), *gradients, strict=True):
                    p -= 0.3 * sum(parts)
            model.zero_grad()
        Step(whole, cross_entropy, PlainSGD(whole.parameters(), 0.3))((X[rows], LABELS[rows]))
    same(models[0], whole)
    same(models[1], whole)


def test_the_reduced_gradient_is_what_is_clipped():
    model, judge = network(), network()

    def double(parameters):
        for p in parameters:
            p.grad.mul_(2)

    step = Step(model, cross_entropy, PlainSGD(model.parameters(), 1.0), clip=0.01, reduce=double)
    step((X, LABELS))
    cross_entropy(judge(X), LABELS).mean().backward()
    norm = 2 * torch.cat([p.grad.flatten() for p in judge.parameters()]).norm()
    assert norm > 0.01
    for p, q in zip(model.parameters(), judge.parameters(), strict=True):
        torch.testing.assert_close(p, q - 0.01 * 2 * q.grad / norm, rtol=1e-6, atol=1e-9)


def test_train_is_the_loop_over_its_step_and_its_loader():
    ours, judge = network(), network()
    options = {"epochs": 3, "validation": (X, LABELS)}
    expected = train(judge, cross_entropy, (X, LABELS), batch_size=10, lr=0.2, rng=4, **options)
    step = Step(ours, cross_entropy, torch.optim.SGD(ours.parameters(), 0.2))
    history = train_with(step, TensorBatches(X, LABELS, batch_size=10, rng=4), **options)
    same(ours, judge)
    assert history.validation_losses == pytest.approx(expected.validation_losses, rel=1e-12)


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        ({"model": "net"}, TypeError, "model: expected a torch.nn.Module, got str"),
        ({"model": nn.Flatten()}, ValueError, "model: expected parameters"),
        ({"loss": "mse"}, TypeError, "loss='mse': expected a function"),
        (
            {"optimizer": PlainSGD(network().parameters(), 1.0)},
            ValueError,
            "of the model, got Plain",
        ),
        ({"optimizer": None}, TypeError, "optimizer=None: expected a torch optimizer"),
        ({"micro_batch_size": 0}, ValueError, "micro_batch_size=0"),
        ({"clip": 0}, ValueError, "clip=0"),
        ({"clip": "1"}, TypeError, "clip='1'"),
        ({"precision": "fp8"}, ValueError, "precision='fp8'"),
        ({"capture": "no"}, TypeError, "capture='no'"),
        ({"capture": True}, ValueError, "capture=True: expected a CUDA device"),
        ({"reduce": 3}, TypeError, "reduce=3: expected a function"),
    ],
)
def test_bad_input_is_named(change, error, words):
    model = network()
    good = {"loss": cross_entropy, "optimizer": PlainSGD(model.parameters(), 0.1)}
    arguments = {"model": model} | good | change
    with pytest.raises(error, match=words):
        Step(**arguments)


def test_a_step_may_be_copied_with_its_model():
    model = network()
    step = Step(model, cross_entropy, torch.optim.SGD(model.parameters(), 0.1, momentum=0.9))
    step((X, LABELS))
    twin = copy.deepcopy(step)
    step((X, LABELS))
    assert not torch.equal(twin.model[0].weight, model[0].weight)
    twin((X, LABELS))
    assert torch.equal(twin.model[0].weight, model[0].weight)
