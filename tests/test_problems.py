"""Finite sums: gradients, Hessians and minimizers against closed forms and other libraries."""

import itertools
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import sgdlib.problems
from sgdlib import FiniteSum, LeastSquares, Logistic, batches, from_arrays

quick = settings(max_examples=40, deadline=None, derandomize=True)
RNG = np.random.default_rng(7)
N, D = 30, 4
X = RNG.normal(size=(N, D)) * [1.0, 2.0, 0.5, 1.0]
Y = X @ [1.0, -2.0, 0.0, 3.0] + RNG.normal(size=N)
LABELS = (X[:, 0] + RNG.normal(size=N) > 0).astype(float)


def quartic():
    """Return the losses (theta . x_i)^4 / 4, with their gradients, as a user would write them."""
    return from_arrays(
        [X],
        lambda theta, x: (x @ theta) ** 4 / 4,
        lambda theta, x: ((x @ theta) ** 3)[:, None] * x,
        dim=D,
    )


PROBLEMS = {
    "least squares": LeastSquares(X, Y),
    "ridge": LeastSquares(X, Y, l2=0.3),
    "logistic": Logistic(X, LABELS),
    "logistic l2": Logistic(X, LABELS, l2=0.3),
    "own loss": quartic(),
}
every_problem = pytest.mark.parametrize("problem", PROBLEMS.values(), ids=PROBLEMS.keys())


def differences(function, theta, step=1e-6):
    """Return the central differences of `function` along each coordinate, stacked last."""
    shifts = step * np.eye(len(theta))
    return np.stack([(function(theta + s) - function(theta - s)) / (2 * step) for s in shifts], -1)


# -- derivatives --


@every_problem
def test_gradients_are_the_derivatives_of_the_losses(problem):
    theta = RNG.normal(size=D) / 2
    numeric = differences(problem.losses, theta)
    np.testing.assert_allclose(problem.gradients(theta), numeric, rtol=1e-6, atol=1e-7)


@every_problem
def test_means_over_all_examples(problem):
    theta = RNG.normal(size=D)
    assert problem.loss(theta) == pytest.approx(problem.losses(theta).mean(), rel=1e-13)
    mean = problem.gradients(theta).mean(axis=0)
    np.testing.assert_allclose(problem.gradient(theta), mean, rtol=1e-12, atol=1e-13)


@every_problem
def test_hessian_is_the_derivative_of_the_gradient(problem):
    theta = RNG.normal(size=D) / 2
    numeric = differences(problem.gradient, theta)
    np.testing.assert_allclose(problem.hessian(theta), numeric, rtol=1e-5, atol=1e-6)


def test_hessians_in_closed_form():
    theta = RNG.normal(size=D)
    np.testing.assert_allclose(PROBLEMS["ridge"].hessian(), X.T @ X / N + 0.3 * np.eye(D))
    p = 1 / (1 + np.exp(-X @ theta))
    closed = sum(q * (1 - q) * np.outer(x, x) for q, x in zip(p, X, strict=True)) / N
    np.testing.assert_allclose(PROBLEMS["logistic"].hessian(theta), closed, rtol=1e-10)
    quartic_hessian = (X * (3 * (X @ theta) ** 2)[:, None]).T @ X / N
    np.testing.assert_allclose(PROBLEMS["own loss"].hessian(theta), quartic_hessian, rtol=1e-6)


def test_losses_in_closed_form():
    theta = np.array([0.5, -1.0, 2.0, 0.0])
    penalty = 0.3 * theta @ theta / 2
    np.testing.assert_allclose(
        PROBLEMS["ridge"].losses(theta), (X @ theta - Y) ** 2 / 2 + penalty, rtol=1e-13
    )
    p = 1 / (1 + np.exp(-X @ theta))
    entropy = -LABELS * np.log(p) - (1 - LABELS) * np.log(1 - p)
    np.testing.assert_allclose(PROBLEMS["logistic l2"].losses(theta), entropy + penalty, rtol=1e-10)


def test_logistic_does_not_overflow():
    problem = Logistic([[1.0], [-1.0]], [1, 0])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        np.testing.assert_array_equal(problem.losses([1e4]), [0, 0])
        np.testing.assert_array_equal(problem.losses([-1e4]), [1e4, 1e4])
        np.testing.assert_array_equal(problem.gradients([-1e4]), [[-1], [-1]])
        assert np.isfinite(problem.hessian([1e4])).all()


