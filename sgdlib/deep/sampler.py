"""The indices of the batches of each epoch, which can be entered again at any place."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import torch

from sgdlib import _check
from sgdlib.batching import Block, index_blocks, iterations_per_epoch
from sgdlib.deep._inputs import named_device

_INDEPENDENT = ("replacement", "subset")


class IndexBatches:
    """The indices of the batches of each epoch; also a `batch_sampler` for torch's DataLoader.

    The order of epoch e is a function of `(seed, e)` alone, so any place of a run can be found
    again from three small numbers: the seed, the epoch and the number of batches done in it.

    Batches that are drawn one by one, with replacement or as subsets, need not end where an epoch
    does: epoch e holds those that begin in it, so K epochs are the steps that begin before the
    K n-th example.

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
    drawn
        Whether nobody asked for a certain seed: then a run that is taken up brings its own.
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
        self.n, self.sampling, self.last = int(n), sampling, last
        self.batch_size = batch_size if callable(batch_size) else int(batch_size)
        self._independent = sampling in _INDEPENDENT
        self._starts = [0]  # of the epochs, in examples, where batches are independent
        self.seed, self.drawn = draw_seed(rng), rng is None
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Let the next iteration run through `epoch` (an int >= 0)."""
        self.epoch = _check.integer("epoch", epoch, low=0)

    def __len__(self) -> int:
        """Count the batches of the next epoch; a TypeError where a schedule decides it."""
        if callable(self.batch_size):
            raise TypeError("batch_size is a schedule: the number of batches depends on the epoch")
        if self._independent:
            return sum(1 for _ in self.steps(self.epoch))
        return iterations_per_epoch(self.n, self.batch_size, self.last)

    def size(self, position: int) -> int:
        """Return the size of a batch that begins after `position` examples of the run."""
        if not callable(self.batch_size):
            return self.batch_size
        progress = position / self.n
        value, high = self.batch_size(progress), None if self.sampling == "replacement" else self.n
        if type(value) is int and 1 <= value <= (high or value):
            return value
        name = f"batch_size({progress:g})"
        value = _check.integer(name, round(_check.number(name, value)))
        if value > (high or value):
            raise ValueError(
                f"{name}={value}: expected an int in 1..{high}, the number of examples; grow_batch "
                "has maximum= for that"
            )
        return value

    def start(self, epoch: int) -> int:
        """Return after how many examples of the run the first batch of `epoch` begins."""
        if type(epoch) is not int or epoch < 0:  # it is asked for at every step
            epoch = _check.integer("epoch", epoch, low=0)
        if not self._independent:
            return epoch * self.n
        while len(self._starts) <= epoch:
            position, end = self._starts[-1], len(self._starts) * self.n
            while position < end:
                position += self.size(position)
            self._starts.append(position)
        return self._starts[epoch]

    def steps(self, epoch: int) -> Iterator[tuple[int, int]]:
        """Yield where each batch of `epoch` begins, in examples of the run, and its rows."""
        epoch = _check.integer("epoch", epoch, low=0)
        position, end = self.start(epoch), (epoch + 1) * self.n
        while position < end:
            size = self.size(position)
            rows = size if self._independent else min(size, end - position)
            if rows == size or self.last in ("pad", "wrap"):
                yield position, size
            elif self.last != "drop":
                yield position, rows
            position += size

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
        epoch = _check.integer("epoch", epoch, low=0)
        rows = _check.integer("rows", rows)
        size, begin, device = self.batch_size, self.start(epoch), named_device(device)
        if callable(size):  # the plan of one epoch starts at 0, the schedule counts all epochs

            def size(progress: float) -> int:
                return self.size(begin + round(progress * self.n))

        stream = 0 if self.sampling == "shuffle_once" else epoch
        rng = np.random.default_rng([self.seed, stream])
        options = {"sampling": self.sampling, "last": self.last, "rows": rows}
        if not self._independent:
            options["epochs"] = 1
        elif count := sum(1 for _ in self.steps(epoch)):
            options["steps"] = count
        else:  # one batch of more than n examples may span whole epochs
            return iter(())
        if device.type == "cpu":
            return index_blocks(self.n, size, rng=rng, **options)
        generator = torch.Generator(device).manual_seed(int(rng.integers(2**63)))
        return device_blocks(self.n, size, generator=generator, **options)


def draw_seed(rng: int | np.random.Generator | None) -> int:
    """Draw the seed of a run, an int below 2**63."""
    return int(_check.generator(rng).integers(2**63))


def device_blocks(
    n: int,
    batch_size: int | Callable[[float], float],
    *,
    sampling: str,
    last: str,
    rows: int,
    generator: torch.Generator,
    epochs: int | None = None,
    steps: int | None = None,
) -> Iterator[Block]:
    """Yield the blocks of one epoch as `index_blocks` does, drawn on the generator's device.

    Sizes and weights come from the plan of a sequential epoch; only the order is drawn anew.
    """
    device = generator.device
    independent = sampling in _INDEPENDENT
    plan = index_blocks(
        n,
        batch_size,
        sampling="replacement" if independent else "sequential",
        last=last,
        epochs=epochs,
        steps=steps,
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
