"""Batches for training: what a loader is, and the one for tensors that are already in memory.

A loader is anything that can be iterated anew for each epoch and yields batches:

- A batch is a tensor of inputs, or a tuple or list of tensors with the same number of rows, inputs
  first. Each example weighs 1/B. Where the loader says ``yields_weights = True``, the last tensor
  holds the weights (B,) instead.
- ``set_epoch(epoch)``, where there is one, is called before each epoch, counted from 0: a loader
  whose order follows from the epoch alone can be taken up again anywhere.
- ``n``, or else the length of its ``dataset``, is the number of examples in an epoch, in which
  schedules measure progress. Where neither is there, ``len(loader)`` batches are an epoch; without
  that, schedules move from one epoch to the next only.
- What a loader lacks of these is looked for in its ``dataset``: a `DataLoader` over an
  `IterableDataset` that makes its batches itself.
- ``iterate(epoch, skip)``, where there is one, yields the batches of an epoch after the first
  `skip`: a run that is taken up does not read what it has done.

Torch's `DataLoader` is one. It fetches one example at a time and spends most of its time in Python.
`TensorBatches` gathers a block of about a megabyte of whole batches (16 on a GPU) by one
`index_select` and cuts it by `split`, which makes views. Extra memory: some blocks and the order of
the examples.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import islice, repeat

import numpy as np
import torch

from sgdlib import _check
from sgdlib.batching import common_weight
from sgdlib.deep._tensors import check_tensors
from sgdlib.deep.accumulation import equal_weights
from sgdlib.deep.sampler import IndexBatches, draw_seed

_BLOCK_BYTES = 1 << 20  # within reach of a CPU's caches
_GPU_BLOCK_BYTES = 1 << 24  # few launches; small beside a GPU's memory


class TensorBatches:
    """Batches of tensors in memory, gathered on the device where the tensors are.

    Each iteration is one epoch and yields tuples `(*batch_tensors, weights)`. The batch gradient
    is ``sum_i weights[i] * grad l_i``, so a training step is ``losses.backward(weights)``. Weights
    of full batches are 1/B and one shared tensor: do not write into it.

    Parameters
    ----------
    *tensors
        Tensors with the same number N of rows, on one device.
    batch_size, sampling, last, rng
        As in `IndexBatches`. Where the tensors are on a GPU the indices are drawn there.

    Raises
    ------
    ValueError, TypeError
        If the tensors differ in length or device or are empty, or for an argument out of range.

    Notes
    -----
    Used in the chapter *The training loop*.

    Examples
    --------
    >>> X, y = torch.arange(10.0).view(5, 2), torch.arange(5)
    >>> loader = TensorBatches(X, y, batch_size=2, rng=0)
    >>> [(tuple(x.shape), w.tolist()) for x, _, w in loader]
    [((2, 2), [0.5, 0.5]), ((2, 2), [0.5, 0.5]), ((1, 2), [0.5])]
    """

    def __init__(
        self,
        *tensors: torch.Tensor,
        batch_size: int | Callable[[float], float],
        sampling: str = "reshuffle",
        last: str = "scale",
        rng: int | np.random.Generator | None = None,
    ):
        check_tensors("tensors", tensors)
        if len({t.device for t in tensors}) > 1:
            devices = ", ".join(str(t.device) for t in tensors)
            raise ValueError(f"tensors: expected one device, got {devices}")
        self.tensors, self.device = tensors, tensors[0].device
        self.indices = IndexBatches(
            len(tensors[0]), batch_size, sampling=sampling, last=last, rng=rng
        )
        floats = [t.dtype for t in tensors if t.is_floating_point()]
        self.dtype = floats[0] if floats else torch.get_default_dtype()
        row_bytes = max(t[0].numel() * t.element_size() for t in tensors)
        block_bytes = _BLOCK_BYTES if self.device.type == "cpu" else _GPU_BLOCK_BYTES
        self._rows = max(1, block_bytes // max(1, row_bytes))
        self._gather = [_Gather(t) for t in tensors]
        self._uniform: dict[tuple[int, float], torch.Tensor] = {}

    yields_weights = True

    @property
    def n(self) -> int:
        """The number of examples."""
        return self.indices.n

    def __len__(self) -> int:
        """Count the batches of the next epoch; a TypeError where a schedule decides it."""
        return len(self.indices)

    def set_epoch(self, epoch: int) -> None:
        """Let the next iteration run through `epoch` (an int >= 0)."""
        self.indices.set_epoch(epoch)

    def __iter__(self) -> Iterator[tuple[torch.Tensor, ...]]:
        """Yield the batches of the next epoch."""
        epoch = self.indices.epoch
        self.indices.epoch += 1
        return self.iterate(epoch)

    def iterate(self, epoch: int, skip: int = 0) -> Iterator[tuple[torch.Tensor, ...]]:
        """Yield the batches of `epoch`, leaving out the first `skip` of them (to resume a run)."""
        return self._iterate(
            _check.integer("epoch", epoch, low=0), _check.integer("skip", skip, low=0)
        )

    def _iterate(self, epoch: int, skip: int) -> Iterator[tuple[torch.Tensor, ...]]:
        for block in self.indices.blocks(epoch, rows=self._rows, device=self.device):
            k, b = block.indices.shape
            if skip >= k:
                skip -= k
                continue
            indices = self._part(block.indices[skip:])
            count, b = indices.shape
            indices, skip = indices.reshape(-1), 0
            if isinstance(indices, np.ndarray):
                ready = indices.flags.writeable and indices.flags.c_contiguous
                indices = torch.from_numpy(indices if ready else indices.copy())
            # like split, without the bookkeeping that lets autograd follow writes into a view
            rows = [gather(indices) for gather in self._gather]
            parts = [torch.unsafe_split(t, b) if b else [t] * count for t in rows]
            yield from zip(*parts, repeat(self._weights(block.weights)), strict=False)

    def _part(self, indices):
        """Return the columns of a block (k, B) that this process gathers: all."""
        return indices

    def _weights(self, weights: np.ndarray) -> torch.Tensor:
        """Return a block's weights as a tensor; equal ones are made once and shared."""
        common = common_weight(weights)
        if common is None:
            return torch.as_tensor(weights, dtype=self.dtype, device=self.device)
        key = (len(weights), common)
        if key not in self._uniform:
            self._uniform[key] = torch.full(
                (len(weights),), common, dtype=self.dtype, device=self.device
            )
        return self._uniform[key]


