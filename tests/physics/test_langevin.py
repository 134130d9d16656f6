"""Langevin dynamics against its exact law, the nearest rate, and correlation times."""

import math

import numpy as np
import pytest
from scipy.optimize import minimize_scalar

from sgdlib import LeastSquares, NoisyQuadratic, minibatch_sgd
from sgdlib.physics.langevin import autocorrelation_time, posterior_lr, sgld
from sgdlib.physics.posterior import Normal
from sgdlib.physics.stationary import continuum_covariance, stationary_covariance

RNG = np.random.default_rng(22)


def assert_variance(walkers, expected):
    stderr = expected * np.sqrt(2 / len(walkers))
    assert abs(walkers.var() - expected) < 5 * stderr


# -- SGLD --


def test_its_exact_stationary_law():
    """On a x^2/2: var = (2 lr T + lr^2 s^2/B) / (1 - (1 - lr a)^2)."""
    lr, a, s2, T = 0.3, 2.0, 1.5, 0.4
    start, bowl = np.zeros((20_000, 1)), NoisyQuadratic([a], s2)
    options = {"lr": lr, "batch_size": 3, "steps": 40, "rng": 1}
    walkers = sgld(bowl, start, temperature=T, **options).theta[:, 0]
    shrink = 1 - (1 - lr * a) ** 2
    assert_variance(walkers, (2 * lr * T + lr**2 * s2 / 3) / shrink)
    halved = sgld(bowl, start, temperature=T / 2, **options).theta[:, 0]  # off by 2
    for planted in (halved, minibatch_sgd(bowl, start, **options).theta[:, 0]):
        with pytest.raises(AssertionError):
            assert_variance(planted, (2 * lr * T + lr**2 * s2 / 3) / shrink)
    for wrong in (2 * lr * T / shrink, (2 * lr * T + lr**2 * s2) / shrink, T / a):
        with pytest.raises(AssertionError):
            assert_variance(walkers, wrong)


def test_more_noise_is_a_larger_sigma():
    """In several dimensions: `stationary_covariance` with Sigma + 2 B T/lr I."""
    H, sigma = np.array([[2.0, 0.5], [0.5, 0.7]]), np.array([[1.0, -0.4], [-0.4, 2.0]])
    walkers = sgld(NoisyQuadratic(H, sigma), np.zeros((20_000, 2)), lr=0.2, temperature=0.3,
                   batch_size=4, steps=80, rng=2).theta  # fmt: skip
    exact = stationary_covariance(H, sigma + 2 * 4 * 0.3 / 0.2 * np.eye(2), lr=0.2, batch_size=4)
    measured = np.cov(walkers.T)
    stderr = np.sqrt((np.outer(np.diag(exact), np.diag(exact)) + exact**2) / 20_000)
    assert (np.abs(measured - exact) < 5 * stderr).all()


@pytest.mark.parametrize("eps", [0.1, 0.5, 1.0])
def test_welling_and_tehs_step(eps):
    """Drift eps/2, noise eps, target Normal(0, 1/k): var = 1/(k (1 - eps k/4))."""
    n, k = 50, 1.0
    walkers = sgld(NoisyQuadratic([k / n], 0.0), np.zeros((40_000, 1)), lr=eps * n / 2,
                   temperature=1 / n, batch_size=1, steps=200, rng=3).theta[:, 0]  # fmt: skip
    assert_variance(walkers, {0.1: 1.0256, 0.5: 1.1429, 1.0: 1.3333}[eps])


def test_the_default_is_the_posteriors_temperature():
    X = RNG.normal(size=(30, 2))
    problem, options = LeastSquares(X, X[:, 0]), {"lr": 0.05, "batch_size": 5, "epochs": 3}
    given = sgld(problem, np.zeros(2), temperature=1 / 30, rng=4, **options)
    np.testing.assert_array_equal(sgld(problem, np.zeros(2), rng=4, **options).theta, given.theta)
    with pytest.raises(ValueError, match=r"temperature=None: .* population"):
        sgld(NoisyQuadratic([1.0], 1.0), np.zeros(1), lr=0.1, batch_size=1, steps=3)


def test_temperature_zero_is_plain_descent():
    X = RNG.normal(size=(30, 2))
    problem, options = LeastSquares(X, X[:, 0]), {"lr": 0.05, "batch_size": 5, "epochs": 3}
    ours = sgld(problem, np.ones((4, 2)), temperature=0.0, rng=4, **options)
    plain = minibatch_sgd(problem, np.ones((4, 2)), rng=4, **options)
    np.testing.assert_allclose(ours.theta, plain.theta, rtol=1e-12)


