r"""Exact gradient accumulation: a large batch in small pieces.

The batch gradient is a weighted sum over examples,

    g = sum_i w_i grad l_i,

so it can be summed piece by piece, in pieces of any size, and only one piece's activations are held
at a time. Each example keeps the weight that it has in the whole batch. Dividing by the number of
pieces instead is right only if all pieces are equally long.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from contextlib import nullcontext

import torch

from sgdlib import _check
from sgdlib.deep._as_found import gradients_as_found
from sgdlib.deep._fit import check_fit
from sgdlib.deep._losses import (
    PRECISIONS,
    Loss,
    check_gradient,
    check_loss,
    check_losses,
    forward,
)
from sgdlib.deep._models import check_model, trained_parameters, with_loss
from sgdlib.deep._tensors import check_tensors


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
        Any module; its parameters' `grad` is added to, not overwritten, and left alone if something
        fails.
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
    Exact, up to rounding, for layers that treat examples one by one. Batch normalization does not:
    it normalizes by the micro-batch, as data-parallel workers without synchronized statistics do,
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
    check_model(model)
    trained_parameters(model)
    check_loss(loss)
    trained = trained_parameters(with_loss(model, loss))
    _check.option("precision", precision, PRECISIONS)
    if not isinstance(batch, Sequence):
        raise TypeError(f"batch: expected tensors, such as (x, y), got {type(batch).__name__}")
    check_tensors("batch", batch)
    x = batch[0]
    if weights is None:
        weights = equal_weights(x)
    else:
        check_weights(weights, x)
    if micro_batch_size is not None:
        micro_batch_size = _check_sizes(micro_batch_size, len(x))
    try:
        with gradients_as_found(trained):  # so that a failure leaves none of a part of the batch
            losses = accumulate(
                model, loss, batch, weights, micro_batch_size=micro_batch_size, precision=precision
            )
            gradients = [p.grad for p in trained]
    except (RuntimeError, IndexError, TypeError):
        if not (x.is_cuda and torch.cuda.is_current_stream_capturing()):
            check_fit("batch", model, loss, batch, precision, train=True)  # says it in one sentence
        raise
    for p, gradient in zip(trained, gradients, strict=True):
        if p.grad is None:
            p.grad = gradient
        elif gradient is not None:
            p.grad.add_(gradient)
    return losses


def equal_weights(x: torch.Tensor) -> torch.Tensor:
    """Return a weight 1/B for each of B rows, beside them and in their precision."""
    dtype = x.dtype if x.is_floating_point() else torch.get_default_dtype()
    return torch.full((len(x),), 1 / len(x), dtype=dtype, device=x.device)


def accumulate(
    model: torch.nn.Module,
    loss: Loss,
    batch: Sequence[torch.Tensor],
    weights: torch.Tensor,
    *,
    micro_batch_size: int | Sequence[int] | None = None,
    precision: str = "float32",
) -> torch.Tensor:
    """Do what `accumulate_gradients` does with arguments that have been checked before."""
    if micro_batch_size is None:
        x, *targets = batch
        outputs = forward(model, x, precision)
        losses = loss(outputs, *targets)
        check_losses(losses, len(x), outputs, targets)
        check_gradient(losses)
        del outputs  # not held through the backward pass
        losses.backward(weights)
        return losses.detach()
    pieces = list(zip(*(t.split(micro_batch_size) for t in (*batch, weights)), strict=True))
    losses = []
    for i, (*b, w) in enumerate(pieces, start=1):
        # torch's data parallelism adds up over the processes with the last piece, not with each
        quiet = nullcontext if i == len(pieces) else getattr(model, "no_sync", nullcontext)
        with quiet():
            losses.append(accumulate(model, loss, b, w, precision=precision))
    return torch.cat(losses)


def check_weights(weights, x):
    """Raise unless there is a finite weight for each example, beside it."""
    if not isinstance(weights, torch.Tensor):
        raise TypeError(f"weights: expected a torch.Tensor, got {type(weights).__name__}")
    if weights.shape != x.shape[:1]:
        raise ValueError(f"weights: expected shape ({len(x)},), got {tuple(weights.shape)}")
    if weights.is_complex():
        raise TypeError(f"weights: expected real numbers, got {weights.dtype}")
    if weights.device != x.device:
        raise ValueError(f"weights: expected a tensor on {x.device}, got {weights.device}")
    if weights.is_cuda and torch.cuda.is_current_stream_capturing():
        return  # a step that is being recorded must not wait for the numbers
    if not torch.isfinite(weights).all():
        i = int((~torch.isfinite(weights)).nonzero()[0])
        raise ValueError(f"weights: expected finite numbers, got {weights[i].item()} at index {i}")


def _check_sizes(micro_batch_size, count):
    """Return the size of micro-batches, or the sizes of all of them if they add up."""
    if not isinstance(micro_batch_size, Sequence):
        return _check.integer("micro_batch_size", micro_batch_size, high=sys.maxsize)
    sizes = [_check.integer("micro_batch_size", s) for s in micro_batch_size]
    if sum(sizes) != count:
        raise ValueError(
            f"micro_batch_size={sizes}: expected sizes that add up to {count}, got {sum(sizes)}"
        )
    return sizes
