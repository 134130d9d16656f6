"""Training in one call: tensors and options in, a trained model and its record out.

`train` makes batches of the data (`sgdlib.deep.loading`) and a step out of model, loss and
optimizer (`sgdlib.deep.step`), and hands both to the loop (`sgdlib.deep.loop`).
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager

import numpy as np
import torch
from torch import nn

from sgdlib import _check
from sgdlib.deep import _inputs
from sgdlib.deep._losses import Loss
from sgdlib.deep._models import check_model, trained_parameters
from sgdlib.deep._tensors import tensors_of
from sgdlib.deep.evaluation import Metric
from sgdlib.deep.history import History
from sgdlib.deep.loading import TensorBatches
from sgdlib.deep.loop import Hook, train_with
from sgdlib.deep.optim import PlainSGD
from sgdlib.deep.step import Step
from sgdlib.schedules import Schedule


def train(
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
    validation: torch.Tensor | Sequence[torch.Tensor] | None = None,
    metrics: Mapping[str, Metric] | None = None,
    patience: int | None = None,
    micro_batch_size: int | None = None,
    clip: float | None = None,
    precision: str = "float32",
    device: torch.device | str | None = None,
    checkpoint: str | os.PathLike | None = None,
    checkpoint_every: int | None = None,
    capture: bool = False,
    hook: Hook | None = None,
    progress: bool | None = None,
    rng: int | np.random.Generator | None = None,
) -> History:
    """Train `model` in place on mini-batches of `data`.

    The arguments are those of the plan of batches (`TensorBatches`), of one update (`Step`) and of
    the run (`train_with`), side by side, because most runs say something about each.

    Parameters
    ----------
    model
        Any module; moved to the device. A model in training mode is trained with the layers that
        its caller put into evaluation mode left there; one in evaluation mode is trained except for
        layers whose parameters are frozen. All modes are as found afterwards.
    loss
        Function of the model's output and the targets that returns one loss per example, shape
        (B,). The library weighs them: a batch's gradient is ``sum_i weights[i] * grad l_i``.
    data
        Inputs and targets, tensors with N rows each; or a tensor of inputs alone, such as points of
        a domain: then the loss is a function of the output alone. Or a loader, which decides about
        the batches itself: a torch `DataLoader`, `TensorBatches`, or anything that
        `sgdlib.deep.loading` describes.
    batch_size
        An int in 1..N, or a schedule of progress in epochs. Not with a loader.
    epochs
        Number of passes over the data, in all: a resumed run makes what is missing.
    lr
        Learning rate: a number, or a schedule of progress in epochs (examples seen / N) that is
        asked before every step. Needed without `optimizer`; with it None keeps its own rates. The
        optimizer's first group gets it, and the others keep the ratio of their rates to the
        first's. Afterwards the rates are as found.
    optimizer
        A torch optimizer over the model's parameters, or some of them. None: plain SGD.
    sampling, last
        Which examples make up a batch: see `sgdlib.batching.batches`. Not with a loader.
    validation
        Inputs and targets on which the model is evaluated after each epoch, every example counted.
    metrics
        What else to measure on them, see `evaluate`: the history has ``"accuracy"``, a hook is
        shown all.
    patience
        Stop after so many epochs without a lower validation loss, and go back to the best weights.
    micro_batch_size
        Examples held at once: larger batches are accumulated, exactly.
    clip
        Largest norm of the whole gradient; a longer one is shortened, after accumulation.
    precision
        ``"float32"`` (the model's own type) or ``"bf16"`` (autocast; weights stay as they are).
    device
        Where to train. None: a GPU if there is one.
    checkpoint
        File in which to save the state of the run. If it exists, the run goes on from there, to the
        same result, bit for bit on a CPU, as if it had never stopped. So model, data, optimizer,
        seed, and what was said about batches and steps must be the same, rates and batch sizes up
        to the place that was reached. What may change: `epochs`, `device`, `capture`,
        `checkpoint_every`, `progress`, and, without `patience`, `validation`.
    checkpoint_every
        Save every so many steps; None: after each epoch.
    capture
        Record a step as a CUDA graph and replay it: for small networks on a GPU, with plain SGD or
        a torch optimizer made with ``capturable=True``.
    hook
        Function that is shown a `Moment` of the run after each step and after each epoch. It may
        turn a knob of the optimizer, which without `lr` stays where it was left, and stops the run
        by returning True or ``"stop"``. A state of its own is not part of a checkpoint.
    progress
        Show a progress bar. None: where someone looks, and after two seconds.
    rng
        Seed or NumPy Generator for the order of the examples and for the model (dropout). Torch's
        global random state is left as found.

    Returns
    -------
    History

    Raises
    ------
    ValueError, TypeError
        For bad arguments or data, in one sentence, before any work is done.
    DivergenceError
        If a loss stops being finite. Model, optimizer and checkpoint are put back to the beginning
        of that epoch (or the place in it where the run was taken up), and the error's `theta` is
        that state of the model. A retry is as if the epoch had never been.
    MemoryError
        If a batch does not fit into the device's memory.
    CheckpointError
        If the checkpoint is damaged or belongs to another run; nothing is touched then.

    Notes
    -----
    Whatever else ends the run early, Ctrl-C or an error of your own, leaves model and optimizer
    with the steps that were made. In any case the exception's `history` is the record so far.

    Derived in the chapter *The training loop*.

    Examples
    --------
    >>> X = torch.linspace(-1, 1, 64).view(64, 1)
    >>> y = 3 * X[:, 0] - 1
    >>> def squares(outputs, y): return (outputs[:, 0] - y) ** 2 / 2
    >>> model = torch.nn.Linear(1, 1)
    >>> history = train(model, squares, (X, y), batch_size=8, epochs=50, lr=0.5, rng=0)
    >>> round(model.weight.item(), 3), round(model.bias.item(), 3)
    (3.0, -1.0)
    """
    check_model(model)
    trained_parameters(model)
    device = _inputs.find_device(device)
    tensors = tensors_of(data)
    if lr is None and optimizer is None:
        raise ValueError("lr=None: expected a learning rate, or optimizer=")
    if tensors is None:
        given = {"batch_size": batch_size is not None, "sampling": sampling != "reshuffle"}
        given |= {"last": last != "scale"}
        if any(given.values()):
            name = next(name for name in given if given[name])
            kind = type(data).__name__
            raise ValueError(
                f"{name}: expected none beside a loader, which makes its own batches; "
                f"data is a {kind}, not tensors"
            )
    elif batch_size is None:
        raise ValueError(f"batch_size=None: expected an int in 1..{len(tensors[0])} or a schedule")
    model.to(device)
    with _seeds_put_back(rng):
        if tensors is not None:
            tensors = [t.to(device) for t in tensors]
            data = TensorBatches(
                *tensors, batch_size=batch_size, sampling=sampling, last=last, rng=rng
            )
        if optimizer is None:
            rate = lr(0.0) if callable(lr) else lr
            name = "lr(0)" if callable(lr) else "lr"
            optimizer = PlainSGD(model.parameters(), _check.number(name, rate, at_least=0))
        step = Step(
            model,
            loss,
            optimizer,
            micro_batch_size=micro_batch_size,
            clip=clip,
            precision=precision,
            capture=capture,
        )
        return train_with(
            step,
            data,
            epochs=epochs,
            lr=lr,
            validation=validation,
            metrics=metrics,
            patience=patience,
            checkpoint=checkpoint,
            checkpoint_every=checkpoint_every,
            hook=hook,
            progress=progress,
            rng=rng,
        )


@contextmanager
def _seeds_put_back(rng: int | np.random.Generator | None) -> Iterator[None]:
    """After a failure, let a Generator draw again what it drew: a retry is then the same run."""
    bits = rng.bit_generator if isinstance(rng, np.random.Generator) else None
    state = bits and bits.state
    try:
        yield
    except BaseException:
        if bits is not None:
            bits.state = state
        raise
