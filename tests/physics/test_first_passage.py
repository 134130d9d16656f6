"""Walkers on their way: against the exact mean of the discrete walk, and known clocks."""

import math

import numpy as np
import pytest

from sgdlib import DivergenceError, DoubleWell, Population, from_arrays
from sgdlib.physics.escape import mean_first_passage_steps, mean_first_passage_time
from sgdlib.physics.first_passage import FirstPassage, first_passage
from sgdlib.physics.stationary import temperature

WELL = DoubleWell(40.0)
LR = 0.02


def exact(batch_size, target=0.0):
    T = temperature(LR, batch_size, 40.0)
    return mean_first_passage_time(WELL, -1.0, target, temperature=T)


def walk(batch_size, walkers=4000, *, target=0.0, well=WELL, max_steps=200_000, rng=0):
    start = np.full((walkers, 1), -1.0)
    return first_passage(
        well, start, target, lr=LR, batch_size=batch_size, max_steps=max_steps, rng=rng
    )


# -- walkers against the exact mean ----------------------------------------------------------------


def assert_walkers_agree(batch_size, out):
    expected = mean_first_passage_steps(WELL, -1.0, 0.0, lr=LR, batch_size=batch_size)
    assert abs(out.exponential_mean - expected) < 4 * out.exponential_stderr


@pytest.mark.parametrize(("batch_size", "walkers"), [(1, 20_000), (2, 20_000), (4, 10_000)])
def test_walkers_against_the_exact_discrete_mean(batch_size, walkers):
    out = walk(batch_size, walkers)
    assert out.mean == pytest.approx(out.exponential_mean)  # all have arrived
    assert_walkers_agree(batch_size, out)


def test_planted_bug_factor_two_in_the_temperature():
    with pytest.raises(AssertionError):
        assert_walkers_agree(4, walk(2, 10_000))


def test_planted_bug_standard_deviation_for_variance():
    with pytest.raises(AssertionError):
        assert_walkers_agree(2, walk(2, 4000, well=DoubleWell(40.0**0.5), max_steps=2000))


def test_planted_bug_continuum_for_the_discrete_walk():
    out = walk(2, 20_000)
    assert abs(out.mean - exact(2) / LR) > 8 * out.stderr


def test_from_well_to_well_takes_twice_as_long():
    out = walk(3, 4000, target=1.0)
    expected = mean_first_passage_steps(WELL, -1.0, 1.0, lr=LR, batch_size=3)
    assert abs(out.mean - expected) < 4 * out.stderr


def test_times_behind_a_barrier_are_exponential():
    out = walk(5, 4000)
    for multiple in (0.5, 1, 2):
        late = (out.steps > multiple * out.mean).mean()
        assert abs(late - math.exp(-multiple)) < 0.04


# -- walkers and their clocks ---------------------------------------------------------------------

STEP_RIGHT = Population(lambda t: -t.sum(-1), lambda t: -np.ones_like(t), dim=2, covariance=0.0)


def test_without_noise_the_clock_is_exact():
    start = np.array([[0.0, 0.0], [0.5, 0.0], [2.0, 0.0], [-10.0, 0.0]])
    out = first_passage(
        STEP_RIGHT, start, lambda t: t[:, 0] >= 2, lr=0.25, batch_size=1, max_steps=10
    )
    np.testing.assert_array_equal(out.steps, [8, 6, 0, 10])
    np.testing.assert_array_equal(out.reached, [True, True, True, False])
    assert start[0, 0] == 0  # the caller's array is left alone


def test_arrival_at_the_last_step_counts():
    start = np.zeros((1, 2))
    for last, reached in ((8, True), (7, False)):
        out = first_passage(
            STEP_RIGHT, start, lambda t: t[:, 0] >= 2, lr=0.25, batch_size=1, max_steps=last
        )
        assert out.reached[0] == reached
        assert out.steps[0] == last


def test_one_seed_one_result_and_global_state_is_left_alone():
    np.random.seed(0)  # noqa: NPY002
    expected = np.random.random()  # noqa: NPY002
    np.random.seed(0)  # noqa: NPY002
    first, again, other = (walk(2, 100, rng=seed).steps for seed in (3, 3, 4))
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()
    assert np.random.random() == expected  # noqa: NPY002


def test_full_batch_stays():
    out = walk(1, 10, well=DoubleWell(0.0), max_steps=1000)
    assert out.censored == 10
    assert (out.steps == 1000).all()


def test_results_compare_and_print_in_one_line():
    first, again, other = (walk(2, 100, rng=seed) for seed in (3, 3, 4))
    assert first == again
    assert first != other
    assert repr(walk(4, 500, max_steps=10)) == (
        "FirstPassage(500 walkers, 500 censored, max_steps 10)"
    )


def test_finite_sum_draws_with_replacement():
    """theta <- theta - lr (1 - x_i) with x = -1 or 3: a fair step of -2 or +2 half-units."""
    walkers = from_arrays(
        [np.array([1.0, -1.0])], lambda t, x: t[0] * x, lambda t, x: x[:, None], dim=1
    )
    out = first_passage(
        walkers, np.zeros((400, 1)), lambda t: np.abs(t[:, 0]) > 2.5, lr=1.0, batch_size=1,
        max_steps=1000, rng=0,
    )  # fmt: skip
    assert abs(out.mean - 9) < 4 * out.stderr  # the gambler's ruin at -3 and 3: 3 * 3 steps
    assert (out.steps % 2 == 1).all()


