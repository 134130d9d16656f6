"""Temperature and stationary laws: against closed forms, SciPy, long recursions and walkers."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.linalg import solve_continuous_lyapunov, solve_discrete_lyapunov

from sgdlib import LeastSquares, NoisyQuadratic, minibatch_sgd
from sgdlib.gradient_noise import batch_gradient_variance
from sgdlib.physics.stationary import continuum_covariance, stationary_covariance, temperature
from sgdlib.stability import stability_limit

H = np.array([[2.0, 0.5], [0.5, 1.0]])
SIGMA = np.array([[1.0, -0.6], [-0.6, 2.0]])
RULES = [
    pytest.param({}, id="plain"),
    pytest.param({"momentum": 0.5}, id="heavy-0.5"),
    pytest.param({"momentum": 0.9}, id="heavy-0.9"),
    pytest.param({"momentum": 0.5, "nesterov": True}, id="nesterov-0.5"),
    pytest.param({"momentum": 0.9, "nesterov": True}, id="nesterov-0.9"),
]


def lyapunov(hessian, covariance, lr, batch_size, momentum=0.0, nesterov=False):
    """Solve for the covariance of (theta, velocity) as a whole, by SciPy."""
    one = np.eye(len(hessian))
    look = momentum if nesterov else 0.0  # theta <- theta - lr ((1 + look) g + ...)
    first = one - lr * (1 + look) * hessian
    second = -lr * momentum * (look if nesterov else 1.0) * one
    step = np.block([[first, second], [hessian, momentum * one]])
    kick = np.vstack([-lr * (1 + look) * one, one])
    X = solve_discrete_lyapunov(step, kick @ covariance @ kick.T / batch_size)
    return X[: len(hessian), : len(hessian)]


def random_bowl(seed, d=4):
    rng = np.random.default_rng(seed)
    axes = np.linalg.qr(rng.normal(size=(d, d)))[0]
    root = rng.normal(size=(d, d))
    return axes * rng.uniform(0.1, 3.0, d) @ axes.T, root @ root.T


# -- temperature --


def test_temperature_is_the_definition():
    assert temperature(0.1, 8, 2.25) == pytest.approx(0.1 * 2.25 / 16)
    assert temperature(0.1, 8, 2.25, momentum=0.9) == pytest.approx(0.1 * 2.25 / 1.6)
    assert temperature(0.1, 8, 2.25, n=64) == pytest.approx(0.1 * 2.25 / 16 * 56 / 63)


def test_temperature_keeps_the_shape_of_sigma2():
    assert isinstance(temperature(0.1, 2, 1.0), float)
    np.testing.assert_allclose(temperature(0.1, 2, [1.0, 4.0]), [0.025, 0.1])
    np.testing.assert_allclose(temperature(0.1, 2, SIGMA), 0.025 * SIGMA)


@given(
    lr=st.floats(1e-4, 10),
    n=st.integers(2, 1000),
    share=st.floats(0, 1),
    momentum=st.floats(0, 0.99),
    scale=st.floats(0.1, 10),
)
def test_temperature_scales(lr, n, share, momentum, scale):
    batch_size = max(1, round(share * n))
    T = temperature(lr, batch_size, 3.0, n=n, momentum=momentum)
    assert T * 2 * (1 - momentum) / lr == pytest.approx(
        batch_gradient_variance(3.0, batch_size, n=n)
    )
    assert temperature(scale * lr, batch_size, 3.0, n=n, momentum=momentum) == pytest.approx(
        scale * T
    )
    assert temperature(lr, n, 3.0, n=n) == 0


# -- the exact covariance --


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("fraction", [0.01, 0.4, 0.95])
def test_agrees_with_scipy(rule, seed, fraction):
    hessian, covariance = random_bowl(seed)
    lr = fraction * stability_limit(np.linalg.eigvalsh(hessian)[-1], **rule)
    S = stationary_covariance(hessian, covariance, lr=lr, batch_size=3, **rule)
    np.testing.assert_allclose(S, lyapunov(hessian, covariance, lr, 3, **rule), rtol=1e-7)
    assert (S == S.T).all()


@given(eta_k=st.floats(0.001, 1.99), k=st.floats(0.01, 100), beta=st.floats(0, 0.99))
def test_one_dimension_in_closed_form(eta_k, k, beta):
    lr = eta_k / k
    expected = lr * 2.25 * (1 + beta) / (4 * k * (1 - beta) * (2 * (1 + beta) - eta_k))
    variance = stationary_covariance(k, 2.25, lr=lr, batch_size=4, momentum=beta)
    assert isinstance(variance, float)
    assert variance == pytest.approx(expected, rel=1e-9)


def test_known_values():
    assert stationary_covariance(2.0, 2.25, lr=0.9, batch_size=1) == pytest.approx(5.0625)
    assert continuum_covariance(2.0, 2.25, lr=0.9, batch_size=1) == pytest.approx(0.50625)
    for beta, expected in ((0.0, 0.05263), (0.5, 0.10345), (0.9, 0.51351)):
        variance = stationary_covariance(1.0, 1.0, lr=0.1, batch_size=1, momentum=beta)
        assert variance == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("rule", RULES)
def test_continuum_is_the_limit_of_small_rates(rule):
    off = []
    for lr in (1e-3, 5e-4):
        S = stationary_covariance(H, SIGMA, lr=lr, batch_size=2, **rule)
        smooth = continuum_covariance(
            H, SIGMA, lr=lr, batch_size=2, momentum=rule.get("momentum", 0.0)
        )
        off.append(np.abs(S - smooth).max() / np.abs(smooth).max())
    assert off[0] < 0.03
    assert off[1] / off[0] == pytest.approx(0.5, abs=0.02)  # first order in the rate


def test_continuum_agrees_with_scipy():
    S = continuum_covariance(H, SIGMA, lr=0.3, batch_size=4, momentum=0.5)
    np.testing.assert_allclose(S, solve_continuous_lyapunov(H, 0.3 / 4 / 0.5 * SIGMA))


def test_isotropic_noise_is_the_temperature_over_the_curvature():
    T = temperature(0.01, 8, 3.0, n=20, momentum=0.9)
    S = continuum_covariance(H, 3.0, lr=0.01, batch_size=8, n=20, momentum=0.9)
    np.testing.assert_allclose(S, T * np.linalg.inv(H))


def test_shapes_of_hessian_and_covariance():
    expected = stationary_covariance(np.diag([2.0, 1.0]), np.eye(2), lr=0.1, batch_size=1)
    for hessian in ([2.0, 1.0], np.diag([2.0, 1.0])):
        for covariance in (1.0, [1.0, 1.0], np.eye(2)):
            S = stationary_covariance(hessian, covariance, lr=0.1, batch_size=1)
            np.testing.assert_allclose(S, expected, atol=1e-15)
    assert stationary_covariance([2.0], 1.0, lr=0.1, batch_size=1).shape == (1, 1)


# -- against walkers, in standard errors --


def assert_walkers_have(S, problem, runs=20_000, steps=200, **options):
    """The mean products of the walkers' coordinates agree with S within 4 standard errors."""
    theta = minibatch_sgd(
        problem, np.zeros((runs, len(S))), steps=steps, record=steps, rng=0, **options
    ).theta
    products = theta[:, :, None] * theta[:, None, :]
    error = products.std(axis=0) / np.sqrt(runs)
    assert (np.abs(products.mean(axis=0) - S) < 4 * error).all()


