"""The plain update, groups with rates of their own, and what an optimizer must hold."""

import copy

import numpy as np
import pytest
import torch
from torch import nn

from sgdlib.deep import PlainSGD, train
from sgdlib.deep.optim import Rates
from sgdlib.schedules import cosine

X = torch.randn(64, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
y = X[:, 0].clone()
OPTIONS = {"batch_size": 16, "epochs": 2, "rng": 0, "device": "cpu"}


def squares(outputs, y):
    return (outputs[:, 0] - y) ** 2


def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 1)).double()


def groups(model, kind=PlainSGD):
    own = [{"params": model[0].parameters(), "lr": 0.1}, {"params": model[2].parameters()}]
    return kind(own, lr=0.02)


# -- groups --


@pytest.mark.parametrize("kind", [PlainSGD, torch.optim.SGD])
@pytest.mark.parametrize("lr", [0.3, cosine(0.3, length=2), None], ids=["number", "schedule", ""])
def test_groups_keep_their_ratio_and_all_rates_are_recorded(kind, lr):
    ours, judge = network(), network()
    optimizer, by_hand = groups(ours, kind), groups(judge, torch.optim.SGD)
    history = train(ours, squares, (X, y), lr=lr, optimizer=optimizer, sampling="sequential",
                    **OPTIONS)  # fmt: skip
    rates = []
    for step in range(8):
        at = lr(step / 4) if callable(lr) else lr or 0.1
        by_hand.param_groups[0]["lr"], by_hand.param_groups[1]["lr"] = at, at * (0.02 / 0.1)
        rates.append([at, at / 5])
        by_hand.zero_grad()
        rows = slice(16 * (step % 4), 16 * (step % 4) + 16)
        squares(judge(X[rows]), y[rows]).mean().backward()
        by_hand.step()
    for p, q in zip(ours.parameters(), judge.parameters(), strict=True):
        torch.testing.assert_close(p, q, rtol=1e-12, atol=1e-14)
    np.testing.assert_allclose(history.lrs, [rates[3], rates[7]], rtol=1e-12)
    assert [g["lr"] for g in optimizer.param_groups] == [0.1, 0.02]  # as they were


def test_one_group_has_one_column_of_rates():
    assert train(network(), squares, (X, y), lr=0.1, **OPTIONS).lrs.shape == (2,)


def test_rates_in_tensors_are_written_into():
    model = network()
    optimizer = groups(model)
    tensors = [torch.tensor(group["lr"]) for group in optimizer.param_groups]
    for group, lr in zip(optimizer.param_groups, tensors, strict=True):
        group["lr"] = lr
    rates = Rates(optimizer)
    rates.set(1.0)
    assert torch.stack(tensors).tolist() == pytest.approx([1.0, 0.2])
    rates.put_back(values=True)
    assert torch.stack(tensors).tolist() == pytest.approx([0.1, 0.02])


def test_a_first_group_that_stands_still_has_no_ratio():
    model = network()
    optimizer = torch.optim.SGD([{"params": p} for p in model.parameters()], lr=0.1)
    optimizer.param_groups[0]["lr"] = 0.0
    with pytest.raises(ValueError, match=r"first group with lr > 0.*got the rates 0, 0\.1, 0\.1"):
        train(model, squares, (X, y), lr=0.3, optimizer=optimizer, **OPTIONS)
    before = model[0].weight.clone()
    train(model, squares, (X, y), optimizer=optimizer, **OPTIONS)  # its own rates will do
    assert torch.equal(model[0].weight, before)


# -- an optimizer of this model --


class Scaled(nn.Module):
    """A loss with a parameter of its own."""

    def __init__(self):
        super().__init__()
        self.log_variance = nn.Parameter(torch.zeros((), dtype=torch.float64))

    def forward(self, outputs, y):
        return squares(outputs, y) * (-self.log_variance).exp() + self.log_variance


def test_a_loss_may_have_parameters_too():
    model, loss = network(), Scaled()
    optimizer = torch.optim.SGD([*model.parameters(), *loss.parameters()], 0.1)
    train(model, loss, (X, y), optimizer=optimizer, **OPTIONS)
    assert loss.log_variance != 0


