"""What could fail in epoch 5 fails before the first step, in words that help."""

import copy

import numpy as np
import pytest
import torch
from torch import nn

from sgdlib.deep import train
from sgdlib.schedules import cosine, grow_batch

X = torch.randn(65, 3, generator=torch.Generator().manual_seed(0))
y = X[:, 0].clone()
OPTIONS = {"batch_size": 16, "epochs": 8, "lr": 0.1, "rng": 0, "device": "cpu"}


def squares(outputs, y):
    return (outputs[:, 0] - y) ** 2


def normalised():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Dropout(0.5), nn.Linear(4, 1))


class Counted(nn.Module):
    """Counts the gradients it is asked for: none before a plan is found to be good."""

    def __init__(self, inner):
        super().__init__()
        self.inner, self.steps = inner, 0

    def forward(self, x):
        self.steps += torch.is_grad_enabled()
        return self.inner(x)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (
            {"batch_size": grow_batch(16, factor=2, every=2.5)},
            r"batch_size\(7\.98462\)=128: expected an int in 1\.\.65, the number.*maximum=",
        ),
        (
            {"batch_size": lambda p: 16 if p < 7.5 else 0},
            r"batch_size\(7\.73846\)=0: expected an int",
        ),
        ({"batch_size": lambda p: 16.0 if p < 5 else float("nan")}, r"batch_size\(5\)=nan"),
        (
            {"lr": lambda p: 0.1 if p < 6.9 else float("nan")},
            r"lr\(6\.98462\)=nan: expected a finite",
        ),
        ({"lr": lambda p: 0.1 - 0.02 * p}, r"lr\(5\.24615\)=-0\.00"),
        ({"lr": lambda p: 0.1 if p < 6 else "0.1"}, r"lr\(6\)='0\.1': expected a finite number"),
        ({"lr": lambda p: 0.1 if p < 3 else None, "sampling": "subset"}, r"lr\(3\.\d+\)=None"),
    ],
)
def test_a_schedule_that_fails_late_is_noticed_at_once(options, words):
    model = Counted(nn.Linear(3, 1))
    before = copy.deepcopy(model.state_dict())
    with pytest.raises((ValueError, TypeError), match=words):
        train(model, squares, (X, y), **OPTIONS | options)
    assert model.steps == 0
    assert all(torch.equal(model.state_dict()[k], before[k]) for k in before)


def test_schedules_may_return_numpys_numbers():
    schedule = cosine(0.1, length=8)
    twin = copy.deepcopy(normalised())
    model, options = copy.deepcopy(twin), OPTIONS | {"last": "drop"}
    train(model, squares, (X, y), **options | {"lr": lambda p: np.float64(schedule(p)),
                                               "batch_size": lambda p: np.int16(16)})  # fmt: skip
    train(twin, squares, (X, y), **options | {"lr": schedule})
    assert all(map(torch.equal, model.state_dict().values(), twin.state_dict().values()))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({}, r"batch_size: .*one of 1 \(Expected more than 1 value.*last='drop', last='wrap' or"),
        ({"last": "keep"}, "last='drop'"),
        ({"batch_size": 1}, "one of 1 .*another size"),
        ({"last": "drop", "micro_batch_size": 5}, r"micro_batch_size=5: .*; another size"),
        ({"last": "drop", "micro_batch_size": 1}, "micro_batch_size=1: "),
        ({"batch_size": lambda p: 13 if p < 5 else 16}, "one of 1 "),
        ({"batch_size": 1, "sampling": "replacement"}, "one of 1 "),
    ],
)
def test_one_example_and_a_batch_normalisation(options, words):
    model = Counted(normalised())
    before = copy.deepcopy(model.state_dict())
    with pytest.raises(ValueError, match=words):
        train(model, squares, (X, y), **OPTIONS | options)
    assert model.steps == 0
    assert all(torch.equal(model.state_dict()[k], before[k]) for k in before)


@pytest.mark.parametrize(
    "options",
    [
        {"last": "drop"},
        {"last": "wrap"},
        {"last": "pad"},
        {"batch_size": 13},
        {"last": "drop", "micro_batch_size": 4},
        {"sampling": "subset", "last": "keep"},
    ],
)
def test_plans_without_such_a_batch_pass(options):
    history = train(normalised(), squares, (X, y), **OPTIONS | options)
    assert np.isfinite(history.losses).all()


def test_a_normalisation_in_evaluation_takes_one_example():
    model = normalised()
    model[1].eval()
    train(model, squares, (X, y), **OPTIONS)


def test_trying_out_leaves_no_trace():
    """Statistics and dropout go on as in a loop that tries nothing out."""
    model, judge = normalised(), normalised()
    history = train(model, squares, (X, y), **OPTIONS | {"epochs": 1, "last": "drop"})
    assert model[1].num_batches_tracked == 4
    assert judge[1].num_batches_tracked == 0
    assert len(history.step_losses) == 4


def test_a_model_that_cannot_be_trained_at_all_says_so_itself():
    class Broken(nn.Linear):
        def forward(self, x):
            if self.training and len(x) > 0:
                raise RuntimeError("its own reason")
            return super().forward(x)

    with pytest.raises(RuntimeError, match=r"^its own reason"):
        train(Broken(3, 1), squares, (X, y), **OPTIONS)
