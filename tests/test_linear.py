"""Least squares and logistic regression: closed forms, minimizers and precisions."""

import warnings

import numpy as np
import pytest

from sgdlib import LeastSquares, Logistic

RNG = np.random.default_rng(7)
N, D = 30, 4
X = RNG.normal(size=(N, D)) * [1.0, 2.0, 0.5, 1.0]
Y = X @ [1.0, -2.0, 0.0, 3.0] + RNG.normal(size=N)
LABELS = (X[:, 0] + RNG.normal(size=N) > 0).astype(float)
PROBLEMS = {
    "least squares": LeastSquares(X, Y),
    "ridge": LeastSquares(X, Y, l2=0.3),
    "logistic": Logistic(X, LABELS),
    "logistic l2": Logistic(X, LABELS, l2=0.3),
}

# -- closed forms --


def test_hessians_in_closed_form():
    theta = RNG.normal(size=D)
    np.testing.assert_allclose(PROBLEMS["ridge"].hessian(), X.T @ X / N + 0.3 * np.eye(D))
    p = 1 / (1 + np.exp(-X @ theta))
    closed = sum(q * (1 - q) * np.outer(x, x) for q, x in zip(p, X, strict=True)) / N
    np.testing.assert_allclose(PROBLEMS["logistic"].hessian(theta), closed, rtol=1e-10)


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


# -- precisions --


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


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.longdouble])
@pytest.mark.parametrize("l2", [0.0, 0.3])
@pytest.mark.parametrize("loss", [LeastSquares, Logistic])
def test_minimizers_of_any_precision(loss, l2, dtype):
    given = X.astype(dtype), (Y if loss is LeastSquares else LABELS).astype(dtype)
    problem = loss(*given, l2=l2)
    double = loss(*(a.astype(float) for a in given), l2=l2)
    assert problem.minimizer().dtype == np.float64
    np.testing.assert_allclose(problem.minimizer(), double.minimizer(), rtol=1e-9)
    np.testing.assert_allclose(problem.hessian(np.zeros(D)), double.hessian(np.zeros(D)))


def test_large_float16_data_do_not_overflow_on_the_way_to_the_minimizer():
    X16 = np.full((1000, 1), 300, np.float16)  # X'X and X'y are beyond 65504
    assert LeastSquares(X16, X16[:, 0], l2=1e-6).minimizer() == pytest.approx(1.0)


def test_integer_data_become_floats():
    problem = LeastSquares(np.array([[1, 2], [3, 4]], np.int8), [100, 200])
    assert problem.losses([100, 100]).tolist() == [200**2 / 2, 500**2 / 2]


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


MASKED = np.ma.masked_equal([[1.0, -999.0], [2.0, 3.0]], -999.0)


@pytest.mark.parametrize("loss", [LeastSquares, Logistic])
def test_masked_and_sparse_data_are_refused(loss):
    sparse = pytest.importorskip("scipy.sparse")
    ones = np.ones(2)
    for X_, y_, sentence in (
        (MASKED, ones, r"^X: expected a plain array, got a MaskedArray, whose mask would be lost"),
        (
            np.eye(2),
            MASKED[1],
            r"^y: expected a plain array, got a MaskedArray, whose mask would b",
        ),
        (sparse.csr_matrix(np.eye(2)), ones, r"^X: expected a plain array, got a sparse csr_matri"),
        (np.eye(2).astype(object), ones, r"^X: expected an array of real numbers, got dtype objec"),
        (np.array([[1.0, None]] * 2), ones, r"^X: expected an array of real numbers, got dtype ob"),
        (np.eye(2), np.array(["2020-01-01"] * 2, "M8[D]"), r"^y: expected an array of real number"),
        (np.ones((2, 1)).view(np.matrix), ones, r"^X: expected a plain array, got a matrix"),
    ):
        with pytest.raises(TypeError, match=sentence):
            loss(X_, y_)
