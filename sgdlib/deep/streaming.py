"""Batches from arrays on disk for torch: `sgdlib.streaming.ArrayStream` as an `IterableDataset`.

A `DataLoader` starts its workers with a copy of the dataset each. A dataset that does not ask which
worker it is yields everything once per worker, and one that keeps its epoch in an attribute of its
own begins with the first each time. This one asks, and counts in memory that all copies share.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import numpy as np
import torch
from torch.utils.data import IterableDataset, get_worker_info

from sgdlib import _check
from sgdlib.streaming import ArrayStream

_WORKERS = 4096  # more than a DataLoader is ever given


class StreamDataset(IterableDataset):
    """Batches of tensors from arrays on disk, for `train` and for a `DataLoader` with workers.

    Each iteration is one epoch and yields tuples `(*batch_tensors, weights)`, as `TensorBatches`
    does; several batches may have one tensor of weights. It is a loader itself, with threads that
    read ahead, and goes to `train` as it is. With workers it is ``DataLoader(dataset,
    batch_size=None, num_workers=K)``: each worker reads a part of its own, in batches and with
    buffers of its own.

    Parameters
    ----------
    shards, batch_size, block, mix, last, rank, ranks, readers, rng
        As in `sgdlib.streaming.ArrayStream`. With workers the rule for the last, short batch
        applies to each worker's own.

    Attributes
    ----------
    n
        Examples that an epoch of this rank has.
    stream
        The stream behind it, with `buffer_bytes`.

    Raises
    ------
    ShardError, ValueError, TypeError
        As `ArrayStream` does; also for a dtype that torch does not have.

    Notes
    -----
    The order is a function of the seed, the epoch and the number of workers. Used in the chapter
    *Data larger than memory*.

    Examples
    --------
    >>> import tempfile
    >>> folder = tempfile.TemporaryDirectory()
    >>> np.save(f"{folder.name}/0.npy", np.arange(5.0))
    >>> data = StreamDataset([f"{folder.name}/0.npy"], batch_size=2, block=2, mix=2, rng=0)
    >>> loader = torch.utils.data.DataLoader(data, batch_size=None)
    >>> sorted(value for x, _ in loader for value in x.tolist())
    [0.0, 1.0, 2.0, 3.0, 4.0]
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
        self.stream = _TensorStream(
            shards,
            batch_size=batch_size,
            block=block,
            mix=mix,
            last=last,
            rank=rank,
            ranks=ranks,
            readers=readers,
            rng=rng,
        )
        self.n = self.stream.n
        dtypes = [column[0].dtype for column in self.stream._columns]
        for dtype in dtypes:
            try:
                torch.from_numpy(np.empty(0, dtype))
            except TypeError:
                raise TypeError(f"shards: torch has no dtype {dtype}") from None
        floats = [dtype for dtype in dtypes if dtype.kind == "f"]
        self.stream.dtype = torch.from_numpy(np.empty(0, floats[0])).dtype if floats else None
        self._next = torch.zeros(_WORKERS, dtype=torch.int64).share_memory_()  # epoch of each

    def set_epoch(self, epoch: int) -> None:
        """Let the next iteration run through `epoch` (an int >= 0), in all workers."""
        self._next.fill_(_check.integer("epoch", epoch, low=0))

    def __iter__(self) -> Iterator[tuple[torch.Tensor, ...]]:
        """Yield the batches of the next epoch: in a worker, its part of them."""
        info = get_worker_info()
        worker, workers = (0, 1) if info is None else (info.id, info.num_workers)
        epoch = int(self._next[worker])
        self._next[worker] += 1
        return self.stream.iterate(epoch, worker=worker, workers=workers)

    def iterate(self, epoch: int, skip: int = 0) -> Iterator[tuple[torch.Tensor, ...]]:
        """Yield the batches of `epoch` after the first `skip`, which are not read."""
        return self.stream.iterate(epoch, skip)


class _TensorStream(ArrayStream):
    """The same stream, cut into tensors: views of what has just been gathered."""

    dtype: torch.dtype | None = None

    @staticmethod
    def _cut(rows: np.ndarray, size: int) -> Sequence[torch.Tensor]:
        if get_worker_info() is None:
            return torch.unsafe_split(torch.from_numpy(rows), size)
        parts = ArrayStream._cut(rows, size)  # each sent to the main process on its own
        return [torch.from_numpy(part) for part in parts]

    def _equal(self, count: int, weight: float) -> torch.Tensor:
        return torch.full((count,), weight, dtype=self.dtype or torch.get_default_dtype())
