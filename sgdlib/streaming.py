r"""Batches from arrays on disk, in bounded memory: blocks in a random order, mixed some at a time.

The rows of all files are cut into blocks of b that lie together on disk. An epoch takes the blocks
in a random order and *mixes* m of them at once: their rows are read into memory, put into a random
order, and cut into batches. So memory holds two mixtures,

    2 m b rows,

the one that is being used and the next, which threads read meanwhile; and a batch of B holds rows
of about ``min(m, B)`` places of the file. Two rows of a mixture come from the same block with
probability ``(b - 1)/(m b - 1)``. With b = 1, or with m b = N, the order is a uniform permutation;
one large block (m = 1) is a shuffle buffer that is emptied before it is filled again.

The order is a function of (seed, epoch, part), and so can be taken up again anywhere.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import repeat
from typing import Any

import numpy as np

from sgdlib import _check
from sgdlib._blocks import Part, Plan
from sgdlib._read_ahead import chunks
from sgdlib._shards import ShardError, look_at_all  # noqa: F401
from sgdlib.batching import iterations_per_epoch, uniform_weights


def block_order(
    rows: int | Sequence[int],
    *,
    block: int,
    mix: int,
    rng: int | np.random.Generator | None = None,
) -> np.ndarray:
    """Return the order in which an epoch of `ArrayStream` goes through the rows on disk.

    Parameters
    ----------
    rows
        Rows of each file, in the order of the files; an int is one file.
    block
        Rows b of a block. A block does not reach beyond its file.
    mix
        Blocks m that are mixed at once.
    rng
        Seed or NumPy Generator.

    Returns
    -------
    order
        A permutation of all N rows, counted through the files, int64.

    Raises
    ------
    ValueError, TypeError
        For any argument outside its range, in a sentence that names it.

    Notes
    -----
    Xu et al., *In-Database Machine Learning with CorgiPile*, SIGMOD 2022. Its law is derived in the
    chapter *Data larger than memory*.

    Examples
    --------
    >>> block_order(12, block=3, mix=2, rng=0).tolist()
    [7, 1, 6, 8, 0, 2, 3, 9, 11, 4, 10, 5]
    """
    sizes = [rows] if _check.scalar(rows) else _check.sequence("rows", rows)
    low = 1 if len(sizes) == 1 else 0
    sizes = [_check.integer("rows", r, low=low) for r in sizes]
    if not sum(sizes):
        raise ValueError(f"rows={sizes}: expected at least one row")
    block, mix = _check.integer("block", block), _check.integer("mix", mix)
    plan = Plan(tuple(sizes), block, mix, int(_check.generator(rng).integers(2**63)))
    part = plan.part(0)
    return np.concatenate([part.rows(g)[part.shuffled(g)] for g in range(part.groups)])


class ArrayStream:
    """Batches of arrays that lie on disk, in a random order, reading ahead in bounded memory.

    Each iteration is one epoch and yields tuples `(*arrays, weights)`: arrays (B, ...) of the
    files' dtypes and weights (B,), as in `sgdlib.deep.TensorBatches`; the batch gradient is
    ``sum_i weights[i] * grad l_i``.

    Parameters
    ----------
    shards
        Paths of `.npy` files, or a list of such lists, one for each array: ``[inputs, targets]``,
        whose files correspond one by one. Files may have different numbers of rows.
    batch_size
        Examples B in a batch, an int in 1..n.
    block
        Rows b that are read at once and lie together on disk.
    mix
        Blocks m that are mixed at once.
    last
        ``"scale"``, ``"keep"`` or ``"drop"``, as in `sgdlib.batches`.
    rank, ranks
        Which of so many processes this is: each reads the rows that the others do not, as many as
        they to within one. All need the same `rng`.
    readers
        Threads that read: more for a disk that answers late, fewer disturb a quick training less.
    rng
        Seed of the order (or a Generator that draws it). A run is taken up again with the same int.

    Attributes
    ----------
    n
        Examples that an epoch of this rank has.
    buffer_bytes
        The most that the two mixtures take in memory. Beside them there are the batches that are
        cut, about a megabyte at a time; the order, 8 bytes for each row of a mixture; and the
        plan of an epoch, 16 bytes for each block of the files (about 100 while it is made).

    Raises
    ------
    ShardError
        If a file is missing, cut short, no `.npy`, of Python objects, or not like the others:
        before the first batch, and in the middle of an epoch if it goes away meanwhile.
    ValueError, TypeError
        For any other argument outside its range, in a sentence that names it.

    Notes
    -----
    Derived and measured in the chapter *Data larger than memory*. Values are not looked at: that
    would be reading all data before the first step.

    Examples
    --------
    >>> import tempfile
    >>> folder = tempfile.TemporaryDirectory()
    >>> files = [f"{folder.name}/{k}.npy" for k in range(2)]
    >>> for k, file in enumerate(files):
    ...     np.save(file, np.arange(3) + 3 * k)
    >>> stream = ArrayStream(files, batch_size=4, block=2, mix=2, rng=0)
    >>> [(x.tolist(), w.tolist()) for x, w in stream]
    [([4, 0, 1, 3], [0.25, 0.25, 0.25, 0.25]), ([2, 5], [0.25, 0.25])]
    >>> folder.cleanup()
    """

    yields_weights = True

    def __init__(
        self,
        shards: Iterable,
        *,
        batch_size: int,
        block: int = 1024,
        mix: int = 16,
        last: str = "scale",
        rank: int = 0,
        ranks: int = 1,
        readers: int = 2,
        rng: int | np.random.Generator | None = None,
    ):
        self._ranks = _check.integer("ranks", ranks)
        self._rank = _check.integer("rank", rank, low=0, high=self._ranks - 1)
        self._last = _check.option("last", last, ("scale", "keep", "drop"))
        self._readers = _check.integer("readers", readers, high=1024)
        block, mix = _check.integer("block", block), _check.integer("mix", mix)
        if self._ranks > 1 and rng is None:
            raise ValueError("rng=None: expected a seed, the same on all ranks")
        seed = int(_check.generator(rng).integers(2**63))
        self._columns = look_at_all(shards)
        sizes = tuple(shard.rows for shard in self._columns[0])
        self._plan, self.rows, self.epoch = Plan(sizes, block, mix, seed), sum(sizes), 0
        if self._ranks > self.rows:
            raise ValueError(f"ranks={ranks}: expected an int in 1..{self.rows}, a row for each")
        self.n = (self._rank + 1) * self.rows // ranks - self._rank * self.rows // ranks
        self.batch_size = _check.integer("batch_size", batch_size, high=self.n)
        self._most = min(mix * min(block, max(sizes)), self.n)  # rows of a mixture
        self.buffer_bytes = 2 * self._most * sum(column[0].row_bytes for column in self._columns)

    def __len__(self) -> int:
        """Count the batches of an epoch."""
        return iterations_per_epoch(self.n, self.batch_size, self._last)

    def set_epoch(self, epoch: int) -> None:
        """Let the next iteration run through `epoch` (an int >= 0)."""
        self.epoch = _check.integer("epoch", epoch, low=0)

    def __iter__(self) -> Iterator[tuple[np.ndarray, ...]]:
        """Yield the batches of the next epoch."""
        epoch = self.epoch
        self.epoch += 1
        return self.iterate(epoch)

    def iterate(
        self, epoch: int, skip: int = 0, *, worker: int = 0, workers: int = 1
    ) -> Iterator[tuple[np.ndarray, ...]]:
        """Yield the batches of `epoch` after the first `skip`, whose mixtures are not read.

        With `workers` the rank's rows are divided once more, and these are the batches of one
        `worker`; one for which there is no row gets none.
        """
        epoch, skip = _check.integer("epoch", epoch, low=0), _check.integer("skip", skip, low=0)
        workers = _check.integer("workers", workers)
        worker = _check.integer("worker", worker, low=0, high=workers - 1)
        part, parts = self._rank * workers + worker, self._ranks * workers
        return self._batches(self._plan.part(epoch, part, parts), skip * self.batch_size)

    def _batches(self, part: Part, done: int) -> Iterator[tuple[Any, ...]]:
        b, r, left = self.batch_size, self._readers, int(part.lengths.sum()) - done
        if left <= 0:
            return
        kept: list[np.ndarray] = []  # rows of a batch that goes on in the next mixture
        for chunk in chunks(self._columns, part, done, rows=self._most, batch_size=b, readers=r):
            if kept:
                chunk = [np.concatenate(pair) for pair in zip(kept, chunk, strict=True)]
            whole = len(chunk[0]) // b * b
            if whole:
                parts = [self._cut(rows[:whole], b) for rows in chunk]
                yield from zip(*parts, repeat(self._equal(b, 1 / b)), strict=False)
            left -= whole
            kept = [rows[whole:].copy() for rows in chunk] if whole < len(chunk[0]) else []
        if left and self._last != "drop":
            weights = self._equal(left, 1 / (b if self._last == "scale" else left))
            yield *(self._cut(rows, left)[0] for rows in kept), weights

    @staticmethod
    def _cut(rows: np.ndarray, size: int) -> Sequence[Any]:
        """Return rows as batches of one size."""
        return [rows[low : low + size] for low in range(0, len(rows), size)]

    def _equal(self, count: int, weight: float) -> Any:
        """Return so many equal weights."""
        return uniform_weights(count, weight)
