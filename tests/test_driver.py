"""The seam between rules and the driver: other algorithms in a few lines, and runs that go on."""

import copy
import pickle

import numpy as np
import pytest

import sgdlib._driver
from sgdlib import (
    DivergenceError,
    LeastSquares,
    NoisyQuadratic,
    Population,
    Trace,
    batches,
    minibatch_sgd,
)
from sgdlib._driver import drive
from sgdlib.batching import SAMPLING
from sgdlib.physics.langevin import _Langevin
from sgdlib.schedules import cosine
from sgdlib.variance_reduction import _SAGA, _SVRG

RNG = np.random.default_rng(12)
N, D = 40, 3
X = RNG.normal(size=(N, D))
Y = X @ [1.0, -2.0, 0.5] + 0.3 * RNG.normal(size=N)
PROBLEM = LeastSquares(X, Y)
ZERO = np.zeros(D)
NAMES = ["sgld", "svrg", "saga"]

# -- the library's rule with noise of its own --


def SGLD(temperature, rng):
    return _Langevin(temperature, np.random.default_rng(rng))


def temperature(progress):
    return 0.05 / (1 + progress)


def slow_sgld(theta, plan, lr, rng, n=N):
    """Return theta after each step, by the definition."""
    xi, path, seen = np.random.default_rng(rng).spawn(1)[0], [np.array(theta)], 0
    for indices, weights in plan:
        T = temperature(seen / n)
        noise = np.sqrt(2 * lr * T) * xi.standard_normal(np.shape(theta))
        path.append(path[-1] - lr * PROBLEM.batch_gradient(path[-1], indices, weights) + noise)
        seen += len(indices)
    return np.array(path)


