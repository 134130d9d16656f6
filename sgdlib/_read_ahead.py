"""The rows of a plan in their order, while threads read the next mixture into a second memory."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np

from sgdlib._blocks import Part
from sgdlib._shards import Shard

_CHUNK_BYTES = 1 << 20  # rows are taken out of a mixture about so many at a time


def chunks(
    columns: list[list[Shard]], part: Part, done: int, *, rows: int, batch_size: int, readers: int
) -> Iterator[list[np.ndarray]]:
    """Yield the rows of a part after the first `done`, about a megabyte at a time.

    A chunk is a copy of whole batches (at a mixture's end, of what is left of it), an array for
    each of the `columns`. `rows` is the most that a mixture has. No thread is left when the
    iteration ends or is given up.
    """
    group, place = part.begin(done)
    row_bytes = max(column[0].row_bytes for column in columns)
    step = max(batch_size, _CHUNK_BYTES // row_bytes // batch_size * batch_size)
    here, next_ = ([np.empty((rows, *c[0].shape), c[0].dtype) for c in columns] for _ in range(2))
    with ThreadPoolExecutor(readers, thread_name_prefix="reader") as threads:
        try:
            ahead = _begin(columns, part, group, next_, threads, readers)
            while group < part.groups:
                for read in ahead:
                    read.result()
                here, next_ = next_, here
                order, group = part.shuffled(group), group + 1
                if group < part.groups:
                    ahead = _begin(columns, part, group, next_, threads, readers)
                for low in range(place, len(order), step):
                    which = order[low : low + step]
                    yield [column.take(which, axis=0) for column in here]
                place = 0
        finally:
            threads.shutdown(wait=True, cancel_futures=True)


def _begin(
    columns: list[list[Shard]],
    part: Part,
    group: int,
    memory: list[np.ndarray],
    threads: ThreadPoolExecutor,
    readers: int,
) -> list[Future]:
    """Begin to read a mixture, block after block, to the beginning of `memory`."""
    sizes = [shard.rows for shard in columns[0]]
    first = np.cumsum(sizes) - sizes  # rows before each file
    starts, lengths = part.blocks(group)
    files = np.searchsorted(first, starts, side="right") - 1
    jobs = [
        (column[file], start, into[low : low + count])
        for file, start, low, count in zip(
            files.tolist(),
            (starts - first[files]).tolist(),
            (np.cumsum(lengths) - lengths).tolist(),
            lengths.tolist(),
            strict=True,
        )
        for column, into in zip(columns, memory, strict=True)
    ]
    stride = min(len(jobs), 4 * readers)  # short blocks: many to a call
    return [threads.submit(_read, jobs[k::stride]) for k in range(stride)]


def _read(jobs: list[tuple[Shard, int, np.ndarray]]) -> None:
    for shard, start, into in jobs:
        shard.read(start, into)
