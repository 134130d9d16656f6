"""minibatch_sgd against a slow listing, other libraries, closed forms and planted bugs."""

import math
import pickle
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import sgdlib._sources
import sgdlib.descent
from sgdlib import (
    Batch,
    DivergenceError,
    DoubleWell,
    FiniteSum,
    LeastSquares,
    Logistic,
    NoisyQuadratic,
    Population,
    Saddle,
    batches,
    from_arrays,
    minibatch_sgd,
)
from sgdlib.batching import LAST, SAMPLING
from sgdlib.scaling import stability_limit

quick = settings(max_examples=40, deadline=None, derandomize=True)
RNG = np.random.default_rng(11)
N, D = 37, 3
X = RNG.normal(size=(N, D))
Y = X @ [1.0, -2.0, 0.5] + 0.3 * RNG.normal(size=N)
PROBLEM = LeastSquares(X, Y)
ZERO = np.zeros(D)
RULES = [(0.0, False), (0.9, False), (0.9, True)]
rules = pytest.mark.parametrize(("momentum", "nesterov"), RULES)


def textbook(problem, theta, lr, plan, momentum=0.0, nesterov=False):
    """Return theta before each step and at the end, by the slowest of loops."""
    velocity, path = np.zeros(len(theta)), [np.array(theta, float)]
    for step, (indices, weights) in enumerate(plan):
        theta, g = path[-1], np.zeros(problem.dim)
        for i, w in zip(indices, weights, strict=True):
            g = g + w * problem.gradients(theta, [i])[0]
        velocity = momentum * velocity + g
        direction = g + momentum * velocity if nesterov else velocity
        rate = lr(step) if callable(lr) else lr
        path.append(theta - rate * direction)
    return np.array(path)


# -- the textbook, step by step --


@rules
@pytest.mark.parametrize("last", LAST)
@pytest.mark.parametrize(
    "problem", [PROBLEM, Logistic(X, Y > 0, l2=0.1)], ids=["squares", "logistic"]
)
def test_every_step_of_the_textbook(problem, last, momentum, nesterov):
    plan = list(batches(N, 8, last=last, epochs=3, rng=1))
    options = {"momentum": momentum, "nesterov": nesterov}
    slow = textbook(problem, ZERO, 0.05, plan, **options)
    trace = minibatch_sgd(
        problem, ZERO, lr=0.05, batches=plan, record=1, keep_parameters=True, **options
    )
    np.testing.assert_allclose(trace.parameters, slow, rtol=1e-11, atol=1e-12)
    np.testing.assert_array_equal(trace.theta, trace.parameters[-1])
    np.testing.assert_allclose(trace.losses, [problem.loss(t) for t in slow], rtol=1e-11)


@pytest.mark.parametrize("sampling", SAMPLING)
@pytest.mark.parametrize("last", LAST)
def test_a_run_draws_the_batches_of_its_seed(sampling, last):
    plan = list(batches(N, 8, sampling=sampling, last=last, epochs=4, rng=5))
    trace = minibatch_sgd(
        PROBLEM, ZERO, lr=0.05, batch_size=8, epochs=4, sampling=sampling, last=last, rng=5,
        record=1, keep_parameters=True,
    )  # fmt: skip
    slow = textbook(PROBLEM, ZERO, 0.05, plan)
    np.testing.assert_allclose(trace.parameters, slow, rtol=1e-11, atol=1e-12)


