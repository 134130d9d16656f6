"""Are the targets class labels? Not their type tells, but the loss."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from math import isqrt
from typing import Any

import torch

_CLASSES_TRIED, _NUMBERS_TRIED = 24, 1 << 21
_INTEGERS = (torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64)


def certain_classes(
    loss: Callable[..., torch.Tensor], outputs: Any, targets: Sequence[torch.Tensor]
) -> int | None:
    """Return C where the targets are certainly labels of C classes, and None elsewhere.

    A type does not tell: whole numbers may be counts. The loss does, tried on outputs of which one
    is the largest: a classifier's is least where that is the label's, and for that label.
    """
    if not (
        isinstance(outputs, torch.Tensor)
        and outputs.is_floating_point()
        and outputs.ndim == 2
        and outputs.shape[1] >= 2
        and len(targets) == 1
        and targets[0].ndim == 1
        and targets[0].dtype in _INTEGERS
    ):
        return None
    count = outputs.shape[1]
    tried = min(count, _CLASSES_TRIED, max(2, isqrt(_NUMBERS_TRIED // count)))
    some = torch.linspace(0, count - 1, tried).round().long().to(outputs.device)
    largest, labels = some.repeat_interleave(tried), some.repeat(tried).to(targets[0].dtype)
    peaks = torch.zeros(tried**2, count, dtype=outputs.dtype, device=outputs.device)
    peaks.scatter_(1, largest[:, None], 1.0)
    scores, probabilities = (10 * peaks, 10 + 10 * peaks), (0.8 * peaks + 0.2 / count,)
    for outputs in (scores, probabilities):
        rewarded = [_rewards_the_largest(loss, o, labels, tried) for o in outputs]
        if None not in rewarded:
            return count if all(rewarded) else None
    return None


def _rewards_the_largest(loss, outputs, labels, tried):
    """Tell whether the loss is least where the largest output is the label's; None: it cannot be.

    Scores of ten are no probabilities: a loss that expects those fails, or gives NaN.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            table = loss(outputs, labels).view(tried, tried).double()  # largest output, label
    except Exception:
        return None
    if torch.isnan(table).any():
        return None
    right = table.diagonal().clone()
    table.fill_diagonal_(torch.inf)
    return bool((right < table.amin(0)).all() and (right < table.amin(1)).all())


def check_labels(
    name: str,
    labels: torch.Tensor,
    classes: int,
    loss: Callable[..., torch.Tensor],
    outputs: torch.Tensor,
) -> bool:
    """Tell whether all labels are those of the classes; raise if the loss cannot take the others.

    It may: cross-entropy leaves out the examples with label -100. That is tried on the CPU, because
    a GPU does not recover from a label that is out of range.
    """
    outside = (labels < 0) | (labels >= classes)
    if not outside.any():
        return True
    one = outputs[:1].detach().cpu()
    for label in labels[outside].unique().cpu():
        try:
            understood = bool(torch.isfinite(loss(one, label[None])).all())
        except Exception:
            understood = False
        if not understood:
            i = (labels == label.to(labels.device)).nonzero()[0].item()
            raise ValueError(
                f"{name}: expected labels in 0..{classes - 1}, the model's {classes} outputs, "
                f"got {label.item()} at index {i}"
            )
    return False
