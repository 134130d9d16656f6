r"""Networks of one architecture as one function of their stacked parameters.

A linear layer of R networks is one batched product,

    out[r] = x[r] W[r]' + b[r],        x of shape (R, B, in), W of shape (R, out, in).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn
from torch.func import functional_call, stack_module_state, vmap
from torch.utils._pytree import tree_flatten, tree_unflatten

from sgdlib.deep._as_found import evaluating
from sgdlib.deep._inputs import find_device
from sgdlib.deep._losses import PLAIN
from sgdlib.deep._models import check_model, check_shaped

_ELEMENTWISE = (nn.ReLU, nn.Tanh, nn.Sigmoid, nn.GELU, nn.SiLU, nn.ELU, nn.LeakyReLU, nn.Identity)


class Ensemble:
    """The stacked parameters of networks of one architecture, as one function.

    Parameters
    ----------
    models
        Modules of the same architecture, without buffers (batch normalization keeps some).
    device
        Where to put the parameters; None: a GPU if there is one.

    Attributes
    ----------
    parameters
        Dict of tensors (R, ...), by the names of `model.named_parameters()`; those of frozen
        layers ask for no gradient.

    Raises
    ------
    ValueError, TypeError
        If there are none, one of them twice, or of different architecture, type or device, or if
        they have buffers or lazy layers.

    Notes
    -----
    `nn.Sequential` of linear and elementwise layers runs as batched products; any other module
    runs under `torch.func.vmap`. Used in the chapter *Linear scaling*.

    Examples
    --------
    >>> ensemble = Ensemble([nn.Linear(3, 2) for _ in range(5)])
    >>> tuple(ensemble(torch.zeros(5, 7, 3)).shape)
    (5, 7, 2)
    """

    def __init__(self, models: Sequence[nn.Module], device: torch.device | str | None = None):
        self.models = _check_models(models)
        self.device = find_device(device)
        with evaluating(*self.models):  # torch wants them all in one mode
            stacked, _ = stack_module_state(self.models)
        self.parameters = {
            name: p.detach().to(self.device).requires_grad_(p.requires_grad)
            for name, p in stacked.items()
        }
        self._layers = _batched_layers(self.models[0])

    def __len__(self) -> int:
        return len(self.models)

    def __call__(self, x: torch.Tensor, which: slice = slice(None)) -> Any:
        """Return the outputs (R, B, ...) of the models `which` for inputs x (R, B, ...)."""
        parameters = {name: p[which] for name, p in self.parameters.items()}
        count = len(self.models[which])
        if not isinstance(x, torch.Tensor) or x.ndim < 2 or len(x) != count:
            got = tuple(x.shape) if isinstance(x, torch.Tensor) else type(x).__name__
            raise ValueError(f"x: expected inputs of shape ({count}, B, ...), got {got}")
        return self.forward(parameters, x)

    def forward(self, parameters: dict[str, torch.Tensor], x: torch.Tensor) -> Any:
        """Return the outputs for stacked `parameters` of some of the models."""
        if self._layers is None:
            return _under_vmap(self.models[0], parameters, x)
        for layer, name in self._layers:
            x = layer(x, parameters, name)
        return x

    def write_back(self) -> None:
        """Copy the stacked parameters into the models."""
        where = next(iter(self.models[0].parameters())).device
        stacked = {name: p.detach().to(where) for name, p in self.parameters.items()}  # at once
        with torch.no_grad():
            for r, model in enumerate(self.models):
                for name, p in model.named_parameters():
                    p.copy_(stacked[name][r])


def _check_models(models):
    """Return the models as a list, or raise unless they can be stacked."""
    if isinstance(models, nn.Module) and not isinstance(models, nn.ModuleList):
        raise TypeError(f"models: expected several modules, got one {type(models).__name__}")
    try:
        models = list(models)
    except TypeError:
        raise TypeError(f"models: expected modules, got {type(models).__name__}") from None
    if not models:
        raise ValueError("models: expected at least one, got none")
    for i, model in enumerate(models):
        check_model(model, f"models[{i}]")
        check_shaped(model, f"models[{i}]")
    if len({id(m) for m in models}) < len(models):
        raise ValueError("models: expected different objects, got one of them twice")
    buffer = next((name for name, _ in models[0].named_buffers()), None)
    if buffer is not None:
        raise ValueError(f"models: expected no buffers, got {buffer!r} (batch normalization?)")
    for i, model in enumerate(models):
        for trait, of in _TRAITS.items():
            if of(model) != of(models[0]):
                raise ValueError(f"models[{i}]: expected the {trait} of models[0]")
    return models


def _architecture(model):
    """Return the layers with their settings, and the shapes of the parameters."""
    layers = [
        (type(m), {k: v for k, v in vars(m).items() if k != "training" and isinstance(v, _PLAIN)})
        for m in model.modules()
    ]
    return layers, {name: p.shape for name, p in model.named_parameters()}


_PLAIN = (int, float, str, tuple, type(None))
_TRAITS = {
    "architecture": _architecture,
    "types of numbers": lambda m: [p.dtype for p in m.parameters()],
    "device": lambda m: [p.device for p in m.parameters()],
    "frozen layers": lambda m: [p.requires_grad for p in m.parameters()],
}


def _under_vmap(model, parameters, x):
    """Return the outputs of `model` for each of the stacked parameters; vmap takes tensors only."""
    others = {}

    def call(p, v):
        leaves, structure = tree_flatten(functional_call(model, p, (v,)))
        strange = next((t for t in leaves if not isinstance(t, PLAIN)), None)
        if strange is not None:
            raise RuntimeError(f"outputs in a {type(strange).__name__}, not in tuples and dicts")
        others.update({i: t for i, t in enumerate(leaves) if not isinstance(t, torch.Tensor)})
        others[None] = structure
        return [t for t in leaves if isinstance(t, torch.Tensor)]

    tensors = iter(vmap(call, randomness="different")(parameters, x))
    structure = others.pop(None)
    leaves = [others[i] if i in others else next(tensors) for i in range(structure.num_leaves)]
    return tree_unflatten(leaves, structure)


def _batched_layers(model: nn.Module) -> list[tuple] | None:
    """Return the layers as functions of stacked parameters, or None if some have no such form."""
    if type(model) not in (nn.Sequential, nn.Linear):  # a subclass may have its own forward
        return None
    if any(m._forward_hooks or m._forward_pre_hooks for m in model.modules()):
        return None
    # `named_children` would leave out a layer that is used twice.
    named = [("", model)] if type(model) is nn.Linear else list(model._modules.items())
    layers, first = [], {}
    for place, module in named:
        name = first.setdefault(module, place)  # where its parameters are listed
        if type(module) is nn.Linear:
            layers.append((_linear, f"{name}." if name else ""))
        elif type(module) in _ELEMENTWISE:
            layers.append((lambda x, _, module: module(x), module))
        elif type(module) is nn.Flatten and (module.start_dim, module.end_dim) == (1, -1):
            layers.append((lambda x, *_: x.flatten(2), name))
        else:
            return None
    return layers


def _linear(x, parameters, prefix):
    weight, bias = parameters[prefix + "weight"], parameters.get(prefix + "bias")
    if bias is None:
        return torch.bmm(x, weight.mT)
    return torch.baddbmm(bias[:, None], x, weight.mT)