@pytest.mark.parametrize("rule", RULES)
def test_walkers(rule):
    lr = 0.5 * stability_limit(np.linalg.eigvalsh(H)[-1], **rule)
    S = stationary_covariance(H, SIGMA, lr=lr, batch_size=3, **rule)
    assert_walkers_have(S, NoisyQuadratic(H, SIGMA), lr=lr, batch_size=3, **rule)


@pytest.mark.parametrize("momentum", [0.0, 0.5])
def test_walkers_with_subsets(momentum):
    a = np.random.default_rng(1).normal(size=20)
    a = (a - a.mean()) / a.std()
    knobs = {"lr": 0.5, "batch_size": 8, "momentum": momentum}
    S = stationary_covariance([1.0], 1.0, n=20, **knobs)
    line = LeastSquares(np.ones((20, 1)), a)
    assert_walkers_have(S, line, steps=60, sampling="subset", **knobs)


@pytest.mark.parametrize(
    "wrong",
    [
        pytest.param(lambda S, C: C, id="continuum for the exact"),
        pytest.param(lambda S, C: S / 2, id="half the learning rate"),
        pytest.param(lambda S, C: np.diag(np.diag(S)), id="directions taken as independent"),
        pytest.param(lambda S, C: S * 3, id="batch size forgotten"),
    ],
)
def test_planted_bug_is_seen_by_the_walkers(wrong):
    knobs = {"lr": 0.4, "batch_size": 3}
    S = stationary_covariance(H, SIGMA, **knobs)
    C = continuum_covariance(H, SIGMA, **knobs)
    with pytest.raises(AssertionError):
        assert_walkers_have(wrong(S, C), NoisyQuadratic(H, SIGMA), **knobs)


