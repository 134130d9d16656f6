"""The controller that watches the loss, against torch's."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from sgdlib.controllers import ReduceOnPlateau


def torch_rates(losses, **options):
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    scheduler = torch.optim.lr_scheduler.ReduceLROnPlateau(
        optimizer, threshold_mode="abs", eps=0.0, **options
    )
    rates = []
    for loss in losses:
        scheduler.step(loss)
        rates.append(optimizer.param_groups[0]["lr"])
    return rates


def assert_agrees(make, losses, factor, patience, tolerance, minimum):
    controller = make(1.0, factor=factor, patience=patience, tolerance=tolerance, minimum=minimum)
    expected = torch_rates(
        losses, factor=factor, patience=patience, threshold=tolerance, min_lr=minimum
    )
    assert [controller.update(loss) for loss in losses] == pytest.approx(expected)


@given(
    losses=st.lists(st.floats(-5, 5), min_size=1, max_size=60),
    factor=st.floats(0.05, 0.95),
    patience=st.integers(0, 5),
    tolerance=st.floats(0, 1),
    minimum=st.floats(0, 0.5),
)
def test_agrees_with_torch(losses, factor, patience, tolerance, minimum):
    assert_agrees(ReduceOnPlateau, losses, factor, patience, tolerance, minimum)


class OneTooEarly(ReduceOnPlateau):
    def update(self, loss):
        self.patience, kept = self.patience - 1, self.patience
        try:
            return super().update(loss)
        finally:
            self.patience = kept


def test_planted_bug_lowers_one_loss_too_early():
    losses = [1.0] * 12
    assert_agrees(ReduceOnPlateau, losses, 0.5, 3, 0.0, 0.0)
    with pytest.raises(AssertionError):
        assert_agrees(OneTooEarly, losses, 0.5, 3, 0.0, 0.0)


def test_a_loss_that_is_not_a_number_is_no_improvement():
    controller = ReduceOnPlateau(1.0, patience=1)
    assert [controller.update(math.nan) for _ in range(4)] == [1.0, 0.5, 0.5, 0.25]
    assert controller.update(3.0) == 0.25
    assert controller.best == 3.0


def test_adding_a_constant_to_the_loss_changes_nothing():
    losses = [1.0, 0.5, 0.45, 0.45, 0.3, 0.3, 0.3, 0.3]
    rates = [
        [c.update(loss + shift) for loss in losses]
        for shift in (0, -8)
        for c in [ReduceOnPlateau(1.0, patience=1, tolerance=0.125)]
    ]
    assert rates[0] == rates[1]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"lr": 0.0}, "lr=0.0: expected a finite number > 0"),
        ({"lr": 1.0, "factor": 1.0}, "factor=1.0: expected a finite number > 0 and < 1"),
        ({"lr": 1.0, "patience": -1}, "patience=-1: expected an int >= 0"),
        ({"lr": 1.0, "patience": 1.5}, "patience=1.5: expected an int >= 0"),
        ({"lr": 1.0, "tolerance": -1}, "tolerance=-1.0: expected a finite number >= 0"),
        ({"lr": 1.0, "minimum": 2.0}, "minimum=2.0: expected a finite number >= 0 and <= 1"),
    ],
)
def test_bad_input(options, message):
    with pytest.raises((ValueError, TypeError), match=message):
        ReduceOnPlateau(**options)