# -- shapes: one theta or replicas, all rows or some --


@every_problem
@pytest.mark.parametrize("shared", [True, False])
def test_replicas_are_separate_evaluations(problem, shared):
    R, B = 3, 5
    thetas = RNG.normal(size=(R, D))
    indices = RNG.integers(N, size=B if shared else (R, B))
    rows = np.broadcast_to(indices, (R, B))
    weights = RNG.random(B)
    got = (
        problem.losses(thetas, indices),
        problem.gradients(thetas, indices),
        problem.batch_gradient(thetas, indices, weights),
        problem.loss(thetas),
        problem.gradient(thetas),
        problem.losses(thetas),
        problem.gradients(thetas),
    )
    for i, theta in enumerate(thetas):
        alone = (
            problem.losses(theta, rows[i]),
            problem.gradients(theta, rows[i]),
            problem.batch_gradient(theta, rows[i], weights),
            problem.loss(theta),
            problem.gradient(theta),
            problem.losses(theta),
            problem.gradients(theta),
        )
        for together, one in zip(got, alone, strict=True):
            np.testing.assert_allclose(together[i], one, rtol=1e-11, atol=1e-12)
    assert [g.shape for g in got] == [
        *((R, B), (R, B, D), (R, D), (R,), (R, D), (R, N), (R, N, D)),
    ]


@every_problem
def test_batch_gradient_is_the_weighted_sum(problem):
    theta, indices = RNG.normal(size=D), np.array([3, 3, 0, 29])
    weights = np.array([0.5, -1.0, 0.0, 2.0])
    slow = sum(w * problem.gradients(theta)[i] for w, i in zip(weights, indices, strict=True))
    np.testing.assert_allclose(problem.batch_gradient(theta, indices, weights), slow, atol=1e-12)


@every_problem
def test_one_weight_for_all_is_the_same_as_equal_weights(problem):
    for theta in (RNG.normal(size=D), RNG.normal(size=(3, D))):
        rows = [a[:6] for a in problem.arrays]
        one = problem.weighted_gradient(theta, 0.25, *rows)
        each = problem.weighted_gradient(theta, np.full(6, 0.25), *rows)
        np.testing.assert_allclose(one, each, rtol=1e-12, atol=1e-13)


@every_problem
def test_many_replicas_are_evaluated_in_groups(problem, monkeypatch):
    thetas = RNG.normal(size=(7, D))
    together = problem.loss(thetas), problem.gradient(thetas)
    monkeypatch.setattr(sgdlib.problems, "_LOSSES_AT_ONCE", 3 * N)
    np.testing.assert_allclose(problem.loss(thetas), together[0], rtol=1e-12)
    np.testing.assert_allclose(problem.gradient(thetas), together[1], rtol=1e-12)
    monkeypatch.setattr(sgdlib.problems, "_LOSSES_AT_ONCE", 1)
    np.testing.assert_allclose(problem.loss(thetas), together[0], rtol=1e-12)


@given(st.integers(1, 6), st.integers(1, 3), st.integers(1, 4))
@quick
def test_any_small_size(n, d, replicas):
    rng = np.random.default_rng(n + 10 * d)
    for problem in (
        LeastSquares(rng.normal(size=(n, d)), rng.normal(size=n)),
        Logistic(rng.normal(size=(n, d)), rng.integers(2, size=n), l2=0.1),
    ):
        theta = rng.normal(size=(replicas, d))
        assert problem.losses(theta).shape == (replicas, n)
        assert problem.gradients(theta[0]).shape == (n, d)
        np.testing.assert_allclose(problem.gradient(theta), problem.gradients(theta).mean(axis=1))
        assert type(problem.loss(theta[0])) is float
        assert problem.hessian(theta[0]).shape == (d, d)


# -- unbiasedness and covariance, over all batches of a small data set --


def assert_unbiased(problem, theta, b, weights):
    """Assert that the batch gradients of all subsets average to the gradient."""
    subsets = list(itertools.combinations(range(problem.n), b))
    mean = np.mean([problem.batch_gradient(theta, s, weights) for s in subsets], axis=0)
    np.testing.assert_allclose(mean, problem.gradient(theta), rtol=0, atol=1e-13)


