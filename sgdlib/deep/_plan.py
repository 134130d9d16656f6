"""The whole plan of a run, gone through before its first step.

Nothing should fail after hours that could be known at once: a rate that is not a number in epoch 7,
a batch that outgrows the data, a last batch of one example before a batch normalization.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import nn

from sgdlib import _check
from sgdlib.deep._as_found import training
from sgdlib.deep._losses import forward
from sgdlib.deep._models import device_of
from sgdlib.deep.capture import put_back
from sgdlib.deep.sampler import IndexBatches


def check_schedules(
    indices: IndexBatches | None, epochs: int, lr: float | Callable | None
) -> set[int]:
    """Ask the schedules at every step of the run; return the sizes of its batches.

    Where nobody knows the batches yet, `lr` is asked at the beginning of each epoch.

    Raises
    ------
    ValueError, TypeError
        If a value cannot be used, in a sentence that names argument, progress and value.
    """
    sizes, n = set(), 1 if indices is None else indices.n
    changes = callable(lr) or (indices is not None and callable(indices.batch_size))
    for epoch in range(epochs if changes else 1):
        for position, rows in [(epoch, 0)] if indices is None else indices.steps(epoch):
            sizes.add(rows)
            if callable(lr):
                progress = position / n
                rate = lr(progress)
                if not (type(rate) is float and 0 <= rate < math.inf):
                    _check.number(f"lr({progress:g})", rate, at_least=0)
    return sizes


def check_smallest(
    model: nn.Module,
    x: torch.Tensor,
    sizes: set[int],
    micro_batch_size: int | None,
    precision: str,
) -> None:
    """Pass as many examples as the smallest piece of a batch has through the model, in training.

    Batch normalization, for one, cannot be trained on a single example. The model and the random
    numbers are as before afterwards.

    Raises
    ------
    ValueError
        If it cannot, where more examples can.
    """
    micro = micro_batch_size or max(sizes)
    pieces = {rows for b in sizes for rows in (min(b, micro), b % micro) if rows}
    smallest, device = min(pieces), device_of(model, x.device)

    def try_out(rows: int) -> None:
        with put_back(model, device), training(model), torch.no_grad():
            forward(model, x[:rows].to(device), precision)

    try:
        try_out(smallest)
    except Exception as error:
        try_out(max(2, *pieces))  # if this fails too, it is not for the size
        argument, hint = "batch_size", "last='drop', last='wrap' or another size avoids it"
        if smallest not in sizes:
            argument, hint = f"micro_batch_size={micro}", "another size avoids it"
        raise ValueError(
            f"{argument}: expected no batch or piece of one with fewer examples than the model can "
            f"be trained on, got one of {smallest} ({str(error).splitlines()[0]}); {hint}"
        ) from error
