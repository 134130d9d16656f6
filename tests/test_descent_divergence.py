"""Runs that leave the finite numbers, and arguments that must not begin one."""

import math
import pickle

import numpy as np
import pytest
from descent_case import PROBLEM, ZERO, D, N, X, Y, rules, run

import sgdlib._driver
import sgdlib._steps
from sgdlib import (
    Batch,
    DivergenceError,
    DoubleWell,
    FiniteSum,
    LeastSquares,
    NoisyQuadratic,
    Population,
    Saddle,
    batches,
    from_arrays,
    minibatch_sgd,
)
from sgdlib.stability import stability_limit

# -- divergence --


def first_step_not_finite(problem, lr, plan, **options):
    with np.errstate(all="ignore"):
        theta, velocity, step = np.zeros(problem.dim), 0.0, 0
        momentum, nesterov = options.get("momentum", 0.0), options.get("nesterov", False)
        for step, (indices, weights) in enumerate(plan):
            g = problem.weighted_gradient(theta, weights, *(a[indices] for a in problem.arrays))
            velocity = momentum * velocity + g
            new = theta - lr * (g + momentum * velocity if nesterov else velocity)
            if not np.isfinite(new).all():
                return step, theta
            theta = new
    raise AssertionError("the slow loop did not diverge")


@rules
@pytest.mark.parametrize("record", ["epoch", 1, 7])
def test_the_step_of_divergence(record, momentum, nesterov):
    options = {"momentum": momentum, "nesterov": nesterov}
    plan = list(batches(N, 8, epochs=300, rng=0))
    step, last = first_step_not_finite(PROBLEM, 30.0, plan, **options)
    with pytest.raises(DivergenceError) as caught:
        run(lr=30.0, epochs=300, record=record, **options)
    assert caught.value.step == step
    np.testing.assert_allclose(caught.value.theta, last, rtol=1e-6)
    assert np.isfinite(caught.value.theta).all()
    for plan_ in (plan, iter(plan)):
        with pytest.raises(DivergenceError) as caught:
            minibatch_sgd(PROBLEM, ZERO, lr=30.0, batches=plan_, record=record, **options)
        assert caught.value.step == step


def test_the_likely_cause_is_named():
    largest = np.linalg.eigvalsh(PROBLEM.hessian())[-1]
    sentence = (
        rf"^the run diverged at step \d+: theta is no longer finite with lr=30, above the "
        rf"full-batch stability limit {2 / largest:.4g} of the largest curvature {largest:.4g} at "
        "the start$"
    )
    with pytest.raises(DivergenceError, match=sentence):
        run(lr=30.0, epochs=300)
    limit = stability_limit(largest, momentum=0.9)
    with pytest.raises(DivergenceError, match=rf"stability limit {limit:.4g} of"):
        run(lr=30.0, epochs=300, momentum=0.9)
    # below the full-batch limit, and yet too large for single examples
    rare = LeastSquares(np.append(np.full(99, 0.01), 10.0)[:, None], np.ones(100))
    with pytest.raises(DivergenceError, match=r"with lr=1, below the full-batch .* lower limit"):
        minibatch_sgd(rare, [0.0], lr=1.0, batch_size=1, epochs=200, rng=0)


def test_the_rate_named_is_that_of_the_replica_or_of_the_moment():
    with pytest.raises(DivergenceError, match="with lr=30, above"):
        run(theta=np.zeros((3, D)), lr=np.array([0.01, 30.0, 0.02]), epochs=300)
    with pytest.raises(DivergenceError, match="with lr=50, above"):
        run(lr=lambda p: 0.01 if p < 1 else 50.0, epochs=300)


@pytest.mark.parametrize(
    "problem",
    [
        NoisyQuadratic([-1.0], 1.0),  # no positive curvature, no limit
        Saddle(1.0),  # no Hessian
        DoubleWell(1.0),
    ],
)
def test_divergence_without_a_stability_limit(problem):
    start = np.full(problem.dim, 2.0)
    for record in ("epoch", 1):
        with pytest.raises(DivergenceError, match="a smaller learning rate is the first thing"):
            minibatch_sgd(problem, start, lr=3.0, batch_size=8, steps=5000, record=record, rng=0)


def test_divergence_of_a_loss_that_is_undefined_at_zero():
    steep = from_arrays(
        [np.ones(10)],
        lambda t, x: np.log(t[0]) * x,
        lambda t, x: (x / t[0] ** 3)[:, None],
        dim=1,
    )
    with pytest.raises(DivergenceError, match=r"^the run diverged at step 1: "):
        minibatch_sgd(steep, [1.0], lr=1.0, batch_size=2, steps=500, rng=0)


