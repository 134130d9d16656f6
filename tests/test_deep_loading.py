"""Batches of tensors: the same batches as the NumPy generator's, and as torch's own loader's."""

from collections import Counter
from itertools import chain

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils.data import BatchSampler, DataLoader, SequentialSampler, TensorDataset

from sgdlib.batching import LAST, SAMPLING, batches
from sgdlib.deep import IndexBatches, TensorBatches, loading
from sgdlib.deep.sampler import device_blocks
from sgdlib.schedules import grow_batch

quick = settings(max_examples=60, deadline=None, derandomize=True)
INDEPENDENT = ("replacement", "subset")


@st.composite
def sizes(draw, most=40):
    n = draw(st.integers(1, most))
    return n, draw(st.integers(1, n))


def numbered(n, columns=3, **options):
    """Return a loader over rows that carry their own number."""
    X = torch.arange(n).repeat_interleave(columns).view(n, columns).double()
    return TensorBatches(X, torch.arange(n), **options)


def as_lists(loader):
    return [(x[:, 0].tolist(), y.tolist(), w.tolist()) for x, y, w in loader]


# -- the same batches as the generator of the NumPy core --


@given(sizes(), st.sampled_from(SAMPLING), st.sampled_from(LAST), st.integers(0, 3))
@quick
def test_batches_are_those_of_the_numpy_generator(nb, sampling, last, epoch):
    n, b = nb
    loader = numbered(n, batch_size=b, sampling=sampling, last=last, rng=5)
    loader.set_epoch(epoch)
    stream = 0 if sampling == "shuffle_once" else epoch
    rng = np.random.default_rng([loader.indices.seed, stream])
    length = {"epochs": 1}
    if sampling in INDEPENDENT:  # the steps that begin in this epoch
        length = {
            "steps": sum(epoch * n <= start < (epoch + 1) * n for start in range(0, 4 * n, b))
        }
    expected = list(batches(n, b, sampling=sampling, last=last, rng=rng, **length))
    assert len(loader) == len(expected)
    got = as_lists(loader)
    assert len(got) == len(expected)
    for (x, y, w), batch in zip(got, expected, strict=True):
        assert x == y == batch.indices.tolist()
        assert w == batch.weights.tolist()


@pytest.mark.parametrize("sampling", SAMPLING)
def test_many_blocks_give_the_same_batches_as_one(sampling):
    n, b = 1003, 8
    one = numbered(n, batch_size=b, sampling=sampling, last="keep", rng=3)
    many = numbered(n, batch_size=b, sampling=sampling, last="keep", rng=3)
    one._rows, many._rows = 10**6, 20
    if sampling in INDEPENDENT:  # drawn block by block: another order of draws, the same sizes
        assert [len(y) for _, y, _ in as_lists(one)] == [len(y) for _, y, _ in as_lists(many)]
    else:
        assert as_lists(one) == as_lists(many)


def test_batches_that_are_kept_keep_their_contents():
    loader = numbered(100_000, batch_size=64, rng=0)
    kept = list(loader)
    assert all(torch.equal(x[:, 0].long(), y) for x, y, _ in kept)
    assert sorted(torch.cat([y for _, y, _ in kept]).tolist()) == list(range(100_000))


HOLD = {
    "the batch": lambda x: x,
    "a part of it": lambda x: x[:1, 1:],
    "an array": lambda x: x.numpy(),
    "one that follows it": lambda x: x.detach().view(-1),
}


@pytest.mark.parametrize("name", HOLD)
def test_memory_is_used_again_only_where_nobody_holds_any_of_it(name):
    loader = numbered(64, batch_size=4, sampling="sequential")
    loader._rows = 8  # of two batches each, several blocks
    held, expected = [], []
    for x, _, _ in loader:
        held.append(HOLD[name](x))
        expected.append(held[-1].tolist())
    list(loader)
    assert [h.tolist() for h in held] == expected
    addresses = {x.data_ptr() for x, _, _ in loader}
    assert len(addresses) <= 2 * loader._gather[0]._most  # and it is, where nobody does


