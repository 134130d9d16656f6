"""Landscapes with additive noise: derivatives, and the law of the noise."""

import math

import numpy as np
import pytest

from sgdlib import DoubleWell, NoisyQuadratic, Population, Saddle

H = np.array([[2.0, 0.5], [0.5, 1.0]])
SIGMA = np.array([[1.0, 0.6], [0.6, 2.0]])


def ripple(theta):
    return np.cos(theta).sum(axis=-1)


LANDSCAPES = {
    "bowl": NoisyQuadratic([2.0, 0.5], 1.0),
    "turned bowl": NoisyQuadratic(H, SIGMA, center=[1.0, -1.0]),
    "saddle": Saddle(0.5, stiffness=2.0, instability=0.5),
    "double well": DoubleWell(1.0, tilt=0.1),
    "own": Population(ripple, lambda theta: -np.sin(theta), dim=3, covariance=[1.0, 0.0, 2.0]),
}
every_landscape = pytest.mark.parametrize("f", LANDSCAPES.values(), ids=LANDSCAPES.keys())


@every_landscape
def test_gradient_is_the_derivative_of_the_loss(f):
    theta = np.random.default_rng(0).normal(size=f.dim)
    shifts = 1e-6 * np.eye(f.dim)
    numeric = [(f.loss(theta + s) - f.loss(theta - s)) / 2e-6 for s in shifts]
    np.testing.assert_allclose(f.gradient(theta), numeric, rtol=1e-7, atol=1e-8)


@every_landscape
def test_replicas_are_separate_evaluations(f):
    thetas = np.random.default_rng(1).normal(size=(4, f.dim))
    assert type(f.loss(thetas[0])) is float
    np.testing.assert_allclose(f.loss(thetas), [f.loss(t) for t in thetas], rtol=1e-13)
    np.testing.assert_allclose(f.gradient(thetas), [f.gradient(t) for t in thetas], rtol=1e-13)


def test_quadratics_know_their_hessian_and_minimizer():
    bowl = LANDSCAPES["turned bowl"]
    np.testing.assert_array_equal(bowl.hessian(), H)
    np.testing.assert_array_equal(bowl.minimizer(), [1.0, -1.0])
    assert bowl.loss(bowl.minimizer()) == 0
    np.testing.assert_array_equal(LANDSCAPES["bowl"].hessian(), np.diag([2.0, 0.5]))
    np.testing.assert_array_equal(LANDSCAPES["bowl"].minimizer(), [0.0, 0.0])
    assert bowl.loss([2.0, 1.0]) == pytest.approx(0.5 * np.array([1, 2]) @ H @ [1, 2])


# -- the law of the noise: Normal(0, Sigma/B) --

DRAWS = 40_000


def assert_covariance(sample, expected):
    """Assert mean 0 and the expected covariance, each entry within 5 standard errors."""
    n = len(sample)
    spread = np.sqrt(np.outer(np.diag(expected), np.diag(expected)))
    assert (np.abs(sample.mean(axis=0)) <= 5 * np.sqrt(np.diag(expected) / n)).all()
    stderr = np.sqrt((spread**2 + expected**2) / n)  # of an entry of a Gaussian's covariance
    assert (np.abs(sample.T @ sample / n - expected) <= 5 * stderr + 1e-15).all()


COVARIANCES = {
    "a number": (0.7, 0.7 * np.eye(2)),
    "none": (0.0, np.zeros((2, 2))),
    "variances": ([0.5, 2.0], np.diag([0.5, 2.0])),
    "one coordinate": ([0.0, 2.0], np.diag([0.0, 2.0])),
    "a matrix": (SIGMA, SIGMA),
    "a singular matrix": ([[1.0, 2.0], [2.0, 4.0]], np.array([[1.0, 2.0], [2.0, 4.0]])),
    "integers": ([[2, 1], [1, 2]], np.array([[2.0, 1.0], [1.0, 2.0]])),
}


@pytest.mark.parametrize(("given", "matrix"), COVARIANCES.values(), ids=COVARIANCES.keys())
@pytest.mark.parametrize("batch_size", [1, 50])
def test_noise_has_covariance_sigma_over_b(given, matrix, batch_size):
    f = NoisyQuadratic([1.0, 3.0], given)
    np.testing.assert_array_equal(f.covariance, matrix)
    thetas = np.broadcast_to([1.0, -1.0], (DRAWS, 2))
    noise = f.batch_gradient(thetas, batch_size, rng=2) - f.gradient(thetas)
    assert_covariance(noise, matrix / batch_size)