def test_planted_bug_heavy_ball_for_nesterov():
    knobs = {"lr": 0.3, "batch_size": 3, "momentum": 0.9}
    S = stationary_covariance(H, SIGMA, **knobs)
    with pytest.raises(AssertionError):
        assert_walkers_have(S, NoisyQuadratic(H, SIGMA), nesterov=True, **knobs)


def test_planted_bug_subset_factor_for_reshuffled_epochs():
    a = np.random.default_rng(1).normal(size=20)
    a = (a - a.mean()) / a.std()
    knobs = {"lr": 0.1, "batch_size": 4}
    S = stationary_covariance([1.0], 1.0, n=20, **knobs)
    line = LeastSquares(np.ones((20, 1)), a)
    with pytest.raises(AssertionError):
        assert_walkers_have(S, line, steps=100, sampling="reshuffle", **knobs)


# -- bad input --


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"lr": 0.0}, "lr=0"),
        ({"lr": np.nan}, "lr=nan"),
        ({"batch_size": 0}, "batch_size=0"),
        ({"batch_size": 9, "n": 8}, "batch_size=9"),
        ({"momentum": 1.0}, "momentum=1"),
        ({"sigma2": [[1.0, 2.0], [0.0]]}, "sigma2: expected an array of numbers, got rows of u"),
        ({"sigma2": -1.0}, "sigma2=-1"),
        ({"sigma2": [1.0, -2.0]}, "sigma2=-2"),
        ({"sigma2": [[1.0, 2.0], [0.0, 1.0]]}, "sigma2: expected a symmetric"),
    ],
)
def test_temperature_refuses(change, message):
    arguments = {"lr": 0.1, "batch_size": 4, "sigma2": 1.0} | change
    with pytest.raises(ValueError, match=message):
        temperature(**arguments)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"hessian": 0.0}, "hessian: expected curvatures > 0, got 0"),
        ({"hessian": [1.0, -0.5]}, "got -0.5"),
        ({"hessian": [[1.0, 0.3], [0.0, 1.0]]}, "hessian: expected a symmetric"),
        ({"covariance": [1.0, 1.0, 1.0]}, "covariance: expected"),
        ({"lr": 2.0}, r"lr=2: expected less than the stability limit 2 .* curvature 1"),
        ({"lr": 3.0, "momentum": 0.5}, r"lr=3: expected less than the stability limit 3"),
        ({"lr": 1.4, "momentum": 0.9, "nesterov": True}, "stability limit 1.357"),
        ({"nesterov": True}, "nesterov=True: expected momentum > 0"),
        ({"batch_size": 2.5}, "batch_size=2.5"),
    ],
)
def test_stationary_covariance_refuses(change, message):
    arguments = {"hessian": [1.0, 0.5], "covariance": 1.0, "lr": 0.1, "batch_size": 4} | change
    with pytest.raises((ValueError, TypeError), match=message):
        stationary_covariance(**arguments)


def test_continuum_has_no_stability_limit_but_needs_curvature():
    assert continuum_covariance(1.0, 1.0, lr=5.0, batch_size=1) == pytest.approx(2.5)
    with pytest.raises(ValueError, match="curvatures > 0, got -1"):
        continuum_covariance(-1.0, 1.0, lr=0.1, batch_size=1)