SMALL = {
    "ridge": LeastSquares(X[:8], Y[:8], l2=0.2),
    "logistic": Logistic(X[:8], LABELS[:8], l2=0.2),
}


@pytest.mark.parametrize("problem", SMALL.values(), ids=SMALL.keys())
@pytest.mark.parametrize("b", [1, 3, 8])
def test_batch_gradients_are_unbiased(problem, b):
    weights = next(batches(8, b, rng=0)).weights
    assert_unbiased(problem, RNG.normal(size=D), b, weights)


def test_wrong_weights_are_biased():
    for wrong in (np.full(3, 1 / 2), np.full(3, 1 / 8)):
        with pytest.raises(AssertionError):
            assert_unbiased(SMALL["ridge"], np.ones(D), 3, wrong)


@pytest.mark.parametrize("problem", SMALL.values(), ids=SMALL.keys())
def test_covariance_of_batch_gradients(problem):
    theta, weights = RNG.normal(size=D), np.full(3, 1 / 3)
    away = problem.gradients(theta) - problem.gradient(theta)
    sigma = away.T @ away / 8

    def covariance(outcomes):
        g = np.array([problem.batch_gradient(theta, o, weights) for o in outcomes])
        return (g - g.mean(0)).T @ (g - g.mean(0)) / len(g)

    subsets = covariance(itertools.combinations(range(8), 3))
    np.testing.assert_allclose(subsets, sigma / 3 * (8 - 3) / (8 - 1), rtol=0, atol=1e-12)
    tuples = covariance(itertools.product(range(8), repeat=3))
    np.testing.assert_allclose(tuples, sigma / 3, rtol=0, atol=1e-12)


def test_ragged_batches_sum_to_the_full_gradient_and_their_means_do_not():
    problem, theta = SMALL["ridge"], np.ones(D)
    parts = [
        problem.batch_gradient(theta, *b)
        for b in batches(8, 3, sampling="sequential", last="scale")
    ]
    exact = problem.gradient(theta)
    np.testing.assert_allclose(np.sum(parts, axis=0) * 3 / 8, exact, rtol=0, atol=1e-13)
    means = [
        problem.batch_gradient(theta, *b) for b in batches(8, 3, sampling="sequential", last="keep")
    ]
    assert np.abs(np.mean(means, axis=0) - exact).max() > 0.01


# -- minimizers --


def test_least_squares_minimizer():
    closed = np.linalg.solve(X.T @ X, X.T @ Y)
    np.testing.assert_allclose(PROBLEMS["least squares"].minimizer(), closed, rtol=1e-10)
    closed = np.linalg.solve(X.T @ X + N * 0.3 * np.eye(D), X.T @ Y)
    np.testing.assert_allclose(PROBLEMS["ridge"].minimizer(), closed, rtol=1e-10)


def test_minimizers_agree_with_scikit_learn():
    linear_model = pytest.importorskip("sklearn.linear_model")
    ridge = linear_model.Ridge(alpha=N * 0.3, fit_intercept=False).fit(X, Y)
    np.testing.assert_allclose(PROBLEMS["ridge"].minimizer(), ridge.coef_, rtol=1e-8)
    logistic = linear_model.LogisticRegression(
        C=1 / (N * 0.3), fit_intercept=False, tol=1e-12, max_iter=10_000
    ).fit(X, LABELS)
    np.testing.assert_allclose(PROBLEMS["logistic l2"].minimizer(), logistic.coef_[0], rtol=1e-5)


@pytest.mark.parametrize("name", ["least squares", "ridge", "logistic", "logistic l2"])
def test_the_gradient_vanishes_at_the_minimizer(name):
    problem = PROBLEMS[name]
    assert np.abs(problem.gradient(problem.minimizer())).max() < 1e-12


def test_own_loss_finds_a_minimizer():
    problem = from_arrays(
        [X, Y],
        lambda t, x, y: (x @ t - y) ** 2 / 2,
        lambda t, x, y: (x @ t - y)[:, None] * x,
        dim=D,
    )
    np.testing.assert_allclose(
        problem.minimizer(), PROBLEMS["least squares"].minimizer(), atol=1e-5
    )


def test_own_loss_without_a_minimizer():
    ramp = from_arrays(
        [np.ones(3)], lambda t, x: t[0] * x, lambda t, x: np.ones((len(x), 1)), dim=1
    )
    with pytest.raises(ArithmeticError, match=r"^no minimizer found: the largest gradient entry"):
        ramp.minimizer()


