"""SVRG and SAGA against their definitions, their laws, and the work they count."""

import itertools

import numpy as np
import pytest

from sgdlib import (
    DoubleWell,
    LeastSquares,
    Logistic,
    NoisyQuadratic,
    batches,
    from_arrays,
    minibatch_sgd,
)
from sgdlib._driver import drive
from sgdlib.batching import LAST, SAMPLING
from sgdlib.schedules import cosine
from sgdlib.variance_reduction import _SAGA, _SVRG, saga, svrg

RNG = np.random.default_rng(17)
N, D, M = 40, 3, 5
X = RNG.normal(size=(N, D))
Y = X @ [1.0, -2.0, 0.5] + 0.3 * RNG.normal(size=N)
PROBLEM = LeastSquares(X, Y)
LOGISTIC = Logistic(X, (Y > 0).astype(float), l2=0.1)
ONE = np.ones(D)
KEPT = {"record": 1, "keep_parameters": True}


def slow_svrg(problem, theta, plan, lr, period=M):
    """Return theta and the gradients evaluated, before each step and at the end, by definition."""
    path, costs, cost, seen = [np.array(theta)], [0], 0, 0
    for k, (indices, weights) in enumerate(plan):
        theta = path[-1]
        if k % period == 0:
            snapshot = theta
            full = sum(problem.gradients(snapshot, [i])[0] for i in range(N)) / N
            cost += N
        g = full.copy()
        for i, w in zip(indices, weights, strict=True):
            g += w * (problem.gradients(theta, [i])[0] - problem.gradients(snapshot, [i])[0])
        used = int(np.count_nonzero(weights))
        rate = lr(seen / N) if callable(lr) else lr
        cost, seen = cost + 2 * used, seen + used
        path.append(theta - rate * g)
        costs.append(cost)
    return np.array(path), costs


def slow_saga(problem, theta, plan, lr):
    table = [problem.gradients(theta, [i])[0] for i in range(N)]
    path, costs, cost, seen = [np.array(theta)], [0], N, 0
    for indices, weights in plan:
        theta, mean, g = path[-1], sum(table) / N, np.zeros(D)
        new = {i: problem.gradients(theta, [i])[0] for i in indices}
        for i, w in zip(indices, weights, strict=True):
            g = g + w * (new[i] - table[i])
        used = int(np.count_nonzero(weights))
        rate = lr(seen / N) if callable(lr) else lr
        cost, seen = cost + used, seen + used
        path.append(theta - rate * (g + mean))
        costs.append(cost)
        for i, gradient in new.items():
            table[i] = gradient
    return np.array(path), costs


def reduced(problem, theta, **options):
    return svrg(problem, theta, period=M, **options)


METHODS = pytest.mark.parametrize(
    ("ours", "slow"), [(reduced, slow_svrg), (saga, slow_saga)], ids=["svrg", "saga"]
)


def assert_path(trace, slow):
    path, costs = slow
    np.testing.assert_allclose(trace.parameters, path, rtol=1e-10, atol=1e-11)
    assert trace.evaluations.tolist() == costs


@METHODS
@pytest.mark.parametrize("problem", [PROBLEM, LOGISTIC], ids=["least squares", "logistic"])
@pytest.mark.parametrize("last", LAST)
@pytest.mark.parametrize("sampling", SAMPLING)
def test_the_steps_of_the_definition(ours, slow, problem, last, sampling):
    how = {"last": last, "sampling": sampling}
    plan = list(batches(N, 7, steps=20, rng=1, **how))
    expected = slow(problem, ONE, plan, 0.05)
    assert_path(ours(problem, ONE, lr=0.05, batches=plan, **KEPT), expected)
    given = ours(problem, ONE, lr=0.05, batch_size=7, steps=20, rng=1, **how, **KEPT)
    np.testing.assert_allclose(given.parameters, expected[0], rtol=1e-10, atol=1e-11)


@METHODS
@pytest.mark.parametrize("batch_size", [1, 3, 39, 40])
def test_batches_of_any_size(ours, slow, batch_size):
    plan = list(batches(N, batch_size, steps=12, rng=3))
    trace = ours(PROBLEM, ONE, lr=0.1, batch_size=batch_size, steps=12, rng=3, **KEPT)
    assert_path(trace, slow(PROBLEM, ONE, plan, 0.1))


@METHODS
def test_schedules(ours, slow):
    """Both knobs move: progress is examples drawn / N, and snapshots are not counted in it."""
    sizes = {"batch_size": lambda p: 4 if p < 1 else 8, "steps": 30}
    seen = []

    def rate(progress):
        seen.append(progress)
        return cosine(0.1, length=4)(progress)

    trace = ours(PROBLEM, ONE, lr=rate, rng=5, **sizes, **KEPT)
    plan = list(batches(N, sizes["batch_size"], steps=30, rng=5))
    assert_path(trace, slow(PROBLEM, ONE, plan, cosine(0.1, length=4)))
    assert max(seen) == pytest.approx(1 + 19 * 8 / N)  # where the last step begins


