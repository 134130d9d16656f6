"""How batch gradients scatter: against enumeration of every batch, and against simulation."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sgdlib import LeastSquares, Logistic, NoisyQuadratic, batches
from sgdlib.gradient_noise import (
    NoiseScale,
    batch_gradient_variance,
    gradient_covariance,
    gradient_noise_scale,
)

N = 7


@pytest.fixture(scope="module")
def problem():
    rng = np.random.default_rng(1)
    return LeastSquares(rng.normal(size=(N, 3)), rng.normal(size=N))


@pytest.fixture(scope="module")
def large():
    rng = np.random.default_rng(2)
    X = rng.normal(size=(400, 4))
    return Logistic(X, (X[:, 0] + rng.normal(size=400) > 0).astype(float), l2=0.01)


THETA = np.array([0.5, -1.0, 2.0])


# -- the three laws, by enumeration --------------------------------------------------------------


def covariance_over(plans, gradients):
    """Slow reference: the covariance of the batch mean over equally likely batches, one by one."""
    means = [sum(gradients[i] for i in plan) / len(plan) for plan in plans]
    centre = sum(means) / len(means)
    return sum(np.outer(m - centre, m - centre) for m in means) / len(means)


def assert_without_replacement(problem, law):
    gradients = problem.gradients(THETA)
    for b in range(1, N + 1):
        exact = covariance_over(list(itertools.combinations(range(N), b)), gradients)
        np.testing.assert_allclose(law(b), exact, atol=1e-13, rtol=0, err_msg=f"B={b}")


def assert_with_replacement(problem, law):
    gradients = problem.gradients(THETA)
    for b in (1, 2, 3):
        exact = covariance_over(list(itertools.product(range(N), repeat=b)), gradients)
        np.testing.assert_allclose(law(b), exact, atol=1e-13, rtol=0, err_msg=f"B={b}")


def test_without_replacement_every_batch(problem):
    sigma = gradient_covariance(problem, THETA)
    assert_without_replacement(problem, lambda b: batch_gradient_variance(sigma, b, n=N))
    assert_without_replacement(
        problem, lambda b: batch_gradient_variance(sigma, b, rho=-1 / (N - 1))
    )


def test_with_replacement_every_tuple(problem):
    sigma = gradient_covariance(problem, THETA)
    assert_with_replacement(problem, lambda b: batch_gradient_variance(sigma, b))


def test_wrong_laws_fail_the_enumeration(problem):
    sigma = gradient_covariance(problem, THETA)
    with_divisor = sigma * N / (N - 1)
    wrong = [
        lambda b: batch_gradient_variance(sigma, b),  # sigma^2/B where (N-B)/(N-1) is due
        lambda b: batch_gradient_variance(with_divisor, b, n=N),  # divisor N - 1, factor for N
        lambda b: sigma / b * (1 - b / N),  # divisor N, factor for N - 1
    ]
    for law in wrong:
        with pytest.raises(AssertionError):
            assert_without_replacement(problem, law)
    with pytest.raises(AssertionError):
        assert_with_replacement(problem, lambda b: batch_gradient_variance(sigma, b, n=N))


# -- the three laws, by simulation ---------------------------------------------------------------


def assert_variance(samples, expected):
    """Compare a variance with its law: four standard errors of a Gaussian sample variance."""
    measured = samples.var()
    stderr = expected * np.sqrt(2 / len(samples))
    assert abs(measured - expected) < 4 * stderr, (measured, expected, stderr)


@pytest.fixture(scope="module")
def equicorrelated():
    """200,000 means of 8 unit variables with correlation 0.3."""
    rng = np.random.default_rng(3)
    shared = np.sqrt(0.3) * rng.normal(size=200_000)
    own = np.sqrt(0.7) * rng.normal(size=(8, 200_000))
    return (shared + own).mean(axis=0)


def test_equicorrelated(equicorrelated):
    assert batch_gradient_variance(1.0, 64, rho=0.1) == pytest.approx(0.1140625, rel=1e-12)
    assert_variance(equicorrelated, batch_gradient_variance(1.0, 8, rho=0.3))


@pytest.mark.parametrize(
    "wrong",
    [
        batch_gradient_variance(1.0, 8),  # correlation forgotten: 660 standard errors
        (1 + 8 * 0.3) / 8,  # B in place of B - 1: 28
        batch_gradient_variance(1.0, 8, rho=0.3**0.5),  # sqrt(rho) for rho: 110
        batch_gradient_variance(1.0, 8, rho=0.3) ** 0.5,  # deviation for variance: 120
    ],
)
def test_planted_bugs_fail_the_simulation(equicorrelated, wrong):
    with pytest.raises(AssertionError):
        assert_variance(equicorrelated, wrong)


def batch_means(problem, theta, sampling, batch_size, draws):
    gradients = problem.gradients(theta)[:, 0]
    if sampling == "reshuffle":  # the first batch of each epoch
        epoch = batches(problem.n, batch_size, epochs=draws, last="drop", rng=4)
        indices = [b.indices for b in epoch][:: problem.n // batch_size]
    else:
        plan = batches(problem.n, batch_size, sampling=sampling, steps=draws, rng=4)
        indices = [b.indices for b in plan]
    return gradients[np.array(indices)].mean(axis=1)


@pytest.mark.parametrize("sampling", ["replacement", "subset", "reshuffle"])
def test_the_samplers_follow_their_law(large, sampling):
    theta = np.full(4, 0.3)
    sigma2 = gradient_covariance(large, theta)[0, 0]
    n = None if sampling == "replacement" else large.n
    # at B = 200 of 400 the two laws differ by a factor of 2: 70 standard errors at 10,000 draws
    draws = 10_000 if sampling != "reshuffle" else 4000
    means = batch_means(large, theta, sampling, 200, draws)
    assert_variance(means, batch_gradient_variance(sigma2, 200, n=n))
    other = None if n else large.n
    with pytest.raises(AssertionError):
        assert_variance(means, batch_gradient_variance(sigma2, 200, n=other))


# -- properties ----------------------------------------------------------------------------------


@given(n=st.integers(2, 10_000), data=st.data(), sigma2=st.floats(0, 1e6))
def test_without_replacement_is_one_correlation(n, data, sigma2):
    b = data.draw(st.integers(1, n))
    direct = batch_gradient_variance(sigma2, b, n=n)
    assert direct == pytest.approx(
        batch_gradient_variance(sigma2, b, rho=-1 / (n - 1)), abs=1e-9 * sigma2 + 1e-300
    )
    assert 0 <= direct <= batch_gradient_variance(sigma2, b) <= sigma2
    assert batch_gradient_variance(sigma2, n, n=n) == 0
    assert batch_gradient_variance(sigma2, 1, n=n) == sigma2


@given(b=st.integers(1, 10**6), rho=st.floats(0, 1))
def test_correlation_sets_a_floor(b, rho):
    variance = batch_gradient_variance(1.0, b, rho=rho)
    assert rho - 1e-12 <= variance <= 1 + 1e-12
    assert variance == pytest.approx(rho + (1 - rho) / b, abs=1e-12)
    assert batch_gradient_variance(1.0, 2 * b, rho=rho) <= variance + 1e-12


@given(b=st.integers(2, 10**6))
def test_the_most_negative_correlation_leaves_nothing(b):
    assert batch_gradient_variance(1.0, b, rho=-1 / (b - 1)) == pytest.approx(0, abs=1e-12)


def test_complementary_batches_share_their_deviation(problem):
    """A batch and the rest of the data deviate oppositely: B^2 V_B = (N-B)^2 V_{N-B}."""
    for b in range(1, N):
        left = b**2 * batch_gradient_variance(1.0, b, n=N)
        right = (N - b) ** 2 * batch_gradient_variance(1.0, N - b, n=N)
        assert left == pytest.approx(right, rel=1e-13)


def test_edges():
    assert batch_gradient_variance(2.0, 1, n=1) == 0
    assert batch_gradient_variance(2.0, 1, rho=-1) == 2
    assert batch_gradient_variance(0.0, 5) == 0
    assert isinstance(batch_gradient_variance(1, 3), float)
    assert batch_gradient_variance(np.eye(2), 4).tolist() == [[0.25, 0], [0, 0.25]]


# -- the covariance ------------------------------------------------------------------------------


def test_covariance_has_divisor_n(problem):
    gradients = problem.gradients(THETA)
    sigma = gradient_covariance(problem, THETA)
    np.testing.assert_allclose(sigma, np.cov(gradients.T, ddof=0), rtol=1e-12)
    with pytest.raises(AssertionError):
        np.testing.assert_allclose(sigma, np.cov(gradients.T), rtol=1e-3)


def test_covariance_of_alike_examples_is_zero():
    alike = LeastSquares(np.ones((5, 2)), np.ones(5))
    assert (gradient_covariance(alike, np.zeros(2)) == 0).all()
    assert (gradient_covariance(LeastSquares([[1.0, 2.0]], [3.0]), np.zeros(2)) == 0).all()


def test_a_penalty_shifts_every_gradient_alike():
    """The penalty's gradient is the same for all examples: it adds nothing to the covariance."""
    rng = np.random.default_rng(5)
    X, y = rng.normal(size=(20, 2)), rng.normal(size=20)
    theta = np.array([1.0, -3.0])
    plain = gradient_covariance(LeastSquares(X, y), theta)
    np.testing.assert_allclose(
        gradient_covariance(LeastSquares(X, y, l2=10.0), theta), plain, rtol=1e-10
    )


