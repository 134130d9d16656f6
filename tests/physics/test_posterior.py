"""Conjugate models: against prior times likelihood, differences, and integrals."""

import numpy as np
import pytest

from sgdlib import minibatch_sgd
from sgdlib.gradient_noise import gradient_covariance
from sgdlib.physics.langevin import posterior_lr
from sgdlib.physics.posterior import Normal, linear_regression, normal_mean

RNG = np.random.default_rng(3)
C = np.array([[2.0, 0.6], [0.6, 0.5]])
Y = RNG.multivariate_normal([1.0, -2.0], C, size=60)
X = RNG.normal(size=(40, 3))
T = X @ [1.0, 0.0, -1.0] + 0.7 * RNG.normal(size=40)


def log_density(law, theta):
    away = theta - law.mean
    return -away @ np.linalg.solve(law.covariance, away) / 2


def normal_log_likelihood(theta, tau2):
    away = Y - theta
    return -np.sum(away @ np.linalg.inv(C) * away) / 2 - (theta @ theta / (2 * tau2) if tau2 else 0)


def linear_log_likelihood(theta, tau2):
    return -np.sum((T - X @ theta) ** 2) / (2 * 0.49) - (theta @ theta / (2 * tau2) if tau2 else 0)


MODELS = {
    "mean": (lambda tau2: normal_mean(Y, covariance=C, prior_variance=tau2), normal_log_likelihood),
    "linear": (
        lambda tau2: linear_regression(X, T, noise_variance=0.49, prior_variance=tau2),
        linear_log_likelihood,
    ),
}


@pytest.mark.parametrize("tau2", [None, 0.3])
@pytest.mark.parametrize("name", MODELS)
def test_the_posterior_is_prior_times_likelihood(name, tau2):
    """Log ratios of the density at random places, by the definition; and N L is minus that."""
    make, log_posterior = MODELS[name]
    model = make(tau2)
    problem, law = model.problem, model.posterior
    d = len(law.mean)
    a, b = RNG.normal(size=(2, d))
    exact = log_posterior(a, tau2) - log_posterior(b, tau2)
    assert log_density(law, a) - log_density(law, b) == pytest.approx(exact, rel=1e-9)
    loss = problem.n * (problem.loss(b) - problem.loss(a))
    assert loss == pytest.approx(exact, rel=1e-9)
    np.testing.assert_allclose(np.linalg.inv(problem.n * problem.hessian()), law.covariance)
    np.testing.assert_allclose(problem.gradient(law.mean), 0, atol=1e-12)


@pytest.mark.parametrize("name", MODELS)
def test_gradients_by_differences_and_for_replicas(name):
    problem = MODELS[name][0](0.3).problem
    theta = RNG.normal(size=(4, problem.dim))
    each = problem.gradients(theta)
    for j, e in enumerate(np.eye(problem.dim) * 1e-6):
        slope = (problem.losses(theta + e) - problem.losses(theta - e)) / 2e-6
        np.testing.assert_allclose(each[..., j], slope, rtol=1e-5, atol=1e-6)
    weights, rows = problem.draw(4, 7, np.random.default_rng(0))
    slow = [
        weights * problem.row_gradients(t, *(r[i] for r in rows)).sum(axis=0)
        for i, t in enumerate(theta)
    ]
    np.testing.assert_allclose(problem.weighted_gradient(theta, weights, *rows), slow)


def test_noise_of_a_mean_is_the_scatter_of_its_data():
    model = normal_mean(Y, covariance=C)
    P = np.linalg.inv(C)
    expected = P @ np.cov(Y.T, bias=True) @ P
    for theta in (model.posterior.mean, np.zeros(2)):
        np.testing.assert_allclose(gradient_covariance(model.problem, theta), expected)


def test_the_nearest_rate_gives_the_posterior_variance_of_one_parameter():
    """In one dimension the shape cannot be wrong: what is left is 1/(1 - lr h/2), exactly."""
    y = RNG.normal(size=(50, 1))
    model = normal_mean(y, covariance=1.0)
    lr = posterior_lr(gradient_covariance(model.problem, model.posterior.mean), n=50, batch_size=5)
    start = np.tile(model.posterior.mean, (8000, 1))
    options = {"batch_size": 5, "steps": 60, "sampling": "replacement", "rng": 1}
    exact = 1 / (1 - lr / 2)
    for rate, agrees in ((lr, True), (2 * lr, False)):  # the twin: a temperature off by 2
        walkers = minibatch_sgd(model.problem, start, lr=rate, **options).theta[:, 0]
        ratio = walkers.var() / model.posterior.covariance[0, 0]
        assert (abs(ratio - exact) < 5 * exact * (2 / 8000) ** 0.5) == agrees


def test_divergence_of_normal_laws():
    """Against the integral, in one dimension; zero of itself; not symmetric."""
    p, q = Normal(np.array([0.5]), np.array([[2.0]])), Normal(np.array([-1.0]), np.array([[0.7]]))
    grid = np.linspace(-30, 30, 200_001)

    def log_p(law):
        v = law.covariance[0, 0]
        return -((grid - law.mean[0]) ** 2) / (2 * v) - np.log(2 * np.pi * v) / 2

    exact = np.trapezoid(np.exp(log_p(p)) * (log_p(p) - log_p(q)), grid)
    assert p.divergence(q) == pytest.approx(exact, rel=1e-8)
    assert p.divergence(p) == pytest.approx(0, abs=1e-12)
    assert abs(p.divergence(q) - q.divergence(p)) > 0.1


def test_what_is_refused():
    with pytest.raises(ValueError, match="covariance: expected a positive definite"):
        normal_mean(Y, covariance=[[1.0, 2.0], [2.0, 1.0]])
    with pytest.raises(ValueError, match="covariance: expected a symmetric"):
        normal_mean(Y, covariance=[[1.0, 0.2], [0.0, 1.0]])
    with pytest.raises(ValueError, match="covariance: expected a number, shape"):
        normal_mean(Y, covariance=[1.0, 1.0, 1.0])
    with pytest.raises(ValueError, match="prior_variance=0"):
        normal_mean(Y, covariance=C, prior_variance=0)
    flat = np.ones((5, 2))
    with pytest.raises(ValueError, match="full rank"):
        linear_regression(flat, np.ones(5), noise_variance=1.0)
    linear_regression(flat, np.ones(5), noise_variance=1.0, prior_variance=1.0)
    with pytest.raises(ValueError, match="same number of rows"):
        linear_regression(flat, np.ones(4), noise_variance=1.0)
