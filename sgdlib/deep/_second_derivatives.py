"""Second derivatives of networks: by kernels that have them, or a sentence that names the layer."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager

import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils._pytree import tree_leaves, tree_map

from sgdlib.deep._as_found import buffers_as_found, evaluating, random_numbers
from sgdlib.deep._losses import Loss


@contextmanager
def differentiable_twice(model: nn.Module) -> Iterator[None]:
    """Let attention and recurrent layers run by kernels that have second derivatives."""
    with ExitStack() as kernels:
        kernels.enter_context(torch.inference_mode(False))  # whatever the caller is in
        kernels.enter_context(sdpa_kernel(SDPBackend.MATH))
        if any(isinstance(module, nn.RNNBase) for module in model.modules()):
            kernels.enter_context(torch.backends.cudnn.flags(enabled=False))
        yield


def check_second_derivatives(
    model: nn.Module, loss: Loss, data: Sequence[torch.Tensor], parameters: list[nn.Parameter]
) -> None:
    """Raise, with the name of the layer, where torch has no second derivative of one."""
    x, *targets = (t[:2] for t in data)
    device = parameters[0].device
    with evaluating(model), buffers_as_found(model), random_numbers(device):
        obstacle = _obstacle(loss(model(x), *targets), parameters)
        if obstacle is not None:
            place = _layer_that_is_one(model, x) or "model or loss in what is outside of layers"
            raise ValueError(
                f"model: expected layers that can be differentiated twice, got {place}: {obstacle}"
            )


def _obstacle(outputs, inputs):
    """Say what keeps `outputs` from being differentiated twice by `inputs`, if anything does."""
    floats = [t for t in tree_leaves(outputs) if isinstance(t, torch.Tensor) and t.requires_grad]
    if not floats or not inputs:
        return None
    try:
        size = sum((t**2).sum() for t in floats)
        slope = torch.autograd.grad(size, inputs, create_graph=True, materialize_grads=True)
        steepness = sum((g**2).sum() for g in slope)
        if not steepness.requires_grad:
            return None
        torch.autograd.grad(steepness, inputs, materialize_grads=True)
    except RuntimeError as error:
        return str(error).splitlines()[0]
    # The mark of `once_differentiable`: an end that torch takes for a constant.
    nodes, seen = [steepness.grad_fn], set()
    while nodes:
        node = nodes.pop()
        if node is None or node in seen:
            continue
        if node.name().endswith("Error"):
            return "its backward is marked once_differentiable"
        seen.add(node)
        nodes += [after for after, _ in node.next_functions]
    return None


def _layer_that_is_one(model: nn.Module, x: torch.Tensor) -> str | None:
    """Name the first layer, inner ones first, that alone cannot be differentiated twice."""
    calls = []
    hooks = [
        module.register_forward_hook(
            lambda module, args, kwargs, _, name=name: calls.append((name, module, args, kwargs)),
            with_kwargs=True,
        )
        for name, module in model.named_modules()
    ]
    try:
        model(x)
    finally:
        for hook in hooks:
            hook.remove()
    for name, module, args, kwargs in calls:
        args, kwargs = tree_map(_leaf, (args, kwargs))
        inputs = [*module.parameters(), *tree_leaves((args, kwargs))]
        inputs = [t for t in inputs if isinstance(t, torch.Tensor) and t.requires_grad]
        try:
            outputs = module(*args, **kwargs)
        except RuntimeError:  # it writes into its inputs
            continue
        if _obstacle(outputs, inputs) is not None:
            return f"{name or 'the whole'} ({type(module).__name__})"
    return None


def _leaf(value):
    floats = isinstance(value, torch.Tensor) and value.is_floating_point()
    return value.detach().requires_grad_() if floats else value