@pytest.mark.parametrize("last", ["scale", "keep"])
def test_sgld_makes_the_steps_of_its_definition(last):
    plan = list(batches(N, 7, last=last, epochs=3, rng=1))
    slow = slow_sgld(ZERO, plan, 0.05, 5)
    options = {"lr": 0.05, "record": 1, "keep_parameters": True}
    for given in ({"batches": plan}, {"batch_size": 7, "epochs": 3, "last": last, "rng": 1}):
        trace = drive(PROBLEM, ZERO, SGLD(temperature, 5), **given, **options)
        np.testing.assert_allclose(trace.parameters, slow, rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize("rule", [SGLD(temperature, 3), _SVRG(9), _SAGA()], ids=NAMES)
def test_replicas_of_any_rule_are_frozen_one_by_one(rule):
    """A replica that diverges leaves the others as they are without it."""
    good, mixed = np.full(5, 0.02), np.array([0.02, 30.0, 0.02, 99.0, 0.02])
    options = {"batch_size": 7, "epochs": 200, "record": 11, "keep_parameters": True, "rng": 0}
    traces = [
        drive(
            PROBLEM, np.zeros((5, D)), copy.deepcopy(rule), lr=lr, on_divergence="freeze", **options
        )
        for lr in (good, mixed)
    ]
    healthy = [0, 2, 4]
    np.testing.assert_array_equal(traces[0].theta[healthy], traces[1].theta[healthy])
    np.testing.assert_array_equal(*(t.parameters[:, healthy] for t in traces))
    assert (traces[1].diverged_at >= 0).tolist() == [False, True, False, True, False]
    assert np.isfinite(traces[1].theta).all()
    with pytest.raises(DivergenceError, match=r"a smaller learning|stability limit") as caught:
        drive(PROBLEM, np.zeros((5, D)), copy.deepcopy(rule), lr=mixed, **options)
    assert caught.value.step == traces[1].diverged_at[[1, 3]].min()


def test_what_a_rule_draws_is_drawn_once():
    """A stretch that is made again after a divergence has the noise that it had before."""
    with pytest.raises(DivergenceError) as caught:
        drive(PROBLEM, ZERO, SGLD(temperature, 5), lr=30.0, batch_size=7, epochs=200, rng=1)
    with np.errstate(all="ignore"):
        slow, theta = [ZERO], ZERO
        xi = np.random.default_rng(5).spawn(1)[0]
        for k, (indices, weights) in enumerate(batches(N, 7, epochs=200, rng=1)):
            rows = (X[indices], Y[indices])
            noise = np.sqrt(60.0 * temperature(k // 6 + (k % 6) * 7 / N)) * xi.standard_normal(D)
            theta = theta - 30.0 * PROBLEM.weighted_gradient(theta, weights, *rows) + noise
            slow.append(theta)
            if not np.isfinite(theta).all():
                break
    assert caught.value.step == len(slow) - 2
    np.testing.assert_allclose(caught.value.theta, slow[-2], rtol=1e-6)


@pytest.mark.parametrize("make", [lambda: SGLD(temperature, 3), lambda: _SVRG(9), _SAGA], ids=NAMES)
def test_groups_of_replicas_of_any_rule(monkeypatch, make):
    monkeypatch.setattr(sgdlib._driver, "_GROUP_BYTES", 2 * 8 * (D + 1) * 7)  # two at a time
    trace = drive(PROBLEM, np.zeros((6, D)), make(), lr=0.03, batch_size=7, epochs=3, rng=4)
    assert len(trace.stops) == 3
    assert len(np.unique(trace.theta[:, 0])) == 6
    rule = make()
    for g, child in enumerate(np.random.default_rng(4).spawn(3)):
        group = drive(PROBLEM, np.zeros((2, D)), rule, lr=0.03, batch_size=7, epochs=3, rng=child)
        np.testing.assert_array_equal(trace.theta[2 * g : 2 * g + 2], group.theta)


# -- a run goes on from a trace --

RULES = [{}, {"momentum": 0.9}, {"momentum": 0.9, "nesterov": True}]
FIELDS = (
    "steps",
    "epochs",
    "examples",
    "evaluations",
    "losses",
    "lrs",
    "batch_sizes",
    "parameters",
)


def assert_one_run(whole, first, second):
    """Assert that the records of two runs are those of one, the first's end left out."""
    for name in FIELDS:
        parts = [getattr(first, name)[:-1], getattr(second, name)]
        np.testing.assert_array_equal(np.concatenate(parts), getattr(whole, name), err_msg=name)
    for name in ("theta", "diverged_at"):
        np.testing.assert_array_equal(getattr(second, name), getattr(whole, name))


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("last", ["scale", "drop", "wrap"])
@pytest.mark.parametrize("sampling", SAMPLING)
@pytest.mark.parametrize("cut", [1, 6, 8, 17])
def test_two_runs_are_one(sampling, last, cut, rule):
    """Whatever the sampling and wherever the cut: with the same Generator, to the last bit."""
    options = {
        "lr": cosine(0.05, length=6), "batch_size": lambda p: 7 if p < 1.3 else 5, "record": 1,
        "keep_parameters": True, "sampling": sampling, "last": last, **rule,
    }  # fmt: skip
    for start in (ZERO, np.ones((2, D))):
        whole = minibatch_sgd(PROBLEM, start, steps=30, rng=5, **options)
        rng = np.random.default_rng(5)
        first = minibatch_sgd(PROBLEM, start, steps=cut, rng=rng, **options)
        second = minibatch_sgd(PROBLEM, first, steps=30 - cut, rng=rng, **options)
        assert_one_run(whole, first, second)


@pytest.mark.parametrize("sampling", SAMPLING)
def test_two_runs_by_epochs_are_one(sampling):
    options = {"lr": 0.05, "batch_size": 8, "sampling": sampling, "keep_parameters": True}
    whole = minibatch_sgd(PROBLEM, ZERO, epochs=7, rng=5, momentum=0.5, **options)
    rng = np.random.default_rng(5)
    first = minibatch_sgd(PROBLEM, ZERO, epochs=3, rng=rng, momentum=0.5, **options)
    second = minibatch_sgd(PROBLEM, first, epochs=4, rng=rng, momentum=0.5, **options)
    assert_one_run(whole, first, second)


def test_two_runs_of_a_population_are_one():
    bowl = NoisyQuadratic([1.0, 2.0], [[1.0, 0.5], [0.5, 1.0]])
    options = {"lr": lambda p: 0.1 / (1 + p / 9), "batch_size": lambda p: 1 + p // 7, "record": 1}
    options |= {"keep_parameters": True, "momentum": 0.9}
    for start in (np.ones(2), np.ones((5, 2))):
        whole = minibatch_sgd(bowl, start, steps=30, rng=5, **options)
        rng = np.random.default_rng(5)
        first = minibatch_sgd(bowl, start, steps=11, rng=rng, **options)
        assert_one_run(whole, first, minibatch_sgd(bowl, first, steps=19, rng=rng, **options))


def test_two_runs_over_given_batches_are_one():
    plan = list(batches(N, 7, epochs=3, rng=1))
    options = {"lr": cosine(0.05, length=3), "momentum": 0.9, "record": 1, "keep_parameters": True}
    whole = minibatch_sgd(PROBLEM, ZERO, batches=plan, **options)
    first = minibatch_sgd(PROBLEM, ZERO, batches=plan[:5], **options)
    assert_one_run(whole, first, minibatch_sgd(PROBLEM, first, batches=plan[5:], **options))


def test_to_start_anew_from_theta_is_another_run():
    """What a trace carries beside theta matters: velocity, progress, and the rest of the epoch."""
    rng = np.random.default_rng(5)
    options = {"batch_size": 7, "steps": 9, "momentum": 0.9, "rng": rng}
    first = minibatch_sgd(PROBLEM, ZERO, lr=0.02, **options)
    state = copy.deepcopy(rng.bit_generator.state)
    for lr in (0.02, cosine(0.02, length=3)):
        ends = []
        for start in (first, first.theta):
            rng.bit_generator.state = state
            ends.append(minibatch_sgd(PROBLEM, start, lr=lr, **options))
        assert np.abs(ends[0].theta - ends[1].theta).max() > 1e-3
        assert ends[0].epochs[0] == first.epochs[-1] > ends[1].epochs[0] == 0


def test_the_rest_of_an_epoch_is_what_was_left():
    seen = []

    class Watching(LeastSquares):
        def weighted_gradient(self, theta, weights, X, y):
            seen.extend(y.ravel().tolist())
            return super().weighted_gradient(theta, weights, X, y)

    problem = Watching(X, Y)
    rest = minibatch_sgd(problem, ZERO, lr=0.01, batch_size=7, steps=4, rng=0)
    minibatch_sgd(problem, rest, lr=0.01, batch_size=4, steps=3, rng=1)
    assert sorted(seen) == sorted(Y)


def test_a_trace_is_left_as_it_was():
    options = {"lr": 0.02, "batch_size": 7, "steps": 9, "momentum": 0.9}
    first = minibatch_sgd(PROBLEM, np.zeros((3, D)), rng=0, **options)
    kept = pickle.loads(pickle.dumps(first))
    one, other = (minibatch_sgd(PROBLEM, t, rng=1, **options) for t in (first, kept))
    assert first == kept
    assert one == other
    np.testing.assert_array_equal(first.stops[0].rule["velocity"], kept.stops[0].rule["velocity"])


def test_frozen_replicas_stay_frozen():
    options = {"batch_size": 7, "steps": 400, "on_divergence": "freeze", "momentum": 0.5}
    rates = np.array([0.02, 30.0, 0.02])
    first = minibatch_sgd(PROBLEM, np.zeros((3, D)), lr=rates, rng=0, **options)
    second = minibatch_sgd(PROBLEM, first, lr=0.01, rng=1, **options)
    assert (first.diverged_at >= 0).tolist() == [False, True, False]
    np.testing.assert_array_equal(second.diverged_at, first.diverged_at)
    np.testing.assert_array_equal(second.theta[1], first.theta[1])
    assert (second.theta[[0, 2]] != first.theta[[0, 2]]).all()
    dead = minibatch_sgd(PROBLEM, ZERO, lr=30.0, rng=0, **options)
    again = minibatch_sgd(PROBLEM, dead, lr=0.01, rng=1, **options)
    assert again.steps.tolist() == [dead.steps[-1]]
    np.testing.assert_array_equal(again.theta, dead.theta)


def test_groups_go_on_as_groups(monkeypatch):
    monkeypatch.setattr(sgdlib._driver, "_GROUP_BYTES", 2 * 8 * (D + 1) * 7)
    options = {"lr": 0.02, "batch_size": 7, "momentum": 0.9}
    first = minibatch_sgd(PROBLEM, np.zeros((6, D)), steps=9, rng=0, **options)
    second = minibatch_sgd(PROBLEM, first, steps=9, rng=1, **options)
    assert second.steps[-1] == 18
    for g, child in enumerate(np.random.default_rng(1).spawn(3)):
        part = slice(2 * g, 2 * g + 2)
        own = Trace(
            first.theta[part], first.steps, first.epochs, first.examples, first.evaluations,
            first.losses[:, part], first.lrs, first.batch_sizes, None, first.diverged_at[part],
            first.stops[g : g + 1],
        )  # fmt: skip
        alone = minibatch_sgd(PROBLEM, own, steps=9, rng=child, **options)
        np.testing.assert_array_equal(second.theta[part], alone.theta)
    given = minibatch_sgd(PROBLEM, second, lr=0.02, momentum=0.9, batches=batches(N, 7, rng=3))
    assert given.steps[-1] == 24  # the groups as one


def test_settings_may_change_on_the_way():
    rng = np.random.default_rng(0)
    first = minibatch_sgd(PROBLEM, ZERO, lr=0.02, batch_size=7, steps=9, rng=rng)
    heavy = minibatch_sgd(PROBLEM, first, lr=0.02, batch_size=5, steps=9, momentum=0.9, rng=rng)
    light = minibatch_sgd(
        PROBLEM, heavy, lr=0.01, batch_size=5, epochs=2, sampling="replacement", rng=rng
    )
    last = minibatch_sgd(PROBLEM, light, lr=0.01, batch_size=5, epochs=1, rng=rng)
    assert [t.steps[-1] for t in (first, heavy, light, last)] == [9, 18, 34, 42]
    # 40 + 21 in batches of 7, the 19 left over and 25 of the next epoch in batches of 5, 80 drawn
    # with replacement, and an epoch that begins there
    assert [t.examples[-1] for t in (first, heavy, light, last)] == [61, 105, 185, 225]


def test_a_trace_of_other_data_is_refused():
    trace = minibatch_sgd(PROBLEM, ZERO, lr=0.02, batch_size=7, steps=9, rng=0)
    with pytest.raises(ValueError, match=r"^theta: the trace is of a run on 40 examples, the prob"):
        minibatch_sgd(LeastSquares(X[:30], Y[:30]), trace, lr=0.1, batch_size=7, steps=9)
    with pytest.raises(ValueError, match=r"^theta: expected shape \(2,\) or \(R, 2\), got \(3,\)$"):
        minibatch_sgd(NoisyQuadratic([1.0, 2.0], 1.0), trace, lr=0.1, batch_size=7, steps=9)


# -- one protocol --


def test_any_problem_that_keeps_the_protocol_will_do():
    class Ramp:
        """f = sum(theta), without noise: no finite sum, no population."""

        n, dim = float("inf"), 2

        def loss(self, theta):
            return theta.sum(axis=-1)

        def gradient(self, theta):
            return np.ones_like(theta)

        def noise(self, shape, rng, batch_size):
            return np.zeros(shape)

        def draw(self, replicas, batch_size, rng):
            return None, (np.zeros(2),)

        def weighted_gradient(self, theta, weights, noise):
            return np.ones_like(theta) + noise

    trace = minibatch_sgd(Ramp(), [1.0, 2.0], lr=0.5, batch_size=1, steps=4)
    assert trace.theta.tolist() == [-1.0, 0.0]
    assert trace.losses[0] == 3.0


def test_a_draw_is_a_batch():
    rng = np.random.default_rng(0)
    for problem, replicas in ((PROBLEM, None), (PROBLEM, 4), (NoisyQuadratic([1.0] * D, 1.0), 4)):
        theta = np.ones(D) if replicas is None else np.ones((replicas, D))
        weights, rows = problem.draw(replicas, 5, rng)
        assert problem.weighted_gradient(theta, weights, *rows).shape == theta.shape
    indices = np.random.default_rng(3).integers(N, size=(4, 5))
    weights, rows = PROBLEM.draw(4, 5, np.random.default_rng(3))
    ours = PROBLEM.weighted_gradient(np.ones((4, D)), weights, *rows)
    expected = PROBLEM.batch_gradient(np.ones((4, D)), indices, np.full(5, 1 / 5))
    np.testing.assert_allclose(ours, expected, rtol=1e-12)
    assert Population(lambda t: t.sum(-1), np.ones_like, dim=1, covariance=0.0).n == float("inf")
