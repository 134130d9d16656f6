"""What a run records, draws and holds in memory."""

import pickle
import tracemalloc

import numpy as np
import pytest
from descent_case import PROBLEM, ZERO, D, N, X, Y, run

import sgdlib._driver
import sgdlib._steps
from sgdlib import (
    Batch,
    LeastSquares,
    NoisyQuadratic,
    batches,
    minibatch_sgd,
)
from sgdlib.batching import SAMPLING

# -- records --


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
            patch.setattr(sgdlib._steps, "BLOCK_BYTES", 200)
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


# -- a trace as a thing --


def test_a_trace_equals_itself_and_its_like():
    trace, again = (run(theta=np.zeros((3, D)), keep_parameters=True) for _ in range(2))
    assert trace == trace
    assert trace == again
    assert trace != run(theta=np.zeros((3, D)), keep_parameters=True, rng=1)
    assert trace != run(theta=np.zeros((3, D)))
    assert trace != trace.theta.tolist()
    frozen = [run(lr=30.0, epochs=300, on_divergence="freeze") for _ in range(2)]
    assert frozen[0] == frozen[1]


def test_a_trace_says_in_one_line_what_it_is():
    assert repr(run()) == (
        f"Trace(theta (3,), 20 steps, 5 records, loss {run().losses[0]:.4g} -> "
        f"{run().losses[-1]:.4g})"
    )
    assert repr(run(theta=np.zeros((3, D)))).startswith(
        "Trace(theta (3, 3), 20 steps, 5 records, m"
    )


def test_what_a_trace_holds_is_its_own():
    rates = np.array([0.01, 0.02])
    trace = run(theta=np.zeros((2, D)), lr=rates, keep_parameters=True)
    kept = pickle.loads(pickle.dumps(trace))
    rates[:] = 7.0
    trace.theta[:] = 7.0
    np.testing.assert_array_equal(trace.parameters, kept.parameters)
    np.testing.assert_array_equal(trace.lrs, kept.lrs)
