"""Evaluation over every example, each counted once."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch

from sgdlib import _check
from sgdlib.deep._as_found import evaluating
from sgdlib.deep._fit import Metric, check_fit, metric_values
from sgdlib.deep._losses import PRECISIONS, Loss, check_losses, forward
from sgdlib.deep._models import check_model, device_of
from sgdlib.deep._tensors import check_data, check_tensors


@dataclass(frozen=True)
class Evaluation:
    """Means over n examples: of the loss, with its standard error, and of what else was measured.

    Attributes
    ----------
    loss, stderr
        Mean loss and its standard error.
    n
        Number of examples.
    metrics
        Mean of each metric, by name.
    """

    loss: float
    stderr: float
    n: int
    metrics: dict[str, float] = field(default_factory=dict, hash=False)

    @property
    def accuracy(self) -> float | None:
        """Share of examples whose largest output is the label's, or None if not measured."""
        return self.metrics.get("accuracy")


def accuracy(outputs: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Tell for each example whether the largest of its outputs (B, C) is at its label (B,)."""
    check_tensors("outputs", [outputs])
    check_tensors("labels", [labels])
    if outputs.ndim != 2 or labels.shape != outputs.shape[:1]:
        shapes = f"{tuple(outputs.shape)}, {tuple(labels.shape)}"
        raise ValueError(f"outputs, labels: expected shapes (B, C) and (B,), got {shapes}")
    return outputs.argmax(1) == labels


def check_metrics(metrics: Mapping[str, Metric] | None, data: object) -> None:
    """Raise unless `metrics` maps names to functions, and there are data; or it is None."""
    if metrics is None:
        return
    if not isinstance(metrics, Mapping):
        raise TypeError(
            f"metrics={_check.shown(metrics)}: expected a dict of names and functions, or None"
        )
    if data is None:
        raise ValueError("metrics: expected validation= data to measure them on")
    for name, metric in metrics.items():
        if not isinstance(name, str):
            raise TypeError(f"metrics: expected names that are strings, got {name!r}")
        _check.function(f"metrics[{name!r}]", metric)


def evaluate(
    model: torch.nn.Module,
    loss: Loss,
    data: Sequence[torch.Tensor],
    *,
    batch_size: int = 1024,
    precision: str = "float32",
    metrics: Mapping[str, Metric] | None = None,
) -> Evaluation:
    """Return the mean of `loss` over all of `data`, summed in float64: no batch of it weighs more.

    Parameters
    ----------
    model
        Put into evaluation mode for the while, and left as found.
    loss
        Function of outputs and targets that returns one loss per example.
    data
        Inputs and targets, tensors with the same number of rows; moved to the model's device batch
        by batch.
    batch_size
        Examples held at once; the result does not depend on it beyond rounding.
    precision
        ``"float32"`` (the model's own type) or ``"bf16"`` (autocast).
    metrics
        Functions of outputs and targets that return one value per example, by name. None: the
        accuracy, where the loss shows beyond doubt that the targets are class labels: it is least
        where the largest of the outputs (B, C) is the label's. Whole numbers may be counts.

    Returns
    -------
    Evaluation

    Raises
    ------
    ValueError, TypeError
        If the data differ in length, are empty or not finite, model, loss and data do not fit
        together, class labels are out of range, or a loss or metric is not per example: shape (B,),
        and the same for an example alone and with another.

    Notes
    -----
    Used in the chapter *The training loop*.

    Examples
    --------
    >>> X, y = torch.tensor([[1.0, 0.0], [0.0, 1.0], [3.0, 1.0]]), torch.tensor([0, 1, 1])
    >>> def zero_one(outputs, y): return (outputs.argmax(1) != y).double()
    >>> result = evaluate(torch.nn.Identity(), zero_one, (X, y), batch_size=2)
    >>> round(result.loss, 3), round(result.accuracy, 3), result.n
    (0.333, 0.667, 3)
    """
    check_model(model)
    batch_size = _check.integer("batch_size", batch_size, high=sys.maxsize)
    _check.option("precision", precision, PRECISIONS)
    check_metrics(metrics, data)
    data = check_data("data", data)
    labelled = check_fit("data", model, loss, data, precision, metrics=metrics)
    metrics = metrics_of(metrics, labelled)
    return measure(model, loss, data, metrics, batch_size=batch_size, precision=precision)


def metrics_of(metrics: Mapping[str, Metric] | None, labelled: bool) -> Mapping[str, Metric]:
    """Return what to measure where nobody said: the accuracy, if the targets are class labels."""
    if metrics is None:
        return {"accuracy": accuracy} if labelled else {}
    return metrics


def measure(
    model: torch.nn.Module,
    loss: Loss,
    data: Sequence[torch.Tensor],
    metrics: Mapping[str, Metric],
    *,
    batch_size: int = 1024,
    precision: str = "float32",
) -> Evaluation:
    """Do what `evaluate` does with arguments that have been checked before."""
    return means(*each(model, loss, data, metrics, batch_size=batch_size, precision=precision))


def each(
    model: torch.nn.Module,
    loss: Loss,
    data: Sequence[torch.Tensor],
    metrics: Mapping[str, Metric],
    *,
    batch_size: int = 1024,
    precision: str = "float32",
) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """Return the losses of all examples, (n,) in float64, and their metrics by name."""
    device = device_of(model, data[0].device)
    losses, values = [], []
    with evaluating(model), torch.no_grad():
        for part in zip(*(t.split(batch_size) for t in data), strict=True):
            x, *targets = (t.to(device) for t in part)
            outputs = forward(model, x, precision)
            losses.append(loss(outputs, *targets))
            check_losses(losses[-1], len(x), outputs, targets)
            values.append(metric_values(metrics, outputs, targets, len(x)))
    return torch.cat(losses).double(), {k: torch.cat([v[k] for v in values]) for k in metrics}


def means(losses: torch.Tensor, metrics: Mapping[str, torch.Tensor]) -> Evaluation:
    """Return the means of what `each` returned."""
    n = len(losses)
    return Evaluation(
        loss=losses.mean().item(),
        stderr=(losses.std().item() / n**0.5) if n > 1 else float("nan"),
        n=n,
        metrics={name: values.mean().item() for name, values in metrics.items()},
    )