@METHODS
def test_replicas_are_runs_of_their_own(ours, slow):
    starts, rates = RNG.normal(size=(4, D)), np.array([0.02, 0.05, 0.1, 0.2])
    own = [RNG.integers(N, size=(4, 6)) for _ in range(17)]
    trace = ours(PROBLEM, starts, lr=rates, batches=[(i, np.full(6, 1 / 6)) for i in own], **KEPT)
    for r in range(4):
        plan = [(i[r], np.full(6, 1 / 6)) for i in own]
        path, costs = slow(PROBLEM, starts[r], plan, rates[r])
        np.testing.assert_allclose(trace.parameters[:, r], path, rtol=1e-10, atol=1e-11)
        assert trace.evaluations.tolist() == costs
    shared = [(np.arange(5), np.full(5, 0.2))] * 8
    trace = ours(PROBLEM, starts, lr=0.1, batches=shared)
    np.testing.assert_allclose(trace.theta[2], slow(PROBLEM, starts[2], shared, 0.1)[0][-1])


class _Twice(_SAGA):
    """The planted bug: an example that a batch holds twice moves the mean twice."""

    def advance(self, problem, theta, state, stretch, rates):
        super().advance(problem, theta, state, stretch, rates)
        for indices in stretch.indices:
            repeated = [i for i in set(indices.tolist()) if (indices == i).sum() > 1]
            state["table_mean"] += state["table"][repeated].sum(axis=0) / problem.n


@pytest.mark.parametrize("rule", [_SAGA, _Twice])
def test_the_mean_is_that_of_the_table(rule):
    options = {"lr": 0.05, "batch_size": 9, "steps": 50, "sampling": "replacement", "rng": 0}
    state = drive(PROBLEM, ONE, rule(), **options).stops[0].rule
    same = np.allclose(state["table_mean"], state["table"].mean(axis=0), atol=1e-12)
    assert same == (rule is _SAGA)


# -- what they are for --


def test_one_hessian_for_all_leaves_no_noise():
    """If all examples share one Hessian, the SVRG gradient is the full gradient."""
    shifts = RNG.normal(size=(N, D))
    bowl = from_arrays([shifts], lambda t, a: ((t - a) ** 2).sum(-1) / 2, lambda t, a: t - a, dim=D)
    options = {"lr": 0.1, "steps": 30, **KEPT}
    full = minibatch_sgd(bowl, ONE, batch_size=N, rng=0, **options).parameters
    ours = svrg(bowl, ONE, batch_size=2, period=7, rng=0, **options).parameters
    np.testing.assert_allclose(ours, full, atol=1e-13)
    plain = minibatch_sgd(bowl, ONE, batch_size=2, rng=0, **options).parameters
    assert np.abs(plain - full).max() > 0.1


@pytest.mark.parametrize("rule", [_SVRG(3), _SAGA()], ids=["svrg", "saga"])
def test_unbiased_by_enumeration(rule):
    """The mean step over all ordered batches is the full gradient's, with old memories too."""
    small = LeastSquares(X[:4], Y[:4])
    before = drive(small, ONE, rule, lr=0.1, batch_size=2, steps=2, rng=0)
    pairs = np.array(list(itertools.product(range(4), repeat=2)))
    steps = []
    for pair in pairs:
        after = drive(small, before, rule, lr=0.1, batches=[(pair, np.full(2, 0.5))])
        steps.append((before.theta - after.theta) / 0.1)
    np.testing.assert_allclose(np.mean(steps, axis=0), small.gradient(before.theta), rtol=1e-12)
    assert np.ptp(steps, axis=0).min() > 1e-3


@pytest.mark.parametrize("problem", [PROBLEM, LOGISTIC], ids=["least squares", "logistic"])
@METHODS
def test_linear_convergence_where_plain_descent_stalls(ours, slow, problem):
    options = {"lr": 0.1, "batch_size": 4, "rng": 2}
    best = problem.minimizer()
    errors = [np.abs(ours(problem, ONE, epochs=e, **options).theta - best).max() for e in (40, 80)]
    plain = minibatch_sgd(problem, ONE, epochs=80, **options).theta
    assert np.abs(plain - best).max() > 1e-3
    if problem is PROBLEM:
        assert errors[0] < 1e-6
    assert errors[1] < max(1e-12, errors[0] / 10)


CURVATURES = np.array([0.2, 0.5, 0.5, 0.8, 1.0, 1.0, 1.5, 2.5])


def second_moment(lr, batch_size, steps, period, *, variate=True):
    """E[theta^2] of SVRG on l_i = a_i theta^2 / 2, with replacement, by an exact recursion.

    E, C, D are the means of theta^2, theta s and s^2 for the snapshot s. The step is
    theta - lr (a theta + noise), with noise (a_i - a)(theta - s) of mean 0.
    """
    a, variance = CURVATURES.mean(), CURVATURES.var() / batch_size
    E = C = D_ = 1.0
    for k in range(steps):
        if k % period == 0:
            C = D_ = E
        noise = E - 2 * C + D_ if variate else E
        E, C = (1 - lr * a) ** 2 * E + lr**2 * variance * noise, (1 - lr * a) * C
    return E


