"""Tensors that are already in memory, batched on the device where they live.

A loader that fetches one example at a time and stacks them spends most of its time in Python. Here
a block of about half a megabyte of whole batches (16 on a GPU) is gathered by one `index_select`
and cut into batches by `split`, which makes views. Extra memory: two blocks and the order of the
examples.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import repeat

import numpy as np
import torch

from sgdlib.batching import common_weight
from sgdlib.deep.indices import IndexBatches

_BLOCK_BYTES = 1 << 19  # stays in a CPU's cache
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
        self.tensors = _check_tensors(tensors)
        self.device = tensors[0].device
        self.indices = IndexBatches(
            len(tensors[0]), batch_size, sampling=sampling, last=last, rng=rng
        )
        floats = [t.dtype for t in tensors if t.is_floating_point()]
        self.dtype = floats[0] if floats else torch.get_default_dtype()
        row_bytes = max(t[0].numel() * t.element_size() for t in tensors)
        block_bytes = _BLOCK_BYTES if self.device.type == "cpu" else _GPU_BLOCK_BYTES
        self._rows = max(1, block_bytes // max(1, row_bytes))
        self._uniform: dict[tuple[int, float], torch.Tensor] = {}

    def __len__(self) -> int:
        """Count the batches of an epoch; a TypeError where a schedule decides it."""
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
        for block in self.indices.blocks(epoch, rows=self._rows, device=self.device):
            k, b = block.indices.shape
            if skip >= k:
                skip -= k
                continue
            indices = block.indices[skip:].reshape(-1)
            skip = 0
            if isinstance(indices, np.ndarray):
                indices = torch.from_numpy(np.require(indices, requirements="CW"))
            # like split, without the bookkeeping that lets autograd follow writes into a view
            parts = [torch.unsafe_split(t.index_select(0, indices), b) for t in self.tensors]
            yield from zip(*parts, repeat(self._weights(block.weights)), strict=False)

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


def _check_tensors(tensors: tuple) -> tuple[torch.Tensor, ...]:
    """Return `tensors` if they have the same number (>= 1) of rows and one device, or raise."""
    if not tensors:
        raise ValueError("tensors: expected at least one tensor, got none")
    for i, t in enumerate(tensors):
        if not isinstance(t, torch.Tensor):
            raise TypeError(f"tensors[{i}]: expected a torch.Tensor, got {type(t).__name__}")
        if t.ndim == 0 or len(t) == 0:
            raise ValueError(f"tensors[{i}]: expected rows, got an empty tensor {tuple(t.shape)}")
    if len({len(t) for t in tensors}) > 1:
        lengths = ", ".join(str(len(t)) for t in tensors)
        raise ValueError(f"tensors: expected equal numbers of rows, got {lengths}")
    if len({t.device for t in tensors}) > 1:
        devices = ", ".join(str(t.device) for t in tensors)
        raise ValueError(f"tensors: expected one device, got {devices}")
    return tensors
