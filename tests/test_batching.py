"""Which examples make up each step: laws by enumeration, properties by hypothesis."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sgdlib import Batch, batches, create_batches, iterations_per_epoch
from sgdlib.batching import (
    LAST,
    SAMPLING,
    BatchSize,
    common_weight,
    index_blocks,
    uniform_weights,
)

quick = settings(max_examples=60, deadline=None, derandomize=True)
PERMUTED = ("reshuffle", "shuffle_once", "sequential")
INDEPENDENT = ("replacement", "subset")


@st.composite
def sizes(draw, most=40):
    """Draw (n, batch_size) with 1 <= batch_size <= n: N=1 and B=N come up."""
    n = draw(st.integers(1, most))
    return n, draw(st.integers(1, n))


# -- one epoch of a permutation --


@given(sizes(), st.sampled_from(PERMUTED), st.sampled_from(LAST), st.integers(1, 3))
@quick
def test_every_epoch_holds_every_index_once(nb, sampling, last, epochs):
    n, b = nb
    r = n % b
    plan = list(batches(n, b, sampling=sampling, last=last, epochs=epochs, rng=0))
    per_epoch = iterations_per_epoch(n, b, last)
    assert len(plan) == epochs * per_epoch
    for e in range(epochs):
        epoch = plan[e * per_epoch : (e + 1) * per_epoch]
        seen = np.concatenate([batch.indices for batch in epoch])
        fresh = seen[: n - r if last == "drop" else n]
        assert len(np.unique(fresh)) == len(fresh) == (n - r if last == "drop" else n)
        for batch in epoch[: n // b]:
            assert batch.indices.shape == batch.weights.shape == (b,)
            np.testing.assert_array_equal(batch.weights, 1 / b)
        if r and last != "drop":
            check_short_batch(epoch[-1], seen, b, r, last)


def check_short_batch(batch, epoch_order, b, r, last):
    indices, weights = batch
    if last == "scale":
        assert len(indices) == r
        np.testing.assert_array_equal(weights, 1 / b)
    elif last == "keep":
        assert len(indices) == r
        np.testing.assert_array_equal(weights, 1 / r)
    elif last == "pad":
        assert len(indices) == b
        np.testing.assert_array_equal(weights, [1 / b] * r + [0.0] * (b - r))
    else:
        assert last == "wrap"
        np.testing.assert_array_equal(indices[r:], epoch_order[: b - r])
        np.testing.assert_array_equal(weights, 1 / b)
        assert len(np.unique(indices)) == b


def test_a_short_batch_by_the_wrong_rule_is_noticed():
    keep = list(batches(7, 3, sampling="sequential", last="keep"))[-1]
    scale = list(batches(7, 3, sampling="sequential", last="scale"))[-1]
    for wrong, rule in ((keep, "scale"), (scale, "keep"), (scale, "pad"), (keep, "wrap")):
        with pytest.raises(AssertionError):
            check_short_batch(wrong, np.arange(7), 3, 1, rule)


def epoch_coefficients(n, b, last):
    """Sum, over an epoch, the coefficient with which each example enters the steps."""
    total = np.zeros(n)
    for indices, weights in batches(n, b, sampling="sequential", last=last):
        np.add.at(total, indices, weights)
    return total


def test_what_each_rule_makes_of_an_example():
    n, b = 7, 3  # two batches and one example left
    for last in ("scale", "pad"):
        np.testing.assert_allclose(epoch_coefficients(n, b, last), 1 / b)
    np.testing.assert_allclose(epoch_coefficients(n, b, "keep"), [1 / 3] * 6 + [1])
    np.testing.assert_allclose(epoch_coefficients(n, b, "drop"), [1 / 3] * 6 + [0])
    np.testing.assert_allclose(epoch_coefficients(n, b, "wrap"), [2 / 3] * 2 + [1 / 3] * 5)


def test_sequential_is_the_order_of_the_data():
    plan = [b.indices.tolist() for b in batches(5, 2, sampling="sequential", epochs=2)]
    assert plan == [[0, 1], [2, 3], [4]] * 2


def test_shuffle_once_repeats_its_order_and_reshuffle_does_not():
    once = [b.indices.tolist() for b in batches(50, 10, sampling="shuffle_once", epochs=3, rng=0)]
    assert once[:5] == once[5:10] == once[10:]
    assert once[:5] != [b.indices.tolist() for b in batches(50, 10, sampling="sequential")]
    anew = [b.indices.tolist() for b in batches(50, 10, epochs=2, rng=0)]
    assert anew[:5] != anew[5:]


# -- independent draws --


@given(sizes(), st.sampled_from(INDEPENDENT), st.sampled_from(LAST), st.integers(1, 3))
@quick
def test_independent_draws_are_whole_batches(nb, sampling, last, epochs):
    n, b = nb
    plan = list(batches(n, b, sampling=sampling, last=last, epochs=epochs, rng=1))
    assert len(plan) == math.ceil(epochs * n / b)
    for indices, weights in plan:
        assert indices.shape == weights.shape == (b,)
        assert indices.dtype == np.int64
        assert indices.min() >= 0
        assert indices.max() < n
        np.testing.assert_array_equal(weights, 1 / b)
        if sampling == "subset":
            assert len(np.unique(indices)) == b


@pytest.mark.parametrize("sampling", SAMPLING)
def test_batch_size_above_n_only_with_replacement(sampling):
    if sampling == "replacement":
        plan = list(batches(3, 10, sampling=sampling, steps=4, rng=0))
        assert [len(b.indices) for b in plan] == [10] * 4
    else:
        with pytest.raises(ValueError, match=r"^batch_size=10: expected an int in 1\.\.3$"):
            batches(3, 10, sampling=sampling)


@pytest.mark.parametrize("sampling", SAMPLING)
@pytest.mark.parametrize("last", LAST)
def test_one_example_and_full_batches(sampling, last):
    for n in (1, 6):
        plan = list(batches(n, n, sampling=sampling, last=last, epochs=2, rng=0))
        assert [len(b.indices) for b in plan] == [n, n]
        if sampling != "replacement":
            assert all(sorted(b.indices) == list(range(n)) for b in plan)


# -- the laws of sampling: every outcome equally often (chi squared) --


def assert_uniform(outcomes, possible):
    """Assert that all possible outcomes are equally likely, at 5 standard errors of chi^2."""
    counts = {outcome: 0 for outcome in possible}
    for outcome in outcomes:
        counts[outcome] += 1  # an impossible outcome is a KeyError
    expected = len(outcomes) / len(counts)
    freedom = len(counts) - 1
    chi2 = sum((count - expected) ** 2 for count in counts.values()) / expected
    assert chi2 < freedom + 5 * math.sqrt(2 * freedom)


def draws(n, b, sampling, count, seed=0, **options):
    return [
        tuple(batch.indices.tolist())
        for batch in batches(n, b, sampling=sampling, steps=count, rng=seed, **options)
    ]


def test_subsets_are_uniform():
    found = draws(8, 3, "subset", 40_000)
    assert_uniform([tuple(sorted(d)) for d in found], itertools.combinations(range(8), 3))


@pytest.mark.parametrize("n", [8, 300])  # short rows are drawn together, long ones one by one
def test_each_place_of_a_subset_is_a_fair_draw(n):
    found = draws(n, 3, "subset", 30_000)  # so that a part of a batch is a fair batch
    for place in range(3):
        assert_uniform([d[place] for d in found], range(n))


def test_subsets_without_shuffling_are_noticed():
    rng = np.random.default_rng(0)
    biased = [tuple(rng.choice(8, 3, replace=False, shuffle=False)) for _ in range(40_000)]
    with pytest.raises(AssertionError):
        assert_uniform([d[0] for d in biased], range(8))


def test_draws_with_replacement_are_uniform_tuples():
    assert_uniform(draws(8, 3, "replacement", 60_000), itertools.product(range(8), repeat=3))


def test_subsets_are_no_draws_with_replacement():
    with pytest.raises(AssertionError):
        assert_uniform(draws(8, 3, "subset", 20_000), itertools.product(range(8), repeat=3))


def test_epochs_are_uniform_permutations():
    found = draws(4, 4, "reshuffle", 24_000)
    assert_uniform(found, itertools.permutations(range(4)))
    pairs = list(itertools.permutations(range(4)))
    after = [(pairs.index(a), pairs.index(b)) for a, b in itertools.pairwise(found[:12_000])]
    assert_uniform(after, itertools.product(range(24), repeat=2))  # independent of the one before


def test_batches_of_an_epoch_are_anticorrelated():
    # corr of batch means l apart, averaged over places: -(M - l)/(M (M - 1)), M = N/B
    n, b, epochs = 40, 4, 20_000
    values = np.random.default_rng(0).normal(size=n)
    values = (values - values.mean()) / values.std()
    blocks = index_blocks(n, b, epochs=1, replicas=epochs, rng=1, rows=10**9)
    means = np.concatenate([values[block.indices].mean(axis=-1) for block in blocks])  # (M, R)
    steps = len(means)
    variance = (n - b) / (b * (n - 1))
    for lag in (1, 5, 9):
        products = (means[lag:] * means[:-lag]).sum(axis=0) / steps / variance
        expected = -(steps - lag) / (steps * (steps - 1))
        assert abs(products.mean() - expected) < 5 * products.std() / math.sqrt(epochs)
        if lag == 1:  # independent subsets would give 0: more than ten standard errors away
            assert abs(products.mean()) > 10 * products.std() / math.sqrt(epochs)


# -- mean and covariance of a batch mean, by enumeration of all batches --

NUMBERS = np.array([2.0, -1.0, 0.5, 3.5, 0.0, -2.0, 1.0, 4.0])


def mean_and_variance(indices, weights):
    """Return mean and variance of the weighted sums over equally likely rows of indices."""
    sums = NUMBERS[np.array(list(indices))] @ weights
    return sums.mean(), sums.var()


@pytest.mark.parametrize("b", range(1, 9))
def test_variance_of_a_batch_mean_over_all_subsets(b):
    weights = next(batches(8, b, sampling="subset", rng=0)).weights
    mean, variance = mean_and_variance(itertools.combinations(range(8), b), weights)
    assert mean == pytest.approx(NUMBERS.mean(), abs=1e-14)
    assert variance == pytest.approx(NUMBERS.var() / b * (8 - b) / 7, abs=1e-14)
    # the other convention: S^2 with divisor N - 1 goes with the factor 1 - B/N
    assert variance == pytest.approx(NUMBERS.var(ddof=1) / b * (1 - b / 8), abs=1e-14)


def test_variance_of_a_batch_mean_over_all_tuples():
    weights = next(batches(8, 3, sampling="replacement", rng=0)).weights
    mean, variance = mean_and_variance(itertools.product(range(8), repeat=3), weights)
    assert mean == pytest.approx(NUMBERS.mean(), abs=1e-14)
    assert variance == pytest.approx(NUMBERS.var() / 3, abs=1e-14)


def test_wrong_weights_and_mixed_conventions_are_noticed():
    subsets = list(itertools.combinations(range(8), 3))
    mean, variance = mean_and_variance(subsets, np.full(3, 1 / 2))  # 1/(B - 1)
    assert mean != pytest.approx(NUMBERS.mean(), abs=1e-3)
    mean, variance = mean_and_variance(subsets, np.full(3, 1 / 3))
    assert variance != pytest.approx(NUMBERS.var(ddof=1) / 3 * 5 / 7, abs=1e-3)
    assert variance != pytest.approx(NUMBERS.var() / 3, abs=1e-3)


# -- length of a run --


@given(sizes(), st.sampled_from(SAMPLING), st.sampled_from(LAST), st.integers(1, 50))
@quick
def test_steps_cut_a_long_run_short(nb, sampling, last, steps):
    n, b = nb
    cut = list(batches(n, b, sampling=sampling, last=last, steps=steps, rng=5))
    full = list(batches(n, b, sampling=sampling, last=last, epochs=steps, rng=5))
    assert len(cut) == steps
    for one, other in zip(cut, full, strict=False):
        np.testing.assert_array_equal(one.indices, other.indices)
        np.testing.assert_array_equal(one.weights, other.weights)


def test_neither_epochs_nor_steps_is_one_epoch():
    for sampling in SAMPLING:
        assert len(list(batches(10, 4, sampling=sampling, rng=0))) == 3


@given(sizes(), st.sampled_from(LAST))
@quick
def test_iterations_per_epoch_counts_the_batches(nb, last):
    n, b = nb
    assert iterations_per_epoch(n, b, last) == len(list(batches(n, b, last=last, rng=0)))


def test_iterations_per_epoch_in_closed_form():
    assert iterations_per_epoch(1503, 64) == 24
    assert iterations_per_epoch(1503, 64, "drop") == 23
    assert iterations_per_epoch(1503, 1503, "drop") == iterations_per_epoch(1, 1) == 1


# -- schedules of the batch size --


def test_batch_size_schedule_sees_progress_in_epochs():
    asked = []

    def size(progress):
        asked.append(progress)
        return 2 if progress < 1 else 5

    plan = list(batches(10, size, sampling="sequential", epochs=2))
    assert [len(b.indices) for b in plan] == [2] * 5 + [5] * 2
    assert [b.weights[0] for b in plan] == [1 / 2] * 5 + [1 / 5] * 2
    assert set(asked) <= {0.0, 0.2, 0.4, 0.6, 0.8, 1.0, 1.5}
    assert all(type(p) is float for p in asked)


def test_batch_size_schedule_is_rounded():
    plan = batches(100, lambda p: 3.6 + 2.0 * p, sampling="replacement", steps=20, rng=0)
    lengths = [len(b.indices) for b in plan]
    seen, expected = 0, []
    for _ in range(20):
        expected.append(round(3.6 + 2.0 * seen / 100))
        seen += expected[-1]
    assert lengths == expected


@given(
    st.integers(5, 60),
    st.lists(st.integers(1, 5), min_size=1, max_size=6),
    st.sampled_from(SAMPLING),
    st.sampled_from(LAST),
)
@quick
def test_any_schedule_matches_a_slow_listing(n, levels, sampling, last):
    def size(progress):
        return levels[int(progress * 7) % len(levels)]

    expected, seen = [], 0
    while seen < 2 * n:
        b = size(seen / n)
        left = n - seen % n if sampling in PERMUTED else b
        if left >= b:
            expected.append((b, 1 / b))
            seen += b
        else:
            row = {"scale": (left, 1 / b), "keep": (left, 1 / left)}.get(last, (b, 1 / b))
            expected += [row] if last != "drop" else []
            seen += left
    plan = list(batches(n, size, sampling=sampling, last=last, epochs=2, rng=0))
    assert [(len(b.indices), b.weights[0]) for b in plan] == expected


@pytest.mark.parametrize(
    ("later", "sentence"),
    [
        (0, r"^batch_size\(1\)=0: expected an int in 1\.\.10$"),
        (11, r"^batch_size\(1\)=11: expected an int in 1\.\.10$"),
        (float("nan"), r"^batch_size\(1\)=nan: expected a finite number$"),
        (float("inf"), r"^batch_size\(1\)=inf: expected a finite number$"),
    ],
)
def test_a_schedule_that_goes_wrong_says_where(later, sentence):
    plan = batches(10, lambda p: 2 if p < 1 else later, epochs=2, rng=0)
    assert len([next(plan) for _ in range(4)]) == 4
    with pytest.raises(ValueError, match=sentence):
        list(plan)


def test_batch_size_counts_how_long_it_stays():
    size = BatchSize(lambda p: 2 if p < 1 else 3, high=5)
    assert size.first == 2
    assert size.run_length(0, 2, 10, 100) == 5
    assert size.run_length(0, 2, 10, 3) == 3
    assert BatchSize(4).run_length(0, 4, 10, 7) == 7


# -- blocks and replicas --


@given(
    sizes(), st.sampled_from((*PERMUTED, "replacement")), st.sampled_from(LAST), st.integers(1, 99)
)
@quick
def test_blocks_cut_the_same_batches_at_any_length(nb, sampling, last, rows):
    n, b = nb
    options = {"sampling": sampling, "last": last, "epochs": 2, "rng": 4}
    whole = list(batches(n, b, **options))
    cut = [
        Batch(indices, block.weights)
        for block in index_blocks(n, b, rows=rows, **options)
        for indices in block.indices
    ]
    assert len(whole) == len(cut)
    for one, other in zip(whole, cut, strict=True):
        np.testing.assert_array_equal(one.indices, other.indices)
        np.testing.assert_array_equal(one.weights, other.weights)


@given(sizes(), st.sampled_from(SAMPLING), st.sampled_from(LAST), st.integers(1, 4))
@quick
def test_replicas_are_an_axis(nb, sampling, last, replicas):
    n, b = nb
    blocks = list(
        index_blocks(n, b, sampling=sampling, last=last, epochs=2, replicas=replicas, rng=2, rows=7)
    )
    for block in blocks:
        assert block.indices.ndim == 3
        assert block.indices.shape[1:] == (replicas, len(block.weights))
        assert block.indices.dtype == np.int64
    alone = list(index_blocks(n, b, sampling=sampling, last=last, epochs=2, rng=2, rows=7))
    assert [(len(x.indices), x.start) for x in blocks] == [(len(x.indices), x.start) for x in alone]
    if sampling in PERMUTED and last != "drop":
        for replica in range(replicas):
            first = [i for x in blocks if x.start < n for i in x.indices[:, replica].ravel()]
            assert sorted(first[:n]) == list(range(n))


def test_replicas_have_orders_of_their_own():
    for sampling in ("reshuffle", "shuffle_once", "replacement", "subset"):
        block = next(index_blocks(50, 50, sampling=sampling, replicas=3, rng=0))
        rows = block.indices[0].tolist()
        assert rows[0] != rows[1] != rows[2] != rows[0]
    block = next(index_blocks(50, 50, sampling="sequential", replicas=3, rng=0))
    np.testing.assert_array_equal(block.indices[0], [range(50)] * 3)


@given(sizes(), st.sampled_from(PERMUTED), st.sampled_from(LAST))
@quick
def test_blocks_count_examples_and_places(nb, sampling, last):
    n, b = nb
    used = n - n % b if last == "drop" else n
    place = 0
    for block in index_blocks(n, b, sampling=sampling, last=last, epochs=2, rng=0, rows=5):
        place = n if place == used else place  # what was dropped is passed over
        assert block.start == place
        assert block.nominal == b
        place = block.start + len(block.indices) * block.examples
    assert place == n + used


def test_uniform_weights_are_recognised():
    weights = uniform_weights(3, 0.5)
    assert common_weight(weights) == 0.5
    assert common_weight(np.full(3, 0.5)) is None
    assert common_weight(uniform_weights(1, 0.25)) == 0.25
    with pytest.raises(ValueError, match="read-only"):
        weights[0] = 1.0


# -- randomness --


@pytest.mark.parametrize("sampling", SAMPLING)
def test_a_seed_repeats_and_a_generator_moves_on(sampling):
    def run(rng):
        return np.concatenate([b.indices for b in batches(30, 7, sampling=sampling, rng=rng)])

    np.testing.assert_array_equal(run(3), run(3))
    np.testing.assert_array_equal(run(3), run(np.random.default_rng(3)))
    if sampling != "sequential":
        rng = np.random.default_rng(3)
        assert run(rng).tolist() != run(rng).tolist()
        assert run(3).tolist() != run(4).tolist()
        assert run(None).tolist() != run(None).tolist()


@pytest.mark.parametrize("sampling", SAMPLING)
def test_global_random_state_is_neither_read_nor_moved(sampling):
    np.random.seed(0)  # noqa: NPY002
    before = np.random.get_state()[1:3]  # noqa: NPY002
    first = [b.indices.tolist() for b in batches(30, 7, sampling=sampling, rng=1)]
    after = np.random.get_state()[1:3]  # noqa: NPY002
    np.testing.assert_array_equal(before[0], after[0])
    assert before[1] == after[1]
    np.random.seed(1)  # noqa: NPY002
    assert first == [b.indices.tolist() for b in batches(30, 7, sampling=sampling, rng=1)]


@pytest.mark.parametrize("sampling", ["reshuffle", "shuffle_once"])
def test_writing_into_a_batch_does_no_harm(sampling):
    for batch in batches(20, 6, sampling=sampling, epochs=3, rng=0):
        assert batch.indices.min() >= 0
        assert batch.indices.max() < 20
        batch.indices[:] = 10**6


# -- bad input: one sentence, before the first batch is asked for --

BAD = [
    ({"n": 0}, ValueError, r"^n=0: expected an int >= 1$"),
    ({"n": -1}, ValueError, r"^n=-1: expected an int >= 1$"),
    ({"n": 2.5}, TypeError, r"^n=2\.5: expected an int >= 1$"),
    ({"n": None}, TypeError, r"^n=None: expected an int >= 1$"),
    ({"n": True}, TypeError, r"^n=True: expected an int >= 1$"),
    ({"batch_size": 0}, ValueError, r"^batch_size=0: expected an int in 1\.\.10$"),
    ({"batch_size": -4}, ValueError, r"^batch_size=-4: expected an int in 1\.\.10$"),
    ({"batch_size": 11}, ValueError, r"^batch_size=11: expected an int in 1\.\.10$"),
    ({"batch_size": 2.0}, TypeError, r"^batch_size=2\.0: expected an int in 1\.\.10$"),
    ({"batch_size": np.nan}, TypeError, r"^batch_size=nan: expected an int in 1\.\.10$"),
    ({"batch_size": "4"}, TypeError, r"^batch_size='4': expected an int in 1\.\.10$"),
    ({"batch_size": None}, TypeError, r"^batch_size=None: expected an int in 1\.\.10$"),
    ({"batch_size": True}, TypeError, r"^batch_size=True: expected an int in 1\.\.10$"),
    ({"batch_size": [4, 4]}, TypeError, r"^batch_size=\[4, 4\]: expected an int in 1\.\.10$"),
    ({"batch_size": lambda p: 0}, ValueError, r"^batch_size\(0\)=0: expected an int in 1\.\.10$"),
    ({"batch_size": lambda p: "4"}, TypeError, r"^batch_size\(0\)='4': expected a finite number$"),
    ({"sampling": "shuffle"}, ValueError, r"^sampling='shuffle': expected one of 'reshuffle', "),
    ({"sampling": None}, ValueError, r"^sampling=None: expected one of 'reshuffle', "),
    ({"last": "dorp"}, ValueError, r"^last='dorp': expected one of 'scale', 'keep', 'drop', "),
    ({"epochs": 0}, ValueError, r"^epochs=0: expected an int >= 1$"),
    ({"epochs": 1.5}, TypeError, r"^epochs=1\.5: expected an int >= 1$"),
    ({"epochs": np.inf}, TypeError, r"^epochs=inf: expected an int >= 1$"),
    ({"steps": 0}, ValueError, r"^steps=0: expected an int >= 1$"),
    ({"steps": "10"}, TypeError, r"^steps='10': expected an int >= 1$"),
    ({"epochs": 2, "steps": 3}, ValueError, r"^epochs=2, steps=3: give one of them, not both$"),
    ({"rng": -1}, ValueError, r"^rng=-1: expected an int >= 0$"),
    ({"rng": "seed"}, TypeError, r"^rng='seed': expected an int >= 0, a numpy\.random\.Generator"),
]


@pytest.mark.parametrize(("change", "error", "sentence"), BAD)
def test_bad_arguments_of_batches(change, error, sentence):
    arguments = {"n": 10, "batch_size": 4, **change}
    with pytest.raises(error, match=sentence):
        batches(arguments.pop("n"), arguments.pop("batch_size"), **arguments)


@pytest.mark.parametrize(
    ("arguments", "error", "sentence"),
    [
        ((0, 1), ValueError, r"^n=0: expected an int >= 1$"),
        ((10, 11), ValueError, r"^batch_size=11: expected an int in 1\.\.10$"),
        ((10, 2, "stop"), ValueError, r"^last='stop': expected one of 'scale', "),
        ((10, lambda p: 2), TypeError, r"^batch_size=<function .*>: expected an int in 1\.\.10$"),
    ],
)
def test_bad_arguments_of_iterations_per_epoch(arguments, error, sentence):
    with pytest.raises(error, match=sentence):
        iterations_per_epoch(*arguments)


# -- create_batches --


@given(sizes(), st.sampled_from(("keep", "drop", "wrap")), st.integers(1, 2))
@quick
def test_create_batches_keeps_rows_together(nb, last, epochs):
    n, b = nb
    X, y = np.arange(3 * n).reshape(n, 3), np.arange(n).astype(str)
    pairs = list(create_batches(X, y, b, last=last, epochs=epochs, rng=0))
    plan = list(batches(n, b, last=last, epochs=epochs, rng=0))
    assert len(pairs) == len(plan)
    for (Xb, yb), batch in zip(pairs, plan, strict=True):
        np.testing.assert_array_equal(Xb, X[batch.indices])
        np.testing.assert_array_equal(yb, y[batch.indices])
        assert Xb.dtype == X.dtype


def test_create_batches_takes_lists_and_images_and_hands_out_copies():
    images, labels = np.zeros((5, 4, 4), np.uint8), [0, 1, 2, 3, 4]
    for Xb, yb in create_batches(images, labels, 2, rng=0):
        assert Xb.shape == (len(yb), 4, 4)
        Xb[:] = 7
    assert images.sum() == 0


def test_create_batches_does_not_follow_the_caller_s_arrays():
    X, y = np.zeros((6, 2)), np.zeros(6)
    pairs = create_batches(X, y, 2, rng=0)
    X[:], y[:] = np.nan, np.nan
    assert all(np.isfinite(Xb).all() and np.isfinite(yb).all() for Xb, yb in pairs)


@pytest.mark.parametrize(
    ("X", "y", "sentence"),
    [
        (
            np.ma.masked_equal([[1.0], [2.0]], 2.0),
            [0, 1],
            r"^X: expected a plain array, got a Maske",
        ),
        ([[1.0], [2.0]], np.ma.array([0, 1]), r"^y: expected a plain array, got a MaskedArray, w"),
        ([[1.0], [2.0]], np.array([0, None]), r"^y: expected numbers or strings, got dtype object"),
        ([[1.0], [2.0]], np.array([0, np.nan], dtype=object), r"^y: expected numbers or strings,"),
        ([[1.0], [2.0]], ["cat", np.nan], r"^y: expected numbers or strings, got both$"),
        (np.zeros(2, dtype=[("a", float)]), [0, 1], r"^X: expected numbers or strings, got dtype"),
        (np.ones((2, 1)).view(np.matrix), [0, 1], r"^X: expected a plain array, got a matrix"),
    ],
)
def test_data_of_which_something_would_be_lost(X, y, sentence):
    with pytest.raises(TypeError, match=sentence):
        create_batches(X, y, 1)


@pytest.mark.parametrize(
    ("X", "y", "options", "sentence"),
    [
        ([[1], [2]], [1], {}, r"^X, y: expected the same number of rows, got shapes \(2, 1\), "),
        (3.0, [1.0], {}, r"^X, y: expected the same number of rows, got shapes \(\), \(1,\)$"),
        ([], [], {}, r"^X: expected data, got an empty array of shape \(0,\)$"),
        ([[np.nan]], [1.0], {}, r"^X: expected finite numbers, got nan at index \(0, 0\)$"),
        ([[1.0]], [np.inf], {}, r"^y: expected finite numbers, got inf at index \(0,\)$"),
        ([[1.0]], [1.0], {"last": "scale"}, r"^last='scale': expected one of 'keep', 'drop', "),
        ([[1.0]], [1.0], {"batch_size": 2}, r"^batch_size=2: expected an int in 1\.\.1$"),
        ([[1.0]], [1.0], {"sampling": "x"}, r"^sampling='x': expected one of "),
    ],
)  # fmt: skip
def test_bad_arguments_of_create_batches(X, y, options, sentence):
    with pytest.raises(ValueError, match=sentence):
        create_batches(X, y, options.pop("batch_size", 1), **options)
