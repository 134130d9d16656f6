"""Checks of what a training run is given: one clear sentence each, before any work is done."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import torch

from sgdlib import _check
from sgdlib.deep._data import check_data
from sgdlib.deep.accumulation import PRECISIONS, check_losses, forward
from sgdlib.deep.evaluation import is_classification


def find_device(device: torch.device | str | None) -> torch.device:
    """Return the device asked for, or a GPU if there is one; raise if it is not there."""
    if device is None:
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        found = torch.device(device)
    except RuntimeError:
        raise ValueError(f"device={device!r}: expected a device such as 'cpu' or 'cuda'") from None
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


def check_options(
    *, epochs, lr, optimizer, validation, patience, micro_batch_size, clip, precision
) -> None:
    """Raise unless every option of `train` is within its range."""
    _check.integer("epochs", epochs)
    _check.option("precision", precision, PRECISIONS)
    if lr is None and optimizer is None:
        raise ValueError("lr=None: expected a learning rate, or optimizer=")
    if lr is not None and not callable(lr):
        _check.number("lr", lr, at_least=0)
    if micro_batch_size is not None:
        _check.integer("micro_batch_size", micro_batch_size)
    if clip is not None:
        _check.number("clip", clip, above=0)
    if validation is not None:
        check_data("validation", validation)
    if patience is not None:
        _check.integer("patience", patience)
        if validation is None:
            raise ValueError(f"patience={patience}: expected validation= data to watch")


def check_capture(capture: bool, device: torch.device, optimizer) -> None:
    """Raise unless the steps can be captured as a CUDA graph, if that is asked for."""
    if not _check.flag("capture", capture):
        return
    if device.type != "cuda":
        raise ValueError(f"capture=True: expected a CUDA device, got device='{device}'")
    if optimizer is not None:
        raise ValueError(
            f"capture=True: expected optimizer=None (plain SGD), got {type(optimizer).__name__}, "
            "whose state a graph cannot start from zero"
        )


def check_checkpoint(path, every) -> Path | None:
    """Return the checkpoint's path, or raise if its folder is not there."""
    if path is None:
        if every is not None:
            raise ValueError(f"checkpoint_every={every}: expected checkpoint= as well")
        return None
    if every is not None:
        _check.integer("checkpoint_every", every)
    path = Path(path)
    if not os.access(path.parent, os.W_OK):
        raise ValueError(f"checkpoint={str(path)!r}: expected a folder that exists and is writable")
    return path


def check_fit(model, loss, data: dict[str, Sequence[torch.Tensor] | None], precision: str) -> None:
    """Try model and loss on one example; raise if labels lie outside the model's classes."""
    modes = {module: module.training for module in model.modules()}
    model.eval()
    try:
        with torch.no_grad():
            for name, (x, *targets) in ((k, v) for k, v in data.items() if v):
                outputs = forward(model, x[:1], precision)
                if is_classification(outputs, targets):
                    _check_labels(f"{name}[1]", targets[0], outputs.shape[1])
                check_losses(loss(outputs, *(t[:1] for t in targets)), (1,))
    finally:
        for module, training in modes.items():
            module.training = training


def _check_labels(name, labels, classes):
    wrong = ((labels < 0) | (labels >= classes)).nonzero()
    if len(wrong):
        i = wrong[0].item()
        raise ValueError(
            f"{name}: expected labels in 0..{classes - 1}, the model's {classes} outputs, "
            f"got {labels[i].item()} at index {i}"
        )