@given(
    st.integers(1, 12),
    st.data(),
    st.sampled_from(SAMPLING),
    st.sampled_from(LAST),
    st.sampled_from(RULES),
    st.integers(1, 9),
)
@quick
def test_any_run_is_the_textbook(n, data, sampling, last, rule, steps):
    b = data.draw(st.integers(1, n if sampling != "replacement" else 15))
    problem = LeastSquares(X[:n], Y[:n])
    plan = list(batches(n, b, sampling=sampling, last=last, steps=steps, rng=3))
    options = {"momentum": rule[0], "nesterov": rule[1]}
    slow = textbook(problem, ZERO, 0.02, plan, **options)
    trace = minibatch_sgd(
        problem, ZERO, lr=0.02, batch_size=b, steps=steps, sampling=sampling, last=last, rng=3,
        **options,
    )  # fmt: skip
    np.testing.assert_allclose(trace.theta, slow[-1], rtol=1e-10, atol=1e-11)
    assert trace.steps[-1] == steps


def test_planted_bugs_leave_the_textbook():
    plan = list(batches(N, 8, epochs=2, rng=1))
    right = minibatch_sgd(PROBLEM, ZERO, lr=0.05, batches=plan, momentum=0.5).theta
    over = [Batch(i, np.full(len(i), 1 / 7)) for i, w in plan]  # 1/(B - 1)
    keep = [Batch(i, np.full(len(i), 1 / len(i))) for i, w in plan]  # the wrong short-batch rule
    for wrong in (
        textbook(PROBLEM, ZERO, 0.05, over, momentum=0.5),
        textbook(PROBLEM, ZERO, 0.05, keep, momentum=0.5),
        textbook(PROBLEM, ZERO, 0.025, plan, momentum=0.5),
        textbook(PROBLEM, ZERO, 0.05, plan, momentum=0.5, nesterov=True),
        textbook(PROBLEM, ZERO, 0.05, plan[::-1], momentum=0.5),
    ):
        assert np.abs(wrong[-1] - right).max() > 1e-4


def test_schedules_of_the_learning_rate_see_progress_before_the_step():
    plan = list(batches(N, 8, epochs=2, rng=1))
    seen = np.concatenate([[0], np.cumsum([len(i) for i, _ in plan])[:-1]]) / N

    def lr(progress):
        return 0.1 / (1 + progress)

    slow = textbook(PROBLEM, ZERO, lambda step: lr(seen[step]), plan, momentum=0.5)
    options = {"momentum": 0.5, "record": 1, "keep_parameters": True}
    for trace in (
        minibatch_sgd(PROBLEM, ZERO, lr=lr, batches=plan, **options),
        minibatch_sgd(PROBLEM, ZERO, lr=lr, batch_size=8, epochs=2, rng=1, **options),
    ):
        np.testing.assert_allclose(trace.parameters, slow, rtol=1e-11, atol=1e-12)
        np.testing.assert_allclose(trace.lrs[:-1], [lr(p) for p in seen], rtol=1e-13)
        assert trace.lrs[-1] == trace.lrs[-2]


def test_schedules_of_the_batch_size():
    def size(progress):
        return 4 if progress < 1 else 16

    plan = list(batches(N, size, epochs=3, rng=1))
    trace = minibatch_sgd(PROBLEM, ZERO, lr=0.05, batch_size=size, epochs=3, rng=1, record=1)
    slow = textbook(PROBLEM, ZERO, 0.05, plan)
    np.testing.assert_allclose(trace.theta, slow[-1], rtol=1e-11)
    assert trace.batch_sizes.tolist() == [4] * 10 + [16] * 7  # and the last one again
    assert trace.examples[-1] == 3 * N


# -- other libraries on the same batches --


