"""Tensors that are already in memory, batched on the device where they live.

A loader that fetches one example at a time and stacks them spends most of its time in Python. Here
a block of about one megabyte of whole batches is gathered by one `index_select` and cut into
batches by `split`, which makes views. Extra memory: two blocks and the order of the examples.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import repeat

import numpy as np
import torch

from sgdlib import _check
from sgdlib.batching import Block, common_weight, index_blocks, iterations_per_epoch

_BLOCK_BYTES = 1 << 20


class IndexBatches:
    """The indices of the batches of each epoch; also a `batch_sampler` for torch's DataLoader.

    The order of epoch e is a function of `(seed, e)` alone, so any place of a run can be found
    again from three small numbers: the seed, the epoch and the number of batches done in it.

    Parameters
    ----------
    n
        Number of examples.
    batch_size
        An int in 1..n (with replacement any int >= 1), or a schedule: a function of progress in
        epochs.
    sampling, last
        As in `sgdlib.batching.batches`. As a `batch_sampler` the weights are not passed on, so
        there ``"scale"`` and ``"keep"`` give the same short batch, and ``"pad"`` is refused.
    rng
        Seed or NumPy Generator, from which the seed of the run is drawn.

    Attributes
    ----------
    seed
        The int that determines every epoch's order.
    epoch
        The epoch that the next iteration will run through; `set_epoch` changes it.

    Notes
    -----
    Used in the chapter *The training loop*; the rules are explained in *The gradient-descent
    spectrum*.

    Examples
    --------
    >>> sampler = IndexBatches(5, 2, sampling="sequential")
    >>> list(sampler), len(sampler)
    ([[0, 1], [2, 3], [4]], 3)
    """

    def __init__(
        self,
        n: int,
        batch_size: int | Callable[[float], float],
        *,
        sampling: str = "reshuffle",
        last: str = "scale",
        rng: int | np.random.Generator | None = None,
    ):
        index_blocks(n, batch_size, sampling=sampling, last=last, epochs=1)  # checks at the edge
        self.n, self.batch_size, self.sampling, self.last = n, batch_size, sampling, last
        self.seed = int(_check.generator(rng).integers(2**63))
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Let the next iteration run through `epoch` (an int >= 0)."""
        self.epoch = _check.integer("epoch", epoch, low=0)

    def __len__(self) -> int:
        """Count the batches of an epoch; a TypeError where a schedule decides it."""
        if callable(self.batch_size):
            raise TypeError("the number of batches depends on the epoch: the batch size is a schedule")
        if self.sampling in ("replacement", "subset"):
            return -(-self.n // self.batch_size)
        return iterations_per_epoch(self.n, self.batch_size, self.last)

    def __iter__(self) -> Iterator[list[int]]:
        """Yield the batches of the next epoch as lists of indices."""
        if self.last == "pad":
            raise ValueError("last='pad': a batch_sampler cannot pass weights on; use 'keep' or 'drop'")
        epoch, self.epoch = self.epoch, self.epoch + 1
        for block in self.blocks(epoch):
            yield from block.indices.tolist()

    def blocks(
        self, epoch: int, *, rows: int = 8192, device: torch.device | str = "cpu"
    ) -> Iterator[Block]:
        """Yield the blocks of one epoch, each of about `rows` examples in whole batches.

        On a CPU the indices are NumPy arrays from the generator that serves all of sgdlib; on
        another device they are tensors drawn there, by the same rules in another random order.
        """
        size = self.batch_size
        if callable(size):
            scheduled = self.batch_size

            def size(progress: float) -> float:
                return scheduled(epoch + progress)

        stream = 0 if self.sampling == "shuffle_once" else epoch
        options = {"last": self.last, "epochs": 1, "rows": rows}
        if torch.device(device).type == "cpu":
            rng = np.random.default_rng([self.seed, stream])
            return index_blocks(self.n, size, sampling=self.sampling, rng=rng, **options)
        generator = torch.Generator(device)
        generator.manual_seed(int(np.random.default_rng([self.seed, stream]).integers(2**63)))
        return device_blocks(self.n, size, sampling=self.sampling, generator=generator, **options)


def device_blocks(
    n: int,
    batch_size: int | Callable[[float], float],
    *,
    sampling: str,
    last: str,
    epochs: int,
    rows: int,
    generator: torch.Generator,
) -> Iterator[Block]:
    """Yield blocks as `index_blocks` does, the indices drawn on the generator's device.

    Sizes and weights come from the plan of a sequential run; only the order is drawn anew.
    """
    independent = sampling in ("replacement", "subset")
    plan = index_blocks(
        n,
        batch_size,
        sampling="replacement" if sampling == "replacement" else "sequential",
        last="wrap" if independent else last,
        epochs=epochs,
        rows=rows,
        rng=0,
    )
    device = generator.device

    def permutation():
        return torch.randperm(n, generator=generator, device=device)

    order = torch.arange(n, device=device) if sampling == "sequential" else None
    for block in plan:
        k, b = block.indices.shape
        if sampling == "replacement":
            indices = torch.randint(n, (k, b), generator=generator, device=device)
        elif sampling == "subset":
            indices = torch.stack([permutation()[:b] for _ in range(k)])
        else:
            if order is None or (sampling == "reshuffle" and block.start % n == 0):
                order = permutation()
            low = block.start % n
            if low + k * b <= n:
                indices = order[low : low + k * b].view(k, b)
            else:  # the short last batch, filled up by its rule
                indices = order[torch.tensor(block.indices, device=device)]
        yield block._replace(indices=indices)


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
        self._rows = max(1, _BLOCK_BYTES // max(1, row_bytes))
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
            parts = [t.index_select(0, indices).split(b) for t in self.tensors]
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