def test_memory_that_is_used_again_without_asking_would_be_seen(monkeypatch):
    monkeypatch.setattr(loading._Gather, "_users", staticmethod(lambda address: 0))
    with pytest.raises(AssertionError):
        test_memory_is_used_again_only_where_nobody_holds_any_of_it("a part of it")


def test_a_graph_over_many_batches_has_the_gradients_of_all():
    X = torch.randn(64, 3, generator=torch.Generator().manual_seed(0))
    loader = TensorBatches(X, batch_size=4, sampling="sequential")
    loader._rows = 8
    theta = torch.ones(3, requires_grad=True)
    total = sum(((x @ theta) ** 2).sum() for x, _ in loader)  # the graphs need the batches
    total.backward()
    torch.testing.assert_close(theta.grad, 2 * X.T @ (X @ torch.ones(3)))


def test_batches_may_be_written_into_and_differentiated():
    X = torch.arange(64.0).view(32, 2)
    loader = TensorBatches(X, batch_size=4, sampling="sequential")
    loader._rows = 8
    for _ in range(3):
        seen = []
        for x, _ in loader:
            seen.append(x.clone())
            x.requires_grad_()
            (x**2).sum().backward()
            assert torch.equal(x.grad, 2 * seen[-1])
            x.data.zero_()
        assert torch.equal(torch.cat(seen), X)
    with torch.inference_mode():
        assert torch.equal(torch.cat([x for x, _ in loader]), X)
    assert torch.equal(torch.cat([x for x, _ in loader]), X)
    learned = X.clone().requires_grad_()
    next(iter(TensorBatches(learned, batch_size=32)))[0].sum().backward()
    assert torch.equal(learned.grad, torch.ones_like(X))


# -- epochs --


def test_each_epoch_has_an_order_of_its_own_that_can_be_found_again():
    loader = numbered(50, batch_size=8, rng=1)
    first, second = as_lists(loader), as_lists(loader)
    assert first != second
    loader.set_epoch(0)
    assert as_lists(loader) == first
    assert as_lists(numbered(50, batch_size=8, rng=1)) == first
    assert as_lists(numbered(50, batch_size=8, rng=2)) != first


def test_shuffle_once_keeps_one_order():
    loader = numbered(50, batch_size=8, sampling="shuffle_once", rng=1)
    first = as_lists(loader)
    assert as_lists(loader) == first
    assert first != as_lists(numbered(50, batch_size=8, sampling="sequential"))


