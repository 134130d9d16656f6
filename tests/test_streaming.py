"""Streaming from disk: every row once, the law of the order, bounded memory, what goes wrong."""

import os
import threading
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sgdlib import ArrayStream, ShardError
from sgdlib._blocks import Plan
from sgdlib._shards import Shard
from sgdlib.streaming import block_order

quick = settings(max_examples=60, deadline=None, derandomize=True)
SIZES = [7, 0, 12, 1, 30]  # unequal, one empty, one of a single row


def write(folder, sizes=SIZES, columns=3):
    """Write shards whose rows carry their own number, and their numbers as a second array."""
    files, low = ([], []), 0
    for k, rows in enumerate(sizes):
        numbers = np.arange(low, low + rows)
        inputs = np.repeat(numbers, columns).reshape(rows, columns).astype(np.float32)
        for column, name, array in zip(files, "xy", (inputs, numbers), strict=True):
            column.append(str(folder / f"{name}{k}.npy"))
            np.save(column[-1], array)
        low += rows
    return [list(column) for column in files]


@pytest.fixture
def files(tmp_path):
    return write(tmp_path)


def numbers(batches):
    """Return the numbers of the rows in their order; inputs and targets must agree."""
    found = []
    for x, y, _ in batches:
        assert (x == y[:, None]).all()
        found += y.tolist()
    return found