# -- the noise scale -----------------------------------------------------------------------------


def test_noise_scale_exact(problem):
    scale = gradient_noise_scale(problem, THETA)
    sigma, gradient = gradient_covariance(problem, THETA), problem.gradient(THETA)
    assert scale.noise == pytest.approx(np.trace(sigma), rel=1e-12)
    assert scale.signal == pytest.approx(gradient @ gradient, rel=1e-12)
    assert scale.estimate == pytest.approx(scale.noise / scale.signal, rel=1e-12)
    assert (scale.stderr, scale.draws) == (0, 0)


def assert_two_batches(scale, exact):
    assert abs(scale.estimate - exact.estimate) < 4 * scale.stderr, (scale, exact)
    assert scale.stderr < 0.1 * exact.estimate


def test_noise_scale_from_two_batch_sizes(large):
    theta = np.full(4, 0.3)
    exact = gradient_noise_scale(large, theta)
    scale = gradient_noise_scale(large, theta, small=4, big=64, draws=20_000, rng=6)
    assert isinstance(scale, NoiseScale)
    assert scale.draws == 20_000
    assert_two_batches(scale, exact)
    assert scale.noise / scale.signal == pytest.approx(scale.estimate, rel=1e-12)

    # The plug-in ratio takes |g_B|^2 for |grad L|^2, which is larger by tr(Sigma)/B.
    plug_in = exact.noise / (exact.signal + exact.noise / 4)
    assert abs(plug_in - exact.estimate) > 10 * scale.stderr
    with pytest.raises(AssertionError):
        assert_two_batches(NoiseScale(plug_in, scale.stderr, 0, 0, 0), exact)


