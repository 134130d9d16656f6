"""Do model, loss and data fit together? Found out on a few rows, before any work is done."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import torch
from torch import nn
from torch.utils._pytree import tree_flatten, tree_leaves, tree_map, tree_unflatten

from sgdlib.deep._as_found import buffers_as_found, evaluating, random_numbers
from sgdlib.deep._labels import certain_classes, check_labels
from sgdlib.deep._losses import (
    PLAIN,
    Loss,
    check_gradient,
    check_loss,
    check_losses,
    forward,
    hint_at_pairs,
)
from sgdlib.deep._models import device_of, why_not, with_loss

Metric = Callable[..., torch.Tensor]

_ROWS_LOOKED_AT = 256


def check_fit(
    name: str,
    model: nn.Module,
    loss: Loss,
    data: Sequence[torch.Tensor],
    precision: str = "float32",
    *,
    train: bool = False,
    metrics: Mapping[str, Metric] | None = None,
) -> bool:
    """Try model and loss on a few rows of `data`; tell whether its targets are class labels.

    Raises unless the loss is one number per example, the same whether the example comes alone or
    with another, and, with `train`, can be differentiated; and unless the metrics give one number
    per example. Class labels must all be in range.
    """
    check_loss(loss)
    device = device_of(model, data[0].device)
    rows = _few_rows(data)
    batch = x, *targets = tuple(t[rows].to(device) for t in data)
    call = partial(_call, name, model, batch)
    with (
        evaluating(model),
        buffers_as_found(with_loss(model, loss)),
        random_numbers(device),
        torch.no_grad(),
    ):
        outputs = call(forward, model, x, precision)
        classes = certain_classes(loss, outputs, targets)
        labelled = classes is not None and check_labels(
            f"{name}[1]", data[1], classes, loss, outputs
        )
        leaves = []
        if train:
            outputs = tree_map(_leaf, outputs)
            leaves = [t for t in tree_leaves(outputs) if getattr(t, "requires_grad", False)]
        with torch.set_grad_enabled(train):
            losses = call(loss, outputs, *targets)
        check_losses(losses, len(x), outputs, targets)
        if losses.is_complex():
            raise TypeError(f"loss: expected real numbers, got {losses.dtype}")
        if leaves:
            check_gradient(losses)
            ones = torch.ones_like(losses)
            call(torch.autograd.grad, losses, leaves, ones, allow_unused=True)
        metric_values(metrics or {}, outputs, targets, len(x))
        if len(x) > 1:
            whole = isinstance(outputs, torch.Tensor) and outputs.shape[:1] == x.shape[:1]
            first = outputs[:1] if whole else call(forward, model, x[:1], precision)
            _check_alone(partial(call, loss), outputs, first, targets)
    return labelled


def _call(name, model, batch, function, *args, **options):
    """Call a function of the user's, and say in one sentence what torch has against it."""
    try:
        return function(*args, **options)
    except (RuntimeError, IndexError, ValueError, TypeError) as error:
        if isinstance(error, torch.cuda.OutOfMemoryError) or "allocate memory" in str(error):
            raise
        shapes = " and ".join(f"{tuple(t.shape)} of {t.dtype}" for t in batch)
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise ValueError(
            why_not(name, model, batch)
            or f"{name}: expected what model and loss can take, got {shapes}: {reason}"
        ) from error


def _leaf(output: Any) -> Any:
    floats = isinstance(output, torch.Tensor) and output.is_floating_point()
    return output.detach().requires_grad_() if floats else output


def _few_rows(data):
    """Return the places of one example, another with another target if there is any, and the first.

    The first comes again to show an order that changes.
    """
    n = len(data[0])
    for t in data[1:]:
        count = n if t.ndim == 1 else min(n, _ROWS_LOOKED_AT)
        rows = torch.arange(count, device=t.device) * (n - 1) // max(1, count - 1)
        differ = (t[rows] != t[0]).reshape(count, -1).any(1).nonzero()
        if len(differ):
            return [0, int(rows[differ[0, 0]]), 0]
    return [0, n - 1, 0] if n > 1 else [0]


