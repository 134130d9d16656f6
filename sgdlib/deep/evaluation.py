"""Evaluation over every example, each counted once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from sgdlib import _check
from sgdlib.deep._data import check_data
from sgdlib.deep.accumulation import PRECISIONS, Loss, check_losses, forward


@dataclass(frozen=True)
class Evaluation:
    """Mean loss over n examples, its standard error, and the accuracy of a classifier.

    `accuracy` is the fraction of examples whose largest output is at the label, or None where the
    targets are not integer labels.
    """

    loss: float
    stderr: float
    accuracy: float | None
    n: int


def is_classification(outputs: torch.Tensor, targets: Sequence[torch.Tensor]) -> bool:
    """Tell whether `outputs` (B, classes) are scores for integer labels (B,)."""
    return (
        outputs.ndim == 2
        and len(targets) == 1
        and targets[0].ndim == 1
        and not (targets[0].is_floating_point() or targets[0].dtype == torch.bool)
    )


def evaluate(
    model: torch.nn.Module,
    loss: Loss,
    data: Sequence[torch.Tensor],
    *,
    batch_size: int = 1024,
    precision: str = "float32",
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

    Returns
    -------
    Evaluation

    Raises
    ------
    ValueError, TypeError
        If the data differ in length, are empty or not finite, or the loss is not per example.

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
    batch_size = _check.integer("batch_size", batch_size)
    _check.option("precision", precision, PRECISIONS)
    check_data("data", data)
    device = next((p.device for p in model.parameters()), data[0].device)
    modes = {module: module.training for module in model.modules()}
    model.eval()
    losses, hits = [], []
    try:
        with torch.inference_mode():
            for part in zip(*(t.split(batch_size) for t in data), strict=True):
                x, *targets = (t.to(device) for t in part)
                outputs = forward(model, x, precision)
                losses.append(loss(outputs, *targets))
                check_losses(losses[-1], (len(x),))
                if is_classification(outputs, targets):
                    hits.append((outputs.argmax(1) == targets[0]).sum())
    finally:
        for module, training in modes.items():
            module.training = training
    values = torch.cat(losses).double()
    n = len(values)
    return Evaluation(
        loss=values.mean().item(),
        stderr=(values.std().item() / n**0.5) if n > 1 else float("nan"),
        accuracy=torch.stack(hits).sum().item() / n if hits else None,
        n=n,
    )
