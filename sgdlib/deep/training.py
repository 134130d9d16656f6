"""The training loop: one step is gather, forward, backward, update.

Everything around those four lines (rates, precision, accumulation, clipping, evaluation, history,
checkpoints, progress) is arranged so that it costs next to nothing per step.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import torch

from sgdlib.deep import _inputs
from sgdlib.deep._data import check_data
from sgdlib.deep._progress import progress_bar
from sgdlib.deep._run import Run
from sgdlib.deep.accumulation import Loss, accumulate_gradients
from sgdlib.deep.capture import CapturedSteps
from sgdlib.deep.evaluation import evaluate
from sgdlib.deep.history import History
from sgdlib.deep.loading import TensorBatches
from sgdlib.deep.updates import PlainSGD, set_lr
from sgdlib.schedules import Schedule


def train(
    model: torch.nn.Module,
    loss: Loss,
    data: Sequence[torch.Tensor],
    *,
    batch_size: int | Schedule,
    epochs: int,
    lr: float | Schedule | None = None,
    optimizer: torch.optim.Optimizer | None = None,
    sampling: str = "reshuffle",
    last: str = "scale",
    validation: Sequence[torch.Tensor] | None = None,
    patience: int | None = None,
    micro_batch_size: int | None = None,
    clip: float | None = None,
    precision: str = "float32",
    device: torch.device | str | None = None,
    checkpoint: str | os.PathLike | None = None,
    checkpoint_every: int | None = None,
    capture: bool = False,
    progress: bool | None = None,
    rng: int | np.random.Generator | None = None,
) -> History:
    """Train `model` in place on mini-batches of `data`.

    Parameters
    ----------
    model
        Any module; moved to the device.
    loss
        Function of the model's output and the targets that returns one loss per example, shape
        (B,). The library weighs them: a batch's gradient is ``sum_i weights[i] * grad l_i``.
    data
        Inputs and targets, tensors with N rows each.
    batch_size
        An int in 1..N, or a schedule of progress in epochs.
    epochs
        Number of passes over the data, in all: a resumed run makes what is missing.
    lr
        Learning rate: a number, or a schedule of progress in epochs (examples seen / N) that is
        asked before every step. Needed without `optimizer`; with it None keeps its own rates.
    optimizer
        A torch optimizer over the model's parameters. None: plain SGD.
    sampling, last
        Which examples make up a batch: see `sgdlib.batching.batches`.
    validation
        Inputs and targets on which the model is evaluated after each epoch, every example counted.
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
        same result, bit for bit on a CPU, as if it had never stopped.
    checkpoint_every
        Save every so many steps; None: after each epoch.
    capture
        Record a step as a CUDA graph and replay it: for small networks on a GPU, plain SGD only.
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
        If a loss stops being finite. The model is put back to the beginning of that epoch, and the
        error's `theta` is that state.
    MemoryError
        If a batch does not fit into the device's memory.
    CheckpointError
        If the checkpoint is damaged or belongs to another run.

    Notes
    -----
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
    device = _inputs.find_device(device)
    check_data("data", data)
    _inputs.check_options(
        epochs=epochs,
        lr=lr,
        optimizer=optimizer,
        validation=validation,
        patience=patience,
        micro_batch_size=micro_batch_size,
        clip=clip,
        precision=precision,
    )
    _inputs.check_capture(capture, device, optimizer)
    path = _inputs.check_checkpoint(checkpoint, checkpoint_every)
    model.to(device)
    data = tuple(t.to(device) for t in data)
    validation = validation and tuple(t.to(device) for t in validation)
    loader = TensorBatches(*data, batch_size=batch_size, sampling=sampling, last=last, rng=rng)
    n = len(data[0])
    if optimizer is None:
        optimizer = PlainSGD(model.parameters(), lr(0.0) if callable(lr) else lr)

    run = Run(
        model,
        optimizer,
        seed=loader.indices.seed,
        identity={
            "n": n,
            "batch_size": "a schedule" if callable(batch_size) else batch_size,
            "sampling": sampling,
            "last": last,
            "micro_batch_size": micro_batch_size,
            "clip": clip,
            "precision": precision,
            "optimizer": type(optimizer).__name__,
        }
        | ({} if rng is None else {"seed": loader.indices.seed}),
    )
    recorder = run.recorder
    with (
        _random_numbers_of_its_own(run.seed, device),
        _clear_memory_errors(),
        torch.autocast(device.type, enabled=False),  # a caller's would keep cast weights, and old
        progress_bar(progress, epochs * n) as run.show,
    ):
        _inputs.check_fit(model, loss, {"data": data, "validation": validation}, precision)
        if path is not None and run.resume(path, device):
            loader.indices.seed = run.seed
        groups = optimizer.param_groups
        parameters = [p for group in groups for p in group["params"]]

        def step(batch, weights):
            losses = accumulate_gradients(
                model,
                loss,
                batch,
                weights,
                micro_batch_size=micro_batch_size,
                precision=precision,
            )
            if clip is not None:
                torch.nn.utils.clip_grad_norm_(parameters, clip)
            optimizer.step()
            optimizer.zero_grad()
            return losses

        if capture:
            groups[0]["lr"] = torch.tensor(groups[0]["lr"], device=device)
            step = CapturedSteps(step, model)
        model.train()
        optimizer.zero_grad()
        if lr is not None and not callable(lr):
            set_lr(groups, lr)
        while run.epoch < epochs and not run.stopped:
            run.begin_epoch()
            position = recorder.epoch_examples
            for *batch, weights in loader.iterate(run.epoch, skip=recorder.epoch_steps):
                if callable(lr):
                    set_lr(groups, lr((run.epoch * n + position) / n))
                    position += weights.shape[0]
                losses = step(batch, weights)
                if recorder.add(losses, weights):
                    run.look()
                if checkpoint_every is not None and recorder.made % checkpoint_every == 0:
                    run.save(path, device)
            run.end_steps()
            measured = validation and evaluate(model, loss, validation, precision=precision)
            run.end_epoch(measured, patience)
            if path is not None:
                run.save(path, device)
        run.restore_best()
    return run.recorder.history(stopped_early=run.stopped, best_epoch=run.best_epoch)


@contextmanager
def _random_numbers_of_its_own(seed: int, device: torch.device) -> Iterator[None]:
    """Seed the generators that layers such as dropout use, and put them back afterwards."""
    on_gpu = device.type == "cuda"
    with torch.random.fork_rng([device] if on_gpu else []):
        torch.default_generator.manual_seed(seed)  # torch.manual_seed would seed every backend
        if on_gpu:
            with torch.cuda.device(device):
                torch.cuda.manual_seed(seed)
        yield


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