def test_nan_in_a_gradient_is_divergence_at_once():
    broken = from_arrays(
        [np.arange(4.0)],
        lambda t, x: x * t[0],
        lambda t, x: np.where(x == 2, np.nan, x)[:, None],
        dim=1,
    )
    with pytest.raises(DivergenceError) as caught:
        minibatch_sgd(broken, [0.0], lr=0.1, batch_size=1, epochs=1, sampling="sequential")
    assert caught.value.step == 2
    assert caught.value.theta.tolist() == [-0.1]


def test_a_frozen_run_stops():
    trace = run(lr=30.0, epochs=300, on_divergence="freeze", record=10)
    step, last = first_step_not_finite(PROBLEM, 30.0, batches(N, 8, epochs=300, rng=0))
    assert trace.diverged_at == step
    assert trace.steps[-1] == step + 1
    np.testing.assert_allclose(trace.theta, last, rtol=1e-6)
    assert run(on_divergence="freeze").diverged_at == -1
    assert run().diverged_at == -1


@rules
@pytest.mark.parametrize("record", ["epoch", 3])
def test_frozen_replicas_leave_the_others_alone(record, momentum, nesterov):
    options = {"momentum": momentum, "nesterov": nesterov, "epochs": 300, "record": record}
    good, mixed = np.full(5, 0.02), np.array([0.02, 30.0, 0.02, 99.0, 0.02])
    options |= {"theta": np.zeros((5, D)), "keep_parameters": True}
    clean = run(lr=good, **options)
    trace = run(lr=mixed, on_divergence="freeze", **options)
    healthy = [0, 2, 4]
    np.testing.assert_array_equal(trace.theta[healthy], clean.theta[healthy])
    np.testing.assert_array_equal(trace.parameters[:, healthy], clean.parameters[:, healthy])
    np.testing.assert_array_equal(trace.losses[:, healthy], clean.losses[:, healthy])
    for name in ("steps", "epochs", "examples", "batch_sizes"):
        np.testing.assert_array_equal(getattr(trace, name), getattr(clean, name))
    assert (trace.diverged_at[healthy] == -1).all()
    assert (trace.diverged_at[[1, 3]] > 0).all()
    assert np.isfinite(trace.theta).all()
    # frozen from then on: every later record holds the same parameters
    for replica in (1, 3):
        later = trace.parameters[trace.steps > trace.diverged_at[replica], replica]
        assert (later == trace.theta[replica]).all()
    with pytest.raises(DivergenceError) as caught:
        run(lr=mixed, **options)
    assert caught.value.step == trace.diverged_at[[1, 3]].min()
    np.testing.assert_array_equal(caught.value.theta[3], trace.theta[3])


@pytest.mark.parametrize("epochs", [300, 96])
def test_a_group_that_froze_entirely(monkeypatch, epochs):
    monkeypatch.setattr(sgdlib._driver, "_GROUP_BYTES", 2 * 8 * 8 * (D + 1))  # two at a time
    rates = np.array([30.0, 40.0, 0.02, 0.03, 0.02, 50.0])
    trace = run(
        theta=np.zeros((6, D)), lr=rates, epochs=epochs, on_divergence="freeze", record=10,
        keep_parameters=True,
    )  # fmt: skip
    steps = 5 * epochs
    assert trace.steps.tolist() == [*range(0, steps, 10), steps]
    assert trace.examples[-1] == epochs * N
    assert trace.losses.shape == trace.lrs.shape == (len(trace.steps), 6)
    np.testing.assert_array_equal(trace.parameters[-1], trace.theta)
    np.testing.assert_array_equal(trace.lrs[0], rates)
    np.testing.assert_array_equal(trace.lrs[-1], rates)
    assert (trace.diverged_at >= 0).tolist() == [True, True, False, False, False, True]
    assert np.isfinite(trace.losses[:, 2:5]).all()


def test_a_group_that_froze_just_before_the_end(monkeypatch):
    monkeypatch.setattr(sgdlib._driver, "_GROUP_BYTES", 2 * 8 * 8 * (D + 1))  # two at a time
    options = {"theta": np.zeros((4, D)), "lr": np.array([30.0, 40.0, 0.02, 0.03]), "epochs": None}
    options |= {"on_divergence": "freeze", "record": 1000}
    frozen_at = run(steps=500, **options).diverged_at.max()
    trace = run(steps=int(frozen_at) + 5, **options)
    assert trace.steps.tolist() == [0, frozen_at + 5]