@pytest.mark.parametrize("batch_size", [1, 4])
def test_the_exact_second_moment(batch_size):
    bowl = LeastSquares(np.sqrt(CURVATURES)[:, None], np.zeros(8))
    lr, steps, period = 0.4, 11, 4
    options = {"lr": lr, "batch_size": batch_size, "steps": steps, "sampling": "replacement"}
    theta = svrg(bowl, np.ones((40_000, 1)), period=period, rng=3, **options).theta[:, 0]
    squares = theta**2
    stderr = squares.std() / 200

    def off(*args, **how):
        return abs(squares.mean() - second_moment(*args, **how)) / stderr

    assert off(lr, batch_size, steps, period) < 4.5
    twins = [
        (lr, batch_size, steps, period + 1),  # a snapshot late
        (lr, batch_size, steps, 1),  # a snapshot at every step
        (lr, batch_size * 2, steps, period),
        (lr / 2, batch_size, steps, period),
    ]
    assert all(off(*twin) > 9 for twin in twins)
    assert off(lr, batch_size, steps, period, variate=False) > 9


# -- the work --


@METHODS
def test_the_work_is_that_of_the_calls(ours, slow):
    rows = []

    class Counting(LeastSquares):
        def weighted_gradient(self, theta, weights, X, y):
            rows.append(len(y))
            return super().weighted_gradient(theta, weights, X, y)

        def row_gradients(self, theta, X, y):
            rows.append(len(y))
            return super().row_gradients(theta, X, y)

    trace = ours(Counting(X, Y), ONE, lr=0.05, batch_size=6, steps=23, last="keep", rng=0)
    assert trace.evaluations[-1] == sum(rows)
    plain = minibatch_sgd(PROBLEM, ONE, lr=0.05, batch_size=6, epochs=3, rng=0)
    np.testing.assert_array_equal(plain.evaluations, plain.examples)


@METHODS
@pytest.mark.parametrize("cut", [1, 4, 5, 13])
def test_two_runs_are_one(ours, slow, cut):
    options = {"lr": cosine(0.1, length=4), "batch_size": 6, **KEPT}
    for start in (ONE, np.ones((2, D))):
        whole = ours(PROBLEM, start, steps=20, rng=5, **options)
        rng = np.random.default_rng(5)
        first = ours(PROBLEM, start, steps=cut, rng=rng, **options)
        second = ours(PROBLEM, first, steps=20 - cut, rng=rng, **options)
        for name in ("parameters", "evaluations", "losses"):
            parts = [getattr(first, name)[:-1], getattr(second, name)]
            np.testing.assert_array_equal(np.concatenate(parts), getattr(whole, name))


def test_one_method_goes_on_from_another():
    """The work adds up, and each begins with memories of its own."""
    options = {"batch_size": 8, "lr": 0.05}
    first = minibatch_sgd(PROBLEM, ONE, steps=5, rng=0, **options)
    second = svrg(PROBLEM, first, steps=6, period=3, rng=1, **options)
    third = saga(PROBLEM, second, steps=4, rng=2, **options)
    last = minibatch_sgd(PROBLEM, third, steps=1, rng=3, **options)
    costs = [int(t.evaluations[-1]) for t in (first, second, third, last)]
    assert costs == [40, 40 + 96 + 2 * N, 136 + 2 * N + N + 32, 136 + 3 * N + 40]


# -- edges --


@pytest.mark.parametrize("method", [reduced, saga], ids=["svrg", "saga"])
def test_populations_are_refused(method):
    for population in (NoisyQuadratic([1.0], 1.0), DoubleWell(1.0)):
        kind = type(population).__name__
        with pytest.raises(TypeError, match=rf"^problem: expected a FiniteSum, got a popu.*{kind}"):
            method(population, [0.0], lr=0.1, batch_size=1, steps=1)
    with pytest.raises(TypeError, match=r"^problem: expected a FiniteSum or a Population, got a l"):
        method([1], [0.0], lr=0.1, batch_size=1, steps=1)


@pytest.mark.parametrize("period", [0, -1, 2.5, None, "7"])
def test_bad_periods(period):
    with pytest.raises((ValueError, TypeError), match=r"^period="):
        svrg(PROBLEM, ONE, period=period, lr=0.1, batch_size=4, steps=1)


def test_other_arguments_are_checked_as_in_plain_descent():
    for method in (reduced, saga):
        with pytest.raises(ValueError, match=r"^lr=0.0: expected a finite number > 0$"):
            method(PROBLEM, ONE, lr=0, batch_size=4, steps=1)
        with pytest.raises(ValueError, match="batch_size=41"):
            method(PROBLEM, ONE, lr=0.1, batch_size=41, steps=1)
