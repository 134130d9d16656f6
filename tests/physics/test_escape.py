"""The theory of a barrier: closed forms, nested quadrature, the discrete chain on a grid."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.integrate import quad

from sgdlib import DoubleWell, NoisyQuadratic, Population
from sgdlib.physics.escape import kramers_time, mean_first_passage_steps, mean_first_passage_time
from sgdlib.physics.stationary import temperature

WELL = DoubleWell(40.0)
LR = 0.02
STEP_RIGHT = Population(lambda t: -t.sum(-1), lambda t: -np.ones_like(t), dim=2, covariance=0.0)


def exact(batch_size, target=0.0):
    T = temperature(LR, batch_size, 40.0)
    return mean_first_passage_time(WELL, -1.0, target, temperature=T)


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


# -- at the edge ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"temperature": 0.0}, ValueError, "temperature=0.0"),
        ({"temperature": lambda x: x}, ValueError, "temperature > 0 everywhere"),
        ({"start": "a"}, TypeError, "start='a'"),
        ({"reflect": 0.0}, ValueError, "reflect=0: expected a wall behind the start -1"),
        ({"gradient": lambda x: 1.0}, ValueError, "gradient: expected shape"),
        ({"gradient": lambda x: [None] * len(x)}, TypeError, "gradient: expected real numbers"),
        ({"temperature": lambda x: "hot"}, TypeError, "temperature: expected real numbers of pos"),
        ({"temperature": lambda x: x[:2]}, ValueError, "temperature: expected shape"),
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
