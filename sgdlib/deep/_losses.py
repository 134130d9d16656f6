"""From a batch to one loss per example: what is computed with every step, and what it must give."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import fields, is_dataclass, replace
from typing import Any

import torch
from torch.utils._pytree import tree_map

from sgdlib import _check

PRECISIONS = ("float32", "bf16")

PLAIN = (torch.Tensor, int, float, str, bytes, type(None))  # what tuples and dicts may hold

Loss = Callable[..., torch.Tensor]


def forward(model: torch.nn.Module, x: torch.Tensor, precision: str) -> Any:
    """Return ``model(x)``; with ``precision="bf16"`` computed under autocast, given in float32.

    What a model returns is between it and the loss: a tensor, or tensors in tuples, dicts and
    dataclasses.
    """
    if precision == "float32":
        return model(x)
    _check.option("precision", precision, PRECISIONS)
    # Without autocast's cache of cast weights: inside someone else's autocast it outlives the step,
    # and the next step, or a recorded one, would compute with the weights of this one.
    with torch.autocast(x.device.type, dtype=torch.bfloat16, cache_enabled=False):
        outputs = model(x)
        plain = isinstance(outputs, torch.Tensor)
        return _to_float32(outputs) if plain else tree_map(_to_float32, outputs)


def _to_float32(output: Any) -> Any:
    if is_dataclass(output) and not isinstance(output, type):
        parts = {f.name: getattr(output, f.name) for f in fields(output) if f.init}
        return replace(output, **tree_map(_to_float32, parts))
    floats = isinstance(output, torch.Tensor) and output.is_floating_point()
    return output.float() if floats else output


def check_loss(loss: Loss) -> None:
    """Raise unless `loss` is a function."""
    if isinstance(loss, type):
        name = loss.__name__
        raise TypeError(f"loss={name}: expected a function, got a class; {name}(...) may be one")
    _check.function("loss", loss)


def check_losses(
    losses: torch.Tensor, count: int, outputs: Any = None, targets: Sequence[torch.Tensor] = ()
) -> None:
    """Raise unless `losses` has shape (count,): one loss per example."""
    if not isinstance(losses, torch.Tensor):
        raise TypeError(
            f"loss: expected a tensor of one loss per example, shape ({count},), got "
            f"{type(losses).__name__}"
        )
    if losses.shape == (count,):
        return
    hint = ""
    if losses.ndim == 0:
        hint = "torch's losses give that with reduction='none'"
    elif losses.shape == (count, count):
        hint = hint_at_pairs(outputs, targets)
    if not hint and losses.ndim > 1 and len(losses) == count:
        hint = "sum or average over the other dimensions, as in .flatten(1).mean(1)"
    raise ValueError(
        f"loss: expected one loss per example, shape ({count},), got {tuple(losses.shape)}"
        + (hint and f"; {hint}")
    )


def hint_at_pairs(outputs: Any, targets: Sequence[torch.Tensor]) -> str:
    """Say where a column against a row makes all pairs of examples; an empty string elsewhere."""
    for target in targets if isinstance(outputs, torch.Tensor) else ():
        ours, theirs = tuple(outputs.shape), tuple(target.shape)
        pairs = f"outputs {ours} against targets {theirs} make all pairs of examples: take "
        if len(ours) == 2 and ours[1] == 1 and len(theirs) == 1:
            return f"{pairs}outputs[:, 0] or targets[:, None]"
        if len(ours) == 1 and len(theirs) == 2 and theirs[1] == 1:
            return f"{pairs}targets[:, 0]"
    return ""


def check_gradient(losses: torch.Tensor) -> None:
    """Raise unless `losses` can be differentiated."""
    if not losses.requires_grad:
        raise ValueError(
            "loss: expected losses that depend on the model's parameters, got some without a "
            "gradient (a detach, an argmax, a no_grad?)"
        )