# -- censoring ------------------------------------------------------------------------------------


def test_a_mean_with_walkers_under_way_is_refused():
    out = walk(4, 500, max_steps=1000)
    for name in ("mean", "stderr"):
        with pytest.raises(ArithmeticError, match=rf"{out.censored} of 500 walkers .* 1000 steps"):
            getattr(out, name)
    with pytest.raises(ArithmeticError, match="median is beyond"):
        _ = walk(4, 500, max_steps=200).median
    with pytest.raises(ArithmeticError, match="no walker had arrived"):
        _ = walk(1, 5, well=DoubleWell(0.0), max_steps=10).exponential_mean


def test_median_does_not_mind_the_last():
    full = FirstPassage(np.array([1, 5, 9, 20, 40]), np.ones(5, dtype=bool), 100)
    cut = FirstPassage(np.array([1, 5, 9, 10, 10]), np.array([1, 1, 1, 0, 0], dtype=bool), 10)
    assert full.median == cut.median == 9
    assert full.mean == 15


def assert_estimates(mean, stderr, truth):
    assert abs(mean - truth) < 4 * stderr


def test_exponential_mean_of_censored_exponential_times():
    rng, means, errors = np.random.default_rng(0), [], []
    for _ in range(400):
        times = rng.geometric(1e-3, 200)
        out = FirstPassage(np.minimum(times, 700), times <= 700, 700)
        means.append(out.exponential_mean)
        errors.append(out.exponential_stderr)
    spread = np.std(means)
    assert_estimates(np.mean(means), spread / 20 + 5, 1000)  # biased by mean/arrivals
    assert np.mean(errors) == pytest.approx(spread, rel=0.15)


def test_exponential_mean_behind_a_barrier_and_planted_bug_of_the_arrived_only():
    out = walk(6, 4000, max_steps=4000)
    truth = mean_first_passage_steps(WELL, -1.0, 0.0, lr=LR, batch_size=6)
    assert 0.3 < out.censored / 4000 < 0.7
    assert_estimates(out.exponential_mean, out.exponential_stderr, truth)
    arrived = out.steps[out.reached]
    with pytest.raises(AssertionError):
        assert_estimates(arrived.mean(), arrived.std() / arrived.size**0.5, truth)
    with pytest.raises(AssertionError):
        assert_estimates(out.steps.mean(), out.steps.std() / 4000**0.5, truth)


# -- at the edge ----------------------------------------------------------------------------------

GO = {"lr": LR, "batch_size": 2, "max_steps": 5}


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"problem": 3}, TypeError, "expected a Population or a FiniteSum, got int"),
        ({"start": [-1.0, 2.0]}, ValueError, r"^start: expected shape \(1,\) or"),
        ({"start": np.ma.ones((2, 1))}, TypeError, r"^start: expected a plain array"),
        ({"start": [-1.0]}, ValueError, r"expected shape \(R, 1\), got \(1,\)"),
        ({"start": [[math.nan]]}, ValueError, "finite"),
        ({"start": [[-1.0], [1.0]]}, ValueError, "all starts on one side"),
        ({"target": math.inf}, ValueError, "target=inf"),
        ({"target": lambda t: t}, ValueError, r"expected \(1,\) booleans"),
        ({"lr": 0}, ValueError, "lr=0"),
        ({"batch_size": 0}, ValueError, "batch_size=0"),
        ({"max_steps": 2.5}, TypeError, "max_steps=2.5"),
        ({"rng": "a"}, TypeError, "rng='a'"),
    ],
)
def test_bad_walks_are_refused(change, error, message):
    call = {"problem": WELL, "start": [[-1.0]], "target": 0.0, **GO, **change}
    problem, start, target = call.pop("problem"), call.pop("start"), call.pop("target")
    with pytest.raises(error, match=message):
        first_passage(problem, start, target, **call)


def test_a_level_needs_one_dimension():
    with pytest.raises(ValueError, match="a level is for one dimension"):
        first_passage(STEP_RIGHT, np.zeros((2, 2)), 1.0, **GO)


@pytest.mark.parametrize("lr", [1e100, 1e200, 1e300])
def test_an_overflow_is_no_arrival(lr):
    start = np.full((100, 1), -1.0)
    with pytest.raises(
        DivergenceError, match=r"^a walker was not finite by step \d+: lr=1e\+\d00 "
    ):
        first_passage(WELL, start, 0.0, lr=lr, batch_size=2, max_steps=50, rng=0)


def test_a_target_must_not_move_the_walkers():
    def push(theta):
        theta += 1
        return theta[:, 0] > 3

    with pytest.raises(ValueError, match=r"^target: expected a function that does not write into"):
        first_passage(STEP_RIGHT, np.zeros((2, 2)), push, **GO)


def test_a_walker_that_blows_up_is_reported():
    never = lambda t: np.zeros(len(t), dtype=bool)  # noqa: E731
    with pytest.raises(DivergenceError, match="lr=3"):
        first_passage(WELL, [[-2.0]], never, lr=3.0, batch_size=1, max_steps=50, rng=0)
