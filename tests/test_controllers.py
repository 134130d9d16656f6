"""The controller that watches the loss, against torch's; the norm test, by enumeration."""

import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from sgdlib import LeastSquares, NoisyQuadratic, minibatch_sgd
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


# -- in a run --

RNG = np.random.default_rng(4)
X = RNG.normal(size=(60, 3))
PROBLEM = LeastSquares(X, X @ [1.0, -2.0, 0.5] + RNG.normal(size=60))
ZERO = np.zeros(3)


@pytest.mark.parametrize("watched", [None, 7])
def test_a_plateau_run_is_one_that_stops_after_each_epoch(watched):
    """One run with a controller is many runs, each at the rate that the controller gave last."""
    few = LeastSquares(PROBLEM.X[:7], PROBLEM.y[:7])
    watch = None if watched is None else few.loss
    options = {"batch_size": 4, "momentum": 0.5, "record": "epoch"}
    controller = ReduceOnPlateau(0.3, patience=1, watch=watch)
    trace = minibatch_sgd(PROBLEM, ZERO, lr=controller, epochs=12, rng=1, **options)

    by_hand, rng = ReduceOnPlateau(0.3, patience=1), np.random.default_rng(1)
    here, losses, rates = ZERO, [], [0.3]
    for _ in range(12):
        here = minibatch_sgd(PROBLEM, here, lr=by_hand.lr, epochs=1, rng=rng, **options)
        losses.append(here.losses[-1])
        rates.append(by_hand.update(losses[-1] if watch is None else watch(here.theta)))
    np.testing.assert_array_equal(trace.theta, here.theta)
    np.testing.assert_array_equal(trace.losses[1:], losses)
    np.testing.assert_array_equal([*trace.lrs[:-1], controller.lr], rates)
    assert trace.lrs[-1] == trace.lrs[-2]  # that of the last step
    assert len(set(rates)) > 2


def test_a_norm_test_run_is_the_usual_listing():
    ours = NormTest(3, theta=0.5, maximum=60)
    trace = minibatch_sgd(
        PROBLEM, ZERO, lr=0.1, batch_size=ours, epochs=5, sampling="replacement", record=1,
        keep_parameters=True, rng=2,
    )  # fmt: skip
    test, rng, theta, seen = NormTest(3, theta=0.5, maximum=60), np.random.default_rng(2), ZERO, 0
    sizes, path = [], [ZERO]
    while seen < 5 * 60:
        sizes.append(test.batch_size)
        each = PROBLEM.gradients(theta, rng.integers(0, 60, sizes[-1]))
        theta = theta - 0.1 * each.mean(axis=0)
        test.update(each)
        path.append(theta)
        seen += sizes[-1]
    assert trace.batch_sizes[:-1].tolist() == sizes
    np.testing.assert_allclose(trace.parameters, path, rtol=1e-10, atol=1e-12)
    assert ours.batch_size == test.batch_size > 8
    assert ours.ratio == pytest.approx(test.ratio)


class Watcher:
    """Notes what it is told, and moves nothing."""

    lr, batch_size = 0.01, 8

    def __init__(self, looks_at):
        self.looks_at, self.seen = looks_at, []

    def update(self, seen):
        self.seen.append(np.copy(seen))


def test_what_a_controller_is_told():
    loss, gradients = Watcher("loss"), Watcher("gradients")
    trace = minibatch_sgd(
        PROBLEM,
        ZERO,
        lr=loss,
        batch_size=gradients,
        epochs=3,
        record=5,
        keep_parameters=True,
        rng=0,
    )
    np.testing.assert_array_equal(loss.seen, trace.losses[1:])
    assert {g.shape for g in gradients.seen} == {(8, 3)}  # 60 = 7 * 8 + 4: not the short ones
    assert len(gradients.seen) == 3 * 7
    both = Watcher("gradients")
    minibatch_sgd(PROBLEM, ZERO, lr=both, batch_size=both, steps=4, rng=0)
    assert len(both.seen) == 4  # told once, though it turns both knobs


def test_a_run_that_diverges_tells_nothing_twice():
    class Fast(Watcher):
        lr = 30.0

    for looks_at in ("loss", "gradients"):
        controller = Fast(looks_at)
        trace = minibatch_sgd(
            PROBLEM, ZERO, lr=controller, batch_size=8, steps=900, record=4, on_divergence="freeze",
            rng=0,
        )  # fmt: skip
        assert trace.diverged_at > 0
        told = len(trace.losses) - 1 if looks_at == "loss" else trace.diverged_at
        whole = told - trace.diverged_at // 8 if looks_at == "gradients" else told
        assert len(controller.seen) == whole


def test_a_batch_grows_to_all_that_there_is():
    trace = minibatch_sgd(
        PROBLEM, ZERO, lr=0.1, batch_size=NormTest(8, theta=0.01), epochs=4, record=1, rng=0
    )
    assert trace.batch_sizes[-1] == 60


def test_a_controller_s_rate_is_that_of_the_steps():
    class Halving(Watcher):
        lr = 0.5

        def update(self, loss):
            self.lr /= 2

    bowl = NoisyQuadratic([1.0], 0.0)
    trace = minibatch_sgd(bowl, [1.0], lr=Halving("loss"), batch_size=1, steps=4, record=2)
    assert trace.theta[0] == 0.5 * 0.5 * 0.75 * 0.75
    assert trace.lrs.tolist() == [0.5, 0.25, 0.25]


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"lr": NormTest(4)}, TypeError, "^lr=<.*NormTest.*>: expected a controller of lr$"),
        (
            {"batch_size": ReduceOnPlateau(0.1)},
            TypeError,
            "^batch_size=<.*ReduceOnPlateau.*>: expected a controller of batch_size$",
        ),
        (
            {"lr": Watcher("theta")},
            ValueError,
            "^lr.looks_at=.theta.: expected one of ",
        ),
        (
            {"lr": ReduceOnPlateau(0.1), "theta": np.zeros((2, 3))},
            ValueError,
            r"^lr: a controller looks at one run, expected theta of shape \(d,\), got \(2, 3\)$",
        ),
        (
            {"batch_size": NormTest(4), "problem": NoisyQuadratic([1.0] * 3, 1.0)},
            ValueError,
            "^batch_size: this controller looks at examples, a population has none$",
        ),
    ],
)
def test_controllers_that_do_not_fit(change, error, message):
    call = {"problem": PROBLEM, "theta": ZERO, "lr": 0.1, "batch_size": 4, "steps": 3} | change
    with pytest.raises(error, match=message):
        minibatch_sgd(call.pop("problem"), call.pop("theta"), **call)
