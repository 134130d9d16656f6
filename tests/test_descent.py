"""minibatch_sgd against a slow listing and other libraries; replicas against single runs."""

import numpy as np
import pytest
from descent_case import PROBLEM, RNG, RULES, ZERO, D, N, X, Y, rules, textbook
from hypothesis import given, settings
from hypothesis import strategies as st

import sgdlib._driver
import sgdlib._steps
from sgdlib import (
    Batch,
    LeastSquares,
    Logistic,
    batches,
    from_arrays,
    minibatch_sgd,
)
from sgdlib.batching import LAST, SAMPLING

quick = settings(max_examples=40, deadline=None, derandomize=True)


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
    monkeypatch.setattr(sgdlib._driver, "_GROUP_BYTES", 4 * row_bytes * largest)
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
    monkeypatch.setattr(sgdlib._driver, "_ORDER_BYTES", 8 * N * 3)  # three replicas at a time
    start = np.zeros((7, D))
    trace = minibatch_sgd(PROBLEM, start, lr=0.05, batch_size=8, epochs=2, rng=9)
    children = np.random.default_rng(9).spawn(3)
    first = minibatch_sgd(PROBLEM, start[:3], lr=0.05, batch_size=8, epochs=2, rng=children[0])
    np.testing.assert_array_equal(trace.theta[:3], first.theta)
    assert trace.theta.shape == (7, D)