def test_collinear_columns_have_the_minimizer_of_least_norm():
    twice = LeastSquares([[1.0, 1.0], [2.0, 2.0]], [2.0, 4.0])
    np.testing.assert_allclose(twice.minimizer(), [1.0, 1.0])
    x = RNG.normal(size=20)
    labels = (x + RNG.normal(size=20) > 0).astype(float)
    alone = Logistic(x[:, None], labels).minimizer()[0]
    both = Logistic(np.stack([x, x], axis=1), labels).minimizer()
    np.testing.assert_allclose(both, [alone / 2, alone / 2], rtol=1e-9)


@pytest.mark.parametrize(
    ("inputs", "labels"),
    [
        ([[1.0], [2.0], [-1.0], [-2.0]], [1, 1, 0, 0]),
        ([[1.0], [2.0]], [1, 1]),
        # separable but for two examples on the boundary
        ([[1.0, 0], [2.0, 0], [-1.0, 0], [0, 1.0], [0, 1.0]], [1, 1, 0, 1, 0]),
        ([[100.0, 1.0], [-0.01, 1.0], [0.01, 1.0]], [1, 0, 1]),
    ],
)
def test_separable_data_have_no_logistic_minimizer(inputs, labels):
    with pytest.raises(ArithmeticError, match=r"^no minimizer found: separable data need l2 > 0$"):
        Logistic(inputs, labels).minimizer()
    assert np.isfinite(Logistic(inputs, labels, l2=1e-3).minimizer()).all()


def test_logistic_minimizer_of_badly_scaled_data():
    scales = np.array([1e3, 1.0, 1e-3, 10.0])
    plain, scaled = PROBLEMS["logistic"].minimizer(), Logistic(X * scales, LABELS).minimizer()
    np.testing.assert_allclose(scaled * scales, plain, rtol=1e-6)


# -- numbers in, numbers out --