@rules
def test_torch_takes_the_same_steps(momentum, nesterov):
    torch = pytest.importorskip("torch")
    plan = list(batches(N, 8, last="keep", epochs=3, rng=2))
    theta = torch.zeros(D, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.SGD([theta], lr=0.05, momentum=momentum, nesterov=nesterov)
    inputs, targets = torch.tensor(X), torch.tensor(Y)
    path = [np.zeros(D)]
    for indices, _ in plan:
        indices = torch.tensor(indices)
        optimizer.zero_grad()
        (0.5 * (inputs[indices] @ theta - targets[indices]).square().mean()).backward()
        optimizer.step()
        path.append(theta.detach().numpy().copy())
    trace = minibatch_sgd(
        PROBLEM, ZERO, lr=0.05, momentum=momentum, nesterov=nesterov, batches=plan, record=1,
        keep_parameters=True,
    )  # fmt: skip
    np.testing.assert_allclose(trace.parameters, path, rtol=1e-11, atol=1e-12)


def test_scikit_learn_takes_the_same_steps():
    linear_model = pytest.importorskip("sklearn.linear_model")
    judge = linear_model.SGDRegressor(
        penalty=None, fit_intercept=False, learning_rate="constant", eta0=0.01, shuffle=False,
        max_iter=5, tol=None,
    ).fit(X, Y)  # fmt: skip
    trace = minibatch_sgd(PROBLEM, ZERO, lr=0.01, batch_size=1, epochs=5, sampling="sequential")
    np.testing.assert_allclose(trace.theta, judge.coef_, rtol=1e-10)
    half = minibatch_sgd(PROBLEM, ZERO, lr=0.005, batch_size=1, epochs=5, sampling="sequential")
    assert np.abs(half.theta - judge.coef_).max() > 1e-3


def test_logistic_agrees_with_scikit_learn():
    linear_model = pytest.importorskip("sklearn.linear_model")
    judge = linear_model.SGDClassifier(
        loss="log_loss", penalty=None, fit_intercept=False, learning_rate="constant", eta0=0.05,
        shuffle=False, max_iter=3, tol=None,
    ).fit(X, Y > 0)  # fmt: skip
    trace = minibatch_sgd(
        Logistic(X, Y > 0), ZERO, lr=0.05, batch_size=1, epochs=3, sampling="sequential"
    )
    np.testing.assert_allclose(trace.theta, judge.coef_[0], rtol=1e-9)


def test_full_batches_are_gradient_descent():
    theta = np.ones(D)
    for _ in range(20):
        theta = theta - 0.1 * PROBLEM.gradient(theta)
    trace = minibatch_sgd(PROBLEM, np.ones(D), lr=0.1, batch_size=N, epochs=20, rng=0)
    np.testing.assert_allclose(trace.theta, theta, rtol=1e-11)


# -- replicas --


@rules
@pytest.mark.parametrize("own_batches", [True, False])
def test_replicas_are_separate_runs(own_batches, momentum, nesterov):
    R = 4
    plans = [
        list(batches(N, 8, last="pad", epochs=2, rng=r if own_batches else 0)) for r in range(R)
    ]
    together = [
        Batch(np.stack([b.indices for b in same]) if own_batches else same[0].indices,
              same[0].weights)
        for same in zip(*plans, strict=True)
    ]  # fmt: skip
    start = RNG.normal(size=(R, D))
    options = {"momentum": momentum, "nesterov": nesterov, "record": 3, "keep_parameters": True}
    rates = np.array([0.01, 0.02, 0.05, 0.03])
    trace = minibatch_sgd(PROBLEM, start, lr=rates, batches=iter(together), **options)
    assert trace.parameters.shape == (len(trace.steps), R, D)
    assert trace.losses.shape == trace.lrs.shape == (len(trace.steps), R)
    for r, plan in enumerate(plans):
        alone = minibatch_sgd(PROBLEM, start[r], lr=rates[r], batches=plan, **options)
        np.testing.assert_allclose(trace.parameters[:, r], alone.parameters, rtol=1e-11, atol=1e-12)
        np.testing.assert_allclose(trace.losses[:, r], alone.losses, rtol=1e-10)
        np.testing.assert_array_equal(trace.lrs[:, r], alone.lrs)
        np.testing.assert_array_equal(trace.steps, alone.steps)
        np.testing.assert_array_equal(trace.examples, alone.examples)


def test_own_losses_take_replicas_too():
    own = from_arrays(
        [X, Y],
        lambda t, x, y: (x @ t - y) ** 2 / 2,
        lambda t, x, y: (x @ t - y)[:, None] * x,
        dim=D,
    )
    options = {"lr": 0.05, "batch_size": 8, "epochs": 2, "momentum": 0.5, "rng": 0}
    for start in (ZERO, RNG.normal(size=(3, D))):
        ours, theirs = (minibatch_sgd(p, start, **options) for p in (PROBLEM, own))
        np.testing.assert_allclose(ours.theta, theirs.theta, rtol=1e-11)
        np.testing.assert_allclose(ours.losses, theirs.losses, rtol=1e-11)


def test_replicas_have_batches_of_their_own():
    for sampling in ("reshuffle", "shuffle_once", "replacement", "subset"):
        trace = minibatch_sgd(
            PROBLEM, np.zeros((5, D)), lr=0.05, batch_size=8, epochs=1, sampling=sampling, rng=0
        )
        assert len(np.unique(trace.theta[:, 0])) == 5
    trace = minibatch_sgd(
        PROBLEM, np.zeros((5, D)), lr=0.05, batch_size=8, epochs=1, sampling="sequential"
    )
    assert len(np.unique(trace.theta[:, 0])) == 1


@pytest.mark.parametrize("size", [8, lambda p: 4 if p < 1 else 16], ids=["fixed", "schedule"])
@pytest.mark.parametrize("length", [{"epochs": 2}, {"steps": 11}], ids=["epochs", "steps"])
def test_groups_of_replicas(monkeypatch, size, length):
    R, rates = 10, np.linspace(0.01, 0.05, 10)
    start = RNG.normal(size=(R, D))
    row_bytes = 8 * (D + 1)
    largest = 16 if callable(size) else 8
    monkeypatch.setattr(sgdlib.descent, "_GROUP_BYTES", 4 * row_bytes * largest)
    options = {"batch_size": size, "record": 2, "keep_parameters": True, **length}
    trace = minibatch_sgd(PROBLEM, start, lr=rates, rng=9, **options)
    children = np.random.default_rng(9).spawn(3)
    for child, part in zip(children, (slice(0, 4), slice(4, 8), slice(8, 10)), strict=True):
        group = minibatch_sgd(PROBLEM, start[part], lr=rates[part], rng=child, **options)
        np.testing.assert_array_equal(trace.theta[part], group.theta)
        np.testing.assert_array_equal(trace.losses[:, part], group.losses)
        np.testing.assert_array_equal(trace.parameters[:, part], group.parameters)
        np.testing.assert_array_equal(trace.lrs[:, part], group.lrs)
        for name in ("steps", "epochs", "examples", "batch_sizes"):
            np.testing.assert_array_equal(getattr(trace, name), getattr(group, name))
    assert trace.diverged_at.tolist() == [-1] * R
    assert len(np.unique(trace.theta[:, 0])) == R


def test_orders_of_many_replicas_do_not_fill_the_memory(monkeypatch):
    monkeypatch.setattr(sgdlib.descent, "_ORDER_BYTES", 8 * N * 3)  # three replicas at a time
    start = np.zeros((7, D))
    trace = minibatch_sgd(PROBLEM, start, lr=0.05, batch_size=8, epochs=2, rng=9)
    children = np.random.default_rng(9).spawn(3)
    first = minibatch_sgd(PROBLEM, start[:3], lr=0.05, batch_size=8, epochs=2, rng=children[0])
    np.testing.assert_array_equal(trace.theta[:3], first.theta)
    assert trace.theta.shape == (7, D)


# -- records --


def run(**change):
    options = {"lr": 0.05, "batch_size": 8, "epochs": 4, "rng": 0, **change}
    return minibatch_sgd(options.pop("problem", PROBLEM), options.pop("theta", ZERO), **options)


@pytest.mark.parametrize("every", [1, 2, 7, 19, 20, 21, 1000])
def test_a_record_every_so_many_steps(every):
    trace = run(record=every, keep_parameters=True)
    full = run(record=1, keep_parameters=True)
    kept = sorted({*range(0, 20, every), 20})
    assert trace.steps.tolist() == kept
    for name in ("epochs", "examples", "losses", "lrs", "batch_sizes", "parameters"):
        np.testing.assert_array_equal(getattr(trace, name), getattr(full, name)[kept])
    np.testing.assert_array_equal(trace.theta, full.theta)


@pytest.mark.parametrize("sampling", SAMPLING)
def test_a_record_at_each_epoch(sampling):
    trace = run(sampling=sampling, epochs=6, batch_size=5)
    full = run(sampling=sampling, epochs=6, batch_size=5, record=1)
    # the first record of each epoch, and the end
    firsts = [int(np.argmax(full.epochs >= e)) for e in range(6)]
    assert trace.steps.tolist() == [*firsts, full.steps[-1]]
    np.testing.assert_array_equal(trace.losses, full.losses[trace.steps])


def test_losses_are_those_of_all_examples_before_the_step():
    trace = run(record=1, keep_parameters=True)
    assert trace.losses[0] == PROBLEM.loss(ZERO)
    np.testing.assert_allclose(trace.losses, PROBLEM.loss(trace.parameters), rtol=1e-12)
    np.testing.assert_array_equal(trace.parameters[0], ZERO)


def test_parameters_are_kept_on_demand():
    assert run().parameters is None
    kept = run(keep_parameters=True).parameters
    assert kept.shape == (5, D)
    assert len(np.unique(kept[:, 0])) == 5


@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_recording_does_not_move_the_run(momentum):
    ends = [run(record=r, momentum=momentum).theta for r in ("epoch", 1, 3)]
    np.testing.assert_array_equal(ends[0], ends[1])
    np.testing.assert_array_equal(ends[0], ends[2])


@pytest.mark.parametrize(
    ("last", "steps", "examples", "epochs"),
    [
        ("scale", 15, 111, 3.0),
        ("keep", 15, 111, 3.0),
        ("pad", 15, 111, 3.0),
        ("wrap", 15, 111, 3.0),
        ("drop", 12, 96, (2 * 37 + 32) / 37),
    ],
)
def test_counters_for_each_last_rule(last, steps, examples, epochs):
    trace = run(last=last, epochs=3)  # N = 37 = 4 * 8 + 5
    assert trace.steps.tolist() == [0, steps // 3, 2 * steps // 3, steps]
    assert trace.examples.tolist() == [0, examples // 3, 2 * examples // 3, examples]
    assert trace.epochs[:3].tolist() == [0, 1, 2]
    assert trace.epochs[-1] == pytest.approx(epochs, rel=1e-15)
    assert trace.batch_sizes.tolist() == [8, 8, 8, 8]
    if last != "wrap":  # explicit batches do not know their repeats
        plan = batches(N, 8, last=last, epochs=3, rng=0)
        given = minibatch_sgd(PROBLEM, ZERO, lr=0.05, batches=plan, record=1)
        assert given.examples[-1] == examples
        np.testing.assert_allclose(given.epochs, given.examples / N, rtol=1e-15)


@pytest.mark.parametrize("sampling", ["replacement", "subset"])
def test_counters_of_independent_draws(sampling):
    trace = run(sampling=sampling, epochs=2, record=1)
    assert trace.examples.tolist() == [8 * k for k in range(11)]  # 80 is the first above 2 * 37
    np.testing.assert_allclose(trace.epochs, trace.examples / N, rtol=1e-15)


def test_counters_of_a_population():
    trace = minibatch_sgd(NoisyQuadratic([1.0], 1.0), [0.0], lr=0.1, batch_size=4, steps=250, rng=0)
    assert trace.steps.tolist() == [*range(0, 250, 2), 250]
    np.testing.assert_array_equal(trace.epochs, trace.steps)
    np.testing.assert_array_equal(trace.examples, 4 * trace.steps)


def test_populations_take_schedules_of_progress_in_steps():
    trace = minibatch_sgd(
        NoisyQuadratic([1.0], 0.0), [1.0], lr=lambda p: 0.5 if p < 2 else 0.25, steps=4, rng=0,
        batch_size=lambda p: 1 + p, record=1, keep_parameters=True,
    )  # fmt: skip
    assert trace.parameters[:, 0].tolist() == [1, 0.5, 0.25, 0.1875, 0.140625]
    assert trace.batch_sizes.tolist() == [1, 2, 3, 4, 4]
    assert trace.examples.tolist() == [0, 1, 3, 6, 10]


def test_a_population_s_noise_does_not_depend_on_the_blocks(monkeypatch):
    options = {"lr": 0.1, "batch_size": 4, "steps": 50, "rng": 0}
    bowl = NoisyQuadratic(np.eye(2), [[1.0, 0.5], [0.5, 1.0]])
    for start in (np.zeros(2), np.zeros((3, 2))):
        whole = minibatch_sgd(bowl, start, **options)
        with monkeypatch.context() as patch:
            patch.setattr(sgdlib._sources, "BLOCK_BYTES", 200)
            np.testing.assert_array_equal(minibatch_sgd(bowl, start, **options).theta, whole.theta)


def test_nothing_that_comes_in_is_changed():
    theta = np.array([1, 2, 3])
    plan = [Batch(np.array([0, 1]), np.array([0.5, 0.5]))]
    before = [X.copy(), Y.copy()]
    trace = minibatch_sgd(PROBLEM, theta, lr=0.1, batches=plan, momentum=0.9)
    assert theta.tolist() == [1, 2, 3]
    assert trace.theta.dtype == np.float64
    assert plan[0].indices.tolist() == [0, 1]
    np.testing.assert_array_equal(before[0], PROBLEM.X)
    np.testing.assert_array_equal(before[1], PROBLEM.y)
    start = np.ones((2, D))
    run(theta=start, lr=np.array([0.1, 0.2]))
    np.testing.assert_array_equal(start, 1.0)


def test_float32_data():
    single = LeastSquares(X.astype(np.float32), Y.astype(np.float32))
    ours, theirs = run(problem=single, momentum=0.5), run(momentum=0.5)
    assert ours.theta.dtype == np.float64
    np.testing.assert_allclose(ours.theta, theirs.theta, rtol=1e-5)


# -- randomness --


def test_a_seed_repeats_and_a_generator_moves_on():
    np.testing.assert_array_equal(run(rng=3).theta, run(rng=3).theta)
    rng = np.random.default_rng(3)
    assert (run(rng=rng).theta != run(rng=rng).theta).any()
    assert (run(rng=None).theta != run(rng=None).theta).any()


def test_global_random_state_is_neither_read_nor_moved():
    np.random.seed(0)  # noqa: NPY002
    before = np.random.get_state()[1].copy()  # noqa: NPY002
    one = run(theta=np.zeros((3, D))).theta
    np.testing.assert_array_equal(before, np.random.get_state()[1])  # noqa: NPY002
    np.random.seed(1)  # noqa: NPY002
    np.testing.assert_array_equal(one, run(theta=np.zeros((3, D))).theta)


# -- memory --


def peak_of(function):
    tracemalloc.start()
    function()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak


def test_memory_does_not_grow_with_the_length_of_a_run():
    bowl = NoisyQuadratic([1.0], 1.0)

    def go(steps):
        minibatch_sgd(bowl, np.zeros((500, 1)), lr=0.1, batch_size=1, steps=steps, rng=0)

    go(10)
    assert peak_of(lambda: go(5000)) < 1.3 * peak_of(lambda: go(1000)) < 16e6


def test_memory_does_not_grow_with_the_number_of_batch_sizes():
    wide = LeastSquares(np.ones((500, 100)), np.ones(500))  # 400 kB

    def go():
        minibatch_sgd(wide, np.zeros(100), lr=1e-3, batch_size=lambda p: 1 + 40 * p, epochs=12)

    go()
    assert peak_of(go) < 4e6  # buffers of every size would take 200 MB


def test_memory_of_a_batch_size_that_grows_with_many_replicas():
    narrow = LeastSquares(np.ones((2000, 1)), np.ones(2000))

    def go():
        minibatch_sgd(
            narrow, np.zeros((3000, 1)), lr=1e-3, rng=0, sampling="replacement",
            batch_size=lambda p: 1 if p < 1e-3 else 1000, steps=6,
        )  # fmt: skip

    go()
    assert peak_of(go) < 30e6  # all 3000 batches of 1000 at once would take 72 MB


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
    monkeypatch.setattr(sgdlib.descent, "_GROUP_BYTES", 2 * 8 * 8 * (D + 1))  # two at a time
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
    monkeypatch.setattr(sgdlib.descent, "_GROUP_BYTES", 2 * 8 * 8 * (D + 1))  # two at a time
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


# -- stationary laws: closed forms, with planted bugs that must fail --

WALKERS = 10_000


def assert_variance(sample, expected):
    """Assert the variance of a Gaussian sample within 5 standard errors."""
    stderr = expected * math.sqrt(2 / (len(sample) - 1))
    assert abs(sample.var(ddof=1) - expected) < 5 * stderr


def cloud(lr, batch_size=1, variance=1.5**2, steps=80, **options):
    bowl = NoisyQuadratic([2.0], variance)
    start = np.zeros((WALKERS, 1))
    return minibatch_sgd(
        bowl, start, lr=lr, batch_size=batch_size, steps=steps, rng=21, **options
    ).theta[:, 0]


@pytest.mark.parametrize("batch_size", [1, 10])
def test_stationary_variance_of_a_bowl(batch_size):
    lr, k, sigma2 = 0.9, 2.0, 1.5**2
    expected = lr * sigma2 / (batch_size * k * (2 - lr * k))  # 5.0625 for B = 1
    assert_variance(cloud(lr, batch_size), expected)
    for wrong in (
        cloud(lr / 2, batch_size),  # half the rate
        cloud(lr, batch_size, variance=sigma2**2),  # variance for standard deviation
        cloud(lr, batch_size * 4),  # batch size squared, in effect
    ):
        with pytest.raises(AssertionError):
            assert_variance(wrong, expected)
    with pytest.raises(AssertionError):  # the continuum's law: ten times too small here
        assert_variance(cloud(lr, batch_size), lr * sigma2 / (2 * batch_size * k))


def test_noise_without_the_root_of_b_is_noticed(monkeypatch):
    draw = Population.noise
    monkeypatch.setattr(Population, "noise", lambda self, shape, rng, b: draw(self, shape, rng, 1))
    with pytest.raises(AssertionError):
        assert_variance(cloud(0.9, 10), 0.9 * 2.25 / (10 * 2 * 0.2))


@pytest.mark.parametrize("beta", [0.5, 0.9])
def test_stationary_variance_of_the_heavy_ball(beta):
    lr, h, sigma2 = 0.5, 2.0, 1.5**2
    expected = lr * sigma2 * (1 + beta) / (h * (1 - beta) * (2 * (1 + beta) - lr * h))
    assert_variance(cloud(lr, momentum=beta, steps=400), expected)
    with pytest.raises(AssertionError):
        assert_variance(cloud(lr, momentum=beta, nesterov=True, steps=400), expected)


def test_second_moment_on_a_saddle():
    lr, steps, q = 0.05, 60, 1.05
    saddle = Saddle(1.0)
    for batch_size in (1, 10):
        trace = minibatch_sgd(
            saddle, np.zeros((WALKERS, 2)), lr=lr, batch_size=batch_size, steps=steps, rng=22
        )
        expected = lr**2 / batch_size * (q ** (2 * steps) - 1) / (q**2 - 1)  # 8.4857/B
        assert_variance(trace.theta[:, 1], expected)
        with pytest.raises(AssertionError):
            assert_variance(trace.theta[:, 1], expected * 1.2)


def mean_problem(n=50):
    values = np.random.default_rng(5).normal(size=n)
    return LeastSquares(np.ones((n, 1)), values), values.var()


@pytest.mark.parametrize(("lr", "epochs"), [(0.1, 8), (0.02, 16)])
def test_variance_at_epoch_ends_when_reshuffled(lr, epochs):
    n, walkers = 50, 4000
    problem, s2 = mean_problem(n)
    q = 1 - lr
    c = q ** np.arange(n)[::-1]
    expected = lr**2 * s2 * n / (n - 1) * ((c**2).sum() - c.sum() ** 2 / n) / (1 - q ** (2 * n))
    replaced = lr * s2 / (2 - lr)
    ratios = {0.1: 0.6366, 0.02: 0.0787}
    assert expected / replaced == pytest.approx(ratios[lr], rel=1e-3)

    def ends(sampling):
        start = np.full((walkers, 1), problem.minimizer())
        options = {"lr": lr, "batch_size": 1, "epochs": epochs, "rng": 23, "sampling": sampling}
        return minibatch_sgd(problem, start, **options).theta[:, 0]

    assert_variance(ends("reshuffle"), expected)
    # one order for ever settles where it likes: (1 + q^n)/(1 - q^n) times the variance
    assert_variance(ends("shuffle_once"), expected * (1 + q**n) / (1 - q**n))
    with pytest.raises(AssertionError):
        assert_variance(ends("replacement"), expected)


@pytest.mark.parametrize("sampling", ["subset", "replacement"])
def test_variance_with_independent_batches(sampling):
    n, lr, b = 50, 0.5, 25
    problem, s2 = mean_problem(n)
    factors = {"subset": (n - b) / (n - 1), "replacement": 1.0}
    start = np.full((WALKERS, 1), problem.minimizer())
    theta = minibatch_sgd(
        problem, start, lr=lr, batch_size=b, steps=20, sampling=sampling, rng=24
    ).theta[:, 0]
    for law, factor in factors.items():
        expected = lr * s2 / b * factor / (2 - lr)
        if law == sampling:
            assert_variance(theta, expected)
        else:
            with pytest.raises(AssertionError):
                assert_variance(theta, expected)


# -- stability limits --


def growth(lr, h, momentum, nesterov):
    """Return the largest |eigenvalue| of a step of theta and velocity on h theta^2 / 2."""
    step = np.array([[1 - lr * h, -lr * momentum], [h, momentum]])
    if nesterov:
        step[0] = [1 - lr * h * (1 + momentum), -lr * momentum**2]
    return np.abs(np.linalg.eigvals(step)).max()


@rules
def test_the_stability_limit_is_where_growth_begins(momentum, nesterov):
    limit = stability_limit(2.0, momentum=momentum, nesterov=nesterov)
    assert growth(limit, 2.0, momentum, nesterov) == pytest.approx(1, abs=1e-9)
    assert growth(0.999 * limit, 2.0, momentum, nesterov) < 1
    assert growth(1.001 * limit, 2.0, momentum, nesterov) > 1
    bowl = NoisyQuadratic([2.0, 0.3], 0.0)
    options = {"batch_size": 1, "momentum": momentum, "nesterov": nesterov}
    calm = minibatch_sgd(bowl, [1.0, 1.0], lr=0.98 * limit, steps=2000, **options)
    assert np.abs(calm.theta).max() < 1e-9
    with pytest.raises(DivergenceError, match="above the full-batch stability limit"):
        minibatch_sgd(bowl, [1.0, 1.0], lr=1.02 * limit, steps=50_000, **options)
