"""Cooling schedules against closed forms, the two knobs against each other and the exact law."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import brentq

from sgdlib import NoisyQuadratic, minibatch_sgd
from sgdlib.landscapes import Rugged
from sgdlib.physics.annealing import (
    SHAPES,
    cool_by_batch,
    cool_by_rate,
    cooling_schedule,
    in_steps,
    variance_ratio,
)
from sgdlib.physics.stationary import stationary_covariance, temperature
from sgdlib.schedules import grow_batch, step_decay

temperatures = st.floats(1e-3, 10)

# -- cooling --


@pytest.mark.parametrize("shape", SHAPES)
@given(
    end=temperatures,
    ratio=st.floats(1.001, 1e4),
    length=st.floats(0.1, 1e6),
    places=st.lists(st.floats(0, 1.5), min_size=2, max_size=20),
)
def test_every_schedule_falls_from_start_to_end_and_stays(shape, end, ratio, length, places):
    T = cooling_schedule(end * ratio, end, length=length, shape=shape)
    values = [T(length * part) for part in sorted(places)]
    assert T(0) == pytest.approx(end * ratio, rel=1e-9)
    assert T(length * (1 - 1e-12)) == pytest.approx(end, rel=1e-6)
    assert T(length) == T(2 * length) == end
    assert all(a >= b * (1 - 1e-9) for a, b in itertools.pairwise(values))
    assert all(end * (1 - 1e-9) <= v <= end * ratio * (1 + 1e-9) for v in values)


def test_geometric_and_linear_in_closed_form():
    assert cooling_schedule(4.0, 1.0, length=10)(5) == pytest.approx(2.0)
    assert cooling_schedule(4.0, 1.0, length=10, shape="linear")(5) == pytest.approx(2.5)


@given(ratio=st.floats(1.05, 100), length=st.floats(1, 1e5), part=st.floats(0, 0.999))
def test_logarithmic_is_c_over_ln_of_t0_plus_t(ratio, length, part):
    high = (1 + length) ** (1.001 / (ratio - 1)) + 1 if ratio > 1.5 else 1e308
    t0 = math.exp(
        brentq(lambda u: ratio * u - np.logaddexp(u, math.log(length)), 0, math.log(high))
    )
    c = ratio * math.log(t0)
    T = cooling_schedule(ratio, 1.0, length=length, shape="logarithmic")
    assert T(part * length) == pytest.approx(c / math.log(t0 + part * length), rel=1e-8)
    assert c == pytest.approx(1.0 * math.log(t0 + length), rel=1e-8)  # as the docstring says


# -- from the temperature to a knob --


@given(start=st.integers(1, 64), k=st.integers(2, 6), every=st.floats(0.5, 20))
def test_stairs_are_grow_batch(start, k, every):
    stairs = step_decay(temperature(0.1, start, 3.0), factor=1 / k, every=every)
    by_temperature = cool_by_batch(stairs, lr=0.1, sigma2=3.0)
    expected = grow_batch(start, factor=k, every=every)
    for part in (0, 0.5, 1, 1.5, 2, 3.7, 5):
        assert by_temperature(part * every) == expected(part * every)


@given(T=st.floats(1e-4, 0.05), lr=st.floats(0.1, 0.5), sigma2=st.floats(1, 20))
def test_rounding_moves_the_temperature_by_at_most_1_over_2b(T, lr, sigma2):
    B = cool_by_batch(T, lr=lr, sigma2=sigma2)(0.0)
    assert type(B) is int
    assert abs(temperature(lr, B, sigma2) / T - 1) <= 1 / (2 * B) + 1e-9


@given(part=st.floats(0, 1), B=st.integers(1, 100), sigma2=st.floats(0.1, 10))
def test_cooling_by_rate_has_the_scheduled_temperature(part, B, sigma2):
    T = cooling_schedule(1.0, 0.01, length=1)
    rate = cool_by_rate(T, batch_size=B, sigma2=sigma2)
    assert temperature(rate(part), B, sigma2) == pytest.approx(T(part))


def test_the_largest_batch_is_kept():
    assert cool_by_batch(1e-9, lr=0.1, sigma2=1.0, maximum=100)(0.0) == 100


# -- the exact ratio of variances --


@given(
    eta_h=st.floats(0.001, 1.9),
    h=st.floats(0.1, 10),
    k=st.floats(1, 50),
    beta=st.sampled_from([0.0, 0.5, 0.9]),
)
def test_ratio_is_that_of_the_exact_variances(eta_h, h, k, beta):
    lr = eta_h / h
    # B = 1 of variance 1/k for a batch of k, which need not be an int
    grown = stationary_covariance(h, 1 / k, lr=lr, batch_size=1, momentum=beta)
    decayed = stationary_covariance(h, 1.0, lr=lr / k, batch_size=1, momentum=beta)
    assert variance_ratio(lr, h, k, momentum=beta) == pytest.approx(grown / decayed, rel=1e-9)


def test_ratio_of_table():
    assert variance_ratio(0.1, 1.0, 5) == pytest.approx(1.98 / 1.9)
    assert variance_ratio(0.5, 1.0, 5) == pytest.approx(1.9 / 1.5)
    assert variance_ratio(1.0, 1.0, 5) == pytest.approx(1.8)
    assert variance_ratio(0.3, 2.0, 1) == 1.0


WALKERS = 10_000


def assert_ratio(measured_grown, measured_decayed, expected):
    """Assert the ratio of two mean squares, within 4 standard errors."""
    grown, decayed = np.square(measured_grown), np.square(measured_decayed)
    ratio = grown.mean() / decayed.mean()
    spread = math.hypot(grown.std() / grown.mean(), decayed.std() / decayed.mean())
    assert abs(ratio - expected) <= 4 * ratio * spread / math.sqrt(len(grown))


def test_ratio_is_measured_and_wrong_ones_are_noticed():
    lr, k, bowl, start = 1.0, 5, NoisyQuadratic([1.0], 1.0), np.zeros((WALKERS, 1))
    grown, decayed, per_step = (
        minibatch_sgd(bowl, start, lr=rate, batch_size=B, steps=steps, rng=B + steps).theta[:, 0]
        for rate, B, steps in ((lr, k, 12), (lr / k, 1, 60), (lr / math.sqrt(k), 1, 60))
    )
    expected = variance_ratio(lr, 1.0, k)
    assert_ratio(grown, decayed, expected)
    for wrong in (1.0, 1 / expected, (2 - lr / k) / 2, variance_ratio(lr / 2, 1.0, k)):
        with pytest.raises(AssertionError):
            assert_ratio(grown, decayed, wrong)
    with pytest.raises(AssertionError):  # the square-root rule
        assert_ratio(grown, per_step, expected)


# -- from examples to steps --


@given(sizes=st.lists(st.integers(1, 20), min_size=1, max_size=8), extra=st.integers(0, 300))
def test_steps_add_up_to_the_examples(sizes, extra):
    def schedule(seen):
        return sizes[min(int(seen // 25), len(sizes) - 1)]

    examples = sizes[0] + extra
    batch_size, steps = in_steps(schedule, examples)
    made = [batch_size(float(step)) for step in range(steps)]
    assert sum(made) == examples
    seen = np.cumsum([0, *made[:-1]])
    assert all(b == schedule(s) for b, s in zip(made[:-1], seen, strict=False))
    last = schedule(seen[-1])
    assert made[-1] < 2 * last or steps == 1
    assert batch_size(steps + 5) == made[-1]


def test_a_run_spends_its_budget():
    T = cooling_schedule(0.5, 0.01, length=1000)
    batch_size, steps = in_steps(cool_by_batch(T, lr=0.1, sigma2=10.0), 1000)
    trace = minibatch_sgd(
        NoisyQuadratic([1.0], 10.0), [0.0], lr=0.1, batch_size=batch_size, steps=steps, rng=0
    )
    assert trace.examples[-1] == 1000
    assert (np.diff(trace.batch_sizes[:-1]) >= 0).all()
    assert in_steps(7, 23)[1] == 3


# -- an annealed run against its exact law --


def exact_share(f, sizes, lr, sigma2, cells=12):
    """Share of the start, uniform on [-4.5, 4.5], that ends in the global basin: by matrices."""
    rim = np.linspace(0, 1, 100_001)
    rim = rim[np.argmin(f.in_global_basin(rim[:, None]))]
    dx = rim / cells
    x = dx * (np.arange(int(8 / dx)) + 0.5)  # f is symmetric: x > 0 is enough
    ahead = x - lr * f.gradient(x[:, None])[:, 0]
    density = np.clip(4.5 / dx - np.arange(len(x)), 0, 1)
    density /= density.sum()
    for B, stage in itertools.groupby(sizes):
        width = lr * math.sqrt(sigma2 / B)
        kernel = sum(np.exp(-(((x[:, None] - m) / width) ** 2) / 2) for m in (ahead, -ahead))
        kernel /= kernel.sum(axis=0)
        density = np.linalg.matrix_power(kernel, len(list(stage))) @ density
    return density[:cells].sum()


def assert_share(f, theta, expected):
    share = f.in_global_basin(theta).mean()
    assert abs(share - expected) <= 4 * math.sqrt(expected * (1 - expected) / len(theta))


def test_an_annealed_run_has_its_exact_law_and_wrong_ones_have_not():
    lr, sigma2, budget = 0.02, 25.0, 3000
    T = cooling_schedule(0.25, 0.02, length=budget)
    schedule = cool_by_batch(T, lr=lr, sigma2=sigma2)
    f, start = Rugged(sigma2), np.random.default_rng(0).uniform(-4.5, 4.5, (WALKERS, 1))

    def end(problem, batch_size, steps, seed):
        return minibatch_sgd(
            problem, start, lr=lr, batch_size=batch_size, steps=steps, record=steps, rng=seed
        ).theta

    batch_size, steps = in_steps(schedule, budget)
    sizes = [batch_size(t) for t in range(steps)]
    expected = exact_share(f, sizes, lr, sigma2)
    assert_share(f, end(f, batch_size, steps, 1), expected)
    for theta in (
        end(f, lambda t: 1, budget, 2),  # not cooled at all
        end(f, schedule, budget, 3),  # examples taken for steps: far more than was paid for
        end(Rugged(sigma2**2), batch_size, steps, 4),  # variance for its root
        end(f, lambda t: sizes[-1 - int(t)], steps, 5),  # heated instead of cooled
    ):
        with pytest.raises(AssertionError):
            assert_share(f, theta, expected)


# -- bad input --


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: cooling_schedule(1.0, 2.0, length=1), "end=2.0: expected a finite number > 0 and"),
        (lambda: cooling_schedule(1.0, 0.0, length=1), "end=0.0: expected a finite number > 0 and"),
        (lambda: cooling_schedule(-1, 0.5, length=1), "start=-1.0: expected a finite number > 0"),
        (lambda: cooling_schedule(1.0, 0.5, length=0), "length=0.0: expected a finite number > 0"),
        (
            lambda: cooling_schedule(1.0, 0.5, length=1, shape="sudden"),
            "shape='sudden': expected one of 'geometric', 'linear', 'logarithmic'",
        ),
        (
            lambda: cool_by_batch(2.0, lr=0.1, sigma2=10.0),
            r"temperature\(0\)=2: expected at most 0.5, which batches of one example have",
        ),
        (lambda: cool_by_batch(0.1, lr=0, sigma2=1.0), "lr=0.0: expected a finite number > 0"),
        (lambda: cool_by_batch(0.1, lr=1, sigma2=0.0), "sigma2=0.0: expected a finite number > 0"),
        (
            lambda: cool_by_batch(lambda p: 1 - p, lr=2, sigma2=1.0)(1),
            r"temperature\(1\)=0.0: expected a finite number > 0",
        ),
        (
            lambda: cool_by_batch(0.1, lr=1, sigma2=1.0, maximum=0),
            "maximum=0: expected an int >= 1",
        ),
        (
            lambda: cool_by_rate(-1, batch_size=4, sigma2=1.0),
            r"^temperature\(0\)=-1.0: expected a finite number > 0$",
        ),
        (
            lambda: cool_by_rate(lambda p: 1 - p, batch_size=4, sigma2=1.0)(2),
            r"^temperature\(2\)=-1.0: expected a finite number > 0$",
        ),
        (
            lambda: cooling_schedule(1.0, 0.1, length=1)(-1),
            r"^progress=-1.0: expected a finite number >= 0$",
        ),
        (lambda: in_steps(1, 7)[0]("a"), r"^step='a': expected a finite number >= 0$"),
        (lambda: cool_by_rate(0.1, batch_size=0, sigma2=1.0), "batch_size=0: expected an int >= 1"),
        (lambda: cool_by_rate("hot", batch_size=1, sigma2=1.0), "temperature='hot': expected a"),
        (lambda: variance_ratio(2.0, 1.0, 5), "lr=2.0: expected a finite number > 0 and < 2"),
        (lambda: variance_ratio(1.5, 1.0, 0.5), "lr=1.5: expected a finite number > 0 and < 1"),
        (lambda: variance_ratio(1.0, 0.0, 5), "curvature=0.0: expected a finite number > 0"),
        (lambda: in_steps(8, 7), "examples=7: expected an int >= 8"),
        (lambda: in_steps(0, 7), "batch_size=0: expected an int >= 1"),
        (lambda: in_steps(lambda e: 1 - e, 7), r"batch_size\(1\)=0: expected an int >= 1"),
    ],
)  # fmt: skip
def test_bad_input(call, message):
    with pytest.raises((ValueError, TypeError), match=message):
        call()
