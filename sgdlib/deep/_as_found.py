"""The caller's things as they were: what changes for a while is put back, also after a failure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from copy import deepcopy

import torch
from torch import nn
from torch.nn.parameter import UninitializedTensorMixin


@contextmanager
def modes_as_found(*models: nn.Module) -> Iterator[None]:
    """Put back the mode, training or evaluation, of every layer at the end."""
    modes = [(module, module.training) for model in models for module in model.modules()]
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training


@contextmanager
def evaluating(*models: nn.Module) -> Iterator[None]:
    """Put the models into evaluation mode for the while."""
    with modes_as_found(*models):
        for model in models:
            model.eval()
        yield


@contextmanager
def training(*models: nn.Module) -> Iterator[None]:
    """Put the models into training mode for the while, except layers that the caller set aside.

    In a model that is being trained, a layer in evaluation mode was put there on purpose. Where the
    whole model is in evaluation mode, only a layer whose parameters are frozen was.
    """
    with modes_as_found(*models):
        for model in models:
            aside = [m for m in model.modules() if not m.training and (model.training or frozen(m))]
            model.train()
            for module in aside:
                module.training = False
        yield


def frozen(module: nn.Module) -> bool:
    """Tell whether a layer has parameters of its own, and none of them asks for a gradient."""
    own = list(module.parameters(recurse=False))
    return bool(own) and not any(p.requires_grad for p in own)


@contextmanager
def random_numbers(device: torch.device, seed: int | None = None) -> Iterator[None]:
    """Put back the generators that layers such as dropout use; seed them first, if asked."""
    on_gpu = device.type == "cuda"
    with torch.random.fork_rng([device] if on_gpu else []):
        if seed is not None:
            torch.default_generator.manual_seed(seed)  # torch.manual_seed would seed all backends
            if on_gpu:
                with torch.cuda.device(device):
                    torch.cuda.manual_seed(seed)
        yield


@contextmanager
def gradients_as_found(parameters: Iterable[torch.Tensor]) -> Iterator[None]:
    """Set the gradients that are there aside, and put the very tensors back at the end."""
    found = [(p, p.grad) for p in parameters]
    try:
        for p, _ in found:
            p.grad = None
        yield
    finally:
        for p, gradient in found:
            p.grad = gradient


@contextmanager
def buffers_as_found(model: nn.Module) -> Iterator[None]:
    """Put back the buffers, the very tensors that were there; a lazy layer keeps its shape."""
    found = [
        (module, name, tensor, tensor.clone())
        for module in model.modules()
        for name, tensor in module.named_buffers(recurse=False)
        if not isinstance(tensor, UninitializedTensorMixin)
    ]
    try:
        yield
    finally:
        with torch.no_grad():
            for module, name, tensor, value in found:
                tensor.copy_(value)
                setattr(module, name, tensor)  # also where a new tensor had taken its place


@contextmanager
def tensors_as_found(model: nn.Module) -> Iterator[None]:
    """Put back parameters, buffers and gradients; within the block there are no gradients."""
    values = [(p, p.detach().clone()) for p in model.parameters()]
    with gradients_as_found(model.parameters()), buffers_as_found(model):
        try:
            yield
        finally:
            with torch.no_grad():
                for p, value in values:
                    p.copy_(value)


@contextmanager
def optimizer_as_found(optimizer: torch.optim.Optimizer) -> Iterator[None]:
    """Put back an optimizer's state and settings, in the very groups that were there."""
    groups = list(optimizer.param_groups)
    tensors = [{k: v for k, v in g.items() if isinstance(v, torch.Tensor)} for g in groups]
    state = deepcopy(optimizer.state_dict())
    try:
        yield
    finally:
        optimizer.load_state_dict(state)
        for group, kept, restored in zip(groups, tensors, optimizer.param_groups, strict=True):
            group.update(restored)
            for name, tensor in kept.items():  # a rate that others read, such as a recorded step
                group[name] = tensor.copy_(restored[name])
        optimizer.param_groups = groups