def slow_order(sizes, block, mix, seed, epoch, part, parts):
    """The order as it is described: a list of blocks, drawn, cut, mixed."""
    blocks, low = [], 0
    for rows in sizes:
        blocks += [list(range(low + s, low + min(s + block, rows))) for s in range(0, rows, block)]
        low += rows
    order = np.random.default_rng([seed, epoch]).permutation(len(blocks))
    sequence = [(k, row) for k in order for row in blocks[k]]
    mine = sequence[part * low // parts : (part + 1) * low // parts]
    mine_blocks = list(dict.fromkeys(k for k, _ in mine))
    out = []
    for group in range(0, len(mine_blocks), mix):
        taken = mine_blocks[group : group + mix]
        rows = [row for k, row in mine if k in taken]
        rng = np.random.default_rng([seed, epoch, 1 + part, 1 + group // mix])
        out += [rows[i] for i in rng.permutation(len(rows))]
    return out


# -- every row once --


@given(
    st.lists(st.integers(0, 20), min_size=1, max_size=5).filter(sum),
    st.integers(1, 9),
    st.integers(1, 5),
    st.integers(1, 6),
    st.integers(0, 3),
)
@quick
def test_parts_are_the_slow_reference_and_hold_every_row_once(sizes, block, mix, parts, epoch):
    plan = Plan(tuple(sizes), block, mix, seed=5)
    seen = []
    for part in range(parts):
        mine = plan.part(epoch, part, parts)
        order = [mine.rows(g)[mine.shuffled(g)].tolist() for g in range(mine.groups)]
        order = [row for rows in order for row in rows]
        assert order == slow_order(sizes, block, mix, 5, epoch, part, parts)
        assert abs(len(order) - sum(sizes) / parts) < 1
        seen += order
    assert sorted(seen) == list(range(sum(sizes)))


@given(
    st.integers(1, 12), st.integers(1, 9), st.integers(1, 5), st.integers(1, 3), st.integers(1, 3)
)
@quick
def test_ranks_and_workers_read_every_row_once(tmp_path_factory, b, block, mix, ranks, workers):
    files = write(tmp_path_factory.mktemp("shards"))
    for epoch in (0, 1):
        seen = Counter()
        for rank in range(ranks):
            options = {"batch_size": b, "block": block, "mix": mix, "rank": rank, "ranks": ranks}
            stream = ArrayStream(files, rng=3, **options)
            mine = [
                numbers(stream.iterate(epoch, worker=w, workers=workers)) for w in range(workers)
            ]
            assert sum(map(len, mine)) == stream.n
            seen.update(row for rows in mine for row in rows)
        assert seen == Counter(range(sum(SIZES)))


def test_workers_that_do_not_know_who_they_are_repeat_everything(files):
    """The planted bug of the test above: the same part for both."""
    stream = ArrayStream(files, batch_size=4, block=3, mix=2, rng=3)
    seen = Counter(row for _ in range(2) for row in numbers(stream.iterate(0)))
    assert set(seen.values()) == {2}


def test_fewer_rows_than_workers_is_an_empty_stream_and_than_ranks_an_error(tmp_path):
    files = write(tmp_path, [2])
    stream = ArrayStream(files, batch_size=1, rng=0)
    mine = [numbers(stream.iterate(0, worker=w, workers=5)) for w in range(5)]
    assert sorted(map(len, mine)) == [0, 0, 0, 1, 1]
    with pytest.raises(ValueError, match=r"^ranks=3: expected an int in 1..2, a row for each$"):
        ArrayStream(files, batch_size=1, ranks=3, rng=0)
    with pytest.raises(ValueError, match=r"^rng=None: expected a seed, the same on all ranks$"):
        ArrayStream(files, batch_size=1, ranks=2)
    with pytest.raises(ValueError, match=r"^batch_size=3: expected an int in 1..2$"):
        ArrayStream(files, batch_size=3, rng=0)


# -- batches --


@pytest.mark.parametrize("last", ["scale", "keep", "drop"])
@pytest.mark.parametrize("b", [1, 4, 7, 50])
def test_batches_and_their_weights(files, last, b):
    stream = ArrayStream(files, batch_size=b, block=4, mix=2, last=last, rng=1)
    batches = list(stream)
    rest = sum(SIZES) % b
    sizes = [b] * (sum(SIZES) // b) + ([rest] if rest and last != "drop" else [])
    assert [len(w) for *_, w in batches] == sizes
    assert len(stream) == len(batches)
    for x, y, w in batches:
        short = len(w) < b and last == "keep"
        np.testing.assert_array_equal(w, 1 / (len(w) if short else b))
        assert (x.dtype, x.shape, y.dtype) == (np.float32, (len(w), 3), np.int64)


def test_a_batch_stays_what_it_is_while_the_stream_goes_on(files):
    stream = ArrayStream(files, batch_size=3, block=2, mix=2, rng=1)
    held = list(stream)
    assert sorted(numbers(held)) == list(range(sum(SIZES)))


@pytest.mark.parametrize("skip", range(18))
def test_an_epoch_is_taken_up_in_its_middle(files, skip):
    stream = ArrayStream(files, batch_size=3, block=4, mix=2, rng=1)
    whole = [y.tolist() for _, y, _ in stream.iterate(2)]
    assert [y.tolist() for _, y, _ in stream.iterate(2, skip)] == whole[skip:]
    again = ArrayStream(files, batch_size=3, block=4, mix=2, rng=1)
    again.set_epoch(2)
    assert [y.tolist() for _, y, _ in again] == whole


def test_what_is_skipped_is_not_read(files, monkeypatch):
    stream = ArrayStream(files, batch_size=8, block=4, mix=2, rng=1)
    read, original = [], Shard.read

    def counted(self, start, into):
        read.append(len(into))
        original(self, start, into)

    monkeypatch.setattr(Shard, "read", counted)
    list(stream.iterate(0, 5))
    assert 0 < sum(read) / 2 <= sum(SIZES) - 5 * 8 + 8


def test_the_order_is_a_function_of_seed_and_epoch(files):
    def orders(seed, **options):
        stream = ArrayStream(files, batch_size=5, block=4, mix=2, rng=seed, **options)
        return [numbers(stream) for _ in range(3)]

    first = orders(1)
    assert first == orders(1, readers=1) == orders(1, last="keep")
    assert len({tuple(order) for order in first + orders(2)}) == 6


# -- the law of the order --


def together(orders, batch_size):
    """Return how often rows 2 j and 2 j + 1, neighbours in a block of an even number, meet."""
    place = np.argsort(orders, axis=1) // batch_size
    return (place[:, 0::2] == place[:, 1::2]).mean(axis=1)


@pytest.mark.parametrize(("b", "m", "batch"), [(2, 8, 4), (8, 4, 8), (16, 1, 4), (64, 1, 8)])
def test_neighbours_share_a_batch_as_often_as_the_law_says(b, m, batch):
    rng = np.random.default_rng(0)
    orders = np.array([block_order(64, block=b, mix=m, rng=rng) for _ in range(2000)])
    met = together(orders, batch)
    stderr = met.std(ddof=1) / np.sqrt(len(met))
    expected = (batch - 1) / (m * b - 1)
    assert abs(met.mean() - expected) < 4 * stderr
    assert abs(met.mean() - (batch - 1) / 63) > 10 * stderr or m * b == 64  # no uniform shuffle


def test_blocks_of_one_row_and_mixtures_of_everything_are_uniform():
    """All 24 orders of four rows, each as often as the others."""
    rng = np.random.default_rng(1)
    for block, mix in ((1, 1), (2, 2), (4, 1), (9, 9)):
        draws = Counter(
            tuple(block_order(4, block=block, mix=mix, rng=rng).tolist()) for _ in range(12_000)
        )
        chi2 = sum((draws[key] - 500) ** 2 / 500 for key in draws)
        assert len(draws) == 24
        assert chi2 < 23 + 4 * np.sqrt(2 * 23)
    draws = {tuple(block_order(4, block=2, mix=1, rng=rng).tolist()) for _ in range(1000)}
    assert len(draws) == 8  # the planted bug: the blocks stay together


def test_blocks_do_not_reach_beyond_their_file():
    order = block_order([5, 3], block=4, mix=1, rng=0)
    cuts = [{0, 1, 2, 3}, {4}, {5, 6, 7}]
    low = 0
    while low < 8:
        cut = next(c for c in cuts if order[low] in c)
        assert set(order[low : low + len(cut)].tolist()) == cut
        low += len(cut)


# -- bounded memory, threads --


def test_it_reads_one_mixture_ahead_and_no_more(files, monkeypatch):
    rows, original = [0], Shard.read
    lock = threading.Lock()

    def counted(self, start, into):
        with lock:
            rows[0] += len(into) * (into.ndim == 2)
        original(self, start, into)

    monkeypatch.setattr(Shard, "read", counted)
    stream = ArrayStream(files, batch_size=1, block=4, mix=2, rng=1)
    done = 0
    for done, _ in enumerate(stream):
        assert rows[0] <= done + 2 * 8
    assert (done, rows[0]) == (49, 50)


def test_the_buffers_are_as_large_as_it_says(files, monkeypatch):
    made, empty = [], np.empty
    monkeypatch.setattr(np, "empty", lambda *a, **k: made.append(empty(*a, **k)) or made[-1])
    stream = ArrayStream(files, batch_size=4, block=5, mix=3, rng=0)
    list(stream)
    mixtures = [array for array in made if len(array) == 15]
    assert sum(array.nbytes for array in mixtures) == stream.buffer_bytes == 2 * 15 * (12 + 8)


def test_no_thread_is_left_when_an_epoch_is_given_up(files):
    before = threading.active_count()
    batches = iter(ArrayStream(files, batch_size=2, block=2, mix=2, rng=0))
    next(batches)
    batches.close()
    assert threading.active_count() == before


# -- what goes wrong: named in one sentence, before the first batch --


def damage(path, what):
    array = np.load(path)
    if what == "missing":
        os.remove(path)
    elif what == "cut short":
        os.truncate(path, os.path.getsize(path) - 5)
    elif what == "cut in the header":
        os.truncate(path, 40)
    elif what == "empty file":
        os.truncate(path, 0)
    elif what == "too long":
        with open(path, "ab") as file:
            file.write(b"more")
    elif what == "no .npy":
        with open(path, "wb") as file:
            file.write(b"PK\x03\x04" + bytes(200))
    elif what == "a folder":
        os.remove(path)
        os.mkdir(path)
    else:
        changed = {
            "wrong shape": lambda: np.zeros((len(array), 2), np.float32),
            "wrong dtype": lambda: array.astype(np.float64),
            "wrong rows": lambda: array[:-1],
            "objects": lambda: array.astype(object),
            "text": lambda: array.astype(str),
            "other byte order": lambda: array.astype(array.dtype.newbyteorder()),
            "a number": lambda: np.float32(3),
            "by columns": lambda: np.asfortranarray(array),
            "rows of nothing": lambda: np.zeros((len(array), 0), np.float32),
        }[what]()
        np.save(path, changed, allow_pickle=True)


WRONG = {
    "missing": "cannot be read: No such file or directory",
    "cut short": r"cut short: expected \d+ bytes by its header, got \d+",
    "cut in the header": "expected a .npy file: EOF",
    "empty file": "expected a .npy file: EOF",
    "too long": "too long: expected",
    "no .npy": "expected a .npy file: the magic string",
    "a folder": "cannot be read: Is a directory",
    "wrong shape": r"expected rows of shape \(3,\), as in .*x0.npy, got \(2,\)",
    "wrong dtype": "expected dtype float32, as in .*x0.npy, got float64",
    "wrong rows": "expected 11 rows, as in .*x2.npy, got 12",
    "objects": "expected numbers in this machine's byte order, got dtype object",
    "text": "expected numbers in this machine's byte order, got dtype <U",
    "other byte order": "expected numbers in this machine's byte order, got dtype >f4",
    "a number": "expected an array with rows, got a single number",
    "by columns": "expected an array stored by rows, got one stored by columns",
    "rows of nothing": r"expected rows of at least one number, got shape \(12, 0\)",
}


@pytest.mark.parametrize("what", WRONG)
def test_a_bad_shard_is_named_before_the_first_batch(files, what):
    damage(files[0][2], what)
    name = "y2.npy" if what == "wrong rows" else "x2.npy"  # the second does not fit the first
    with pytest.raises(ShardError, match=f"{name}: {WRONG[what]}") as caught:
        ArrayStream(files, batch_size=4, rng=0)
    assert "\n" not in str(caught.value)


class Bomb:
    """An object that says so if it is ever unpickled."""

    opened = False

    def __reduce__(self):
        return (setattr, (Bomb, "opened", True))


def test_no_object_is_ever_unpickled(tmp_path):
    path = tmp_path / "bomb.npy"
    np.save(path, np.array([Bomb()], dtype=object), allow_pickle=True)
    with pytest.raises(ShardError, match="got dtype object"):
        ArrayStream([path], batch_size=1)
    assert not Bomb.opened
    np.load(path, allow_pickle=True)  # the planted bug
    assert Bomb.opened


def test_versions_two_and_three_of_the_format_are_read(tmp_path):
    for k, version in enumerate([(1, 0), (2, 0), (3, 0)]):
        with open(tmp_path / f"{k}.npy", "wb") as file:
            np.lib.format.write_array(file, np.arange(3 * k, 3 * k + 3), version=version)
    stream = ArrayStream([tmp_path / f"{k}.npy" for k in range(3)], batch_size=9, rng=0)
    assert sorted(next(iter(stream))[0].tolist()) == list(range(9))


@pytest.mark.parametrize(
    ("shards", "says"),
    [
        ([], r"shards=\[\]: expected at least one file"),
        ([[]], r"shards=\[\[\]\]: expected at least one file"),
        ("a.npy", "shards='a.npy': expected a sequence"),
        (["a.npy", ["b.npy"]], "shards: expected paths, or a list of paths"),
        ([[1, 2]], "shards: expected paths, got 1"),
        ([np.zeros(3)], "shards: expected paths, got"),
    ],
)
def test_what_are_no_shards(shards, says):
    with pytest.raises((ValueError, TypeError), match=says):
        ArrayStream(shards, batch_size=1)


def test_lists_of_unequal_length_and_files_without_rows(files, tmp_path):
    with pytest.raises(ValueError, match=r"as many files for each array, got \[5, 4\]"):
        ArrayStream([files[0], files[1][:4]], batch_size=1)
    with pytest.raises(ValueError, match="expected data, got 1 files without a row"):
        ArrayStream([files[0][1]], batch_size=1)


# -- what goes wrong in the middle of an epoch --


@pytest.mark.parametrize(
    ("what", "says"),
    [
        ("missing", "cannot be read any more: No such file or directory"),
        ("cut short", r"the file has \d+ bytes, and had \d+ when the stream was made"),
        ("a folder", r"the file has \d+ bytes|Is a directory"),
    ],
)
def test_a_shard_that_goes_away_is_named_and_no_wrong_row_is_given(files, what, says):
    stream = ArrayStream(files, batch_size=1, block=4, mix=1, rng=0)
    batches, seen = iter(stream), []
    seen.append(next(batches))
    damage(files[0][4], what)
    with pytest.raises(ShardError, match=f"x4.npy: {says}"):
        seen.extend(batches)
    found = numbers(seen)
    assert len(set(found)) == len(found) < sum(SIZES)
    assert threading.active_count() < 20


def test_a_file_that_shrinks_while_it_is_read_is_named(files):
    """Not even between the look at its size and the reading are rows made up."""
    shard = ArrayStream(files, batch_size=1)._columns[0][4]
    damage(files[0][4], "cut short")
    cheated = Shard(**vars(shard) | {"size": os.path.getsize(files[0][4])})
    with pytest.raises(ShardError, match=r"x4.npy: the file ends before row 29$"):
        cheated.read(29, np.empty((1, 3), np.float32))


def test_a_run_goes_on_after_the_disk_has_come_back(files):
    stream = ArrayStream(files, batch_size=3, block=4, mix=1, rng=0)
    whole = [y.tolist() for _, y, _ in stream.iterate(0)]
    os.rename(files[0][4], files[0][4] + ".away")
    done = []
    with pytest.raises(ShardError):
        done.extend(y.tolist() for _, y, _ in stream.iterate(0))
    done = whole[: len(done)]
    os.rename(files[0][4] + ".away", files[0][4])
    assert done + [y.tolist() for _, y, _ in stream.iterate(0, len(done))] == whole


def test_the_bad_values_of_iterate(files):
    stream = ArrayStream(files, batch_size=3, rng=0)
    with pytest.raises(ValueError, match=r"worker=2: expected an int in 0..1"):
        stream.iterate(0, worker=2, workers=2)
    with pytest.raises(ValueError, match="epoch=-1"):
        stream.set_epoch(-1)
    with pytest.raises(ValueError, match="rows="):
        block_order([0, 0], block=1, mix=1)
