"""Landscapes with known answers: wells, a saddle, and a rugged one against slow references."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sgdlib.landscapes import DoubleWell, Rugged, Saddle

amplitudes, periods = st.floats(0.01, 1), st.floats(0.3, 5)
landscapes = st.builds(
    lambda dim, bowl, ripples, center: Rugged(
        1.0, dim=dim, bowl=bowl, ripples=ripples, center=np.full(dim, center)
    ),
    st.integers(1, 3),
    st.floats(0.05, 2),
    st.lists(st.tuples(amplitudes, periods), min_size=1, max_size=3),
    st.floats(-3, 3),
)


def assert_gradient(f, gradient, theta):
    shifts = 1e-6 * np.eye(f.dim)
    numeric = [(f.loss(theta + s) - f.loss(theta - s)) / 2e-6 for s in shifts]
    np.testing.assert_allclose(gradient(theta), numeric, rtol=1e-5, atol=1e-6)


@given(f=landscapes, seed=st.integers(0, 100))
def test_gradient_is_the_derivative_of_the_loss(f, seed):
    assert_gradient(f, f.gradient, np.random.default_rng(seed).normal(scale=3, size=f.dim))


def test_planted_bug_in_the_gradient_is_noticed():
    f = Rugged(1.0, ripples=[(0.5, 2.0)])
    for wrong in (
        lambda t: f.bowl * t + 0.5 * np.sin(np.pi * t),  # the inner derivative forgotten
        lambda t: f.bowl * t - 0.5 * np.pi * np.sin(np.pi * t),
        lambda t: 2 * f.gradient(t),
    ):
        with pytest.raises(AssertionError):
            assert_gradient(f, wrong, np.array([0.7]))


@given(f=landscapes)
def test_replicas_are_separate_evaluations(f):
    thetas = np.random.default_rng(1).normal(size=(4, f.dim))
    np.testing.assert_allclose(f.loss(thetas), [f.loss(t) for t in thetas], rtol=1e-13)
    np.testing.assert_allclose(f.gradient(thetas), [f.gradient(t) for t in thetas], rtol=1e-12)
    assert f.in_global_basin(thetas).shape == (4,)


@given(f=landscapes)
def test_nothing_on_a_grid_is_below_the_center(f):
    line = np.linspace(-12, 12, 4001 if f.dim == 1 else 161)
    grid = np.stack(np.meshgrid(*[line] * min(f.dim, 2)), axis=-1).reshape(-1, min(f.dim, 2))
    grid = np.pad(grid, ((0, 0), (0, f.dim - grid.shape[1]))) + f.center
    assert f.loss(f.minimizer()) == 0 == np.abs(f.gradient(f.minimizer())).max()
    assert f.in_global_basin(f.minimizer())
    far = np.linalg.norm(grid - f.center, axis=1) > 1e-9
    x = grid[far] - f.center
    assert (f.loss(grid[far]) >= f.bowl * (x**2).sum(axis=1) / 2 * (1 - 1e-9)).all()


def test_minima_are_those_of_a_fine_grid():
    for f in (
        Rugged(1.0),
        Rugged(1.0, bowl=0.2, ripples=[(0.1, 1.0)]),
        Rugged(1.0, bowl=0.01, ripples=[(0.3, 2.0), (0.02, 0.33), (0.1, 0.71)], center=[0.5]),
    ):
        edge = np.abs(f.minima()).max() + 2
        x = np.linspace(-edge, edge, 1_000_001)
        y = f.loss(x[:, None] + f.center)
        low = x[1:-1][(y[1:-1] < y[:-2]) & (y[1:-1] <= y[2:])]
        np.testing.assert_allclose(f.minima(), low, atol=2 * (x[1] - x[0]))
        assert np.abs(f.gradient(f.minima()[:, None] + f.center)).max() < 1e-12
    assert len(Rugged(1.0).minima()) == 29


def test_a_smooth_bowl_has_one_minimum_and_one_basin():
    f = Rugged(1.0, bowl=1.0, ripples=[(1e-3, 1.0)])
    np.testing.assert_array_equal(f.minima(), [0.0])
    assert f.in_global_basin([1e6])


def test_basin_is_where_descent_ends_at_the_center():
    f = Rugged(1.0, dim=2, center=[1.0, -2.0])
    start = f.center + np.random.default_rng(2).uniform(-1, 1, size=(4000, 2))
    theta = start.copy()
    for _ in range(3000):
        theta -= 0.02 * f.gradient(theta)
    arrived = np.linalg.norm(theta - f.center, axis=1) < 1e-3
    assert 0.05 < arrived.mean() < 0.5
    np.testing.assert_array_equal(f.in_global_basin(start), arrived)


def test_what_it_hands_out_may_be_written_into():
    center = np.array([1.0, -2.0])
    f = Rugged(1.0, dim=2, center=center)
    center[:] = 0.0
    for give in (f.minimizer, f.minima):
        kept = give().copy()
        give()[:] = 7.0
        np.testing.assert_array_equal(give(), kept)
    assert f.loss(f.minimizer()) == 0
    np.testing.assert_array_equal(f.center, [1.0, -2.0])


def test_noise_is_that_of_a_population():
    f, theta = Rugged(4.0, dim=2), np.tile([0.3, -0.8], (20_000, 1))
    noise = f.batch_gradient(theta, 16, rng=0) - f.gradient(theta)
    assert abs(noise.var() / (4 / 16) - 1) < 5 * np.sqrt(2 / noise.size)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"dim": 0}, "dim=0: expected an int >= 1"),
        ({"bowl": 0.0}, "bowl=0.0: expected a finite number > 0"),
        ({"bowl": 1e-9}, "bowl=1e-09: expected a steeper one, with fewer minima"),
        ({"ripples": [(0.1, -1.0)]}, r"ripples=.*: expected pairs \(amplitude, period\), all > 0"),
        ({"ripples": [(0.1, 1.0, 2.0)]}, r"ripples=.*: expected pairs"),
        ({"ripples": []}, "ripples: expected a 2-dimensional array, got shape"),
        ({"center": [0.0, 0.0]}, r"center: expected shape \(1,\), got \(2,\)"),
        ({"covariance": -1.0}, "covariance: expected no negative variance, got -1"),
    ],
)
def test_bad_input(options, message):
    with pytest.raises(ValueError, match=message):
        Rugged(**{"covariance": 1.0, **options})


# -- the saddle and the two wells --


def test_wells_and_saddle_in_closed_form():
    well = DoubleWell(1.0)
    assert (well.loss([0.0]), well.loss([1.0]), well.loss([-1.0])) == (0.25, 0.0, 0.0)
    np.testing.assert_array_equal(
        well.gradient([[-1.0], [0.0], [1.0], [2.0]]), [[0], [0], [0], [6]]
    )
    assert DoubleWell(1.0, tilt=0.1).loss([-1.0]) == pytest.approx(-0.1)
    assert Saddle(1.0, stiffness=3.0, instability=2.0).loss([1.0, 1.0]) == 0.5


def test_bad_saddles_and_wells():
    with pytest.raises(ValueError, match=r"^stiffness=0\.0: expected a finite number > 0$"):
        Saddle(1.0, stiffness=0)
    with pytest.raises(ValueError, match=r"^instability=nan: expected a finite number > 0$"):
        Saddle(1.0, instability=math.nan)
    with pytest.raises(TypeError, match=r"^tilt='0': expected a finite number$"):
        DoubleWell(1.0, tilt="0")
    with pytest.raises(ValueError, match=r"^covariance: expected a number, shape \(1,\)"):
        DoubleWell([1.0, 1.0])