def test_all_replicas_frozen():
    trace = run(theta=np.zeros((3, D)), lr=30.0, epochs=300, on_divergence="freeze")
    assert (trace.diverged_at >= 0).all()
    assert trace.steps[-1] == trace.diverged_at.max() + 1
    assert np.isfinite(trace.theta).all()


def test_a_population_freezes_too():
    start = np.array([[0.1], [50.0], [-0.1]])
    trace = minibatch_sgd(
        DoubleWell(0.01), start, lr=0.1, batch_size=4, steps=500, on_divergence="freeze", rng=0
    )
    assert (trace.diverged_at >= 0).tolist() == [False, True, False]
    np.testing.assert_allclose(np.abs(trace.theta[[0, 2]]), 1.0, atol=0.1)


# -- learning rates that go wrong on the way --


@pytest.mark.parametrize(
    ("later", "shown"),
    [(-0.1, "-0.1"), (math.nan, "nan"), (math.inf, "inf"), (np.float64(-1), "-1.0")],
)
def test_a_learning_rate_schedule_that_goes_wrong(later, shown):
    def lr(progress):
        return 0.05 if progress < 2 else later

    with pytest.raises(ValueError, match=rf"^lr\(2\)={shown}: expected a finite number >= 0$"):
        run(lr=lr)
    with pytest.raises(ValueError, match=rf"^lr\(2\)={shown}: expected a finite number >= 0$"):
        run(lr=lr, record=1, theta=np.zeros((2, D)))


def test_a_learning_rate_schedule_may_reach_zero():
    trace = run(lr=lambda p: max(0.0, 0.1 - 0.05 * p), record=1, keep_parameters=True)
    np.testing.assert_array_equal(trace.parameters[10:], trace.parameters[[10]].repeat(11, 0))


# -- bad input: one sentence, and no gradient is computed --


class Watched(LeastSquares):
    def weighted_gradient(self, *arguments):
        raise AssertionError("work was done")

    row_losses = row_gradients = weighted_gradient


