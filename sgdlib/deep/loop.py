"""The loop of training: for each epoch, for each batch, one step.

Everything around that (rates, evaluation, record, checkpoints, progress, what a hook wants to know)
is arranged so that it costs next to nothing per step.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from itertools import chain

import numpy as np
import torch
from torch import nn

from sgdlib import _check
from sgdlib.deep import _identity
from sgdlib.deep._as_found import gradients_as_found, random_numbers, training
from sgdlib.deep._fit import check_fit
from sgdlib.deep._plan import check_schedules, check_smallest
from sgdlib.deep._progress import progress_bar
from sgdlib.deep._state import State
from sgdlib.deep._tensors import check_data
from sgdlib.deep.checkpoints import check_checkpoint
from sgdlib.deep.evaluation import Evaluation, Metric, check_metrics, metrics_of
from sgdlib.deep.history import History
from sgdlib.deep.loading import Loader
from sgdlib.deep.optim import Rates
from sgdlib.deep.step import Step
from sgdlib.schedules import Schedule


@dataclass(frozen=True)
class Moment:
    """What a hook is shown of a run, after each step and after each epoch.

    Attributes
    ----------
    step, epoch
        Steps made and whole epochs done.
    progress
        The place in epochs, as schedules measure it.
    model, optimizer
        Of the run: a hook may turn a knob of the optimizer.
    batch, losses
        After a step: its tensors, and its losses (B,) before the update. After an epoch: None.
    history, validation
        After an epoch: the record so far, and what was measured on the validation data. After a
        step: None.
    """

    step: int
    epoch: int
    progress: float
    model: nn.Module
    optimizer: torch.optim.Optimizer
    batch: Sequence[torch.Tensor] | None = None
    losses: torch.Tensor | None = None
    history: History | None = None
    validation: Evaluation | None = None


Hook = Callable[[Moment], bool | str | None]


def train_with(
    step: Step,
    data: Iterable,
    *,
    epochs: int,
    lr: float | Schedule | None = None,
    validation: torch.Tensor | Sequence[torch.Tensor] | None = None,
    metrics: Mapping[str, Metric] | None = None,
    patience: int | None = None,
    checkpoint: str | os.PathLike | None = None,
    checkpoint_every: int | None = None,
    hook: Hook | None = None,
    progress: bool | None = None,
    rng: int | np.random.Generator | None = None,
) -> History:
    """Make one `step` for each batch of the data, `epochs` times over: the loop inside `train`.

    Parameters
    ----------
    step
        The update, with model, loss and optimizer.
    data
        A loader: see `sgdlib.deep.loading`.
    epochs, lr, validation, metrics, patience, checkpoint, checkpoint_every, hook, progress
        As in `train`. For a loader that is not `TensorBatches` a checkpoint goes on bit for bit if
        the order of the batches follows from the epoch or from torch's random numbers.
    rng
        Seed or NumPy Generator for the model (dropout). `TensorBatches` brings its own.

    Returns
    -------
    History

    Raises
    ------
    ValueError, TypeError, DivergenceError, MemoryError, CheckpointError
        As in `train`.

    Notes
    -----
    Used in the chapter *GPU training*.

    Examples
    --------
    >>> X = torch.linspace(-1, 1, 64).view(64, 1)
    >>> model = nn.Linear(1, 1)
    >>> def squares(outputs, y): return (outputs[:, 0] - y) ** 2 / 2
    >>> from sgdlib.deep import PlainSGD, TensorBatches
    >>> step = Step(model, squares, PlainSGD(model.parameters(), lr=0.5))
    >>> batches = TensorBatches(X, 3 * X[:, 0] - 1, batch_size=8, rng=0)
    >>> history = train_with(step, batches, epochs=50)
    >>> round(model.weight.item(), 3), round(model.bias.item(), 3)
    (3.0, -1.0)
    """
    if not isinstance(step, Step):
        raise TypeError(f"step: expected a sgdlib.deep.Step, got {type(step).__name__}")
    model, loss, optimizer, device = step.model, step.loss, step.optimizer, step.device
    epochs = _check.integer("epochs", epochs)
    if lr is not None and not callable(lr):
        lr = _check.number("lr", lr, at_least=0)
    if patience is not None:
        patience = _check.integer("patience", patience)
        if validation is None:
            raise ValueError(f"patience={patience}: expected validation= data to watch")
    if validation is not None:
        validation = tuple(t.to(device) for t in check_data("validation", validation))
    check_metrics(metrics, validation)
    if hook is not None:
        _check.function("hook", hook)
    if progress is not None:
        _check.flag("progress", progress)
    path, every = check_checkpoint(checkpoint, checkpoint_every)
    batches, rates = Loader(data, device), Rates(optimizer)
    if lr is not None:
        rates.check_ratios()
    sizes = check_schedules(batches.indices, epochs, lr)
    seed, any_seed = batches.seed(rng)
    knobs = batches.knobs | {"lr": rates.now()[0] if lr is None else lr}
    fixed = _identity.of_run(step, batches, patience, validation, contents=path is not None)
    state = State(step, batches, rates, path, knobs, fixed, seed)
    recorder, stop = state.recorder, False
    with ExitStack() as cleanup:
        for context in (
            gradients_as_found(model.parameters()),
            random_numbers(device, step.seed(seed)),
            _clear_memory_errors(),
            # A caller's autocast would keep cast weights, old ones; no_grad would keep all.
            torch.autocast(device.type, enabled=False),
            torch.inference_mode(False),
            state.history_in_errors(),
        ):
            cleanup.enter_context(context)
        cleanup.callback(rates.put_back, values=lr is not None)  # a hook may have turned its own
        if batches.tensors is not None:
            check_fit("data", model, loss, batches.tensors, step.precision, train=True)
            pieces = {batches.rows(b) for b in sizes} - {0}
            check_smallest(model, batches.tensors[0], pieces, step.micro_batch_size, step.precision)
        if validation is not None:
            labels = check_fit(
                "validation", model, loss, validation, step.precision, metrics=metrics
            )
            metrics = metrics_of(metrics, labels)
        step.renew()
        state.resume(any_seed=any_seed)
        cleanup.enter_context(training(model))
        total = batches.n and epochs * batches.n
        state.show = cleanup.enter_context(progress_bar(progress, total))
        scheduled = callable(lr)
        if lr is not None and not scheduled:
            rates.set(lr)
        while state.epoch < epochs and not (state.stopped or stop):
            state.begin_epoch()
            done, examples = recorder.place()
            for *batch, weights in _tried(state.batches(), step, batches):
                if scheduled:
                    rates.set(lr(state.progress(done, examples)))
                losses = step(batch, weights)
                done, examples = done + 1, examples + weights.shape[0]
                if recorder.add(losses, weights):
                    state.look()
                if hook is not None:
                    stop = _says_stop(hook, state, done, examples, batch=batch, losses=losses)
                if every is not None and recorder.made % every == 0:
                    state.save()
                if stop:
                    break
            state.end_steps()
            if stop:  # in the middle of an epoch
                break
            measured = validation and step.measure(validation, metrics)
            state.end_epoch(measured, patience)
            if hook is not None:
                record = state.history()
                stop = _says_stop(hook, state, 0, 0, history=record, validation=measured)
            state.save()
        state.restore_best()
    return state.history(stopped=stop)


def _says_stop(hook: Hook, state: State, steps: int, examples: int, **seen) -> bool:
    """Show a hook the run, and tell whether it wants it to end."""
    verdict = hook(
        Moment(
            step=state.recorder.made,
            epoch=state.epoch,
            progress=state.progress(steps, examples),
            model=state.model,
            optimizer=state.optimizer,
            **seen,
        )
    )
    if verdict is not None and verdict != "stop":
        return _check.flag("what the hook returned", verdict)
    return verdict == "stop"


def _tried(epoch: Iterator, step: Step, batches: Loader) -> Iterator:
    """Try the first batch of a loader that is not made of tensors, which were tried before."""
    if batches.tensors is not None or batches.tried:
        return epoch
    first = next(epoch, None)
    if first is None:
        raise ValueError("data: expected batches, the loader gave none")
    check_fit("batch", step.model, step.loss, first[:-1], step.precision, train=True)
    batches.tried = True
    return chain([first], epoch)


@contextmanager
def _clear_memory_errors() -> Iterator[None]:
    """Turn torch's several ways of running out of memory into one sentence."""
    try:
        yield
    except RuntimeError as error:
        if isinstance(error, torch.cuda.OutOfMemoryError) or "can't allocate memory" in str(error):
            raise MemoryError(
                "the batch does not fit into the device's memory: micro_batch_size= accumulates "
                "the same gradient in smaller pieces"
            ) from error
        raise
