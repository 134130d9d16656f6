r"""The same training over several processes: each computes a part of every batch.

The batch gradient is a weighted sum over examples, g = sum_i w_i grad l_i, so it can be summed by K
processes: each holds the model and every K-th part of the batch's rows *with the weights that they
have in the whole batch*, and the parts are added up,

    g = sum_k sum_{i in part k} w_i grad l_i .

Nothing is averaged, so parts need not be equally large. Torch's `DistributedDataParallel` does the
adding, during the backward pass. Plan, loop, schedules and record are those of one process.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from sgdlib import _check
from sgdlib.deep import evaluation
from sgdlib.deep._as_found import gradients_as_found
from sgdlib.deep._losses import Loss
from sgdlib.deep._models import check_model, trained_parameters
from sgdlib.deep._processes import Processes, current, processes
from sgdlib.deep._shards import check_seen_by_all, shared
from sgdlib.deep.history import History
from sgdlib.deep.loop import Hook, Moment, train_with
from sgdlib.deep.optim import PlainSGD
from sgdlib.deep.step import Step
from sgdlib.deep.synchronized import synchronize_batch_norm
from sgdlib.schedules import Schedule

__all__ = ["Processes", "processes", "synchronize_batch_norm", "train_parallel"]

_LOOK_EVERY = 64  # steps: the processes must look at the same ones, so not by the clock


def train_parallel(
    model: nn.Module,
    loss: Loss,
    data: torch.Tensor | Sequence[torch.Tensor] | Iterable,
    *,
    batch_size: int | Schedule | None = None,
    epochs: int,
    lr: float | Schedule | None = None,
    optimizer: torch.optim.Optimizer | None = None,
    sampling: str = "reshuffle",
    last: str = "scale",
    micro_batch_size: int | None = None,
    clip: float | None = None,
    precision: str = "float32",
    average_every: int | None = None,
    checkpoint: str | None = None,
    checkpoint_every: int | None = None,
    hook: Hook | None = None,
    progress: bool | None = None,
    rng: int | np.random.Generator | None = None,
    **options: Any,
) -> History:
    """Train `model` as `train` does, every batch shared among the processes of `processes`.

    Parameters
    ----------
    model
        Any module, moved to the process's device. All processes begin with the first one's weights
        and end with equal ones. `synchronize_batch_norm` makes batch normalization see the whole
        batch.
    loss, epochs, lr, optimizer, sampling, last, clip, precision, checkpoint_every, progress, rng
        As in `train`. A seed that nobody gave is the first process's.
    data
        Tensors, the same in all processes: each takes its part of every batch. Or a loader of this
        process's own shard: then each step's batches together are the batch, every example of it
        weighs the same, and all shards must have equally many batches.
    batch_size
        Of the whole batch: an int in K..N for K processes, or a schedule. Not with a loader.
    micro_batch_size
        Examples that one process holds at once.
    average_every
        None: gradients are added up in every step. An int H: *local SGD*, in which each process
        makes steps of its own, with the mean gradient of its part, and parameters, the optimizer's
        averages and buffers are averaged after every H steps and at the end of an epoch.
    checkpoint
        File in a folder that all processes see; the first writes it. A run that starts again goes
        on from there, also with another number of processes.
    hook
        As in `train`, called in every process; `losses` are those of the whole batch, `batch` is
        this process's part. All must come to the same decision.
    **options
        `validation` (each example evaluated once, by one of the processes), `metrics`, `patience`.

    Returns
    -------
    History
        The same in all processes, but for the seconds.

    Raises
    ------
    ValueError, TypeError, DivergenceError, MemoryError, CheckpointError
        As in `train`, and where the processes' data differ, or there are too few for all.
    ConnectionError
        If a process is lost: see `processes`.

    Notes
    -----
    Equal to `train` on one process up to rounding, with accumulation, clipping, momentum, and short
    last batches. Dropout draws other masks. Under ``torchrun --max-restarts`` a run with
    `checkpoint` that loses a process ends as if nothing had happened, on CPUs bit for bit. Derived
    in the chapter *Data parallel training*; sources: Li et al. (2020) for the engine, Stich (2019)
    for local SGD.

    Examples
    --------
    >>> X = torch.linspace(-1, 1, 64).view(64, 1)
    >>> def squares(outputs, y): return (outputs[:, 0] - y) ** 2 / 2
    >>> model = nn.Linear(1, 1)
    >>> with processes():  # one, or as many as torchrun started
    ...     _ = train_parallel(
    ...         model, squares, (X, 3 * X[:, 0] - 1), batch_size=8, epochs=50, lr=0.5, rng=0
    ...     )
    >>> round(model.weight.item(), 3), round(model.bias.item(), 3)
    (3.0, -1.0)
    """
    check_model(model)
    trained_parameters(model)
    group = current()
    if lr is None and optimizer is None:
        raise ValueError("lr=None: expected a learning rate, or optimizer=")
    every = _check.optional("average_every", average_every)
    if every and (checkpoint_every or every) % every:
        raise ValueError(
            f"checkpoint_every={checkpoint_every}: expected a multiple of average_every={every}, "
            "between averages every process has weights of its own"
        )
    model.to(group.device)
    plan = {"batch_size": batch_size, "sampling": sampling, "last": last, "rng": rng}
    loader = shared(data, group, plan)
    check_seen_by_all(checkpoint, checkpoint_every, group)
    if optimizer is None:
        rate = lr(0.0) if callable(lr) else lr
        optimizer = PlainSGD(model.parameters(), _check.number("lr", rate, at_least=0))
    arguments = {"micro_batch_size": micro_batch_size, "clip": clip, "precision": precision}
    step = ParallelStep(
        model,
        loss,
        optimizer,
        group,
        loader,
        average_every=every,
        seen=hook is not None,
        **arguments,
    )
    try:
        history = train_with(
            step,
            loader,
            epochs=epochs,
            lr=lr,
            checkpoint=checkpoint,
            checkpoint_every=checkpoint_every,
            hook=step.averaging(hook) if every else hook,
            progress=progress if group.first else False,
            rng=rng,
            **options,
        )
        step.average()
    finally:
        step.leave()
    return history


class ParallelStep(Step):
    """A step whose batch is shared among processes; see `Step`.

    It is called with this process's rows and the weights (B,) of the whole batch, of which
    `loader.part(B)` are its own, and returns the losses of the whole batch: unless somebody `seen`
    looks after every step, only `settle` brings in those of the others.
    """

    look_every = _LOOK_EVERY

    def __init__(self, model, loss, optimizer, group, loader, *, average_every, seen, **arguments):
        super().__init__(model, loss, optimizer, **arguments)
        self.group, self._loader, self._every, self._seen = group, loader, average_every, seen
        self._unsettled: list[torch.Tensor] = []
        self._steps = self._rows = 0  # since the last average
        if group.size > 1:
            if average_every is None:
                ids = [group.device.index] if group.device.type == "cuda" else None
                with gradients_as_found(model.parameters()):  # it would take them for its own
                    self._engine = DistributedDataParallel(
                        model, device_ids=ids, gradient_as_bucket_view=True
                    )
                self._engine.register_comm_hook(None, _add_up)
            else:
                with torch.no_grad():
                    for tensor in (*model.parameters(), *model.buffers()):
                        dist.broadcast(tensor, 0)

    def __call__(self, batch, weights=None):
        """Make the update of one batch."""
        part = self._loader.part(len(weights))
        own = weights[part]
        if self._every and len(own):
            own = own * (len(weights) / len(own))
        losses = weights.new_zeros(len(weights))
        losses[part] = super().__call__(batch, own)
        self._steps, self._rows = self._steps + 1, self._rows + len(own)
        self._unsettled.append(losses)
        if self._seen:
            self.settle()
        return losses

    def settle(self):
        """Bring in the losses of the other processes, in one message."""
        unsettled, self._unsettled = self._unsettled, []
        if unsettled and self.group.size > 1:
            sizes = [len(losses) for losses in unsettled]
            everyone = self.group.add_up(torch.cat(unsettled))
            for losses, full in zip(unsettled, everyone.split(sizes), strict=True):
                losses.copy_(full)

    def leave(self):
        """Take the engine's hooks off the parameters, on which the model would go on adding up.

        The engine does so when it is collected; an error that somebody keeps would keep it alive.
        """
        if self._engine is not self.model:
            self._engine._remove_autograd_hooks()

    def seed(self, seed):
        """Return the seed of this process's dropout, another in each."""
        return (seed + self.group.rank) % 2**63

    def agree(self, holds):
        """Tell whether something holds in every process."""
        doubts = torch.tensor(float(not holds), device=self.device)
        return not self.group.add_up(doubts)

    def averaging(self, hook: Hook | None) -> Hook:
        """Return a hook that averages when it is time, and then does what `hook` does."""

        def average_and(moment: Moment):
            if self._steps >= self._every or moment.history is not None:
                self.average()
            return hook and hook(moment)

        return average_and

    @torch.no_grad()
    def average(self):
        """Average what the processes' own steps have made different, by the examples they saw."""
        if not (self._every and self._steps):
            return
        total = float(self.group.add_up(torch.tensor(float(self._rows))))
        share, self._steps, self._rows = self._rows / total, 0, 0
        states = getattr(self.optimizer, "state", {})
        kept = [t for p in self.parameters() for t in states.get(p, {}).values()]
        for t in (*self.parameters(), *self.model.buffers(), *kept):
            if isinstance(t, torch.Tensor) and t.is_floating_point():
                self.group.add_up(t.mul_(share))

    def measure(self, data, metrics):
        """Evaluate the model, each example once, by one of the processes."""
        self.average()
        if self.group.size == 1:
            return super().measure(data, metrics)
        for buffer in self.model.buffers():  # where they differ, the first process's are saved
            dist.broadcast(buffer, 0)
        n = len(data[0])
        part, device = self.group.part(n), self.device
        own = {name: torch.zeros(n, dtype=torch.float64, device=device) for name in metrics}
        losses = torch.zeros(n, dtype=torch.float64, device=device)
        if part.start < part.stop:
            mine = [t[part] for t in data]
            found = evaluation.each(self.model, self.loss, mine, metrics, precision=self.precision)
            losses[part] = found[0]
            for name in metrics:
                own[name][part] = found[1][name].double()
        together = self.group.add_up(torch.stack([losses, *own.values()]))
        return evaluation.means(together[0], dict(zip(metrics, together[1:], strict=True)))

    def to_save(self, state):
        """Return the state of the run with every process's random numbers, in the first one."""
        self.average()
        own = {name: state[name] for name in ("random", "epoch_random")}
        everyone = self.group.gather(own)
        return state | {"processes": everyone} if self.group.first else None

    def to_load(self, state):
        """Return the state with this process's random numbers."""
        everyone = state.pop("processes", [])
        return state | (everyone[self.group.rank] if self.group.rank < len(everyone) else {})


def _add_up(_, bucket):
    """Sum a bucket of gradients over the processes, where torch would take the mean."""
    work = dist.all_reduce(bucket.buffer(), async_op=True)
    return work.get_future().then(lambda done: done.value()[0])