BAD = [
    ({"lr": 0.0}, ValueError, r"^lr=0\.0: expected a finite number > 0$"),
    ({"lr": -0.1}, ValueError, r"^lr=-0\.1: expected a finite number > 0$"),
    ({"lr": math.nan}, ValueError, r"^lr=nan: expected a finite number > 0$"),
    ({"lr": math.inf}, ValueError, r"^lr=inf: expected a finite number > 0$"),
    ({"lr": 10**400}, ValueError, r"^lr=inf: expected a finite number > 0$"),
    ({"lr": "0.1"}, TypeError, r"^lr='0\.1': expected a finite number > 0$"),
    ({"lr": None}, TypeError, r"^lr=None: expected a finite number > 0$"),
    ({"lr": True}, TypeError, r"^lr=True: expected a finite number > 0$"),
    ({"lr": [0.1, 0.2]}, ValueError, r"^lr: expected a number or one per replica, got shape \(2,"),
    ({"lr": []}, ValueError, r"^lr: expected data, got an empty array of shape \(0,\)$"),
    ({"lr": [0.1, 0.0], "theta": np.zeros((2, D))}, ValueError, r"^lr=0: expected a finite number"),
    ({"lr": [0.1, math.nan], "theta": np.zeros((2, D))}, ValueError, r"^lr: expected finite numbe"),
    ({"lr": [0.1] * 3, "theta": np.zeros((2, D))}, ValueError, r"^lr: expected a number or one pe"),
    ({"lr": lambda p: -1.0}, ValueError, r"^lr\(0\)=-1\.0: expected a finite number >= 0$"),
    ({"lr": lambda p: np.ones(2)}, TypeError, r"^lr\(0\)=array\(\[1\., 1\.\]\): expected a finite"),
    ({"batch_size": 0}, ValueError, r"^batch_size=0: expected an int in 1\.\.37$"),
    ({"batch_size": -8}, ValueError, r"^batch_size=-8: expected an int in 1\.\.37$"),
    ({"batch_size": 38}, ValueError, r"^batch_size=38: expected an int in 1\.\.37$"),
    ({"batch_size": 38, "sampling": "subset"}, ValueError, r"^batch_size=38: expected an int in 1"),
    ({"batch_size": 8.0}, TypeError, r"^batch_size=8\.0: expected an int in 1\.\.37$"),
    ({"batch_size": math.nan}, TypeError, r"^batch_size=nan: expected an int in 1\.\.37$"),
    ({"batch_size": "8"}, TypeError, r"^batch_size='8': expected an int in 1\.\.37$"),
    ({"batch_size": True}, TypeError, r"^batch_size=True: expected an int in 1\.\.37$"),
    ({"batch_size": np.array([8, 8])}, TypeError, r"^batch_size=array\(\[8, 8\]\): expected an in"),
    ({"batch_size": None}, ValueError, r"^batch_size=None: expected a batch size, or batches=$"),
    ({"batch_size": lambda p: 0}, ValueError, r"^batch_size\(0\)=0: expected an int in 1\.\.37$"),
    ({"batch_size": lambda p: math.nan}, ValueError, r"^batch_size\(0\)=nan: expected a finite nu"),
    ({"batch_size": lambda p: 1 + 30 * p}, ValueError, r"^batch_size\(1\.24\)=38: expected an int"),
    ({"epochs": None}, ValueError, r"^epochs=None, steps=None: expected one of them$"),
    ({"epochs": 2, "steps": 3}, ValueError, r"^epochs=2, steps=3: expected one of them$"),
    ({"epochs": 0}, ValueError, r"^epochs=0: expected an int >= 1$"),
    ({"epochs": 1.5}, TypeError, r"^epochs=1\.5: expected an int >= 1$"),
    ({"epochs": math.nan}, TypeError, r"^epochs=nan: expected an int >= 1$"),
    ({"epochs": None, "steps": -1}, ValueError, r"^steps=-1: expected an int >= 1$"),
    ({"epochs": None, "steps": "9"}, TypeError, r"^steps='9': expected an int >= 1$"),
    ({"momentum": 1.0}, ValueError, r"^momentum=1\.0: expected a finite number >= 0 and < 1$"),
    ({"momentum": -0.1}, ValueError, r"^momentum=-0\.1: expected a finite number >= 0 and < 1$"),
    ({"momentum": math.nan}, ValueError, r"^momentum=nan: expected a finite number >= 0 and < 1$"),
    ({"momentum": "0.9"}, TypeError, r"^momentum='0\.9': expected a finite number >= 0 and < 1$"),
    ({"momentum": True}, TypeError, r"^momentum=True: expected a finite number >= 0 and < 1$"),
    ({"nesterov": True}, ValueError, r"^nesterov=True: expected momentum > 0$"),
    ({"nesterov": "no"}, TypeError, r"^nesterov='no': expected True or False$"),
    ({"sampling": "shuffle"}, ValueError, r"^sampling='shuffle': expected one of 'reshuffle', "),
    ({"last": "dorp"}, ValueError, r"^last='dorp': expected one of 'scale', "),
    ({"record": 0}, ValueError, r"^record=0: expected an int >= 1$"),
    ({"record": "step"}, ValueError, r"^record='step': expected 'epoch' or an int >= 1$"),
    ({"record": 1.5}, TypeError, r"^record=1\.5: expected an int >= 1$"),
    ({"record": None}, TypeError, r"^record=None: expected an int >= 1$"),
    ({"keep_parameters": 1}, TypeError, r"^keep_parameters=1: expected True or False$"),
    ({"on_divergence": "ignore"}, ValueError, r"^on_divergence='ignore': expected one of 'raise',"),
    ({"rng": -1}, ValueError, r"^rng=-1: expected an int >= 0$"),
    ({"rng": "x"}, TypeError, r"^rng='x': expected an int >= 0, a numpy\.random\.Generator or Non"),
    ({"theta": np.zeros(D + 1)}, ValueError, r"^theta: expected shape \(3,\) or \(R, 3\), got \(4"),
    ({"theta": 0.0}, ValueError, r"^theta: expected a 1- or 2-dimensional array, got shape \(\)$"),
    ({"theta": np.zeros((0, D))}, ValueError, r"^theta: expected data, got an empty array of shap"),
    ({"theta": [0, math.nan, 0]}, ValueError, r"^theta: expected finite numbers, got nan at index"),
    ({"theta": "000"}, TypeError, r"^theta: expected an array of real numbers, got dtype <U3$"),
    ({"problem": "x"}, TypeError, r"^problem: expected a FiniteSum or a Population, got a str$"),
    ({"problem": (X, Y)}, TypeError, r"^problem: expected a FiniteSum or a Population, got a tupl"),
    ({"batches": []}, ValueError, r"^batches: the sequence already says batch_size, epochs and st"),
]  # fmt: skip


@pytest.mark.parametrize(("change", "error", "sentence"), BAD)
def test_bad_arguments(change, error, sentence):
    with pytest.raises(error, match=sentence):
        run(**{"problem": Watched(X, Y), **change})


