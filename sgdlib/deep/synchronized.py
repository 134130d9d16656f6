r"""Batch normalization over the examples of all processes.

Each process has a part of the batch. The sums that make mean and variance are added up,

    mean = sum_k sum_i x_i / n,      var = sum_k sum_i (x_i - mean)^2 / n,      n = sum_k n_k,

and the gradient flows back through the sums, to every process's examples. Torch's `SyncBatchNorm`
does the same on GPUs alone.
"""

from __future__ import annotations

import torch
import torch.distributed as dist
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from sgdlib.deep._models import check_model


class _Sum(torch.autograd.Function):
    """The sum over processes. Each process's loss depends on it, so their gradients add up too."""

    @staticmethod
    def forward(ctx, x):
        x = x.clone()
        dist.all_reduce(x)
        return x

    @staticmethod
    def backward(ctx, gradient):
        gradient = gradient.clone()
        dist.all_reduce(gradient)
        return gradient


class SynchronizedBatchNorm(_BatchNorm):
    """Batch normalization by mean and variance of the whole batch, whatever part is here.

    Alone, or in evaluation mode, it is torch's.
    """

    def _check_input_dim(self, x):
        if x.dim() < 2:
            raise ValueError(f"expected at least 2D input (got {x.dim()}D input)")

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Normalize (B, C, ...) over all but the second axis and over all processes."""
        by_batch = self.training or not self.track_running_stats
        if not (by_batch and dist.is_initialized() and dist.get_world_size() > 1):
            return super().forward(x)
        self._check_input_dim(x)
        axes = [0, *range(2, x.dim())]
        shape = [1, -1, *[1] * (x.dim() - 2)]
        count = x.new_full((1,), x.numel() / x.shape[1])
        *total, n = _Sum.apply(torch.cat([x.sum(axes), count])).split([x.shape[1], 1])
        n = n.detach()
        if n.item() < 2:
            raise ValueError(f"Expected more than 1 value per channel, got {int(n.item())}")
        mean = total[0] / n
        centred = x - mean.view(shape)
        var = _Sum.apply(centred.square().sum(axes)) / n
        if self.training and self.track_running_stats:
            self._follow(mean.detach(), var.detach() * (n / (n - 1)))
        y = centred * (var + self.eps).rsqrt().view(shape)
        return y * self.weight.view(shape) + self.bias.view(shape) if self.affine else y

    @torch.no_grad()
    def _follow(self, mean, var):
        """Move the running statistics towards those of the batch."""
        self.num_batches_tracked.add_(1)
        share = self.momentum
        if share is None:
            share = 1 / float(self.num_batches_tracked)
        self.running_mean.lerp_(mean, share)
        self.running_var.lerp_(var, share)


def synchronize_batch_norm(model: nn.Module) -> nn.Module:
    """Return `model` with its batch normalizations over the batch of all processes.

    Parameters
    ----------
    model
        Any module; its batch normalizations are replaced in place, parameters and running
        statistics kept. A model that is one itself is returned as a new one.

    Returns
    -------
    torch.nn.Module

    Raises
    ------
    TypeError
        If `model` is not a module.

    Notes
    -----
    Call it before the optimizer is made or after: the parameters are the same objects. Two messages
    a layer in the forward pass and two in the backward pass. Without it each process normalizes by
    its own part, as accumulation does by its micro-batches: *Ghost BatchNorm*. All processes must
    make equally many forward passes: not with micro-batches of ragged parts. Used in the chapter
    *Data parallel training*.

    Examples
    --------
    >>> model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4))
    >>> type(synchronize_batch_norm(model)[1]).__name__
    'SynchronizedBatchNorm'
    """
    check_model(model)
    if isinstance(model, _BatchNorm) and not isinstance(model, SynchronizedBatchNorm):
        new = SynchronizedBatchNorm(
            model.num_features, model.eps, model.momentum, model.affine, model.track_running_stats
        )
        new._parameters, new._buffers = model._parameters, model._buffers
        new.training = model.training
        return new
    for name, child in model.named_children():
        setattr(model, name, synchronize_batch_norm(child))
    return model
