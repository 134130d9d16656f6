"""Stationary laws and stability limits in closed form, with planted bugs that must fail."""

import math

import numpy as np
import pytest
from descent_case import rules

from sgdlib import (
    DivergenceError,
    LeastSquares,
    NoisyQuadratic,
    Population,
    Saddle,
    minibatch_sgd,
)
from sgdlib.stability import stability_limit

# -- stationary laws: closed forms, with planted bugs that must fail --

WALKERS = 10_000


def assert_variance(sample, expected):
    """Assert the variance of a Gaussian sample within 5 standard errors."""
    stderr = expected * math.sqrt(2 / (len(sample) - 1))
    assert abs(sample.var(ddof=1) - expected) < 5 * stderr


def cloud(lr, batch_size=1, variance=1.5**2, steps=80, **options):
    bowl = NoisyQuadratic([2.0], variance)
    start = np.zeros((WALKERS, 1))
    return minibatch_sgd(
        bowl, start, lr=lr, batch_size=batch_size, steps=steps, rng=21, **options
    ).theta[:, 0]


@pytest.mark.parametrize("batch_size", [1, 10])
def test_stationary_variance_of_a_bowl(batch_size):
    lr, k, sigma2 = 0.9, 2.0, 1.5**2
    expected = lr * sigma2 / (batch_size * k * (2 - lr * k))  # 5.0625 for B = 1
    assert_variance(cloud(lr, batch_size), expected)
    for wrong in (
        cloud(lr / 2, batch_size),  # half the rate
        cloud(lr, batch_size, variance=sigma2**2),  # variance for standard deviation
        cloud(lr, batch_size * 4),  # batch size squared, in effect
    ):
        with pytest.raises(AssertionError):
            assert_variance(wrong, expected)
    with pytest.raises(AssertionError):  # the continuum's law: ten times too small here
        assert_variance(cloud(lr, batch_size), lr * sigma2 / (2 * batch_size * k))


def test_noise_without_the_root_of_b_is_noticed(monkeypatch):
    draw = Population.noise
    monkeypatch.setattr(Population, "noise", lambda self, shape, rng, b: draw(self, shape, rng, 1))
    with pytest.raises(AssertionError):
        assert_variance(cloud(0.9, 10), 0.9 * 2.25 / (10 * 2 * 0.2))


@pytest.mark.parametrize("beta", [0.5, 0.9])
def test_stationary_variance_of_the_heavy_ball(beta):
    lr, h, sigma2 = 0.5, 2.0, 1.5**2
    expected = lr * sigma2 * (1 + beta) / (h * (1 - beta) * (2 * (1 + beta) - lr * h))
    assert_variance(cloud(lr, momentum=beta, steps=400), expected)
    with pytest.raises(AssertionError):
        assert_variance(cloud(lr, momentum=beta, nesterov=True, steps=400), expected)


def test_second_moment_on_a_saddle():
    lr, steps, q = 0.05, 60, 1.05
    saddle = Saddle(1.0)
    for batch_size in (1, 10):
        trace = minibatch_sgd(
            saddle, np.zeros((WALKERS, 2)), lr=lr, batch_size=batch_size, steps=steps, rng=22
        )
        expected = lr**2 / batch_size * (q ** (2 * steps) - 1) / (q**2 - 1)  # 8.4857/B
        assert_variance(trace.theta[:, 1], expected)
        with pytest.raises(AssertionError):
            assert_variance(trace.theta[:, 1], expected * 1.2)


def mean_problem(n=50):
    values = np.random.default_rng(5).normal(size=n)
    return LeastSquares(np.ones((n, 1)), values), values.var()


@pytest.mark.parametrize(("lr", "epochs"), [(0.1, 8), (0.02, 16)])
def test_variance_at_epoch_ends_when_reshuffled(lr, epochs):
    n, walkers = 50, 4000
    problem, s2 = mean_problem(n)
    q = 1 - lr
    c = q ** np.arange(n)[::-1]
    expected = lr**2 * s2 * n / (n - 1) * ((c**2).sum() - c.sum() ** 2 / n) / (1 - q ** (2 * n))
    replaced = lr * s2 / (2 - lr)
    ratios = {0.1: 0.6366, 0.02: 0.0787}
    assert expected / replaced == pytest.approx(ratios[lr], rel=1e-3)

    def ends(sampling):
        start = np.full((walkers, 1), problem.minimizer())
        options = {"lr": lr, "batch_size": 1, "epochs": epochs, "rng": 23, "sampling": sampling}
        return minibatch_sgd(problem, start, **options).theta[:, 0]

    assert_variance(ends("reshuffle"), expected)
    # one order for ever settles where it likes: (1 + q^n)/(1 - q^n) times the variance
    assert_variance(ends("shuffle_once"), expected * (1 + q**n) / (1 - q**n))
    with pytest.raises(AssertionError):
        assert_variance(ends("replacement"), expected)


@pytest.mark.parametrize("sampling", ["subset", "replacement"])
def test_variance_with_independent_batches(sampling):
    n, lr, b = 50, 0.5, 25
    problem, s2 = mean_problem(n)
    factors = {"subset": (n - b) / (n - 1), "replacement": 1.0}
    start = np.full((WALKERS, 1), problem.minimizer())
    theta = minibatch_sgd(
        problem, start, lr=lr, batch_size=b, steps=20, sampling=sampling, rng=24
    ).theta[:, 0]
    for law, factor in factors.items():
        expected = lr * s2 / b * factor / (2 - lr)
        if law == sampling:
            assert_variance(theta, expected)
        else:
            with pytest.raises(AssertionError):
                assert_variance(theta, expected)


# -- stability limits --


def growth(lr, h, momentum, nesterov):
    """Return the largest |eigenvalue| of a step of theta and velocity on h theta^2 / 2."""
    step = np.array([[1 - lr * h, -lr * momentum], [h, momentum]])
    if nesterov:
        step[0] = [1 - lr * h * (1 + momentum), -lr * momentum**2]
    return np.abs(np.linalg.eigvals(step)).max()


@rules
def test_the_stability_limit_is_where_growth_begins(momentum, nesterov):
    limit = stability_limit(2.0, momentum=momentum, nesterov=nesterov)
    assert growth(limit, 2.0, momentum, nesterov) == pytest.approx(1, abs=1e-9)
    assert growth(0.999 * limit, 2.0, momentum, nesterov) < 1
    assert growth(1.001 * limit, 2.0, momentum, nesterov) > 1
    bowl = NoisyQuadratic([2.0, 0.3], 0.0)
    options = {"batch_size": 1, "momentum": momentum, "nesterov": nesterov}
    calm = minibatch_sgd(bowl, [1.0, 1.0], lr=0.98 * limit, steps=2000, **options)
    assert np.abs(calm.theta).max() < 1e-9
    with pytest.raises(DivergenceError, match="above the full-batch stability limit"):
        minibatch_sgd(bowl, [1.0, 1.0], lr=1.02 * limit, steps=50_000, **options)