@given(sizes(), st.sampled_from(SAMPLING), st.sampled_from(LAST), st.data())
@quick
def test_an_epoch_can_be_entered_at_any_batch(nb, sampling, last, data):
    n, b = nb
    loader = numbered(n, batch_size=b, sampling=sampling, last=last, rng=5)
    loader._rows = max(1, n // 3)
    whole = as_lists(loader.iterate(2))
    skip = data.draw(st.integers(0, len(whole) + 1))
    assert as_lists(loader.iterate(2, skip)) == whole[skip:]


def test_a_batch_size_schedule_counts_epochs_from_the_start_of_the_run():
    sizes_seen = []
    loader = numbered(64, batch_size=grow_batch(4, factor=2, every=1.0), rng=0)
    for _ in range(4):
        sizes_seen.append({len(y) for _, y, _ in loader})
    assert sizes_seen == [{4}, {8}, {16}, {32}]
    with pytest.raises(TypeError, match="batch_size is a schedule"):
        len(loader)


def test_global_random_state_is_left_alone():
    torch_before, numpy_before = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    list(numbered(20, batch_size=3))
    list(IndexBatches(20, 3))
    assert torch.equal(torch.get_rng_state(), torch_before)
    assert np.array_equal(np.random.get_state()[1], numpy_before)  # noqa: NPY002


def test_weights_have_the_type_of_the_data_and_are_shared():
    loader = TensorBatches(torch.ones(10, 2), torch.arange(10), batch_size=5)
    (_, _, first), (_, _, second) = loader
    assert first is second
    assert first.dtype == torch.float32
    assert next(iter(TensorBatches(torch.arange(4), batch_size=2)))[1].dtype == torch.float32


# -- batches drawn one by one: as many as the core makes --


@given(sizes(), st.sampled_from(INDEPENDENT), st.integers(1, 4), st.booleans())
@quick
def test_epochs_hold_the_steps_that_begin_in_them(nb, sampling, epochs, growing):
    """The oracle: all steps of the run in one go, as the NumPy core makes them."""
    n, b = nb
    size = grow_batch(b, factor=1.5, every=0.7, maximum=n) if growing else b
    whole = [len(i) for i, _ in batches(n, size, sampling=sampling, epochs=epochs, rng=0)]
    sampler = IndexBatches(n, size, sampling=sampling, rng=0)
    each, places = [], []
    for epoch in range(epochs):
        assert growing or len(sampler) == sum(1 for _ in sampler.steps(epoch))
        each.append([len(i) for i in sampler])
        places.append(list(sampler.steps(epoch)))
        assert [rows for _, rows in places[-1]] == each[-1]
        assert sampler.start(epoch) == sum(map(sum, each[:-1]))
    assert [*chain.from_iterable(each)] == whole
    starts = [start for start, _ in chain.from_iterable(places)]
    assert starts == np.cumsum([0, *whole])[:-1].tolist()


@given(sizes(), st.sampled_from(SAMPLING[:3]), st.sampled_from(LAST))
@quick
def test_the_plan_of_an_epoch_is_what_comes(nb, sampling, last):
    n, b = nb
    size = grow_batch(b, factor=2, every=0.3, maximum=n)
    loader = numbered(n, batch_size=size, sampling=sampling, last=last, rng=1)
    for epoch in range(2):
        came = [len(w) for *_, w in loader]
        assert [rows for _, rows in loader.indices.steps(epoch)] == came


def test_a_schedule_that_outgrows_the_data_is_named_at_its_place():
    loader = numbered(20, batch_size=grow_batch(16, factor=2, every=5.0), rng=0)
    loader.set_epoch(5)
    words = r"batch_size\(5\)=32: expected an int in 1\.\.20, .*; grow_batch has maximum="
    with pytest.raises(ValueError, match=words):
        list(loader)


@pytest.mark.parametrize("kind", [np.int8, np.uint8, np.int64])
def test_small_integers_of_numpy_do_not_overflow(kind):
    loader = numbered(200, batch_size=kind(100), sampling="replacement", rng=kind(3))
    assert [len(w) for *_, w in loader] == [100, 100]
    loader.set_epoch(kind(100))
    assert [len(w) for *_, w in loader] == [100, 100]


# -- torch's own classes as judges --


@pytest.mark.parametrize("drop", [False, True])
def test_sequential_indices_are_those_of_torchs_batch_sampler(drop):
    judge = BatchSampler(SequentialSampler(range(23)), 5, drop_last=drop)
    ours = IndexBatches(23, 5, sampling="sequential", last="drop" if drop else "keep")
    assert list(ours) == list(judge)
    assert len(ours) == len(judge)


@pytest.mark.parametrize("sampling", SAMPLING)
def test_as_batch_sampler_of_a_dataloader(sampling):
    n, b = 37, 5
    X, y = torch.randn(n, 4, generator=torch.Generator().manual_seed(0)), torch.arange(n)
    sampler = IndexBatches(n, b, sampling=sampling, last="keep", rng=3)
    judge = DataLoader(TensorDataset(X, y), batch_sampler=sampler)
    ours = TensorBatches(X, y, batch_size=b, sampling=sampling, last="keep", rng=3)
    assert len(judge) == len(ours)
    for _ in range(2):
        ours._rows = 8192
        for (xj, yj), (x, labels, _) in zip(judge, ours, strict=True):
            assert torch.equal(x, xj)
            assert torch.equal(labels, yj)


# -- indices drawn on the device: the same rules, tested by their law --


def drawn(n, b, *, generator, rows=16, sampling="reshuffle", last="scale"):
    options = {"sampling": sampling, "last": last, "rows": rows, "epochs": 1}
    blocks = device_blocks(n, b, generator=generator, **options)
    return [(indices.tolist(), block.weights) for block in blocks for indices in block.indices]


@given(sizes(), st.sampled_from(SAMPLING), st.sampled_from(LAST))
@quick
def test_device_batches_follow_the_rules(nb, sampling, last):
    n, b = nb
    got = drawn(n, b, generator=torch.Generator().manual_seed(0), sampling=sampling, last=last)
    plan = list(batches(n, b, sampling=sampling, last=last, epochs=1, rng=0))
    assert [len(i) for i, _ in got] == [len(batch.indices) for batch in plan]
    assert all(np.array_equal(w, p.weights) for (_, w), p in zip(got, plan, strict=True))
    if sampling == "subset":
        assert all(len(set(i)) == b for i, _ in got)
    if sampling in INDEPENDENT:
        return
    seen = list(chain.from_iterable(i for i, _ in got))
    kept = n - n % b if last == "drop" else n
    assert len(set(seen[:kept])) == kept
    filled = seen[kept:]
    assert filled == (seen[: len(filled)] if last == "wrap" else [seen[kept - 1]] * len(filled))
    if sampling == "sequential":
        assert seen[:kept] == list(range(kept))


def check_all_orders_equally_often(orders, n_orders):
    """Chi-square of the orders' frequencies: 5 standard deviations above its mean is too much."""
    counts = Counter(map(tuple, orders))
    expected = len(orders) / n_orders
    chi2 = sum((c - expected) ** 2 / expected for c in counts.values())
    chi2 += (n_orders - len(counts)) * expected
    freedom = n_orders - 1
    assert abs(chi2 - freedom) < 5 * (2 * freedom) ** 0.5


def test_device_permutations_are_uniform_and_a_biased_shuffle_is_seen():
    epochs = 6000
    device = torch.Generator().manual_seed(0)
    orders = [drawn(4, 4, generator=device)[0][0] for _ in range(epochs)]
    check_all_orders_equally_often(orders, 24)
    generator = np.random.default_rng(0)

    def naive_shuffle():  # swaps with any place, not only with those still to be filled
        order = [0, 1, 2, 3]
        for i in range(4):
            j = generator.integers(4)
            order[i], order[j] = order[j], order[i]
        return order

    with pytest.raises(AssertionError):
        check_all_orders_equally_often([naive_shuffle() for _ in range(epochs)], 24)


def test_device_draws_with_replacement_are_uniform():
    device = torch.Generator().manual_seed(0)
    got = drawn(12_000, 3, generator=device, sampling="replacement")
    thirds = [[i // 4000 for i in indices] for indices, _ in got]
    check_all_orders_equally_often(thirds, 27)


def test_device_subsets_are_uniform_in_random_order_and_a_wrong_draw_is_seen():
    device = torch.Generator().manual_seed(0)
    got = [i for e in range(1500) for i, _ in drawn(4, 2, generator=device, sampling="subset")]
    check_all_orders_equally_often(got, 12)
    one_shuffle = [i for e in range(1500) for i, _ in drawn(4, 2, generator=device)]
    repeated = list(zip(*[chain.from_iterable(one_shuffle)] * 4, strict=True))
    check_all_orders_equally_often(repeated, 24)  # within an epoch the batches are dependent,
    both = list(zip(*[chain.from_iterable(got)] * 4, strict=True))
    check_all_orders_equally_often(both, 144)  # and subsets are not
    with pytest.raises(AssertionError):
        check_all_orders_equally_often([sorted(i) for i in got], 12)


@pytest.mark.parametrize("last", LAST)
def test_the_last_batch_of_a_device_epoch_is_as_random_as_the_others(last):
    """With n = 3 and B = 2 every order of three is equally frequent, whatever the rule."""
    device = torch.Generator().manual_seed(1)
    orders = []
    for _ in range(3000):
        flat = list(chain.from_iterable(i for i, _ in drawn(3, 2, generator=device, last=last)))
        orders.append(flat if last != "drop" else [*flat, 3 - sum(flat)])
    check_all_orders_equally_often(orders, 6)


def on_a_device(n, b, epoch, monkeypatch, **options):
    """Return an epoch's indices drawn as on a GPU: by torch, here on the CPU."""
    sampler = IndexBatches(n, b, rng=3, **options)
    other = torch.device("meta")  # not a CPU
    real = torch.Generator
    with monkeypatch.context() as patch:
        patch.setattr(torch, "Generator", lambda device: real())
        return [i.tolist() for block in sampler.blocks(epoch, device=other) for i in block.indices]


@pytest.mark.parametrize("sampling", SAMPLING)
def test_device_epochs_can_be_found_again_and_differ(sampling, monkeypatch):
    first, second = (on_a_device(40, 8, e, monkeypatch, sampling=sampling) for e in (0, 1))
    assert first == on_a_device(40, 8, 0, monkeypatch, sampling=sampling)
    fixed = sampling in ("shuffle_once", "sequential")
    assert (first == second) is fixed
    in_order = first == [list(range(i, i + 8)) for i in range(0, 40, 8)]
    assert in_order is (sampling == "sequential")


@pytest.mark.parametrize("sampling", SAMPLING)
def test_a_batch_size_schedule_gives_the_same_sizes_on_a_device(sampling, monkeypatch):
    schedule = grow_batch(4, factor=2, every=0.5)
    for epoch in range(2):
        drawn_there = on_a_device(37, schedule, epoch, monkeypatch, sampling=sampling)
        here = IndexBatches(37, schedule, sampling=sampling, rng=3).blocks(epoch)
        assert [len(i) for i in drawn_there] == [len(i) for b in here for i in b.indices]


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("last", LAST)
@pytest.mark.parametrize("sampling", SAMPLING)
def test_batches_of_tensors_on_a_gpu(sampling, last):
    X = torch.arange(103, device="cuda").repeat(3, 1).T.float()
    options = {"batch_size": 8, "sampling": sampling, "last": last, "rng": 1}
    ours = list(TensorBatches(X, X[:, 0].long(), **options))
    judge = list(TensorBatches(X.cpu(), X[:, 0].long().cpu(), **options))
    assert all(x.is_cuda and torch.equal(x[:, 0].long(), y) for x, y, _ in ours)
    for (x, _, w), (x_cpu, _, w_cpu) in zip(ours, judge, strict=True):
        assert x.shape == x_cpu.shape
        assert torch.equal(w.cpu(), w_cpu)


# -- bad input --

X = torch.zeros(6, 2)


@pytest.mark.parametrize(
    ("tensors", "options", "error", "message"),
    [
        ((X,), {"batch_size": 0}, ValueError, r"batch_size=0: expected an int in 1\.\.6"),
        ((X,), {"batch_size": 7}, ValueError, r"batch_size=7: expected an int in 1\.\.6"),
        ((X,), {"batch_size": 2.5}, TypeError, r"batch_size=2\.5"),
        ((X,), {"batch_size": 2, "last": "dorp"}, ValueError, "last='dorp'"),
        ((X,), {"batch_size": 2, "sampling": "random"}, ValueError, "sampling='random'"),
        ((X,), {"batch_size": 2, "rng": -1}, ValueError, "rng=-1"),
        ((), {"batch_size": 2}, ValueError, "at least one tensor"),
        ((X, torch.zeros(5)), {"batch_size": 2}, ValueError, "equal numbers of rows, got 6, 5"),
        ((torch.zeros(0, 2),), {"batch_size": 2}, ValueError, r"empty tensor \(0, 2\)"),
        ((torch.tensor(1.0),), {"batch_size": 1}, ValueError, r"empty tensor \(\)"),
        ((np.zeros((6, 2)),), {"batch_size": 2}, TypeError, r"tensors\[0\].*got ndarray"),
        ((X, X.to("meta")), {"batch_size": 2}, ValueError, "one device, got cpu, meta"),
    ],
)
def test_bad_input_is_named(tensors, options, error, message):
    with pytest.raises(error, match=message):
        TensorBatches(*tensors, **options)


def test_padding_needs_weights():
    with pytest.raises(ValueError, match="last='pad'"):
        next(iter(IndexBatches(5, 2, last="pad")))
    with pytest.raises(ValueError, match="epoch=-1"):
        IndexBatches(5, 2).set_epoch(-1)


def test_more_than_all_examples_only_with_replacement():
    loader = numbered(4, batch_size=10, sampling="replacement", rng=0)
    assert len(loader) == 1
    assert [len(w) for _, _, w in loader] == [10]
    assert len(loader) == 0  # the second epoch, examples 4 to 7, is within the first batch
    assert list(loader) == []