def test_wrong_noise_is_noticed():
    f = NoisyQuadratic([1.0, 3.0], SIGMA)
    noise = f.noise((DRAWS, 2), np.random.default_rng(3), 4)
    assert_covariance(noise, SIGMA / 4)
    for wrong in (
        noise * 2,  # not divided by the square root of B
        noise / 2,  # divided by B
        noise * math.sqrt(5 / 4),  # B - 1 for B, in effect
        np.random.default_rng(4).normal(size=(DRAWS, 2)) @ SIGMA / 2,  # variance for its root
        np.random.default_rng(5).normal(size=(DRAWS, 2)) * np.sqrt(np.diag(SIGMA) / 4),
    ):
        with pytest.raises(AssertionError):
            assert_covariance(wrong, SIGMA / 4)


def test_replicas_have_noise_of_their_own():
    f = NoisyQuadratic([1.0], 1.0)
    assert len(np.unique(f.batch_gradient(np.zeros((50, 1)), 1, rng=0))) == 50


def test_randomness_comes_from_rng_only():
    f = LANDSCAPES["turned bowl"]
    np.random.seed(0)  # noqa: NPY002
    before = np.random.get_state()[1].copy()  # noqa: NPY002
    one = f.batch_gradient(np.zeros(2), 3, rng=5)
    np.testing.assert_array_equal(one, f.batch_gradient(np.zeros(2), 3, np.random.default_rng(5)))
    assert (one != f.batch_gradient(np.zeros(2), 3, rng=6)).all()
    np.testing.assert_array_equal(before, np.random.get_state()[1])  # noqa: NPY002


def test_a_rounded_covariance_is_accepted():
    root = np.random.default_rng(0).normal(size=(5, 2)).astype(np.float32)
    for covariance in (root @ root.T, (root @ root.T).astype(float)):  # rank 2 of 5
        noise = Population(ripple, np.sin, dim=5, covariance=covariance).noise(
            (1000, 5), np.random.default_rng(0), 1
        )
        assert np.isfinite(noise).all()


# -- what goes in and what comes out --


def test_a_landscape_does_not_follow_the_caller_s_arrays():
    hessian, center, covariance = H.copy(), np.array([1.0, -1.0]), SIGMA.copy()
    bowl = NoisyQuadratic(hessian, covariance, center=center)
    straight = np.array([2.0, 0.5])
    diagonal, theta = NoisyQuadratic(straight, straight), np.array([0.3, 0.7])
    before = [f(theta) for g in (bowl, diagonal) for f in (g.loss, g.gradient)]
    for array in (hessian, center, covariance, straight):
        array[:] = 99.0
    after = [f(theta) for g in (bowl, diagonal) for f in (g.loss, g.gradient)]
    for then, now in zip(before, after, strict=True):
        np.testing.assert_array_equal(then, now)
    np.testing.assert_array_equal(bowl.covariance, SIGMA)
    np.testing.assert_array_equal(diagonal.covariance, np.diag([2.0, 0.5]))


def test_what_a_landscape_hands_out_may_be_written_into():
    bowl = NoisyQuadratic([1.0, 4.0], 1.0, center=[0.5, 0.5])
    for give in (bowl.minimizer, bowl.hessian):
        first = give()
        kept = first.copy()
        first += 0.5
        np.testing.assert_array_equal(give(), kept)
    assert bowl.loss([0.5, 0.5]) == 0
    for array in (bowl.center, bowl.matrix, bowl.covariance):
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 1.0


def test_a_gradient_is_not_the_caller_s_theta():
    bowl, theta = (
        Population(lambda t: t[..., 0], lambda t: t, dim=2, covariance=0.0),
        np.ones((3, 2)),
    )
    for values in (bowl.gradient(theta), bowl.loss(theta), bowl.batch_gradient(theta, 1)):
        values[:] = 7.0
    np.testing.assert_array_equal(theta, 1.0)


def test_functions_that_write_into_theta_are_refused():
    def halve(theta):
        theta /= 2
        return theta

    with pytest.raises(
        ValueError, match=r"^gradient: expected a function that does not write into"
    ):
        Population(ripple, halve, dim=1, covariance=1.0)


def test_a_saddle_has_no_minimizer():
    with pytest.raises(
        ArithmeticError, match=r"^no minimizer: the hessian has the negative curvatu"
    ):
        NoisyQuadratic([-1.0, 2.0], 1.0).minimizer()
    with pytest.raises(ArithmeticError, match=r"negative curvature -1$"):
        NoisyQuadratic([[0.0, 1.0], [1.0, 0.0]], 1.0).minimizer()
    flat = NoisyQuadratic(
        [0.0, 2.0], 1.0, center=[1.0, 1.0]
    )  # a valley: the center is as low as any
    np.testing.assert_array_equal(flat.minimizer(), 1.0)


# -- bad input --


def zero(theta):
    return 0 * theta.sum(axis=-1)