@pytest.mark.parametrize("with_lr", [True, False])
def test_the_optimizer_of_another_model_is_refused_before_any_work(with_lr):
    model, other = network(), network()
    before = copy.deepcopy(model.state_dict())
    for wrong in (other, copy.deepcopy(model)):
        optimizer = torch.optim.Adam(wrong.parameters())
        with pytest.raises(ValueError, match="expected parameters of the model, got Adam over 4"):
            train(model, squares, (X, y), optimizer=optimizer, lr=0.1 if with_lr else None,
                  **OPTIONS)  # fmt: skip
    assert all(torch.equal(model.state_dict()[k], before[k]) for k in before)


@pytest.mark.parametrize("optimizer", [True, False])
def test_a_model_with_nothing_to_train_is_refused(optimizer):
    for model in (network().requires_grad_(False), nn.Flatten()):
        p = PlainSGD([torch.zeros(1)], 0.1) if optimizer else None
        with pytest.raises(
            ValueError, match=r"model: expected parameters that ask for a gradient, got none"
        ):
            train(model, squares, (X, y), lr=0.1, optimizer=p, **OPTIONS)


def test_a_part_of_the_model_may_be_trained():
    model = network()
    before = copy.deepcopy(model)
    optimizer = torch.optim.SGD(model[2].parameters(), 0.1)
    train(model, squares, (X, y), optimizer=optimizer, **OPTIONS)
    assert torch.equal(model[0].weight, before[0].weight)
    assert not torch.equal(model[2].weight, before[2].weight)
    assert all(p.grad is None for p in model.parameters())


# -- what PlainSGD is made of --


def test_groups_of_a_plain_optimizer():
    model = network()
    optimizer = groups(model)
    assert [g["lr"] for g in optimizer.param_groups] == [0.1, 0.02]
    assert [len(g["params"]) for g in optimizer.param_groups] == [2, 2]
    other = groups(network())
    optimizer.param_groups[1]["lr"] = 7.0
    other.load_state_dict(optimizer.state_dict())
    assert [g["lr"] for g in other.param_groups] == [0.1, 7.0]


LEAF = torch.zeros(2, requires_grad=True)


@pytest.mark.parametrize(
    ("parameters", "error", "words"),
    [
        (LEAF, TypeError, "expected an iterable of tensors, got one Tensor"),
        (3, TypeError, "got one int"),
        ("ab", TypeError, "got one str"),
        ({"params": [LEAF]}, TypeError, "got one dict"),
        ([], ValueError, "at least one tensor, got none"),
        (iter(()), ValueError, "at least one tensor, got none"),
        ([{"params": []}], ValueError, "at least one tensor, got none"),
        ([LEAF, np.zeros(2)], TypeError, r"parameters\[1\]: expected a tensor, got ndarray"),
        ([LEAF, LEAF], ValueError, "one of them twice"),
        ([{"params": [LEAF]}, {"params": [LEAF]}], ValueError, "one of them twice"),
        ([{"params": LEAF}], TypeError, "got one Tensor"),
        ([{"params": [LEAF], "momentum": 0.9}], ValueError, r"parameters\[0\]: expected a dict of"),
        ([{"lr": 0.1}], ValueError, r"parameters\[0\]: expected a dict of 'params' and 'lr'"),
        ([{"params": [LEAF], "lr": -1.0}], ValueError, "lr=-1.0"),
        ([LEAF * 2], ValueError, r"parameters\[0\]: expected a leaf tensor"),
    ],
)
def test_bad_parameters_are_named(parameters, error, words):
    with pytest.raises(error, match=words):
        PlainSGD(parameters, lr=0.1)


@pytest.mark.parametrize("lr", [-1.0, float("nan"), "0.1", None, True])
def test_bad_rates_are_named(lr):
    with pytest.raises((ValueError, TypeError), match="lr="):
        PlainSGD([LEAF], lr)
