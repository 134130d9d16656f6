r"""Exact gradient accumulation: a large batch in small pieces.

The batch gradient is a weighted sum over examples,

    g = sum_i w_i grad l_i,

so it can be summed piece by piece, in pieces of any size, and only one piece's activations are held
at a time. Each example keeps the weight that it has in the whole batch. Dividing by the number of
pieces instead is right only if all pieces are equally long.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch

from sgdlib import _check

PRECISIONS = ("float32", "bf16")

Loss = Callable[..., torch.Tensor]


def forward(model: torch.nn.Module, x: torch.Tensor, precision: str) -> torch.Tensor:
    """Return ``model(x)``; with ``precision="bf16"`` computed under autocast, given in float32."""
    if precision == "float32":
        return model(x)
    _check.option("precision", precision, PRECISIONS)
    # Without autocast's cache of cast weights: inside someone else's autocast it outlives the step,
    # and the next step, or a recorded one, would compute with the weights of this one.
    with torch.autocast(x.device.type, dtype=torch.bfloat16, cache_enabled=False):
        return model(x).float()


def check_losses(losses: torch.Tensor, shape: tuple[int, ...]) -> None:
    """Raise unless `losses` has shape (B,): one loss per example."""
    if losses.shape != shape:
        raise ValueError(
            f"loss: expected one loss per example, shape {tuple(shape)}, got "
            f"{tuple(losses.shape)}; torch's losses give that with reduction='none'"
        )


def accumulate_gradients(
    model: torch.nn.Module,
    loss: Loss,
    batch: Sequence[torch.Tensor],
    weights: torch.Tensor | None = None,
    *,
    micro_batch_size: int | Sequence[int] | None = None,
    precision: str = "float32",
) -> torch.Tensor:
    """Add ``sum_i weights[i] * grad l_i`` to the gradients, a micro-batch at a time.

    Parameters
    ----------
    model
        Any module; its parameters' `grad` is added to, not overwritten.
    loss
        Function of the model's output and the targets that returns one loss per example.
    batch
        Inputs and targets, tensors with B rows each.
    weights
        (B,) weights of the examples in the batch gradient; 1/B each if None.
    micro_batch_size
        Examples held at once, an int in 1..B, or the sizes of all micro-batches; they need not be
        equal. None: the batch in one piece.
    precision
        ``"float32"`` (the model's own type) or ``"bf16"`` (autocast).

    Returns
    -------
    torch.Tensor
        (B,) losses, detached.

    Raises
    ------
    ValueError, TypeError
        If the loss is not per example, or sizes do not fit.

    Notes
    -----
    Exact, up to rounding, for layers that treat examples one by one. Batch normalisation does not:
    it normalises by the micro-batch, as data-parallel workers without synchronised statistics do,
    and updates its running statistics once for each. Derived in the chapter *Memory and gradient
    accumulation*, with remedies.

    Examples
    --------
    >>> model = torch.nn.Linear(1, 1, bias=False)
    >>> X, y = torch.arange(5.0).view(5, 1), torch.ones(5)
    >>> def squares(outputs, y): return (outputs[:, 0] - y) ** 2
    >>> def gradient(**options):
    ...     model.zero_grad()
    ...     accumulate_gradients(model, squares, (X, y), **options)
    ...     return model.weight.grad.item()
    >>> round(gradient() - gradient(micro_batch_size=[1, 3, 1]), 5)
    0.0
    """
    x, *targets = batch
    if weights is None:
        dtype = x.dtype if x.is_floating_point() else torch.get_default_dtype()
        weights = torch.full((len(x),), 1 / len(x), dtype=dtype, device=x.device)
    elif weights.shape != x.shape[:1]:
        raise ValueError(f"weights: expected shape ({len(x)},), got {tuple(weights.shape)}")
    if micro_batch_size is None:
        losses = loss(forward(model, x, precision), *targets)
        check_losses(losses, weights.shape)
        losses.backward(weights)
        return losses.detach()
    pieces = _split((*batch, weights), micro_batch_size)
    return torch.cat(
        [accumulate_gradients(model, loss, b, w, precision=precision) for *b, w in pieces]
    )


def _split(tensors, micro_batch_size):
    """Cut tensors of B rows into micro-batches of the given size or sizes."""
    size = len(tensors[0])
    if isinstance(micro_batch_size, Sequence):
        sizes = [_check.integer("micro_batch_size", s) for s in micro_batch_size]
        if sum(sizes) != size:
            raise ValueError(
                f"micro_batch_size={list(sizes)}: expected sizes that add up to {size}, "
                f"got {sum(sizes)}"
            )
        return zip(*(t.split(sizes) for t in tensors), strict=True)
    micro_batch_size = _check.integer("micro_batch_size", micro_batch_size)
    return zip(*(t.split(micro_batch_size) for t in tensors), strict=True)