def zeros(theta):
    return 0 * theta


@pytest.mark.parametrize(
    ("change", "error", "sentence"),
    [
        ({"dim": 0}, ValueError, r"^dim=0: expected an int >= 1$"),
        ({"dim": 2.0}, TypeError, r"^dim=2\.0: expected an int >= 1$"),
        ({"covariance": np.ma.array([1.0, 1.0])}, TypeError, r"^covariance: expected a plain arra"),
        ({"loss": lambda t: [None, None]}, TypeError, r"^loss: expected real numbers of two thet"),
        ({"loss": 3.0}, TypeError, r"^loss=3\.0: expected a function$"),
        ({"gradient": None}, TypeError, r"^gradient=None: expected a function$"),
        ({"loss": zeros}, ValueError, r"^loss: expected shape \(2,\) of two thetas, got \(2, 2\)$"),
        ({"gradient": zero}, ValueError, r"^gradient: expected shape \(2, 2\) of two thetas, "),
        ({"covariance": -1}, ValueError, r"^covariance: expected no negative variance, got -1$"),
        ({"covariance": -1e-13}, ValueError, r"^covariance: expected no negative variance, got "),
        ({"covariance": [1, -1]}, ValueError, r"^covariance: expected no negative variance, got"),
        ({"covariance": [[1, 2], [2, 1]]}, ValueError, r"^covariance: expected no negative"),
        ({"covariance": [[1, 2], [0, 1]]}, ValueError, r"^covariance: expected a symmetric matrix"),
        ({"covariance": [1.0]}, ValueError, r"^covariance: expected a number, shape \(2,\) or"),
        ({"covariance": np.eye(3)}, ValueError, r"^covariance: expected a number, shape \(2,\) or"),
        ({"covariance": np.nan}, ValueError, r"^covariance: expected finite numbers, got nan at"),
        ({"covariance": "1"}, TypeError, r"^covariance: expected an array of real numbers, got"),
    ],
)  # fmt: skip
def test_bad_arguments_of_a_population(change, error, sentence):
    options = {"loss": zero, "gradient": zeros, "dim": 2, "covariance": 1.0, **change}
    with pytest.raises(error, match=sentence):
        Population(options.pop("loss"), options.pop("gradient"), **options)


@pytest.mark.parametrize(
    ("hessian", "center", "sentence"),
    [
        (2.0, None, r"^hessian: expected a 1- or 2-dimensional array, got shape \(\)$"),
        ([], None, r"^hessian: expected data, got an empty array of shape \(0,\)$"),
        ([1.0, np.inf], None, r"^hessian: expected finite numbers, got inf at index \(1,\)$"),
        ([[1.0, 2.0]], None, r"^hessian: expected shape \(d,\) or \(d, d\), got \(1, 2\)$"),
        ([[1.0, 2.0], [0.0, 1.0]], None, r"^hessian: expected a symmetric matrix, got one that is"),
        ([1.0, 2.0], [0.0], r"^center: expected shape \(2,\), got \(1,\)$"),
        ([1.0, 2.0], [0.0, np.nan], r"^center: expected finite numbers, got nan at index \(1,\)$"),
    ],
)
def test_bad_quadratics(hessian, center, sentence):
    with pytest.raises(ValueError, match=sentence):
        NoisyQuadratic(hessian, 1.0, center=center)


@pytest.mark.parametrize(
    ("theta", "batch_size", "rng", "error", "sentence"),
    [
        ([0.0], 1, 0, ValueError, r"^theta: expected shape \(2,\) or \(R, 2\), got \(1,\)$"),
        ([0.0, np.nan], 1, 0, ValueError, r"^theta: expected finite numbers, got nan at index \(1"),
        ([0.0, 0.0], 0, 0, ValueError, r"^batch_size=0: expected an int >= 1$"),
        ([0.0, 0.0], 2.0, 0, TypeError, r"^batch_size=2\.0: expected an int >= 1$"),
        (np.ma.zeros(2), 1, 0, TypeError, r"^theta: expected a plain array, got a MaskedArray"),
        ([0.0, 0.0], 1, "x", TypeError, r"^rng='x': expected an int >= 0, a numpy"),
    ],
)
def test_bad_arguments_of_a_batch_gradient(theta, batch_size, rng, error, sentence):
    with pytest.raises(error, match=sentence):
        LANDSCAPES["bowl"].batch_gradient(theta, batch_size, rng)


@pytest.mark.parametrize("shape", [(3,), 2, (), [5, 2], None, (-1, 2), (2.0, 2)])
def test_bad_shapes_of_noise(shape):
    with pytest.raises((ValueError, TypeError), match=r"^shape=.*: expected "):
        LANDSCAPES["bowl"].noise(shape, 0, 1)
