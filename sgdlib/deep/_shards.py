"""What each process holds of every batch: a part of a common one, or a batch of its own."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator

import torch

from sgdlib import _check
from sgdlib.deep import _identity
from sgdlib.deep._processes import Processes
from sgdlib.deep._tensors import tensors_of
from sgdlib.deep.checkpoints import check_checkpoint
from sgdlib.deep.loading import TensorBatches


class _Part(TensorBatches):
    """The rows of every batch that are this process's, with the weights of the whole batch."""

    def __init__(self, *tensors, group: Processes, **plan):
        super().__init__(*tensors, **plan)
        self.part = group.part

    def _part(self, indices):
        return indices[:, self.part(indices.shape[1])]


class _OwnBatches:
    """Batches of a loader of this process, together with what the others have.

    Yields this process's rows and the weights of all, equal for every example of the step.
    """

    yields_weights = True

    def __init__(self, loader: Iterable, group: Processes):
        self.loader, self.group, self._offset = loader, group, 0
        self._weighted = getattr(loader, "yields_weights", False)

    def __len__(self) -> int:
        return len(self.loader)

    def part(self, rows: int) -> slice:
        """Return which of the step's rows are this process's."""
        return slice(self._offset, self._offset + self._count)

    def set_epoch(self, epoch: int) -> None:
        for one in (self.loader, getattr(self.loader, "sampler", None)):
            if hasattr(one, "set_epoch"):
                one.set_epoch(epoch)

    def __iter__(self) -> Iterator[tuple[torch.Tensor, ...]]:
        done, rank = 0, self.group.rank
        batches = iter(self.loader)
        while True:
            batch = next(batches, None)
            batch = (batch,) if isinstance(batch, torch.Tensor) else batch
            counts = torch.zeros(self.group.size, dtype=torch.int64, device=self.group.device)
            counts[rank] = 0 if batch is None else len(batch[0])
            counts = self.group.add_up(counts).tolist()
            if not any(counts):
                return
            if not all(counts):
                raise ValueError(
                    f"data: expected shards with equally many batches, rank {counts.index(0)} has "
                    f"none after {done} and others have"
                )
            self._offset, self._count, total = sum(counts[:rank]), counts[rank], sum(counts)
            x = batch[0]
            dtype = x.dtype if x.is_floating_point() else torch.get_default_dtype()
            weights = torch.full((total,), 1 / total, dtype=dtype, device=self.group.device)
            if self._weighted:
                *batch, own = batch
                weights[self.part(total)] = own.to(weights) * (self._count / total)
            done += 1
            yield (*batch, weights)


def shared(data: object, group: Processes, plan: dict) -> Iterable:
    """Return the loader of this process: its part of every batch, or its own batches."""
    tensors = tensors_of(data)
    if tensors is None:
        if plan["batch_size"] is not None:
            raise ValueError(
                "batch_size: expected none beside a loader, which makes its own batches; data is a "
                f"{type(data).__name__}, not tensors"
            )
        return _OwnBatches(data, group)
    size, n = plan["batch_size"], len(tensors[0])
    if n < group.size:
        raise ValueError(
            f"data: expected at least one example for each process, got {n} for {group.size}"
        )
    if size is None:
        raise ValueError(f"batch_size=None: expected an int in {group.size}..{n} or a schedule")
    if not callable(size):
        _check.integer("batch_size", size, low=group.size)
    everyone = group.gather((_identity.fingerprint(tensors), None if callable(size) else size))
    for rank, (print_, asked) in enumerate(everyone):
        if print_ != everyone[0][0]:
            raise ValueError(
                "data: expected the same tensors in every process, which takes its part of each "
                f"batch, got {print_} in rank {rank} and {everyone[0][0]} in rank 0"
            )
        if asked != everyone[0][1]:
            raise ValueError(
                f"batch_size={asked} in rank {rank}: expected that of rank 0, {everyone[0][1]}"
            )
    loader = _Part(*(t.to(group.device) for t in tensors), group=group, **plan)
    loader.indices.seed = group.gather(loader.indices.seed)[0]
    return loader


def check_seen_by_all(
    checkpoint: str | os.PathLike | None, every: int | None, group: Processes
) -> None:
    """Raise unless the processes find the same checkpoint, or none."""
    path, _ = check_checkpoint(checkpoint, every)
    if path is None:
        return
    found = group.gather(path.exists())
    if len(set(found)) > 1:
        raise ValueError(
            f"checkpoint={str(path)!r}: expected a folder that all processes see, rank "
            f"{found.index(True)} finds the file and rank {found.index(False)} does not"
        )
