"""SGD with old gradients: against its definition, characteristic roots, and exact moments."""

import numpy as np
import pytest

import sgdlib._driver
from sgdlib import DivergenceError, LeastSquares, NoisyQuadratic, batches, minibatch_sgd
from sgdlib.asynchrony import ServiceTime, simulate_async, simulate_sync
from sgdlib.stability import staleness_stability_limit
from sgdlib.staleness import stale_sgd

RNG = np.random.default_rng(12)
N, D = 40, 3
X = RNG.normal(size=(N, D))
Y = X @ [1.0, -2.0, 0.5] + 0.3 * RNG.normal(size=N)
PROBLEM = LeastSquares(X, Y)
ZERO = np.zeros(D)
EXPONENTIAL = ServiceTime(exponential=1.0)
KEEP = {"record": 1, "keep_parameters": True}


def slow(theta, plan, lr, staleness, momentum=0.0):
    """Return theta after each step, by the definition."""
    path, velocity = [np.array(theta)], np.zeros_like(theta)
    for t, (indices, weights) in enumerate(plan):
        g = PROBLEM.batch_gradient(path[t - staleness[t]], indices, weights)
        velocity = momentum * velocity + g
        path.append(path[-1] - lr * velocity)
    return np.array(path)


@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_the_steps_are_those_of_the_definition(momentum):
    plan = list(batches(N, 7, epochs=5, rng=1))
    table = simulate_async(EXPONENTIAL, 4, len(plan), rng=2).staleness
    assert table.max() > 4
    for staleness in (table, 3):
        each = table if staleness is table else [min(3, t) for t in range(len(plan))]
        expected = slow(ZERO, plan, 0.02, each, momentum)
        for given in ({"batches": plan}, {"batch_size": 7, "epochs": 5, "rng": 1}):
            trace = stale_sgd(
                PROBLEM, ZERO, lr=0.02, staleness=staleness, momentum=momentum, **given, **KEEP
            )
            np.testing.assert_allclose(trace.parameters, expected, rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize("momentum", [0.0, 0.9])
@pytest.mark.parametrize("start", [ZERO, np.ones((5, D))], ids=["one", "replicas"])
def test_without_staleness_it_is_sgd_to_the_last_bit(start, momentum):
    options = {"lr": 0.05, "batch_size": 7, "epochs": 9, "momentum": momentum, "rng": 3, **KEEP}
    plain = minibatch_sgd(PROBLEM, start, **options)
    nobody_waits = simulate_sync(EXPONENTIAL, 8, 54, rng=0).staleness
    for staleness in (0, np.zeros(54, int), nobody_waits):
        assert stale_sgd(PROBLEM, start, staleness=staleness, **options) == plain
    one_worker = simulate_async(EXPONENTIAL, 1, 54, rng=0).staleness
    assert stale_sgd(PROBLEM, start, staleness=one_worker, **options) == plain
    assert stale_sgd(PROBLEM, start, staleness=1, **options) != plain


def test_workers_together_are_one_with_the_union_batch():
    """K workers' batches of B, averaged, are a batch of K B."""
    plan = list(batches(N, 8, epochs=4, rng=3))
    whole = minibatch_sgd(PROBLEM, ZERO, lr=0.05, batches=plan, **KEEP)
    theta = ZERO
    for indices, _ in plan:
        parts = indices.reshape(4, 2)
        theta = theta - 0.05 * np.mean(
            [PROBLEM.batch_gradient(theta, p, np.full(2, 1 / 2)) for p in parts], axis=0
        )
    np.testing.assert_allclose(whole.theta, theta, rtol=1e-12)


def test_each_replica_has_its_own_timetable(monkeypatch):
    table = simulate_async(EXPONENTIAL, 4, 60, replicas=6, rng=2).staleness
    options = {"lr": 0.02, "batch_size": 7, "steps": 60}
    plan = list(batches(N, 7, steps=60, rng=1))
    given = {"lr": 0.02, "batches": plan}
    together = stale_sgd(PROBLEM, np.ones((6, D)), staleness=table, **given)
    for r in range(6):
        alone = stale_sgd(PROBLEM, np.ones(D), staleness=table[:, r], **given)
        np.testing.assert_allclose(together.theta[r], alone.theta, rtol=1e-12)
    monkeypatch.setattr(sgdlib._driver, "_GROUP_BYTES", 2 * 8 * (D + 1) * 7)  # two at a time
    groups = stale_sgd(PROBLEM, np.ones((6, D)), staleness=table, rng=4, **options)
    assert len(groups.stops) == 3
    for g, child in enumerate(np.random.default_rng(4).spawn(3)):
        part = slice(2 * g, 2 * g + 2)
        group = stale_sgd(PROBLEM, np.ones((2, D)), staleness=table[:, part], rng=child, **options)
        np.testing.assert_array_equal(groups.theta[part], group.theta)


def test_two_runs_are_one():
    table = simulate_async(EXPONENTIAL, 4, 40, rng=2).staleness
    for staleness in (table, 3):
        options = {"lr": 0.02, "batch_size": 7, "staleness": staleness, "momentum": 0.5}
        whole = stale_sgd(PROBLEM, ZERO, steps=40, rng=5, **options)
        rng = np.random.default_rng(5)
        first = stale_sgd(PROBLEM, ZERO, steps=17, rng=rng, **options)
        second = stale_sgd(PROBLEM, first, steps=23, rng=rng, **options)
        np.testing.assert_array_equal(second.theta, whole.theta)
    with pytest.raises(ValueError, match=r"^theta: the trace remembers 3 steps, expected 5$"):
        stale_sgd(PROBLEM, first, lr=0.02, staleness=5, batch_size=7, steps=3)
    fresh = minibatch_sgd(PROBLEM, ZERO, lr=0.02, batch_size=7, steps=5, rng=0)
    assert stale_sgd(PROBLEM, fresh, lr=0.02, staleness=5, batch_size=7, steps=3).steps[-1] == 8


# -- stability --


def growth(a, tau):
    """Return the largest root of z^(tau+1) - z^tau + a."""
    return np.abs(np.roots([1, -1, *[0] * (tau - 1), a] if tau else [1, a - 1])).max()


@pytest.mark.parametrize("tau", [0, 1, 2, 3, 4, 8, 20, 50])
def test_limit_is_where_a_root_leaves_the_circle(tau):
    limit = staleness_stability_limit(tau)
    assert growth(limit, tau) == pytest.approx(1, abs=1e-8)
    assert growth(limit * (1 - 1e-6), tau) < 1 < growth(limit * (1 + 1e-6), tau)
    if tau:
        naive = 2 / (tau + 1)
        assert growth(naive, tau) > 1 + 1e-3 or tau == 1


def test_published_limits():
    got = [staleness_stability_limit(tau) for tau in (0, 1, 2, 4, 8)]
    np.testing.assert_allclose(got, [2, 1, 0.6180, 0.3473, 0.1845], atol=5e-5)
    assert staleness_stability_limit(2) == pytest.approx((np.sqrt(5) - 1) / 2, rel=1e-14)
    assert staleness_stability_limit(3, curvature=4.0) == staleness_stability_limit(3) / 4
    with pytest.raises(ValueError, match=r"^staleness=-1: expected an int >= 0$"):
        staleness_stability_limit(-1)


def test_a_run_diverges_just_above_the_limit_and_says_so():
    bowl = NoisyQuadratic([0.5, 2.0], 0.0)
    limit = staleness_stability_limit(4, curvature=2.0)
    run = {"staleness": 4, "batch_size": 1}
    below = stale_sgd(bowl, [1.0, 1.0], lr=0.97 * limit, steps=3000, **run)
    assert np.abs(below.theta).max() < 1e-6
    with pytest.raises(DivergenceError, match=rf"above the full-batch .* limit {limit:.4g} of the"):
        stale_sgd(bowl, [1.0, 1.0], lr=1.5 * limit, steps=20_000, **run)
    table = simulate_async(ServiceTime(constant=1.0), 5, 20_000).staleness
    with pytest.raises(DivergenceError, match=r"a smaller learning rate is the first thing"):
        stale_sgd(bowl, [1.0, 1.0], lr=1.5 * limit, steps=20_000, batch_size=1, staleness=table)


# -- memoryless workers: exact moments --


def mean_path(a, workers, steps):
    """Return E theta of memoryless workers: momentum 1 - 1/M and step a/M, first at full speed."""
    path, v = [1.0], -a
    for t in range(steps):
        v = -a * path[0] if t == 0 else (1 - 1 / workers) * v - a / workers * path[-1]
        path.append(path[-1] + v)
    return np.array(path)


def square_path(a, workers, steps, noise=0.0):
    """Return E theta^2: P = E theta^2, C = E theta x_1, S = E x_1^2, Y = E x_1 x_2, x_w as read."""
    M, (P, C, S, Y), out = workers, np.ones(4), [1.0]
    for _ in range(steps):
        P, C, S, Y = (
            (new := P - 2 * a * C + a * a * S + noise),
            new / M + (1 - 1 / M) * (C - a * Y),
            new / M + (1 - 1 / M) * S,
            2 / M * (C - a * Y) + (1 - 2 / M) * Y,
        )
        out.append(P)
    return np.array(out)


def assert_moments(paths, mean, square):
    count = paths.shape[1]
    for t in (1, 2, 5, 10, 20, 40):
        x = paths[t]
        assert abs(x.mean() - mean[t]) < 4.5 * x.std() / np.sqrt(count) + 1e-12
        assert abs((x**2).mean() - square[t]) < 4.5 * (x**2).std() / np.sqrt(count) + 1e-12


@pytest.mark.parametrize("workers", [2, 4, 8])
def test_memoryless_workers_have_exact_moments(workers):
    a, sigma2, batch, steps, R = 0.3, 2.0, 5, 40, 20_000
    table = simulate_async(EXPONENTIAL, workers, steps, replicas=R, rng=workers).staleness
    trace = stale_sgd(
        NoisyQuadratic([1.5], sigma2), np.ones((R, 1)), lr=a / 1.5, staleness=table,
        batch_size=batch, steps=steps, rng=1, **KEEP,
    )  # fmt: skip
    paths, noise = trace.parameters[..., 0], (a / 1.5) ** 2 * sigma2 / batch
    mean, square = mean_path(a, workers, steps), square_path(a, workers, steps, noise)
    assert_moments(paths, mean, square)
    for wrong in (mean_path(a, workers + 1, steps), mean_path(a * 1.05, workers, steps)):
        with pytest.raises(AssertionError):
            assert_moments(paths, wrong, square)
    with pytest.raises(AssertionError):  # the noise of a batch, not of an example
        assert_moments(paths, mean, square_path(a, workers, steps, noise * batch))
    delayed = stale_sgd(
        NoisyQuadratic([1.5], 0.0), [1.0], lr=a / 1.5, staleness=workers - 1, batch_size=1,
        steps=steps, **KEEP,
    )  # fmt: skip
    with pytest.raises(AssertionError):  # a constant staleness of the same mean
        assert_moments(paths, delayed.parameters[:, 0], square)


def test_what_is_refused():
    run = {"lr": 0.01, "batch_size": 7, "steps": 4}
    for staleness, error, match in (
        (-1, ValueError, r"^staleness=-1: expected an int >= 0$"),
        (0.5, TypeError, r"^staleness=0.5: expected an int >= 0$"),
        (np.zeros(4), TypeError, r"^staleness: expected ints of shape \(T,\) or \(T, R\), got f"),
        (np.array([0, 2, 0, 0]), ValueError, r"^staleness: expected 0\.\.t at step t, got 2 at s"),
        (np.array([0, -2, 0, 0]), ValueError, r"^staleness: expected 0\.\.t at step t, got -2 at"),
        (np.zeros(3, int), ValueError, r"^staleness: expected one for each of 4 steps, got 3$"),
        (np.zeros((4, 2), int), ValueError, r"^staleness: expected \(T,\), or \(T, R\) as theta"),
    ):
        with pytest.raises(error, match=match):
            stale_sgd(PROBLEM, ZERO, staleness=staleness, **run)
    with pytest.raises(ValueError, match=r"^staleness: expected one for each step, got 3$"):
        stale_sgd(PROBLEM, ZERO, lr=0.01, batch_size=7, epochs=1, staleness=np.zeros(3, int))