def test_numerator_and_denominator_are_unbiased_by_enumeration(problem):
    """All pairs of a batch of 1 and a batch of 3, drawn with replacement."""
    gradients = problem.gradients(THETA)
    exact = gradient_noise_scale(problem, THETA)
    small, big = 1, 3
    at = {
        size: np.mean(
            [
                np.square(gradients[list(tuple_)].mean(axis=0)).sum()
                for tuple_ in itertools.product(range(N), repeat=size)
            ]
        )
        for size in (small, big)
    }
    signal = (big * at[big] - small * at[small]) / (big - small)
    noise = (at[small] - at[big]) / (1 / small - 1 / big)
    assert signal == pytest.approx(exact.signal, rel=1e-12)
    assert noise == pytest.approx(exact.noise, rel=1e-12)


def test_the_standard_error_is_honest(large):
    """200 estimates scatter about the exact value as their standard errors say."""
    theta = np.full(4, 0.3)
    exact = gradient_noise_scale(large, theta).estimate
    scales = [
        gradient_noise_scale(large, theta, small=2, big=32, draws=1000, rng=seed)
        for seed in range(200)
    ]
    z = np.array([(s.estimate - exact) / s.stderr for s in scales])
    assert abs(z.mean()) < 4 / np.sqrt(200) + 0.1  # a ratio of means keeps a bias of order 1/draws
    assert 0.8 < z.std() < 1.2


def test_a_seed_fixes_the_estimate_and_global_state_is_untouched(large):
    before = np.random.get_state()[1].copy()  # noqa: NPY002
    theta = np.zeros(4)
    first = gradient_noise_scale(large, theta, small=2, big=8, rng=7)
    again = gradient_noise_scale(large, theta, small=2, big=8, rng=np.random.default_rng(7))
    assert first == again
    assert (before == np.random.get_state()[1]).all()  # noqa: NPY002


