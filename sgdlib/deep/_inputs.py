"""Checks of what a training run is given: one clear sentence each, before any work is done."""

from __future__ import annotations

import torch

from sgdlib import _check
from sgdlib.deep.optim import PlainSGD


def named_device(device: torch.device | str) -> torch.device:
    """Return the device of this name, or raise; it need not be there."""
    if isinstance(device, torch.device):
        return device
    wanted = f"device={_check.shown(device)}: expected a device such as 'cpu' or 'cuda'"
    if not isinstance(device, str):
        raise TypeError(wanted)
    try:
        return torch.device(device)
    except RuntimeError:
        raise ValueError(wanted) from None


def find_device(device: torch.device | str | None) -> torch.device:
    """Return the device asked for, or a GPU if there is one; raise if it is not there."""
    if device is None:
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    found = named_device(device)
    absent = {
        "cuda": (found.index or 0) >= torch.cuda.device_count(),
        "mps": not torch.backends.mps.is_available(),
    }
    if absent.get(found.type, False):
        raise ValueError(
            f"device={str(device)!r}: expected a device of this machine, and torch finds no such "
            "GPU here; device=None takes a GPU if there is one and the CPU otherwise"
        )
    return found


def check_optimizer(optimizer: torch.optim.Optimizer, model: torch.nn.Module) -> None:
    """Raise unless what `optimizer` moves are parameters of `model`, and one of them is trained."""
    groups, names = getattr(optimizer, "param_groups", None), ("step", "zero_grad", "state_dict")
    if groups is None or not all(callable(getattr(optimizer, name, None)) for name in names):
        shown = _check.shown(optimizer)
        raise TypeError(
            f"optimizer={shown}: expected a torch optimizer over the model's parameters"
        )
    name = type(optimizer).__name__
    if isinstance(optimizer, torch.optim.LBFGS):
        raise TypeError(f"optimizer: expected one whose step needs no closure, got {name}")
    of_model = {id(p) for p in model.parameters()}
    moved = [p for group in groups for p in group["params"]]
    foreign = sum(id(p) not in of_model for p in moved)
    if foreign:
        raise ValueError(
            f"optimizer: expected parameters of the model, got {name} over {foreign} of "
            f"{len(moved)} tensors that are not (the optimizer of another model, or of a copy?)"
        )
    if not any(p.requires_grad for p in moved):
        raise ValueError(
            f"optimizer: expected a parameter that asks for a gradient, got {name} over "
            f"{len(moved)} that do not"
        )


def check_capture(capture: bool, device: torch.device, optimizer) -> None:
    """Raise unless the steps can be captured as a CUDA graph, if that is asked for."""
    if not _check.flag("capture", capture):
        return
    if device.type != "cuda":
        raise ValueError(f"capture=True: expected a CUDA device, got device='{device}'")
    plain = optimizer is None or isinstance(optimizer, PlainSGD)
    if not plain and not all(group.get("capturable") for group in optimizer.param_groups):
        raise ValueError(
            "capture=True: expected optimizer=None (plain SGD) or a torch optimizer made with "
            f"capturable=True, got {type(optimizer).__name__} without"
        )
