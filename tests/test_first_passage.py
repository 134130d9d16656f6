"""First passage: against closed forms, nested quadrature and the discrete chain on a grid."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.integrate import quad

from sgdlib import DivergenceError, DoubleWell, NoisyQuadratic, Population, from_arrays
from sgdlib.first_passage import (
    FirstPassage,
    first_passage,
    kramers_time,
    mean_first_passage_steps,
    mean_first_passage_time,
)
from sgdlib.langevin import temperature

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


# -- the mean of the continuum --------------------------------------------------------------------


@given(
    T=st.floats(0.01, 100),
    start=st.floats(-3, 3),
    length=st.floats(0.01, 10),
    room=st.floats(0, 10),
    side=st.sampled_from([-1, 1]),
)
def test_flat_ground_in_closed_form(T, start, length, room, side):
    target, wall = start + side * length, start - side * room
    time = mean_first_passage_time(np.zeros_like, start, target, temperature=T, reflect=wall)
    assert time == pytest.approx(((length + room) ** 2 - room**2) / (2 * T), rel=1e-9)


@given(force=st.floats(0.05, 20), T=st.floats(0.05, 5), side=st.sampled_from([-1, 1]))
def test_downhill_without_a_wall_takes_length_over_force(force, T, side):
    time = mean_first_passage_time(
        lambda x: np.full(x.shape, -side * force), 0.0, side * 2.0, temperature=T
    )
    assert time == pytest.approx(2 / force, rel=1e-9)


@pytest.mark.parametrize("force", [0.5, 4.0, 30.0])
def test_uphill_from_a_wall_in_closed_form(force):
    T, length = 0.3, 2.0
    c = force / T
    expected = (math.exp(c * length) - 1 - c * length) / (T * c**2)
    time = mean_first_passage_time(
        lambda x: np.full(x.shape, force), 0.0, length, temperature=T, reflect=0.0
    )
    assert time == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize(("start", "target"), [(0.0, 1.0), (-1.5, 2.5), (0.7, 0.9), (2.0, -1.0)])
def test_bowl_is_the_known_integral(start, target):
    """Ornstein-Uhlenbeck: m = sqrt(pi) int exp(u^2) (1 + erf u) du, in units of sqrt(2T/k)."""
    T, k = 0.4, 1.7
    a, b = start * math.sqrt(k / (2 * T)), target * math.sqrt(k / (2 * T))
    if b < a:
        a, b = -a, -b
    integral = quad(lambda u: math.exp(u * u) * (1 + math.erf(u)), a, b, epsabs=0, epsrel=1e-12)[0]
    time = mean_first_passage_time(lambda x: k * x, start, target, temperature=T)
    assert time == pytest.approx(math.sqrt(math.pi) * integral / k, rel=1e-9)


def slow_reference(slope, heat, start, target, wall):
    """The double integral, nested adaptive quadrature."""

    def phi(x):
        return quad(lambda z: slope(z) / heat(z), wall, x)[0]

    def inner(y):
        return quad(lambda z: math.exp(-phi(z)) / heat(z), wall, y)[0]

    return quad(lambda y: math.exp(phi(y)) * inner(y), start, target)[0]


def test_temperature_that_depends_on_the_place():
    def slope(x):
        return x**3 - x

    def heat(x):
        return 0.2 + 0.1 * x**2

    time = mean_first_passage_time(slope, -1.0, 0.5, temperature=heat, reflect=-2.0)
    assert time == pytest.approx(slow_reference(slope, heat, -1.0, 0.5, -2.0), rel=1e-6)


@pytest.mark.parametrize(("batch_size", "time"), [(2, 7.935), (4, 30.83), (6, 106.3)])
def test_double_well_targets(batch_size, time):
    assert exact(batch_size) == pytest.approx(time, rel=1e-3)


def test_legs_of_a_journey_add_up():
    legs = [(-1.0, -0.3), (-0.3, 0.0), (0.0, 1.0)]
    parts = sum(mean_first_passage_time(WELL, a, b, temperature=0.1) for a, b in legs)
    assert parts == pytest.approx(exact(4, 1.0), rel=1e-9)


def test_left_and_right_are_the_same():
    tilted, mirrored = DoubleWell(1.0, tilt=0.1), DoubleWell(1.0, tilt=-0.1)
    there = mean_first_passage_time(tilted, -1.0, 0.2, temperature=0.1)
    assert mean_first_passage_time(mirrored, 1.0, -0.2, temperature=0.1) == pytest.approx(there)


def test_a_barrier_of_650_temperatures_and_one_of_a_thousand():
    T = 0.25 / 650
    high = mean_first_passage_time(WELL, -1.0, 0.0, temperature=T)
    kramers = kramers_time(0.25, 2.0, -1.0, temperature=T, to="top")
    assert high / kramers == pytest.approx(1 + 1.5 * T, abs=1e-5)  # the first correction
    assert mean_first_passage_time(WELL, -1.0, 0.0, temperature=0.25 / 1000) == math.inf
    assert kramers_time(0.25, 2.0, -1.0, temperature=0.25 / 1000, to="top") == math.inf


def test_a_long_steep_slide_does_not_overflow():
    time = mean_first_passage_time(
        lambda x: np.where(x < 3, 1e3 * (x - 3), 0.0), -1, 3, temperature=0.5
    )
    assert 0.005 < time < 0.02


# -- Kramers --------------------------------------------------------------------------------------


def assert_kramers(to, target, T):
    kramers = kramers_time(0.25, 2.0, -1.0, temperature=T, to=to)
    time = mean_first_passage_time(WELL, -1.0, target, temperature=T)
    assert kramers / time == pytest.approx(1 - 1.5 * T, abs=0.005)


def test_kramers_is_the_limit_of_small_temperatures():
    for T in (0.02, 0.01):
        assert_kramers("top", 0.0, T)
        assert_kramers("well", 1.0, T)


@pytest.mark.parametrize(("to", "target"), [("well", 0.0), ("top", 1.0)])
def test_planted_bug_top_for_well(to, target):
    with pytest.raises(AssertionError):
        assert_kramers(to, target, 0.01)


def test_kramers_is_12_percent_short_at_a_barrier_of_two_and_a_half():
    kramers = kramers_time(0.25, 2.0, -1.0, temperature=0.1, to="top")
    assert kramers == pytest.approx(27.06, abs=0.005)
    assert kramers / exact(4) == pytest.approx(0.88, abs=0.005)


# -- the discrete walk ----------------------------------------------------------------------------


def brute_chain(population, start, target, lr, batch_size, low, points=3000):
    """The walk on a fine uniform grid: matrix of normal probabilities, one linear solve."""
    kick = lr * math.sqrt(population.covariance[0, 0] / batch_size)
    edges = np.linspace(low, target, points + 1)
    x = (edges[1:] + edges[:-1]) / 2
    mean = x - lr * population.gradient(x[:, None])[:, 0]
    P = np.exp(-(((x - mean[:, None]) / kick) ** 2) / 2)
    P *= (edges[1] - edges[0]) / (math.sqrt(2 * math.pi) * kick)
    m = np.linalg.solve(np.eye(points) - P, np.ones(points))
    return float(np.interp(start, x, m))


def test_discrete_mean_against_a_matrix_on_a_grid():
    mean = mean_first_passage_steps(WELL, -1.0, 0.0, lr=LR, batch_size=4)
    assert mean == pytest.approx(brute_chain(WELL, -1.0, 0.0, LR, 4, -2.4, 1500), rel=1e-4)


def test_discrete_mean_of_one_kick_after_another():
    """With lr k = 1 in a bowl every step is a fresh normal draw: a geometric time."""
    bowl = NoisyQuadratic([1.0], 1.0)
    out = math.erfc(1.5 / math.sqrt(2)) / 2
    mean = mean_first_passage_steps(bowl, 0.0, 1.5, lr=1.0, batch_size=1)
    assert mean == pytest.approx(1 / out, rel=1e-6)
    assert mean_first_passage_steps(bowl, 0.0, -1.5, lr=1.0, batch_size=1) == pytest.approx(mean)


def test_discrete_mean_tends_to_the_continuum():
    """At one temperature: an excess of order sqrt(lr), from crossings between two looks."""
    excess = []
    for factor in (1, 4, 16):
        population = DoubleWell(40.0 * factor)
        steps = mean_first_passage_steps(population, -1.0, 0.0, lr=LR / factor, batch_size=4)
        excess.append(steps * LR / factor / exact(4) - 1)
    assert 0 < excess[2] < excess[1] < excess[0] < 0.1
    np.testing.assert_allclose(np.divide(excess[:-1], excess[1:]), 2, rtol=0.06)


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


def test_a_walker_that_blows_up_is_reported():
    never = lambda t: np.zeros(len(t), dtype=bool)  # noqa: E731
    with pytest.raises(DivergenceError, match="lr=3"):
        first_passage(WELL, [[-2.0]], never, lr=3.0, batch_size=1, max_steps=50, rng=0)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"temperature": 0.0}, ValueError, "temperature=0.0"),
        ({"temperature": lambda x: x}, ValueError, "temperature > 0 everywhere"),
        ({"start": "a"}, TypeError, "start='a'"),
        ({"reflect": 0.0}, ValueError, "reflect=0: expected a wall behind the start -1"),
        ({"gradient": lambda x: 1.0}, ValueError, "gradient: expected shape"),
        ({"gradient": 1.0}, TypeError, "gradient=1.0: expected a function"),
        ({"gradient": STEP_RIGHT}, ValueError, "expected one dimension, got 2"),
        ({"gradient": np.ones_like}, ValueError, "nothing holds the walker back"),
        ({"gradient": np.zeros_like}, ValueError, "nothing holds the walker back"),
    ],
)
def test_bad_times_are_refused(change, error, message):
    call = {"gradient": WELL, "start": -1.0, "target": 0.0, "temperature": 0.1, **change}
    gradient, start, target = call.pop("gradient"), call.pop("start"), call.pop("target")
    with pytest.raises(error, match=message):
        mean_first_passage_time(gradient, start, target, **call)


def test_bad_chains_and_bad_estimates_are_refused():
    with pytest.raises(ValueError, match="expected noise"):
        mean_first_passage_steps(DoubleWell(0.0), -1.0, 0.0, lr=LR, batch_size=1)
    with pytest.raises(TypeError, match="expected a Population"):
        mean_first_passage_steps(lambda x: x, -1.0, 0.0, lr=LR, batch_size=1)
    with pytest.raises(ValueError, match="to='valley': expected one of 'top', 'well'"):
        kramers_time(0.25, 2.0, -1.0, temperature=0.1, to="valley")
    with pytest.raises(ValueError, match="top_curvature=1"):
        kramers_time(0.25, 2.0, 1.0, temperature=0.1, to="top")
    assert mean_first_passage_time(WELL, 0.5, 0.5, temperature=1.0) == 0
    assert mean_first_passage_steps(WELL, 0.5, 0.5, lr=LR, batch_size=1) == 0
