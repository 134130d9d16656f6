"""Some of an ensemble's networks, whose steps are made at once."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from torch.utils._pytree import tree_map

from sgdlib.deep._as_found import evaluating
from sgdlib.deep._losses import Loss, forward
from sgdlib.deep._stacked import Ensemble
from sgdlib.deep.evaluation import Metric
from sgdlib.deep.sampler import IndexBatches


class Group:
    """The networks `which` of an ensemble, G in number, and their update by SGD.

    v <- momentum v + g + weight_decay p;  p <- p - rate v, each network at its own rate.
    """

    def __init__(
        self,
        ensemble: Ensemble,
        which: slice,
        momentum: float = 0.0,
        weight_decay: float = 0.0,
        precision: str = "float32",
    ):
        self._ensemble, self._momentum, self._weight_decay = ensemble, momentum, weight_decay
        # Views, so that the in-place update moves the ensemble's own parameters.
        self._parameters = {
            name: p.data[which].requires_grad_(p.requires_grad)
            for name, p in ensemble.parameters.items()
        }
        outputs = partial(ensemble.forward, self._parameters)
        self._outputs = partial(forward, outputs, precision=precision)
        self._moved = [p for p in self._parameters.values() if p.requires_grad]
        self._velocity: list[torch.Tensor | None] = [None] * len(self._moved)
        self._rates: np.ndarray | None = None

    def steps(
        self, orders: Sequence[IndexBatches], epoch: int
    ) -> Iterator[tuple[torch.Tensor, torch.Tensor, float]]:
        """Yield the indices (G, B), the weights (B,) and their sum for each step of an epoch."""
        device, dtype = self._ensemble.device, self._moved[0].dtype
        for blocks in zip(*(order.blocks(epoch, device=device) for order in orders), strict=True):
            # (G, k, B): the same number of batches for each network
            parts = [b.indices for b in blocks]
            on_device = isinstance(parts[0], torch.Tensor)
            stacked = torch.stack(parts) if on_device else torch.from_numpy(np.stack(parts))
            weights = torch.tensor(blocks[0].weights, dtype=dtype, device=device)
            for indices in stacked.to(device).unbind(dim=1):
                yield indices, weights, float(blocks[0].weights.sum())

    def step(
        self,
        loss: Loss,
        data: Sequence[torch.Tensor],
        indices: torch.Tensor,
        weights: torch.Tensor,
        rates: np.ndarray,
    ) -> torch.Tensor:
        """Update each network on its own batch; return the losses (G, B) before."""
        x, *targets = (t.index_select(0, indices.flatten()) for t in data)
        outputs = self._outputs(x.unflatten(0, indices.shape))
        losses = per_example(loss, outputs, targets, indices.shape)
        gradients = torch.autograd.grad(
            losses, self._moved, weights.expand_as(losses), allow_unused=True
        )
        self._set(rates)
        with torch.no_grad():
            for i, (p, g) in enumerate(zip(self._moved, gradients, strict=True)):
                if g is None:  # the loss does not depend on it
                    continue
                if self._weight_decay:
                    g = g.add(p, alpha=self._weight_decay)
                if self._momentum:
                    v = self._velocity[i]
                    v = g.clone() if v is None else v.mul_(self._momentum).add_(g)
                    g = self._velocity[i] = v
                if isinstance(self._rate, float):
                    p.sub_(g, alpha=self._rate)
                else:
                    p.addcmul_(g, self._rate.view(-1, *[1] * (p.ndim - 1)), value=-1)
        return losses.detach()

    def _set(self, rates):
        """Take over the rates (G,): as one number where they are equal, as a tensor elsewhere.

        A tensor made in every step would make the program wait for a GPU each time.
        """
        if self._rates is not None and np.array_equal(rates, self._rates):
            return
        self._rates, like = rates.copy(), self._moved[0]
        equal = (rates == rates[0]).all()
        self._rate = (
            float(rates[0]) if equal else torch.tensor(rates, dtype=like.dtype, device=like.device)
        )

    def evaluate(
        self, loss: Loss, data: Sequence[torch.Tensor], metrics: Mapping[str, Metric]
    ) -> np.ndarray:
        """Return the means (1 + M, G) of the loss and of M metrics over all of `data`."""
        count, ensemble = len(next(iter(self._parameters.values()))), self._ensemble
        functions = [loss, *metrics.values()]
        totals = torch.zeros(len(functions), count, dtype=torch.float64, device=ensemble.device)
        rows = max(1, 200_000 // len(ensemble))
        with torch.no_grad(), evaluating(ensemble.models[0]):
            for part in zip(*(t.split(rows) for t in data), strict=True):
                x, *targets = (t.to(ensemble.device) for t in part)
                outputs = self._outputs(x.expand(count, *x.shape))
                targets = [t.expand(count, *t.shape).flatten(0, 1) for t in targets]
                for total, function in zip(totals, functions, strict=True):
                    each = per_example(function, outputs, targets, (count, len(x)))
                    total += each.double().sum(dim=1)
        return (totals / len(data[0])).cpu().numpy()


def per_example(
    function: Callable[..., torch.Tensor],
    outputs: Any,
    targets: Sequence[torch.Tensor],
    shape: tuple[int, int],
) -> torch.Tensor:
    """Return a loss or metric of each example, `shape` (G, B): in one call, if outputs allow it.

    `targets` have G B rows.
    """
    if isinstance(outputs, torch.Tensor) and outputs.shape[:2] == shape:
        return function(outputs.flatten(0, 1), *targets).view(shape)
    apart = [t.unflatten(0, shape) for t in targets]

    def of_one(r):
        own = tree_map(lambda t: t[r] if isinstance(t, torch.Tensor) else t, outputs)
        return function(own, *(t[r] for t in apart))

    return torch.stack([of_one(r) for r in range(shape[0])])
