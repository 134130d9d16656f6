"""Modes come back as they were, and an optimizer belongs to its model."""

import copy

import pytest
import torch
from torch import nn

from sgdlib.deep import PlainSGD
from sgdlib.deep._as_found import evaluating, training
from sgdlib.deep._inputs import check_optimizer


def model():
    return nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3), nn.Dropout(0.5), nn.Linear(3, 1))


def modes(net):
    return [m.training for m in net.modules()]


def fail(net):
    net.train(not net.training)
    raise RuntimeError


@pytest.mark.parametrize("place", [evaluating, training])
@pytest.mark.parametrize("aside", [None, 1, 2])
def test_modes_come_back_also_after_a_failure(place, aside):
    net = model()
    if aside is not None:
        net[aside].eval()
    before = modes(net)
    with pytest.raises(RuntimeError), place(net):
        fail(net)
    assert modes(net) == before


def test_evaluation_is_everywhere():
    net = model()
    with evaluating(net):
        assert not any(modes(net))
    assert all(modes(net))


def test_a_layer_set_aside_stays_in_evaluation_while_the_rest_is_trained():
    net = model()
    net[1].eval()
    with training(net):
        assert modes(net) == [True, True, False, True, True]
    assert modes(net) == [True, True, False, True, True]


def test_a_model_in_evaluation_is_trained_except_its_frozen_layers():
    net = model().eval()
    net[1].requires_grad_(False)
    with training(net):
        assert modes(net) == [True, True, False, True, True]
    assert not any(modes(net))


@pytest.mark.parametrize("make", [lambda p: PlainSGD(p, 0.1), torch.optim.Adam])
def test_an_optimizer_of_the_model_passes(make):
    net = model()
    check_optimizer(make(net.parameters()), net)
    check_optimizer(make(net[3].parameters()), net)  # of a part of it
    net[0].requires_grad_(False)
    check_optimizer(make(net.parameters()), net)  # of some that are frozen


def some_and_foreign(net):
    return torch.optim.SGD([*net.parameters(), torch.zeros(2, requires_grad=True)], 0.1)


@pytest.mark.parametrize(
    ("make", "error", "words"),
    [
        (lambda net: torch.optim.SGD(copy.deepcopy(net).parameters(), 0.1), ValueError, "6 of 6"),
        (lambda net: PlainSGD(copy.deepcopy(net).parameters(), 0.1), ValueError, "PlainSGD"),
        (some_and_foreign, ValueError, "1 of 7 tensors that are not"),
        (
            lambda net: torch.optim.SGD(net[1].requires_grad_(False).parameters(), 0.1),
            ValueError,
            "expected a parameter that asks for a gradient, got SGD over 2",
        ),
        (lambda net: "sgd", TypeError, "optimizer='sgd': expected a torch optimizer"),
        (lambda net: torch.optim.SGD, TypeError, "expected a torch optimizer"),
        (lambda net: torch.optim.LBFGS(net.parameters()), TypeError, "no closure, got LBFGS"),
    ],
)
def test_the_optimizer_of_something_else_is_named(make, error, words):
    net = model()
    with pytest.raises(error) as caught:
        check_optimizer(make(net), net)
    assert words in str(caught.value)
