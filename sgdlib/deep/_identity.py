"""What a checkpoint must agree with to belong to a run, and how that is said.

A run that is taken up again must end as if it had never stopped. So the checkpoint carries what
decides its course, and all of it is compared before anything is touched. The rest may change: the
number of epochs, the device, capture, how often a checkpoint is saved, the validation data where
nothing stops by them, and a schedule beyond the place that was reached.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import torch
from torch import nn

from sgdlib.deep.checkpoints import CheckpointError, plain
from sgdlib.deep.loading import Loader
from sgdlib.deep.step import Step

_PLACES = 8  # of each epoch, at which schedules are compared
_CHUNK = 1 << 22


def fingerprint(tensors: Sequence[torch.Tensor]) -> str:
    """Return shapes, types and a checksum of the contents, in one line."""
    checksum = 0
    for t in tensors:
        for part in t.detach().split(max(1, _CHUNK // max(1, t[0].numel()))):
            flat = part.cpu().contiguous().flatten()
            flat = torch.view_as_real(flat).flatten() if flat.is_complex() else flat
            checksum = zlib.crc32(flat.view(torch.uint8).numpy(), checksum)
    kinds = [f"{tuple(t.shape)} {str(t.dtype).removeprefix('torch.')}" for t in tensors]
    return f"{', '.join(kinds)}, checksum {checksum:08x}"


def bare_names(names: Iterable[str]) -> dict[str, str]:
    """Map the names of tensors, without what wrappers put before them, to the full names.

    `torch.compile` writes ``_orig_mod.`` into them, data parallelism ``module.`` before them all.
    """
    bare = {name.replace("_orig_mod.", ""): name for name in names}
    while bare and all(name.startswith("module.") for name in bare):
        bare = {name.removeprefix("module."): full for name, full in bare.items()}
    return bare


def of_run(
    step: Step,
    batches: Loader,
    patience: int | None,
    validation: Sequence[torch.Tensor] | None,
    *,
    contents: bool,
) -> dict:
    """Return what must be the same; of the data their contents only if that is asked for."""
    data = {"data": type(batches.loader).__name__}
    if batches.indices is not None:
        indices = batches.indices
        data = {"data": contents and fingerprint(batches.tensors)}
        data |= {"sampling": indices.sampling, "last": indices.last}
    return data | {
        "micro_batch_size": step.micro_batch_size,
        "clip": step.clip,
        "precision": step.precision,
        "patience": patience,
        "validation": fingerprint(validation) if contents and patience else None,
        **settings(step.model, step.optimizer),
    }


def settings(model: nn.Module, optimizer: torch.optim.Optimizer) -> dict:
    """Return the optimizer's class, parameters, settings and ratios of rates, group by group."""
    full = dict(model.named_parameters())
    names = {id(full[name]): bare for bare, name in bare_names(full).items()}
    first = float(optimizer.param_groups[0]["lr"]) or 1.0
    found = {"optimizer": type(optimizer).__name__}
    for i, group in enumerate(optimizer.param_groups):
        here = {k: v for k, v in group.items() if k != "initial_lr"}
        here["params"] = [names.get(id(p), "the loss's") for p in group["params"]]
        here["lr"] = float(f"{float(group['lr']) / first:.12g}")  # a third is a third
        for key, value in here.items():
            value = value.tolist() if isinstance(value, torch.Tensor) else value
            found[f"optimizer.param_groups[{i}][{key!r}]"] = value
    return plain(found, "optimizer")


def sampled(knob: float | Callable, progress: float) -> list[float]:
    """Return the values of a number or schedule at eight places of each epoch, to `progress`."""
    places = range(math.ceil(_PLACES * progress))
    return [knob(i / _PLACES) if callable(knob) else knob for i in places]


def check_same_knob(path: Path, name: str, saved: list[float], knob: float | Callable) -> None:
    """Raise CheckpointError unless `knob` has the values that were `saved` by `sampled`."""
    ours = sampled(knob, len(saved) / _PLACES)
    constant = len(set(saved)) == len(set(ours)) == 1
    for i, (there, here) in enumerate(zip(saved, ours, strict=True)):
        if not math.isclose(there, here, rel_tol=1e-9):
            place = name if constant else f"{name}({i / _PLACES:g})"
            check_same(path, {place: there}, {place: here})


def check_same(path: Path, saved: dict, ours: dict) -> None:
    """Raise CheckpointError with the first difference unless both are equal."""
    for name in {**ours, **saved}:
        there, here = (_short(d.get(name)) for d in (saved, ours))
        if saved.get(name) != ours.get(name):
            raise CheckpointError(
                f"{path}: a checkpoint of another run, {name}={there} and not {here}; name another "
                "file or move this one away"
            )


def check_same_model(path: Path, saved: dict, model: dict) -> None:
    """Raise CheckpointError with the first difference unless names, types and shapes agree."""
    there, here = ({k: _kind(v) for k, v in state.items()} for state in (saved, model))
    for name in {**here, **there}:
        if there.get(name) != here.get(name):
            raise CheckpointError(
                f"{path}: a checkpoint of another model, in which {name} is "
                f"{there.get(name, 'absent')} and not {here.get(name, 'absent')}"
            )


def _kind(value) -> str:
    if not isinstance(value, torch.Tensor):
        return "a state of its own"
    return f"{str(value.dtype).removeprefix('torch.')} {tuple(value.shape)}"


def _short(value) -> str:
    text = repr(value)
    return text if len(text) <= 120 else text[:117] + "..."