class _Gather:
    """Gathers rows of a tensor, into memory used before where nobody holds a part of that any more.

    New memory of this size costs page faults, as much time as the gathering. Whoever holds a batch,
    a part of one or a graph that needs it counts as a user of its storage.
    """

    _most = 3
    _users = staticmethod(getattr(torch._C, "_storage_Use_Count", None))

    def __init__(self, tensor: torch.Tensor):
        self._tensor = tensor
        self._reuse = tensor.device.type == "cpu" and not tensor.requires_grad and self._users
        self._kept: list[tuple[torch.Tensor, int, int, int]] = []  # rows, address, users if free

    def __call__(self, indices: torch.Tensor) -> torch.Tensor:
        if not self._reuse or torch.is_inference_mode_enabled():
            return self._tensor.index_select(0, indices)
        count = indices.shape[0]
        for memory, rows, address, users in self._kept:
            if rows >= count and self._users(address) == users:
                out = memory if rows == count else memory[:count]
                break
        else:
            out = self._tensor.new_empty((count, *self._tensor.shape[1:]))
            address = out.untyped_storage()._cdata
            self._kept = [*self._kept, (out, count, address, self._users(address))][-self._most :]
        return torch.index_select(self._tensor, 0, indices, out=out)


class Loader:
    """Any loader as a run needs it: each batch with its weights, on the run's device.

    Parameters
    ----------
    loader
        As described above.
    device
        Where to move the batches.

    Attributes
    ----------
    n
        Examples in an epoch, or None if that is not known.
    tensors, indices, knobs
        Of `TensorBatches`, whose plan is known before it is carried out: the data, which of them
        when, and the batch size. None and nothing for others.
    tried
        Whether a batch has been found to fit the model.
    """

    def __init__(self, loader: Iterable, device: torch.device):
        no_loader = str | bytes | dict | np.ndarray | torch.Tensor
        if not isinstance(loader, Iterable) or isinstance(loader, no_loader):
            raise TypeError(f"data: expected a loader, got {type(loader).__name__}")
        if isinstance(loader, Iterator):
            raise TypeError(
                "data: expected a loader that can be iterated anew for each epoch, got "
                f"{type(loader).__name__}, which ends with the first"
            )
        self.loader, self._device, self.tried = loader, device, False
        dataset = getattr(loader, "dataset", None)
        owner = loader if hasattr(loader, "yields_weights") else dataset
        self._weighted = getattr(owner, "yields_weights", False)
        self._set_epoch = getattr(loader, "set_epoch", getattr(dataset, "set_epoch", None))
        self._parted = hasattr(loader, "part")  # the weights are those of all processes' rows
        self._equal: dict[tuple, torch.Tensor] = {}
        self.tensors, self.indices, self.knobs = None, None, {}
        if isinstance(loader, TensorBatches):
            self.tensors, self.indices = loader.tensors, loader.indices
            self.knobs = {"batch_size": loader.indices.batch_size}
        self.n = getattr(loader, "n", None) or getattr(dataset, "n", None) or _length(dataset)

    def seed(self, rng: int | np.random.Generator | None) -> tuple[int, bool]:
        """Return the seed of the run, the order's or else one drawn, and whether any other will do.

        Nobody who asked for a certain one is given another.
        """
        rng_given, rng = rng is not None, _check.generator(rng)
        if self.indices is None:
            return draw_seed(rng), not rng_given
        return self.indices.seed, self.indices.drawn

    def epoch(self, epoch: int, skip: int = 0) -> Iterator[tuple[torch.Tensor, ...]]:
        """Yield `(*batch, weights)` for the batches of `epoch` after the first `skip`."""
        if self.indices is not None and self.loader.device == self._device:
            return self.loader.iterate(epoch, skip)
        if hasattr(self.loader, "iterate"):
            return self._moved(self.loader.iterate(epoch, skip))
        if self._set_epoch is not None:
            self._set_epoch(epoch)
        batches = iter(self.loader)
        for _ in islice(batches, skip):  # draws what they draw
            pass
        return self._moved(batches)

    def _moved(self, batches) -> Iterator[tuple[torch.Tensor, ...]]:
        for batch in batches:
            batch = (batch,) if isinstance(batch, torch.Tensor) else batch
            if not isinstance(batch, tuple | list):
                raise TypeError(f"data: expected batches of tensors, got {type(batch).__name__}")
            check_tensors("batch", batch[:-1] if self._parted else batch)
            batch = tuple(t.to(self._device, non_blocking=True) for t in batch)
            yield batch if self._weighted else (*batch, self._weights(batch[0]))

    def _weights(self, x: torch.Tensor) -> torch.Tensor:
        key = (len(x), x.dtype)
        if key not in self._equal:  # the same tensor each time: the record reads them together
            self._equal[key] = equal_weights(x)
        return self._equal[key]

    def rows(self, batch_size: int) -> int:
        """Return how many examples of a batch this process holds."""
        return len(range(batch_size)[self.loader.part(batch_size)]) if self._parted else batch_size

    def position(self, epoch: int, steps: int, examples: int) -> float:
        """Return the progress, in epochs, where so much of `epoch` is done."""
        if self.indices is not None:
            return (self.indices.start(epoch) + examples) / self.n
        if self.n:
            return (epoch * self.n + examples) / self.n
        length = _length(self.loader)
        return epoch + (steps / length if length else 0.0)


def _length(sized: object) -> int | None:
    """Return the length, or None where there is none."""
    try:
        return len(sized)
    except TypeError:
        return None