@pytest.mark.parametrize(
    ("given_batches", "error", "sentence"),
    [
        ([], ValueError, r"^batches: expected at least one batch, got none$"),
        (iter([]), ValueError, r"^batches: expected at least one batch, got none$"),
        (5, TypeError, r"^batches=5: expected a sequence of \(indices, weights\)$"),
        ([np.array([0, 1])], TypeError, r"^batches: expected pairs \(indices, weights\), got a nd"),
        ([(np.array([0, 1]),)], TypeError, r"^batches: expected pairs \(indices, weights\), got a"),
        (Batch(np.array([0]), np.ones(1)), TypeError, r"^batches: expected pairs \(indices, weigh"),
        ([([0, 37], [0.5, 0.5])], IndexError, r"^indices: expected 0\.\.36, got 0\.\.37$"),
        ([([0.5], [1.0])], TypeError, r"^indices: expected integers, got dtype float64$"),
        ([([], [])], ValueError, r"^indices: expected at least one, got shape \(0,\)$"),
        ([([[0, 1]], [0.5, 0.5])], ValueError, r"^indices: expected shape \(B,\), got \(1, 2\)$"),
        ([([0, 1], [1.0])], ValueError, r"^weights: expected shape \(2,\), got \(1,\)$"),
        ([([0, 1], [1.0, math.nan])], ValueError, r"^weights: expected finite numbers, got nan at"),
    ],
)  # fmt: skip
def test_bad_batches(given_batches, error, sentence):
    with pytest.raises(error, match=sentence):
        minibatch_sgd(Watched(X, Y), ZERO, lr=0.1, batches=given_batches)


class WatchedPopulation(Population):
    def weighted_gradient(self, *arguments):
        raise AssertionError("work was done")

    loss = weighted_gradient


@pytest.mark.parametrize(
    ("change", "error", "sentence"),
    [
        ({"epochs": 2, "steps": None}, ValueError, r"^epochs=2: a population has no epochs, give "),
        ({"steps": None}, ValueError, r"^epochs=None, steps=None: expected one of them$"),
        ({"batch_size": None}, ValueError, r"^batch_size=None: expected a batch size, or batches="),
        ({"batch_size": 0}, ValueError, r"^batch_size=0: expected an int >= 1$"),
        ({"batch_size": 0.5}, TypeError, r"^batch_size=0\.5: expected an int >= 1$"),
        ({"batch_size": lambda p: math.nan}, ValueError, r"^batch_size\(0\)=nan: expected a finit"),
        ({"batches": []}, ValueError, r"^batches: a population has no examples to index; give bat"),
        ({"sampling": "x"}, ValueError, r"^sampling='x': expected one of "),
        ({"theta": [1.0]}, ValueError, r"^theta: expected shape \(2,\) or \(R, 2\), got \(1,\)$"),
    ],
)  # fmt: skip
def test_bad_arguments_for_a_population(change, error, sentence):
    problem = WatchedPopulation(lambda t: t.sum(-1), lambda t: t, dim=2, covariance=1.0)
    options = {"problem": problem, "theta": [0.0, 0.0], "epochs": None, "steps": 5, **change}
    with pytest.raises(error, match=sentence):
        run(**options)


def test_numpy_numbers_will_do():
    trace = run(
        lr=np.float32(0.05), batch_size=np.int64(8), epochs=np.int32(2), momentum=np.float64(0.5),
        nesterov=np.True_, record=np.int64(2), rng=np.int64(0),
    )  # fmt: skip
    assert trace.steps[-1] == 10


def test_one_example_one_parameter():
    trace = minibatch_sgd(LeastSquares([[2.0]], [4.0]), [0.0], lr=0.25, batch_size=1, epochs=2)
    assert trace.theta.tolist() == [2.0]
    assert trace.losses.tolist() == [8.0, 0.0, 0.0]
    FiniteSum((X,), D)  # a bare sum can be made, and says what it lacks when it is used
    with pytest.raises(TypeError, match="does not define row_losses"):
        minibatch_sgd(FiniteSum((X,), D), ZERO, lr=0.1, batch_size=1, epochs=1)


def test_a_trace_can_be_stored():
    trace = pickle.loads(pickle.dumps(run(keep_parameters=True)))
    np.testing.assert_array_equal(trace.theta, run().theta)
    with pytest.raises(AttributeError):
        trace.theta = None


def test_a_divergence_can_cross_processes():
    with pytest.raises(DivergenceError) as caught:
        run(lr=30.0, epochs=300)
    there = pickle.loads(pickle.dumps(caught.value))
    assert str(there) == str(caught.value)
    assert there.step == caught.value.step
    np.testing.assert_array_equal(there.theta, caught.value.theta)
