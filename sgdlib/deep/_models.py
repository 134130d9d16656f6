"""Checks of models, and torch's reasons in one sentence where data do not fit them."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn
from torch.nn.parameter import UninitializedTensorMixin


def check_model(model: nn.Module, name: str = "model") -> None:
    """Raise unless `model` is a module."""
    if not isinstance(model, nn.Module):
        got = model.__name__ if isinstance(model, type) else type(model).__name__
        raise TypeError(f"{name}: expected a torch.nn.Module, got {got}")


def trained_parameters(model: nn.Module, name: str = "model") -> list[nn.Parameter]:
    """Return the parameters that ask for a gradient, at least one; a frozen layer has none."""
    parameters = [p for p in model.parameters() if p.requires_grad]
    if not parameters:
        raise ValueError(f"{name}: expected parameters that ask for a gradient, got none")
    return parameters


def lazy_name(model: nn.Module) -> str | None:
    """Return the name of a parameter or buffer whose shape no input has decided yet, if any."""
    tensors = [*model.named_parameters(), *model.named_buffers()]
    return next((name for name, t in tensors if isinstance(t, UninitializedTensorMixin)), None)


def check_shaped(model: nn.Module, name: str = "model") -> None:
    """Raise if a lazy layer has not seen an input yet."""
    if (lazy := lazy_name(model)) is not None:
        raise ValueError(
            f"{name}: expected parameters with shapes, got a lazy layer's {lazy!r}; "
            "call the model on a few inputs once"
        )


def with_loss(model: nn.Module, loss: object) -> nn.Module:
    """Return all that an optimizer may move: the model, and the loss where that is a module too."""
    return nn.ModuleList([model, loss]) if isinstance(loss, nn.Module) else model


def device_of(model: nn.Module, default: torch.device) -> torch.device:
    """Return the device of the model's parameters, or `default` where it has none."""
    return next((p.device for p in model.parameters()), default)


def why_not(name: str, model: nn.Module, batch: Sequence[torch.Tensor]) -> str | None:
    """Say why model or loss refused a batch, where its types, shapes or places tell."""
    x, *targets = batch
    numbers = (p for p in model.parameters() if p.is_floating_point() or p.is_complex())
    like = next(numbers, None)
    for i, t in enumerate(batch):
        if like is not None and like.device != t.device:
            return f"{name}[{i}]: expected a tensor on {like.device}, as the model, got {t.device}"
    if like is not None and like.dtype != x.dtype and (x.is_floating_point() or x.is_complex()):
        return f"{name}[0]: expected {like.dtype}, as the model's parameters, got {x.dtype}"
    for i, t in enumerate(targets, start=1):
        if t.dtype in (torch.int8, torch.int16, torch.int32):
            return f"{name}[{i}]: expected labels in torch.int64, got {t.dtype} (y.long())"
        if t.dtype == torch.int64 and t.ndim == 2 and t.shape[1] == 1:
            return f"{name}[{i}]: expected labels of shape (B,), got (B, 1) (y[:, 0])"
    return None
