"""The indices of the batches of each epoch, which can be entered again at any place."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import torch

from sgdlib import _check
from sgdlib.batching import Block, index_blocks, iterations_per_epoch


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
            raise TypeError("batch_size is a schedule: the number of batches depends on the epoch")
        if self.sampling in ("replacement", "subset"):
            return -(-self.n // self.batch_size)
        return iterations_per_epoch(self.n, self.batch_size, self.last)

    def __iter__(self) -> Iterator[list[int]]:
        """Yield the batches of the next epoch as lists of indices."""
        if self.last == "pad":
            raise ValueError("last='pad': a batch_sampler cannot pass weights on, use 'keep'")
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
        if callable(size):  # the plan of one epoch starts at 0, the schedule counts all epochs
            n, schedule = self.n, self.batch_size

            def size(progress: float) -> float:
                return schedule((epoch * n + round(progress * n)) / n)

        stream = 0 if self.sampling == "shuffle_once" else epoch
        rng = np.random.default_rng([self.seed, stream])
        options = {"sampling": self.sampling, "last": self.last, "rows": rows}
        if torch.device(device).type == "cpu":
            return index_blocks(self.n, size, epochs=1, rng=rng, **options)
        generator = torch.Generator(device).manual_seed(int(rng.integers(2**63)))
        return device_blocks(self.n, size, generator=generator, **options)


def device_blocks(
    n: int,
    batch_size: int | Callable[[float], float],
    *,
    sampling: str,
    last: str,
    rows: int,
    generator: torch.Generator,
) -> Iterator[Block]:
    """Yield the blocks of one epoch as `index_blocks` does, drawn on the generator's device.

    Sizes and weights come from the plan of a sequential epoch; only the order is drawn anew.
    """
    device = generator.device
    independent = sampling in ("replacement", "subset")
    plan = index_blocks(
        n,
        batch_size,
        sampling="replacement" if sampling == "replacement" else "sequential",
        last="wrap" if independent else last,
        epochs=1,
        rows=rows,
        rng=0,
    )
    if sampling == "sequential":
        order = torch.arange(n, device=device)
    elif not independent:
        order = torch.randperm(n, generator=generator, device=device)
    for block in plan:
        k, b = block.indices.shape
        if sampling == "replacement":
            indices = torch.randint(n, (k, b), generator=generator, device=device)
        elif sampling == "subset":
            draws = [torch.randperm(n, generator=generator, device=device)[:b] for _ in range(k)]
            indices = torch.stack(draws)
        elif block.start + k * b <= n:
            indices = order[block.start : block.start + k * b].view(k, b)
        else:  # the short last batch, filled up by its rule
            indices = order[torch.as_tensor(block.indices, device=device)]
        yield block._replace(indices=indices)