def test_two_runs_are_one():
    X = RNG.normal(size=(30, 2))
    problem = LeastSquares(X, X[:, 0])
    options = {"lr": 0.05, "temperature": lambda p: 0.1 / (1 + p), "batch_size": 5}
    whole = sgld(problem, np.zeros((3, 2)), steps=20, rng=4, **options)
    rng = np.random.default_rng(4)
    first = sgld(problem, np.zeros((3, 2)), steps=8, rng=rng, **options)
    np.testing.assert_array_equal(sgld(problem, first, steps=12, rng=rng, **options).theta,
                                  whole.theta)  # fmt: skip


@pytest.mark.parametrize("value", [-1.0, float("nan"), "hot"])
def test_bad_temperatures(value):
    call = {"lr": 0.1, "batch_size": 1, "steps": 5, "rng": 0}
    for temperature in (value, lambda p: value if p > 2 else 0.1, lambda p: value):
        with pytest.raises((ValueError, TypeError), match="temperature"):
            sgld(NoisyQuadratic([1.0], 1.0), np.zeros(1), temperature=temperature, **call)


# -- the nearest rate --


def random_covariance(rng, d):
    root = rng.normal(size=(d, d + 3))
    return root @ root.T / d


def test_it_minimizes_the_divergence():
    """Evidence: argmin over the rate of the exact KL, for random H and Sigma in four dimensions."""
    rng = np.random.default_rng(5)
    n, B = 1000, 10
    for _ in range(3):
        H, sigma = random_covariance(rng, 4), random_covariance(rng, 4)
        posterior = Normal(np.zeros(4), np.linalg.inv(n * H))

        def kl(log_lr, H=H, sigma=sigma, posterior=posterior):
            S = continuum_covariance(H, sigma, lr=math.exp(log_lr), batch_size=B)
            return Normal(np.zeros(4), S).divergence(posterior)

        best = minimize_scalar(kl, bounds=(-9, 0), method="bounded", options={"xatol": 1e-9})
        assert posterior_lr(sigma, n=n, batch_size=B) == pytest.approx(math.exp(best.x), rel=1e-3)
        # its meaning: the mean excess loss is the posterior's, d/(2 n)
        S = continuum_covariance(H, sigma, lr=math.exp(best.x), batch_size=B)
        assert np.trace(H @ S) / 2 == pytest.approx(4 / (2 * n), rel=1e-3)


def test_one_parameter_and_diagonals():
    assert posterior_lr(2.0, n=100, batch_size=5) == 2 * 5 / (100 * 2.0)
    assert posterior_lr([2.0, 4.0], n=100, batch_size=5) == pytest.approx(2 * 5 * 2 / (100 * 6.0))
    with pytest.raises(ValueError, match="covariance"):
        posterior_lr(np.zeros((2, 2)), n=100, batch_size=5)


# -- correlation times --


def ar1(q, count, chains, rng):
    x = np.empty((count, chains))
    x[0] = rng.normal(size=chains) / math.sqrt(1 - q * q)
    for t in range(1, count):
        x[t] = q * x[t - 1] + rng.normal(size=chains)
    return x


@pytest.mark.parametrize("q", [-0.5, 0.0, 0.5, 0.9])
@pytest.mark.parametrize("shape", ["one", "many"])
def test_of_an_autoregression(q, shape):
    x = ar1(q, 100_000, 1, np.random.default_rng(6))[:, 0]
    if shape == "many":
        x = ar1(q, 2000, 100, np.random.default_rng(7))
    found, exact = autocorrelation_time(x), (1 + q) / (1 - q)
    assert abs(found.time - exact) < 4 * found.stderr + 0.01 * exact
    assert found.effective == pytest.approx(x.size / found.time)
    if q == 0.9:
        for wrong in (exact / 2, 1 / (1 - q)):  # a factor of two forgotten
            assert abs(found.time - wrong) > 4 * found.stderr + 0.01 * exact


def test_its_stderr_is_honest():
    """The scatter over 200 series is what one series says, to a third."""
    found = [autocorrelation_time(ar1(0.8, 4000, 1, np.random.default_rng(s))) for s in range(200)]
    times = np.array([f.time for f in found])
    assert abs(times.mean() - 9) < 0.5
    assert times.std() == pytest.approx(np.mean([f.stderr for f in found]), rel=0.35)


def test_against_the_slow_definition():
    x = ar1(0.6, 300, 3, np.random.default_rng(8))
    away = x - x.mean()
    rho = [np.mean(away[: 300 - k] * away[k:]) / np.mean(away**2) for k in range(60)]
    times = [1 + 2 * sum(rho[1 : w + 1]) for w in range(60)]
    window = next(w for w in range(60) if w >= max(10, 5 * times[w]))
    found = autocorrelation_time(x)
    assert (found.window, found.time) == (window, pytest.approx(times[window]))


def test_what_it_refuses():
    with pytest.raises(ValueError, match="constant"):
        autocorrelation_time(np.full(100, 3.3))
    with pytest.raises(ValueError, match="at least 20"):
        autocorrelation_time(np.arange(19.0))
    with pytest.raises(ArithmeticError, match="too few"):
        autocorrelation_time(np.linspace(0, 1, 30))