@pytest.mark.parametrize("loss", [LeastSquares, Logistic])
def test_float32_data_agree_with_float64(loss):
    y = Y if loss is LeastSquares else LABELS
    single, double = loss(X.astype(np.float32), y.astype(np.float32)), loss(X, y)
    theta = RNG.normal(size=D)
    assert single.arrays[0].dtype == np.float32
    np.testing.assert_allclose(single.losses(theta), double.losses(theta), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(single.gradient(theta), double.gradient(theta), rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(single.minimizer(), double.minimizer(), rtol=1e-5)
    assert np.abs(single.gradient(single.minimizer())).max() < 1e-9
    assert single.gradient(theta).dtype == single.minimizer().dtype == np.float64


def test_integer_data_become_floats():
    problem = LeastSquares(np.array([[1, 2], [3, 4]], np.int8), [100, 200])
    assert problem.losses([100, 100]).tolist() == [200**2 / 2, 500**2 / 2]


@every_problem
def test_nothing_that_comes_in_is_changed(problem):
    theta, indices, weights = RNG.normal(size=(2, D)), np.array([1, 2]), np.array([0.5, 0.5])
    before = [a.copy() for a in (*problem.arrays, theta, indices, weights)]
    problem.losses(theta, indices)
    problem.gradients(theta, indices)
    problem.batch_gradient(theta, indices, weights)
    problem.batch_gradient(theta[0], indices, weights)
    problem.loss(theta)
    problem.gradient(theta)
    problem.hessian(theta[0])
    for now, then in zip((*problem.arrays, theta, indices, weights), before, strict=True):
        np.testing.assert_array_equal(now, then)


def test_own_loss_equals_the_library_s():
    own = from_arrays(
        [X, Y],
        lambda t, x, y: (x @ t - y) ** 2 / 2,
        lambda t, x, y: ((x @ t - y)[:, None] * x).tolist(),  # a list will do
        dim=D,
    )
    for theta in (RNG.normal(size=D), RNG.normal(size=(3, D))):
        for name in ("losses", "gradients", "loss", "gradient"):
            ours = getattr(PROBLEMS["least squares"], name)(theta)
            np.testing.assert_allclose(getattr(own, name)(theta), ours, rtol=1e-11, atol=1e-12)


def test_a_subclass_needs_rows_only():
    class Spread(FiniteSum):
        def row_losses(self, theta, x):
            return np.square(theta[..., None, :] - x).sum(-1) / 2

        def row_gradients(self, theta, x):
            return theta[..., None, :] - x

    problem = Spread((X,), D)
    np.testing.assert_allclose(problem.gradient(np.zeros(D)), -X.mean(0))
    np.testing.assert_allclose(problem.hessian(np.zeros(D)), np.eye(D), atol=1e-8)
    np.testing.assert_allclose(problem.minimizer(), X.mean(0), atol=1e-6)
    assert problem.losses(np.zeros((3, D)), [[0, 1]] * 3).shape == (3, 2)
    bare = FiniteSum((X,), D)
    with pytest.raises(TypeError, match=r"^FiniteSum does not define row_losses$"):
        bare.loss(np.zeros(D))
    with pytest.raises(TypeError, match=r"^FiniteSum does not define row_gradients$"):
        bare.gradient(np.zeros(D))


# -- bad input --


@pytest.mark.parametrize(
    ("arguments", "options", "error", "sentence"),
    [
        (([1.0], [1]), {}, ValueError, r"^X: expected a 2-dimensional array, got shape \(1,\)$"),
        (([[1.0]], [[1]]), {}, ValueError, r"^y: expected a 1-dimensional array, got shape "),
        (([[1.0]], [1, 2]), {}, ValueError, r"^X, y: expected the same number of rows, got 1 and"),
        ((np.ones((0, 2)), []), {}, ValueError, r"^X: expected data, got an empty array"),
        ((np.ones((2, 0)), [1, 2]), {}, ValueError, r"^X: expected data, got an empty array"),
        (([[np.nan]], [1.0]), {}, ValueError, r"^X: expected finite numbers, got nan at index \(0"),
        (([[1.0]], [np.inf]), {}, ValueError, r"^y: expected finite numbers, got inf at index "),
        (([["a"]], [1.0]), {}, TypeError, r"^X: expected an array of real numbers, got dtype <U1$"),
        (([[1j]], [1.0]), {}, TypeError, r"^X: expected an array of real numbers, got dtype "),
        (([[1.0]], [1.0]), {"l2": -1}, ValueError, r"^l2=-1\.0: expected a finite number >= 0$"),
        (([[1.0]], [1.0]), {"l2": np.nan}, ValueError, r"^l2=nan: expected a finite number >= 0$"),
        (([[1.0]], [1.0]), {"l2": "1"}, TypeError, r"^l2='1': expected a finite number >= 0$"),
        (([[1.0]], [1.0]), {"l2": True}, TypeError, r"^l2=True: expected a finite number >= 0$"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("loss", [LeastSquares, Logistic])
def test_bad_data(loss, arguments, options, error, sentence):
    with pytest.raises(error, match=sentence):
        loss(*arguments, **options)


@pytest.mark.parametrize("label", [-1, 2, 0.5])
def test_labels_other_than_0_and_1(label):
    with pytest.raises(ValueError, match=rf"^y: expected labels 0 and 1, got {label:g}$"):
        Logistic([[1.0], [2.0]], [1, label])


@every_problem
@pytest.mark.parametrize(
    ("theta", "error", "sentence"),
    [
        (np.zeros(D + 1), ValueError, r"^theta: expected shape \(4,\) or \(R, 4\), got \(5,\)$"),
        (0.0, ValueError, r"^theta: expected a 1- or 2-dimensional array, got shape \(\)$"),
        (np.zeros((2, 2, D)), ValueError, r"^theta: expected a 1- or 2-dimensional array, go"),
        ([], ValueError, r"^theta: expected data, got an empty array of shape \(0,\)$"),
        ([0, 0, np.nan, 0], ValueError, r"^theta: expected finite numbers, got nan at index \(2"),
        (None, TypeError, r"^theta: expected an array of real numbers, got dtype object$"),
        ("0000", TypeError, r"^theta: expected an array of real numbers, got dtype <U4$"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("name", ["loss", "losses", "gradient", "gradients"])
def test_bad_theta(problem, name, theta, error, sentence):
    with pytest.raises(error, match=sentence):
        getattr(problem, name)(theta)


@every_problem
@pytest.mark.parametrize(
    ("theta", "indices", "weights", "error", "sentence"),
    [
        ((D,), [0, N], [1, 1], IndexError, r"^indices: expected 0\.\.29, got 0\.\.30$"),
        ((D,), [-1, 0], [1, 1], IndexError, r"^indices: expected 0\.\.29, got -1\.\.0$"),
        ((D,), [0.0, 1.0], [1, 1], TypeError, r"^indices: expected integers, got dtype float64$"),
        ((D,), [True, False], [1, 1], TypeError, r"^indices: expected integers, got dtype bool$"),
        ((D,), None, [1], TypeError, r"^indices=None: expected an array of integers$"),
        ((D,), [], [], ValueError, r"^indices: expected at least one, got shape \(0,\)$"),
        ((D,), 3, [1], ValueError, r"^indices: expected shape \(B,\), got \(\)$"),
        ((D,), [[0, 1]], [1, 1], ValueError, r"^indices: expected shape \(B,\), got \(1, 2\)$"),
        ((2, D), [[0]] * 3, [1], ValueError, r"^indices: expected shape \(B,\) or \(2, B\), got"),
        ((D,), [0, 1], [1], ValueError, r"^weights: expected shape \(2,\), got \(1,\)$"),
        ((D,), [0, 1], 0.5, ValueError, r"^weights: expected shape \(2,\), got \(\)$"),
        ((D,), [0, 1], [1, np.nan], ValueError, r"^weights: expected finite numbers, got nan at "),
        ((D,), [0, 1], ["a", "b"], TypeError, r"^weights: expected an array of real numbers, got"),
    ],
)  # fmt: skip
def test_bad_batches(problem, theta, indices, weights, error, sentence):
    with pytest.raises(error, match=sentence):
        problem.batch_gradient(np.zeros(theta), indices, weights)


def test_hessian_takes_one_theta():
    with pytest.raises(ValueError, match=r"^theta: expected shape \(4,\), got \(2, 4\)$"):
        PROBLEMS["logistic"].hessian(np.zeros((2, D)))


def line(t, x):
    return x * t[0]


def slope(t, x):
    return x[:, None]


@pytest.mark.parametrize(
    ("change", "error", "sentence"),
    [
        ({"arrays": []}, ValueError, r"^arrays=\(\): expected at least one array of examples$"),
        ({"arrays": np.ones(3)}, TypeError, r"^arrays: expected a list of arrays, got one of"),
        ({"arrays": [3.0]}, ValueError, r"^arrays: expected one row per example, got a si"),
        ({"arrays": [[]]}, ValueError, r"^arrays: expected data, got an empty array of sha"),
        ({"arrays": [[1.0], [1, 2]]}, ValueError, r"^arrays: expected the same number of"),
        ({"arrays": [[np.nan]]}, ValueError, r"^arrays: expected finite numbers, got nan at"),
        ({"dim": 0}, ValueError, r"^dim=0: expected an int >= 1$"),
        ({"dim": 1.0}, TypeError, r"^dim=1\.0: expected an int >= 1$"),
        ({"losses": 3}, TypeError, r"^losses=3: expected a function$"),
        ({"gradients": None}, TypeError, r"^gradients=None: expected a function$"),
        ({"losses": lambda t, x: x.mean()}, ValueError, r"^losses: expected shape \(2,\) of 2 row"),
        ({"losses": lambda t, x: x[:1]}, ValueError, r"^losses: expected shape \(2,\) of 2 rows, "),
        ({"gradients": lambda t, x: x}, ValueError, r"^gradients: expected shape \(2, 1\) of 2 "),
    ],
)  # fmt: skip
def test_bad_arguments_of_from_arrays(change, error, sentence):
    options = {
        "arrays": [np.arange(3.0)],
        "losses": line,
        "gradients": slope,
        "dim": 1,
        **change,
    }
    with pytest.raises(error, match=sentence):
        from_arrays(options["arrays"], options["losses"], options["gradients"], dim=options["dim"])


def test_from_arrays_of_one_example_and_of_no_numbers():
    assert from_arrays([[2.0]], line, slope, dim=1).loss([3.0]) == 6.0
    words = from_arrays(
        [np.array(["a", "bb"])],
        lambda t, w: np.char.str_len(w) * t[0],
        lambda t, w: np.char.str_len(w)[:, None] * 1.0,
        dim=1,
    )
    assert words.gradient([0.0]).tolist() == [1.5]
