"""Checks of data: inputs and targets in tensors."""

from __future__ import annotations

from collections.abc import Sequence

import torch


def check_data(name: str, data: Sequence[torch.Tensor]) -> None:
    """Raise unless `data` is inputs and targets, equally long, without NaN or infinity."""
    if not isinstance(data, Sequence) or len(data) < 2:
        raise TypeError(f"{name}: expected inputs and targets, such as (X, y)")
    for i, t in enumerate(data):
        if not isinstance(t, torch.Tensor):
            raise TypeError(f"{name}[{i}]: expected a torch.Tensor, got {type(t).__name__}")
        if t.ndim == 0 or len(t) == 0:
            raise ValueError(f"{name}[{i}]: expected rows, got an empty tensor {tuple(t.shape)}")
        if t.is_floating_point() and not _all_finite(t):
            where = tuple((~torch.isfinite(t)).nonzero()[0].tolist())
            raise ValueError(
                f"{name}[{i}]: expected finite numbers, got {t[where].item()} at index {where}"
            )
    if len({len(t) for t in data}) > 1:
        lengths = ", ".join(str(len(t)) for t in data)
        raise ValueError(f"{name}: expected equal numbers of rows, got {lengths}")


def _all_finite(t: torch.Tensor) -> bool:
    """Tell whether every number is finite; the sum, which needs no memory, mostly settles it."""
    return bool(torch.isfinite(t.sum())) or bool(torch.isfinite(t).all())
