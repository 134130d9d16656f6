r"""Many networks of one architecture, trained at once.

A small network keeps a processor mostly waiting. R of them, with their weights stacked along a
first axis, are one larger piece of work. The networks share nothing but the clock: each has its own
batches, learning rate and seed, and ends where it would have ended alone.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import nn

from sgdlib import _check
from sgdlib.deep._as_found import evaluating, random_numbers, training
from sgdlib.deep._fit import check_fit
from sgdlib.deep._group import Group
from sgdlib.deep._losses import PRECISIONS, Loss
from sgdlib.deep._models import device_of, trained_parameters
from sgdlib.deep._plan import check_smallest
from sgdlib.deep._stacked import Ensemble
from sgdlib.deep._tensors import check_data
from sgdlib.deep.evaluation import Metric, check_metrics, metrics_of
from sgdlib.deep.sampler import IndexBatches

__all__ = ["Ensemble", "EnsembleHistory", "evaluate_ensemble", "train_ensemble"]

# Rows of activations held at once: more leave the cache, fewer leave the processor waiting.
_CPU_ROWS, _GPU_ROWS = 3_000, 1 << 20


@dataclass(frozen=True, eq=False)
class EnsembleHistory:
    """What R networks did in K epochs.

    Attributes
    ----------
    losses
        (K, R) mean loss of each epoch's batches, each taken before its step.
    validation_losses
        (K, R) over every validation example, at the end of each epoch; None without validation.
    validation_metrics
        (K, R) means of each metric at the end of each epoch, by name.
    """

    losses: np.ndarray
    validation_losses: np.ndarray | None = None
    validation_metrics: dict[str, np.ndarray] = field(default_factory=dict)

    @property
    def validation_accuracies(self) -> np.ndarray | None:
        """(K, R) accuracies at the end of each epoch, or None where not measured."""
        return self.validation_metrics.get("accuracy")


def train_ensemble(
    models: Sequence[nn.Module],
    loss: Loss,
    data: Sequence[torch.Tensor],
    *,
    batch_size: int,
    epochs: int,
    lr: float | np.ndarray | Callable[[float], float | np.ndarray],
    momentum: float = 0.0,
    weight_decay: float = 0.0,
    sampling: str = "reshuffle",
    last: str = "scale",
    validation: Sequence[torch.Tensor] | None = None,
    metrics: Mapping[str, Metric] | None = None,
    precision: str = "float32",
    device: torch.device | str | None = None,
    rng: int | np.random.Generator | Sequence[int] | None = None,
) -> EnsembleHistory:
    """Train R networks in place by SGD, each on batches of its own, as if each were alone.

    Parameters
    ----------
    models
        R modules of one architecture. A layer that is frozen, or in evaluation mode in a model that
        is in training mode, stays so; the first model's modes hold for all.
    loss
        Function of outputs (B, ...) and targets that returns one loss per example, shape (B,).
    data
        Inputs and targets, tensors with N rows each, shared by all.
    batch_size
        One int for all networks: group runs by batch size.
    epochs
        Number of passes over the data.
    lr
        A number, (R,) numbers, or a schedule of progress in epochs that returns either.
    momentum, weight_decay
        As in `torch.optim.SGD`.
    sampling, last
        See `sgdlib.batching.batches`.
    validation
        Inputs and targets on which each network is evaluated after each epoch.
    metrics
        What to measure on them besides the loss: see `evaluate`.
    precision
        ``"float32"`` (the models' own type) or ``"bf16"`` (autocast; weights stay as they are).
    device
        Where to train; None: a GPU if there is one.
    rng
        R seeds, one for each network's batches (those of ``train(..., rng=seed)``), or one seed
        or Generator from which they are drawn.

    Returns
    -------
    EnsembleHistory
        A network that diverges shows losses that are not finite; the others do not notice.

    Raises
    ------
    ValueError, TypeError
        For bad arguments or data, in one sentence, before any work is done.

    Notes
    -----
    Used in the chapter *Linear scaling*.
    """
    ensemble = Ensemble(models, device)
    count = len(ensemble)
    trained_parameters(ensemble.models[0], "models[0]")
    batch_size = _check.integer("batch_size", batch_size)
    epochs = _check.integer("epochs", epochs, high=10_000_000)
    momentum = _check.number("momentum", momentum, at_least=0, below=1)
    weight_decay = _check.number("weight_decay", weight_decay, at_least=0)
    _check.option("precision", precision, PRECISIONS)
    data = check_data("data", data)
    check_metrics(metrics, validation)
    orders = [
        IndexBatches(len(data[0]), batch_size, sampling=sampling, last=last, rng=seed)
        for seed in _seeds(rng, count)
    ]
    rates = _checked_rates(lr, count, orders[0], epochs)
    sizes = {rows for _, rows in orders[0].steps(0)}
    data = [t.to(ensemble.device) for t in data]
    limit = _CPU_ROWS if ensemble.device.type == "cpu" else _GPU_ROWS
    together = min(count, max(1, limit // batch_size))
    losses = np.empty((epochs, count))
    with ExitStack() as put_back:
        put_back.enter_context(torch.inference_mode(False))  # whatever the caller is in
        put_back.enter_context(torch.autocast(ensemble.device.type, enabled=False))
        put_back.enter_context(random_numbers(ensemble.device, orders[0].seed))
        _check_ensemble("data", ensemble, loss, data, sizes)
        if validation is not None:
            validation = check_data("validation", validation)
            labelled = _check_ensemble("validation", ensemble, loss, validation, metrics=metrics)
            metrics = metrics_of(metrics, labelled)
            measured = np.empty((1 + len(metrics), epochs, count))
        put_back.enter_context(training(ensemble.models[0]))
        for start in range(0, count, together):
            which = slice(start, min(start + together, count))
            group = Group(ensemble, which, momentum, weight_decay, precision)
            for epoch in range(epochs):
                total, weight_sum, position = 0.0, 0.0, orders[0].start(epoch)
                for indices, weights, sum_of_weights in group.steps(orders[which], epoch):
                    now = rates(position / len(data[0]))[which]
                    each = group.step(loss, data, indices, weights, now)
                    total += (each * weights).sum(dim=1).double()
                    weight_sum += sum_of_weights
                    position += indices.shape[1]
                losses[epoch, which] = (total / weight_sum).numpy(force=True)
                if validation is not None:
                    measured[:, epoch, which] = group.evaluate(loss, validation, metrics)
    ensemble.write_back()
    if validation is None:
        return EnsembleHistory(losses)
    return EnsembleHistory(losses, measured[0], dict(zip(metrics, measured[1:], strict=True)))


def evaluate_ensemble(
    ensemble: Ensemble, loss: Loss, data: Sequence[torch.Tensor]
) -> tuple[np.ndarray, np.ndarray | None]:
    """Return mean losses (R,) and accuracies (R,) or None, over every example of `data`.

    Parameters
    ----------
    ensemble
        Evaluated in evaluation mode, and left as found.
    loss, data
        As in `evaluate`, which also says when there is an accuracy.

    Raises
    ------
    ValueError, TypeError
        As in `evaluate`.

    Notes
    -----
    Used in the chapter *Linear scaling*.
    """
    if not isinstance(ensemble, Ensemble):
        raise TypeError(f"ensemble: expected an Ensemble, got {type(ensemble).__name__}")
    data = check_data("data", data)
    metrics = metrics_of(None, _check_ensemble("data", ensemble, loss, data))
    losses, *accuracies = Group(ensemble, slice(None)).evaluate(loss, data, metrics)
    return losses, accuracies[0] if accuracies else None


def _check_ensemble(name, ensemble, loss, data, sizes=None, metrics=None):
    """Try the first network on a few rows, and all of them together; see `check_fit`.

    `sizes` are those of the batches to train on, if any.
    """
    first, x = ensemble.models[0], data[0]
    labelled = check_fit(name, first, loss, data, train=sizes is not None, metrics=metrics)
    if sizes is not None:
        enough = x[: max(2, *sizes)].to(device_of(first, x.device))
        check_smallest(first, enough, sizes, None, "float32")
    few = x[:2].to(ensemble.device)
    try:
        with torch.no_grad(), evaluating(first):
            ensemble(few.expand(len(ensemble), *few.shape))
    except RuntimeError as error:
        raise ValueError(
            "models: expected layers that torch.func.vmap can run, got some that it cannot: "
            + str(error).splitlines()[0]
        ) from error
    return labelled


def _checked_rates(lr, count, order, epochs):
    """Return a function of progress that gives the rates (count,); a schedule is gone through."""
    if not callable(lr):
        rates = np.broadcast_to(_rates("lr", lr, count), (count,))
        return lambda progress: rates
    for epoch in range(epochs):
        for position, _ in order.steps(epoch):
            progress = position / order.n
            _rates(f"lr({progress:g})", lr(progress), count)
    return lambda progress: np.broadcast_to(lr(progress), (count,))


def _rates(name, value, count):
    """Return a number, or `count` of them, finite and >= 0, or raise."""
    if isinstance(value, bool | np.bool_ | str):
        raise TypeError(
            f"{name}={_check.shown(value)}: expected a finite number >= 0, or {count} of them"
        )
    rates = _check.array(name, value, ndim=(0, 1))
    if rates.ndim == 1 and len(rates) != count:
        raise ValueError(f"{name}: expected a number or {count} of them, got shape {rates.shape}")
    if rates.min() < 0:
        raise ValueError(f"{name}={rates.min():g}: expected a finite number >= 0")
    return rates


def _seeds(rng, count):
    several = isinstance(rng, Sequence) and not isinstance(rng, str | bytes)
    if several or (isinstance(rng, np.ndarray) and rng.ndim):
        if len(rng) != count:
            raise ValueError(f"rng: expected {count} seeds, one per network, got {len(rng)}")
        return [_check.seed("rng", seed) for seed in rng]
    return _check.generator(rng).spawn(count)
