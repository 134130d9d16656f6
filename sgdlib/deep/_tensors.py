"""Checks of tensors: one clear sentence each, before any work is done."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import torch


def check_tensors(name: str, tensors: Sequence[torch.Tensor]) -> None:
    """Raise unless `tensors` are dense and have the same number (>= 1) of rows."""
    if not tensors:
        raise ValueError(f"{name}: expected at least one tensor, got none")
    for i, t in enumerate(tensors):
        if not isinstance(t, torch.Tensor):
            raise TypeError(
                f"{name}[{i}]: expected a torch.Tensor, got {type(t).__name__}"
                + ("; torch.as_tensor makes one" if hasattr(t, "__array__") else "")
            )
        if t.layout != torch.strided or t.is_nested or t.is_quantized:
            kind = "nested" if t.is_nested else "quantized" if t.is_quantized else str(t.layout)
            raise ValueError(f"{name}[{i}]: expected a dense tensor, got one that is {kind}")
        if t.ndim == 0 or len(t) == 0:
            raise ValueError(f"{name}[{i}]: expected rows, got an empty tensor {tuple(t.shape)}")
    if len({len(t) for t in tensors}) > 1:
        lengths = ", ".join(str(len(t)) for t in tensors)
        raise ValueError(f"{name}: expected equal numbers of rows, got {lengths}")


def check_data(name: str, data: torch.Tensor | Sequence[torch.Tensor]) -> tuple[torch.Tensor, ...]:
    """Return inputs and targets, or inputs alone, if they are equally long and finite, or raise."""
    if isinstance(data, torch.Tensor):
        data = (data,)
    elif not isinstance(data, Sequence) or len(data) < 2:
        raise TypeError(
            f"{name}: expected inputs and targets, such as (X, y), or a tensor of inputs alone"
        )
    check_tensors(name, data)
    for i, t in enumerate(data):
        if t.is_meta:
            raise ValueError(f"{name}[{i}]: expected numbers, got a tensor on the device 'meta'")
        if t.requires_grad:
            raise ValueError(
                f"{name}[{i}]: expected plain numbers, got a tensor that asks for a gradient; "
                ".detach() gives one that does not"
            )
        if not (t.is_floating_point() or t.is_complex()) or _all_finite(t):
            continue
        where = tuple((~torch.isfinite(t)).nonzero()[0].tolist())
        raise ValueError(
            f"{name}[{i}]: expected finite numbers, got {t[where].item()} at index {where}"
        )
    return tuple(data)


def _all_finite(t: torch.Tensor) -> bool:
    """Tell whether every number is finite; the sum, which needs no memory, mostly settles it."""
    return bool(torch.isfinite(t.sum())) or bool(torch.isfinite(t).all())


def tensors_of(data) -> tuple[torch.Tensor, ...] | None:
    """Return the tensors that `data` consists of, or None if it is a loader.

    A list or tuple that holds batches, themselves lists or tuples, is one.
    """
    if isinstance(data, list | tuple) and data and all(isinstance(b, list | tuple) for b in data):
        return None
    one = isinstance(data, torch.Tensor | np.ndarray | list | tuple | dict | str | bytes)
    if not one and isinstance(data, Iterable):
        return None
    return check_data("data", data)
