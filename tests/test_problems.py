"""Finite sums: gradients, Hessians and minimizers against closed forms and other libraries."""

import itertools

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


def test_the_hessian_of_an_own_loss_in_closed_form():
    theta = RNG.normal(size=D)
    quartic_hessian = (X * (3 * (X @ theta) ** 2)[:, None]).T @ X / N
    np.testing.assert_allclose(PROBLEMS["own loss"].hessian(theta), quartic_hessian, rtol=1e-6)


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


# -- numbers in, numbers out --


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


def make(name, X, y):
    if name == "own loss":
        return from_arrays(
            [X, y], lambda t, x, y: y * t[0], lambda t, x, y: y[:, None] * np.ones(D), dim=D
        )
    return {"least squares": LeastSquares, "logistic": Logistic}[name](X, y)


@pytest.mark.parametrize("name", ["least squares", "logistic", "own loss"])
def test_the_data_of_a_problem_are_its_own(name):
    inputs, labels, theta = X.copy(), LABELS.copy(), np.ones(D)
    problem = make(name, inputs, labels)
    before = problem.loss(theta), problem.gradient(theta)
    inputs[:], labels[:] = 7.0, 1.0  # what the caller does later is not the problem's business
    assert problem.loss(theta) == before[0]
    np.testing.assert_array_equal(problem.gradient(theta), before[1])
    for array in problem.arrays:
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 0.0
    assert problem.arrays[0].flags.c_contiguous


def test_frozen_data_are_not_copied():
    frozen = X.copy()
    frozen.flags.writeable = False
    assert LeastSquares(frozen, Y).X is frozen
    assert not np.shares_memory(LeastSquares(X, Y).X, X)


def test_losses_and_gradients_may_be_written_into():
    views = from_arrays([X], lambda t, x: x[:, 0], lambda t, x: x, dim=D)
    for values in (views.losses(np.ones(D)), views.gradients(np.ones(D))):
        values[:] = 7.0
    np.testing.assert_array_equal(views.gradients(np.ones(D)), X)


def test_a_loss_that_writes_into_its_rows_is_refused():
    def losses(theta, x):
        x -= theta
        return x[:, 0]

    with pytest.raises(ValueError, match=r"^losses: expected a function that does not write into "):
        from_arrays([X], losses, lambda t, x: x, dim=D)


MASKED = np.ma.masked_equal([[1.0, -999.0], [2.0, 3.0]], -999.0)


def test_masked_arrays_are_refused_everywhere():
    problem, masked = PROBLEMS["ridge"], np.ma.masked_equal(np.arange(4.0), 2.0)
    for call in (
        lambda: problem.loss(masked),
        lambda: problem.losses(masked),
        lambda: problem.gradient(masked),
        lambda: problem.gradients(masked),
        lambda: problem.hessian(masked),
        lambda: problem.batch_gradient(masked, [0], [1.0]),
        lambda: problem.batch_gradient(np.ones(D), np.ma.array([0, 1]), [1.0, 1.0]),
        lambda: problem.batch_gradient(np.ones(D), [0, 1], np.ma.array([1.0, 1.0])),
        lambda: from_arrays([MASKED], line, slope, dim=1),
        lambda: FiniteSum((MASKED,), 1),
    ):
        with pytest.raises(TypeError, match=r"^(theta|indices|weights|arrays): expected a plain "):
            call()


def test_a_tensor_will_do():
    torch = pytest.importorskip("torch")
    problem = LeastSquares(torch.tensor(X), torch.tensor(Y))
    np.testing.assert_array_equal(problem.X, X)
    with pytest.raises(
        TypeError, match=r"^X: expected an array of numbers, got a Tensor \(Can't ca"
    ):
        LeastSquares(torch.tensor(X, requires_grad=True), Y)


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
        ({"arrays": "rows"}, TypeError, r"^arrays: expected a list of arrays, got a str$"),
        ({"arrays": {"x": [1.0]}}, TypeError, r"^arrays: expected a list of arrays, got a dict$"),
        ({"arrays": None}, TypeError, r"^arrays: expected a list of arrays, got a NoneType$"),
        ({"arrays": [np.array([1, None])]}, TypeError, r"^arrays: expected numbers or strings, go"),
        ({"losses": lambda t, x: [None] * 2}, TypeError, r"^losses: expected real numbers of 2 ro"),
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
