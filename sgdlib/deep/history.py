"""What a training run leaves behind, and how it is written down while the run goes on.

Asking a tensor for its number makes the processor wait for the device. So the losses of the steps
are kept as tensors and read together, every few hundred steps and at the end of an epoch.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from itertools import groupby

import numpy as np
import torch

_STEPS_PER_LOOK = 512
_SECONDS_PER_LOOK = 0.5
_COLUMNS = {
    "steps": np.int64,
    "epochs": np.int64,
    "examples": np.int64,
    "losses": np.float64,
    "lrs": np.float64,
    "batch_sizes": np.int64,
    "validation_losses": np.float64,
    "validation_accuracies": np.float64,
    "seconds": np.float64,
}


@dataclass(frozen=True, eq=False)
class History:
    """The record of a run of K whole epochs and S steps.

    A run that something ended in the middle of an epoch has made more steps than `steps` counts.

    Attributes
    ----------
    steps, epochs, examples
        (K,) steps made, epochs done and examples seen at the end of each epoch.
    losses
        (K,) mean training loss of the examples of the epoch, each taken before its step.
    lrs
        (K,) learning rate of the last step of each epoch; (K, G) where the optimizer has G > 1
        groups of parameters.
    batch_sizes
        (K,) size of the largest batch of each epoch.
    validation_losses, validation_accuracies
        (K,) over every validation example, at the end of each epoch; NaN where not measured.
    seconds
        (K,) duration of each epoch, without validation and checkpoints.
    step_losses, step_sizes
        (S,) mean loss of each batch before the step, and its number of examples.
    stopped_early
        Whether the validation loss stopped improving.
    best_epoch
        Number of epochs after which the validation loss was lowest, or None.
    """

    steps: np.ndarray
    epochs: np.ndarray
    examples: np.ndarray
    losses: np.ndarray
    lrs: np.ndarray
    batch_sizes: np.ndarray
    validation_losses: np.ndarray
    validation_accuracies: np.ndarray
    seconds: np.ndarray
    step_losses: np.ndarray = field(repr=False)
    step_sizes: np.ndarray = field(repr=False)
    stopped_early: bool
    best_epoch: int | None


class Recorder:
    """Collects losses as tensors, reads them seldom, and makes the `History`.

    Parameters
    ----------
    look_every
        Steps between two looks; None: some hundreds, or half a second's.

    Attributes
    ----------
    steps
        Steps whose losses have been read.
    examples
        The examples in them.
    epoch_steps, epoch_examples
        The same for the present epoch.
    """

    def __init__(self, look_every: int | None = None):
        self._every = look_every
        self._pending: list[tuple[torch.Tensor, torch.Tensor]] = []
        self._losses: list[np.ndarray] = []
        self._sizes: list[np.ndarray] = []
        self._rows: list[tuple] = []
        self._due, self._looked = look_every or 1, time.perf_counter()
        self.steps = self.examples = self.epoch_steps = self.epoch_examples = 0

    @property
    def made(self) -> int:
        """Steps made, read or not."""
        return self.steps + len(self._pending)

    def add(self, losses: torch.Tensor, weights: torch.Tensor) -> bool:
        """Keep the losses of one step; tell whether it is time to look at them."""
        self._pending.append((losses, weights))
        return len(self._pending) >= self._due

    def look(self) -> int | None:
        """Read the pending losses; return the first step whose loss is not finite, if any."""
        bad, count = None, len(self._pending)
        pending, self._pending = self._pending, []  # an interrupt must not count them twice
        for _, group in groupby(pending, key=lambda pair: id(pair[1])):
            losses, weights = zip(*group, strict=True)
            table, real = torch.stack(losses), weights[0] != 0  # weight 0 is padding
            size = int(real.sum())
            table = table if size == table.shape[1] else table[:, real]
            means = (table.sum(1, dtype=torch.float64) / size).cpu().numpy()
            if bad is None and not np.isfinite(means).all():
                bad = self.steps + int(np.argmin(np.isfinite(means)))
            self._losses.append(means)
            self._sizes.append(np.full(len(means), size))
            self.steps += len(means)
            self.epoch_steps += len(means)
            self.epoch_examples += len(means) * size
            self.examples += len(means) * size
        self._set_pace(count)
        return bad

    def _set_pace(self, count: int) -> None:
        """Choose after how many steps to look again: some hundreds, or half a second's."""
        if self._every is not None:
            return
        now = time.perf_counter()
        elapsed, self._looked = now - self._looked, now
        if elapsed < _SECONDS_PER_LOOK:
            self._due = min(2 * self._due, _STEPS_PER_LOOK)
        else:
            self._due = max(1, int(count * _SECONDS_PER_LOOK / elapsed))

    def end_epoch(self, *, epochs, lrs, validation, seconds) -> None:
        """Write the row of an epoch whose losses have been read."""
        losses, sizes = self._arrays()
        epoch = slice(self.steps - self.epoch_steps, None)
        # One batch may span several epochs: then none begins in some of them.
        mean = (
            float(np.average(losses[epoch], weights=sizes[epoch])) if self.epoch_steps else np.nan
        )
        largest = int(sizes[epoch].max(initial=0))
        self.epoch_steps = self.epoch_examples = 0
        loss = validation.loss if validation else np.nan
        accuracy = validation.metrics.get("accuracy", np.nan) if validation else np.nan
        lr = lrs[0] if len(lrs) == 1 else lrs
        self._rows.append(
            (self.steps, epochs, self.examples, mean, lr, largest, loss, accuracy, seconds)
        )

    def _arrays(self):
        """Return losses and sizes of all steps read, kept as one array each from now on."""
        self._losses = [np.concatenate(self._losses)] if self._losses else [np.empty(0)]
        self._sizes = [np.concatenate(self._sizes)] if self._sizes else [np.empty(0, np.int64)]
        return self._losses[0], self._sizes[0]

    def place(self) -> tuple[int, int]:
        """Return the steps and examples of the present epoch."""
        return self.epoch_steps, self.epoch_examples

    def history(self, *, stopped_early: bool, best_epoch: int | None) -> History:
        """Return what was recorded."""
        columns = zip(*self._rows, strict=True) if self._rows else [()] * len(_COLUMNS)
        table = {k: np.array(c, t) for (k, t), c in zip(_COLUMNS.items(), columns, strict=True)}
        losses, sizes = self._arrays()
        return History(
            **table,
            step_losses=losses,
            step_sizes=sizes,
            stopped_early=stopped_early,
            best_epoch=best_epoch,
        )

    def state_dict(self) -> dict:
        """Return everything needed to go on, in types that a checkpoint may hold."""
        losses, sizes = self._arrays()  # nobody writes into them
        return {
            "losses": torch.from_numpy(losses),
            "sizes": torch.from_numpy(sizes),
            "rows": [list(row) for row in self._rows],
            "epoch_steps": self.epoch_steps,
            "epoch_examples": self.epoch_examples,
        }

    def load_state_dict(self, state: dict) -> None:
        """Go on from `state`; steps that were made meanwhile are forgotten."""
        self._pending = []
        self._losses, self._sizes = [state["losses"].numpy()], [state["sizes"].numpy()]
        self._rows = [tuple(row) for row in state["rows"]]
        self.epoch_steps, self.epoch_examples = state["epoch_steps"], state["epoch_examples"]
        self.steps, self.examples = len(state["losses"]), int(state["sizes"].sum())