def test_many_draws_in_bounded_pieces(large, monkeypatch):
    """The pieces are an implementation detail: they change memory, not the numbers."""
    theta = np.zeros(4)
    whole = gradient_noise_scale(large, theta, small=2, big=8, draws=50, rng=8)
    monkeypatch.setattr("sgdlib.gradient_noise._NUMBERS_AT_ONCE", 100)
    assert gradient_noise_scale(large, theta, small=2, big=8, draws=50, rng=8) == whole


# -- bad input -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("args", "kwargs", "message"),
    [
        ((1.0, 0), {}, "batch_size=0: expected an int >= 1"),
        ((1.0, 2.5), {}, "batch_size=2.5: expected an int >= 1"),
        ((1.0, True), {}, "batch_size=True: expected an int >= 1"),
        ((1.0, 9), {"n": 8}, "batch_size=9: expected an int in 1..8"),
        ((1.0, 1), {"n": 0}, "n=0: expected an int >= 1"),
        ((1.0, 2), {"n": 8, "rho": 0.1}, "n=8, rho=0.1: give one of them, not both"),
        ((1.0, 2), {"rho": 1.5}, "rho=1.5: expected a finite number >= -1 and <= 1"),
        ((1.0, 2), {"rho": float("nan")}, "rho=nan: expected a finite number"),
        ((1.0, 5), {"rho": -0.5}, "rho=-0.5: 5 variables have no common correlation below -0.25"),
        ((-1.0, 2), {}, "sigma2=-1.0: expected a finite number >= 0"),
        ((float("inf"), 2), {}, "sigma2=inf: expected a finite number >= 0"),
        (("1", 2), {}, "sigma2='1': expected a finite number >= 0"),
        ((np.ones((2, 3)), 2), {}, r"sigma2: expected .* \(d, d\) matrix, got shape \(2, 3\)"),
        ((np.array([[1.0, 2.0], [0.0, 1.0]]), 2), {}, "sigma2: expected a symmetric matrix"),
        ((-np.eye(2), 2), {}, "sigma2: expected a symmetric matrix"),
        ((np.full((2, 2), np.nan), 2), {}, "sigma2: expected finite numbers, got nan"),
    ],
)
def test_variance_refuses(args, kwargs, message):
    with pytest.raises((ValueError, TypeError), match=message):
        batch_gradient_variance(*args, **kwargs)


@pytest.mark.parametrize(
    ("theta", "message"),
    [
        (np.zeros(2), r"theta: expected shape \(3,\) or \(R, 3\), got \(2,\)"),
        (np.zeros((4, 3)), r"theta: expected shape \(3,\), got \(4, 3\)"),
        ([np.nan, 0, 0], r"theta: expected finite numbers, got nan at index \(0,\)"),
    ],
)
def test_covariance_refuses(problem, theta, message):
    with pytest.raises(ValueError, match=message):
        gradient_covariance(problem, theta)
    with pytest.raises(ValueError, match=message):
        gradient_noise_scale(problem, theta)


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"small": 4}, "small=4, big=None: give both sizes, or neither"),
        ({"big": 4}, "small=None, big=4: give both sizes, or neither"),
        ({"small": 8, "big": 8}, "small=8, big=8: expected small < big"),
        ({"small": 0, "big": 8}, "small=0: expected an int >= 1"),
        ({"small": 1, "big": 8.0}, "big=8.0: expected an int >= 1"),
        ({"small": 1, "big": 8, "draws": 1}, "draws=1: expected an int >= 2"),
        ({"small": 1, "big": 8, "rng": -1}, "rng=-1: expected an int >= 0"),
    ],
)
def test_noise_scale_refuses(problem, kwargs, message):
    with pytest.raises((ValueError, TypeError), match=message):
        gradient_noise_scale(problem, THETA, **kwargs)


def test_a_population_has_no_examples():
    population = NoisyQuadratic([1.0], [1.0])
    with pytest.raises(TypeError, match="problem: expected a FiniteSum, got NoisyQuadratic"):
        gradient_covariance(population, [0.0])


def test_no_signal_is_said():
    flat = LeastSquares([[1.0], [1.0]], [1.0, -1.0])  # gradients -1 and 1 at zero
    with pytest.raises(ArithmeticError, match="the gradient is zero here"):
        gradient_noise_scale(flat, [0.0])
    with pytest.raises(ArithmeticError, match="more draws or larger batches are needed"):
        gradient_noise_scale(flat, [1e-9], small=1, big=2, draws=2, rng=0)