def _check_alone(loss, outputs, first, targets):
    """Raise unless each of the examples has the loss that it has alone.

    `first` are the outputs for the first one: they show which dimension is the batch's. Outputs at
    which the loss is symmetric would tell nothing, so they are moved a little, towards 1/2: a
    probability remains one. A loss that draws random numbers is let through.
    """
    leaves, structure = tree_flatten(outputs)
    if not all(isinstance(leaf, PLAIN) for leaf in leaves):
        return  # an object of the user's own, which only the loss can take apart
    singles = tree_leaves(first)

    def losses(leaves, targets):
        """Return the losses of all together, and of each alone."""
        together = loss(tree_unflatten(leaves, structure), *targets)
        each = []
        for i in range(len(together)):
            row = [_row(t, one, i) for t, one in zip(leaves, singles, strict=True)]
            each.append(loss(tree_unflatten(row, structure), *(t[i : i + 1] for t in targets)))
            check_losses(each[-1], 1)
        return together, torch.cat(each)

    moved = [_move(t) for t in leaves]
    try:
        together, each = losses(moved, targets)
    except Exception:  # outside of what the loss understands
        moved = leaves
        together, each = losses(moved, targets)
    if _close(together, each) or not _close(together, losses(moved, targets)[0]):
        return
    hint = hint_at_pairs(outputs, targets)
    if hint and outputs.ndim == 2:  # a row of targets: then another's target changes the loss
        others_changed, _ = losses(moved, [t[[0, 0, 0]] for t in targets])
        if _close(together[:1], others_changed[:1]):
            hint = ""
    raise ValueError(
        f"loss: expected the same for an example alone and with others, got {_numbers(each)} "
        f"alone and {_numbers(together)} together; "
        + (hint or "nothing in it may be taken over the batch")
    )


def _row(output, single, i):
    """Return the part of example i; the dimension that is 1 for a single one is cut."""
    if not isinstance(output, torch.Tensor) or output.shape == single.shape:
        return output
    lengths = zip(output.shape, single.shape, strict=True)
    return output.narrow(next(d for d, (all_, one) in enumerate(lengths) if all_ != one), i, 1)


def _move(output):
    if not isinstance(output, torch.Tensor) or not output.is_floating_point():
        return output
    steps = torch.linspace(0.05, 0.1, output.numel(), dtype=output.dtype, device=output.device)
    return output.detach() + steps.view_as(output) * (0.5 - output.detach())


def _close(a, b):
    tol = max(1e-4, 8 * torch.finfo(a.dtype).eps) if a.is_floating_point() else 0.0
    a, b = a.double(), b.double()
    size = torch.nan_to_num(torch.cat([a, b]).abs(), posinf=0.0).max().item()
    return torch.allclose(a, b, rtol=tol, atol=tol * size, equal_nan=True)


def _numbers(losses):
    return "[" + ", ".join(f"{x:.4g}" for x in losses.tolist()) + "]"


def metric_values(
    metrics: Mapping[str, Metric], outputs: Any, targets: Sequence[torch.Tensor], count: int
) -> dict[str, torch.Tensor]:
    """Return the (count,) values of each metric, in float64."""
    values = {}
    for name, metric in metrics.items():
        value = metric(outputs, *targets)
        if not isinstance(value, torch.Tensor) or value.shape != (count,):
            got = tuple(value.shape) if isinstance(value, torch.Tensor) else type(value).__name__
            raise ValueError(
                f"metrics[{name!r}]: expected one value per example, shape ({count},), got {got}"
            )
        if value.is_complex():
            raise TypeError(f"metrics[{name!r}]: expected real numbers, got {value.dtype}")
        values[name] = value.double()
    return values
