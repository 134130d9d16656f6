"""The limits of the learning rate: against companion matrices, torch and enumerated batches."""

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sgdlib import LeastSquares, minibatch_sgd
from sgdlib.stability import minibatch_stability_limit, stability_limit

RULES = [
    pytest.param({}, id="plain"),
    pytest.param({"momentum": 0.5}, id="heavy-0.5"),
    pytest.param({"momentum": 0.9}, id="heavy-0.9"),
    pytest.param({"momentum": 0.5, "nesterov": True}, id="nesterov-0.5"),
    pytest.param({"momentum": 0.9, "nesterov": True}, id="nesterov-0.9"),
]


def torch_distance(lr, steps, **rule):
    """Return |theta| after `steps` of torch's optimizer on theta^2/2 from 1."""
    theta = torch.ones(1, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.SGD([theta], lr=lr, **rule)
    for _ in range(steps):
        optimizer.zero_grad()
        (theta**2 / 2).sum().backward()
        optimizer.step()
    return theta.abs().item()


def assert_is_limit_for_torch(limit, **rule):
    """Torch's run ends smaller just below the limit than in the middle of it, larger above."""
    assert torch_distance(limit * 0.99, 2000, **rule) < 1e-3
    assert torch_distance(limit * 1.01, 2000, **rule) > 1e3


@pytest.mark.parametrize("rule", RULES)
def test_limit_is_where_torch_diverges(rule):
    assert_is_limit_for_torch(stability_limit(1.0, **rule), **rule)


def test_planted_bug_heavy_ball_formula_for_nesterov():
    with pytest.raises(AssertionError):
        assert_is_limit_for_torch(stability_limit(1.0, momentum=0.9), momentum=0.9, nesterov=True)


@given(beta=st.floats(0, 0.99), h=st.floats(1e-3, 1e3), nesterov=st.booleans())
def test_spectral_radius_is_one_at_the_limit(beta, h, nesterov):
    eta = stability_limit(h, momentum=beta, nesterov=nesterov)

    def radius(eta):
        if nesterov:
            step = [[1 - eta * h * (1 + beta), -eta * beta**2], [h, beta]]
        else:
            step = [[1 - eta * h, -eta * beta], [h, beta]]
        return np.abs(np.linalg.eigvals(step)).max()

    assert radius(eta) == pytest.approx(1, abs=1e-6)
    assert radius(0.99 * eta) < 1 < radius(1.01 * eta)


def test_nesterov_is_below_plain_and_heavy_ball_above():
    for beta in (0.1, 0.5, 0.9, 0.99):
        plain = stability_limit(2.0)
        assert stability_limit(2.0, momentum=beta, nesterov=True) < plain
        assert stability_limit(2.0, momentum=beta) > plain


@pytest.mark.parametrize("rule", RULES)
def test_the_library_diverges_at_the_limit(rule):
    bowl = LeastSquares(np.sqrt(2) * np.diag([1.0, 0.2]), np.zeros(2))  # curvatures 1 and 0.04
    rates = stability_limit(1.0, **rule) * np.array([0.995, 1.005])
    trace = minibatch_sgd(
        bowl, np.ones((2, 2)), lr=rates, batch_size=2, steps=4000, record=2000, rng=0, **rule
    )
    assert trace.losses[2, 0] < trace.losses[1, 0]
    assert trace.losses[2, 1] > trace.losses[1, 1]


# -- mini-batches --------------------------------------------------------------------------------

CURVATURES = np.array([0.1, 0.5, 1.0, 1.0, 2.5, 4.0])


def all_batches(n, batch_size, replacement):
    ways = itertools.product(range(n), repeat=batch_size)
    return list(ways if replacement else itertools.combinations(range(n), batch_size))


def assert_growth_is_one(limit, curvatures, batch_size, replacement=False):
    """At the limit the mean of (1 - lr a_B)^2 over every possible batch is 1."""
    batches = all_batches(len(curvatures), batch_size, replacement)
    means = curvatures[np.array(batches)].mean(axis=1)
    np.testing.assert_allclose(np.mean((1 - limit * means) ** 2), 1, rtol=1e-12)


@pytest.mark.parametrize("batch_size", range(1, 7))
def test_every_batch_enumerated(batch_size):
    limit = minibatch_stability_limit(CURVATURES, batch_size)
    assert_growth_is_one(limit, CURVATURES, batch_size)


@pytest.mark.parametrize("batch_size", [1, 2, 3])
def test_every_batch_enumerated_with_replacement(batch_size):
    limit = minibatch_stability_limit(CURVATURES, batch_size, replacement=True)
    assert_growth_is_one(limit, CURVATURES, batch_size, replacement=True)


def test_planted_bug_the_wrong_sampling():
    limit = minibatch_stability_limit(CURVATURES, 3, replacement=True)
    with pytest.raises(AssertionError):
        assert_growth_is_one(limit, CURVATURES, 3)


def test_closed_form_in_one_dimension():
    n, a, s2 = len(CURVATURES), CURVATURES.mean(), CURVATURES.var()
    for b in range(1, n + 1):
        expected = 2 * a / (a**2 + s2 * (n - b) / (b * (n - 1)))
        assert minibatch_stability_limit(CURVATURES, b) == pytest.approx(expected, rel=1e-13)


def moment_map(hessians, eta, batches):
    """Return the matrix of M -> mean over batches of (I - eta H_B) M (I - eta H_B)."""
    d = hessians.shape[-1]
    steps = [np.eye(d) - eta * hessians[list(b)].mean(axis=0) for b in batches]
    return np.mean([np.kron(s, s) for s in steps], axis=0)


@pytest.mark.parametrize(("batch_size", "replacement"), [(1, 0), (2, 0), (4, 0), (5, 0), (2, 1)])
def test_matrices_every_batch_enumerated(batch_size, replacement):
    X = np.random.default_rng(0).normal(size=(5, 3))
    hessians = X[:, :, None] * X[:, None, :]
    limit = minibatch_stability_limit(hessians, batch_size, replacement=bool(replacement))
    batches = all_batches(5, batch_size, replacement)

    def radius(eta):
        return np.abs(np.linalg.eigvals(moment_map(hessians, eta, batches))).max()

    assert radius(limit) == pytest.approx(1, abs=1e-10)
    assert radius(0.99 * limit) < 1 < radius(1.01 * limit)


def test_full_batch_is_two_over_the_largest_curvature():
    X = np.random.default_rng(1).normal(size=(20, 4))
    hessians = X[:, :, None] * X[:, None, :]
    largest = np.linalg.eigvalsh(LeastSquares(X, np.zeros(20)).hessian())[-1]
    assert minibatch_stability_limit(hessians, 20) == pytest.approx(stability_limit(largest))


@settings(deadline=None)
@given(
    curvatures=st.lists(st.floats(0.01, 100), min_size=2, max_size=12),
    data=st.data(),
)
def test_limit_grows_with_the_batch(curvatures, data):
    b = data.draw(st.integers(1, len(curvatures) - 1))
    less, more = (minibatch_stability_limit(curvatures, k) for k in (b, b + 1))
    assert 0 < less <= more * (1 + 1e-12)
    full = 2 / np.mean(curvatures)
    assert more <= full * (1 + 1e-12)
    assert minibatch_stability_limit(curvatures, b, replacement=True) <= less * (1 + 1e-12)


def test_flat_directions_do_not_matter():
    hessians = np.zeros((3, 2, 2))
    hessians[:, 0, 0] = [1.0, 2.0, 3.0]
    expected = minibatch_stability_limit([1.0, 2.0, 3.0], 1)
    assert minibatch_stability_limit(hessians, 1) == pytest.approx(expected)


def second_moment_per_step(curvatures, eta, batch_size, sampling, replicas, steps=3):
    """Return the mean-square growth per `steps` steps of the library's runs, and its error."""
    problem = LeastSquares(np.sqrt(curvatures)[:, None], np.zeros(len(curvatures)))
    theta = minibatch_sgd(
        problem, np.ones((replicas, 1)), lr=eta, batch_size=batch_size, steps=steps,
        sampling=sampling, record=steps, rng=3,
    ).theta  # fmt: skip
    square = theta[:, 0] ** 2
    return square.mean(), square.std() / np.sqrt(replicas)


def test_runs_of_the_library_grow_at_the_limit():
    # 40,000 runs: the formula for the other sampling would be more than ten standard errors away
    for sampling in ("subset", "replacement"):
        limit = minibatch_stability_limit(CURVATURES, 4, replacement=sampling == "replacement")
        other = minibatch_stability_limit(CURVATURES, 4, replacement=sampling == "subset")
        mean, stderr = second_moment_per_step(CURVATURES, limit, 4, sampling, 40_000)
        assert abs(mean - 1) < 4 * stderr
        wrong, stderr = second_moment_per_step(CURVATURES, other, 4, sampling, 40_000)
        assert abs(wrong - 1) > 10 * stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([1.0, 2.0], 3), r"batch_size=3: expected an int in 1\.\.2"),
        (([1.0, 2.0], 0), r"batch_size=0: expected an int"),
        (([], 1), r"curvatures: expected data, got an empty array"),
        (([1.0, np.nan], 1), r"curvatures: expected finite numbers, got nan at index \(1,\)"),
        ((np.ones((2, 2)), 1), r"curvatures: expected a 1- or 3-dimensional array"),
        ((np.ones((2, 2, 3)), 1), r"curvatures: expected shape \(N,\) or \(N, d, d\)"),
        (([1.0, -2.0], 1), r"mean Hessian without negative eigenvalues, got -0\.5"),
        (([0.0, 0.0], 1), r"mean Hessian without negative eigenvalues, got 0"),
    ],
)
def test_bad_curvatures(arguments, message):
    with pytest.raises(ValueError, match=message):
        minibatch_stability_limit(*arguments)


@pytest.mark.parametrize(
    ("arguments", "options", "message"),
    [
        ((0.0,), {}, "curvature=0.0: expected a finite number > 0"),
        ((-1.0,), {}, "curvature=-1.0"),
        ((np.inf,), {}, "curvature=inf"),
        ((1.0,), {"momentum": 1.0}, "momentum=1.0: expected a finite number >= 0 and < 1"),
        ((1.0,), {"momentum": -0.1}, "momentum=-0.1"),
        ((1.0,), {"nesterov": "no"}, "nesterov='no': expected True or False"),
    ],
)
def test_bad_limits(arguments, options, message):
    with pytest.raises((ValueError, TypeError), match=message):
        stability_limit(*arguments, **options)


def test_replacement_is_a_flag():
    with pytest.raises(TypeError, match=r"^replacement='no': expected True or False$"):
        minibatch_stability_limit([1.0, 3.0], 1, replacement="no")
