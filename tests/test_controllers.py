"""The controller that watches the loss, against torch's; the norm test, by enumeration."""

import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from sgdlib import LeastSquares
from sgdlib.controllers import NormTest, ReduceOnPlateau


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


# -- the norm test --


def test_exact_values():
    # g = (2, 0), |g|^2 = 4; the squared deviations are 1 + 1, over K (K - 1) = 2: V = 1
    parts = [[2.0, 1.0], [2.0, -1.0]]
    expected_ratio = (1 + 1) / 2 / 4
    for theta, size in ((1.0, 10), (0.5, 10), (0.4, 16), (0.1, 250)):
        test = NormTest(10, theta=theta)
        assert test.update(parts) == test.batch_size == size
        assert test.ratio == pytest.approx(expected_ratio)


@given(
    parts=st.integers(2, 6).flatmap(
        lambda k: st.lists(st.tuples(st.floats(-3, 3), st.floats(-3, 3)), min_size=k, max_size=k)
    ),
    theta=st.floats(0.1, 3),
    start=st.integers(1, 50),
)
def test_against_a_slow_reference(parts, theta, start):
    k, test = len(parts), NormTest(start, theta=theta, maximum=10_000)
    g = [sum(p[j] for p in parts) / k for j in range(2)]
    variance = sum((p[j] - g[j]) ** 2 for p in parts for j in range(2)) / (k - 1) / k
    square = g[0] ** 2 + g[1] ** 2
    new = test.update(np.array(parts))
    assert start <= new <= 10_000
    if variance > theta**2 * square * (1 + 1e-9):
        wanted = 10_000 if square == 0 else min(10_000, start * variance / theta**2 / square)
        assert wanted * (1 - 1e-9) <= new <= wanted * (1 + 1e-9) + 1
    if variance < theta**2 * square * (1 - 1e-9):
        assert new == start


POINTS = np.array([[1.0, 0.0], [2.0, 3.0], [6.0, -1.0]])


def mean_variance(test, micro):
    """Average the estimated variance over all batches of 4 drawn with replacement from 3."""
    total = 0.0
    batches = list(itertools.product(range(3), repeat=4))
    for batch in batches:
        parts = POINTS[list(batch)].reshape(4 // micro, micro, 2).mean(axis=1)
        square = np.square(parts.mean(axis=0)).sum()
        test.update(parts)
        total += test.ratio * square
    return total / len(batches)


class DividesByK(NormTest):
    def update(self, parts):
        k = len(parts)
        super().update(parts)
        self.ratio *= (k - 1) / k  # a variance with divisor K
        return self.batch_size


@pytest.mark.parametrize("micro", [1, 2])
def test_the_variance_is_unbiased_by_enumeration(micro):
    true = POINTS.var(axis=0).sum() / 4
    assert mean_variance(NormTest(4, maximum=4), micro) == pytest.approx(true, rel=1e-12)
    with pytest.raises(AssertionError):
        assert mean_variance(DividesByK(4, maximum=4), micro) == pytest.approx(true, rel=1e-2)


def test_it_serves_arrays_and_tensors():
    X = np.random.default_rng(0).normal(size=(64, 3))
    problem = LeastSquares(X, X @ [1.0, -2.0, 0.5])
    gradients = problem.gradients(np.zeros(3), np.arange(16))
    sizes = {NormTest(16, theta=0.1).update(g) for g in (gradients, torch.tensor(gradients))}
    assert len(sizes) == 1
    assert sizes.pop() > 16


def test_a_vanishing_gradient():
    assert NormTest(4).update(np.zeros((3, 2))) == 4  # nothing moves, and nothing is noisy
    opposite = [[1.0], [-1.0]]
    assert NormTest(4, maximum=99).update(opposite) == 99
    with pytest.raises(ValueError, match="parts: their mean is zero, expected maximum= to be"):
        NormTest(4).update(opposite)


@pytest.mark.parametrize(
    ("options", "parts", "message"),
    [
        ({"batch_size": 0}, None, "batch_size=0: expected an int >= 1"),
        ({"theta": 0.0}, None, "theta=0.0: expected a finite number > 0"),
        ({"maximum": 7}, None, "maximum=7: expected an int >= 8"),
        ({}, [[1.0, 2.0]], r"parts: expected at least 2 gradients, got shape \(1, 2\)"),
        ({}, [1.0, 2.0], r"parts: expected a 2-dimensional array, got shape \(2,\)"),
        ({}, [[1.0], [math.nan]], r"parts: expected finite numbers, got nan at index \(1, 0\)"),
    ],
)
def test_bad_input_of_the_norm_test(options, parts, message):
    with pytest.raises(ValueError, match=message):
        NormTest(**{"batch_size": 8, **options}).update(parts)
