"""One step of training: a batch in, an update done.

::

    g = sum_i w_i grad l_i          summed a micro-batch at a time
    g <- reduce(g)                  nothing, or the sum over processes
    g <- g min(1, clip/|g|)
    theta <- optimizer(theta, g)

`train` is a loop over batches and one such step; it knows nothing of what is in it.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence

import torch
from torch import nn

from sgdlib import _check
from sgdlib.deep import evaluation
from sgdlib.deep._inputs import check_capture, check_optimizer
from sgdlib.deep._losses import PRECISIONS, Loss, check_loss
from sgdlib.deep._models import check_model, device_of, trained_parameters, with_loss
from sgdlib.deep._tensors import check_tensors
from sgdlib.deep.accumulation import accumulate, check_weights, equal_weights
from sgdlib.deep.capture import CapturedSteps
from sgdlib.deep.evaluation import Metric


class Step:
    """An update of a model, made by calling it with a batch.

    Parameters
    ----------
    model
        Any module.
    loss
        Function of the model's output and the targets that returns one loss per example, (B,).
    optimizer
        A torch optimizer over parameters of the model (and of the loss, if that is a module).
    micro_batch_size
        Examples held at once: larger batches are accumulated, exactly.
    clip
        Largest norm of the whole gradient; a longer one is shortened, after accumulation.
    precision
        ``"float32"`` (the model's own type) or ``"bf16"`` (autocast; weights stay as they are).
    capture
        Record the step as a CUDA graph, once for each size of a batch, and replay it.
    reduce
        Function of the list of parameters, called when the gradients are summed: where processes
        add theirs up.

    Raises
    ------
    ValueError, TypeError
        For bad arguments, in one sentence.

    Notes
    -----
    The first call forgets gradients that are there; each leaves none behind. Used in the chapter
    *GPU training*.

    Examples
    --------
    >>> model = nn.Linear(1, 1, bias=False)
    >>> def squares(outputs, y): return (outputs[:, 0] - y) ** 2
    >>> step = Step(model, squares, torch.optim.SGD(model.parameters(), lr=0.1))
    >>> x, y = torch.ones(4, 1), torch.zeros(4)
    >>> first, second = step((x, y)), step((x, y))
    >>> tuple(first.shape), bool((second / first).allclose(torch.full((4,), 0.64)))
    ((4,), True)
    """

    def __init__(
        self,
        model: nn.Module,
        loss: Loss,
        optimizer: torch.optim.Optimizer,
        *,
        micro_batch_size: int | None = None,
        clip: float | None = None,
        precision: str = "float32",
        capture: bool = False,
        reduce: Callable[[list[torch.Tensor]], object] | None = None,
    ):
        check_model(model)
        trained_parameters(model)
        check_loss(loss)
        check_optimizer(optimizer, with_loss(model, loss))
        self.model, self.loss, self.optimizer = model, loss, optimizer
        self._engine = model
        if micro_batch_size is not None:
            micro_batch_size = _check.integer(
                "micro_batch_size", micro_batch_size, high=sys.maxsize
            )
        self.micro_batch_size = micro_batch_size
        self.clip = None if clip is None else _check.number("clip", clip, above=0)
        self.precision = _check.option("precision", precision, PRECISIONS)
        self.reduce = reduce if reduce is None else _check.function("reduce", reduce)
        self.device = device_of(model, torch.device("cpu"))
        check_capture(capture, self.device, optimizer)
        self.capture = capture
        self.renew()

    def __call__(
        self, batch: Sequence[torch.Tensor], weights: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Make the update of one batch.

        Parameters
        ----------
        batch
            Inputs and targets, or inputs alone: tensors with B rows each, on the model's device.
        weights
            (B,) weights of the examples in the batch gradient; 1/B each if None.

        Returns
        -------
        torch.Tensor
            (B,) losses before the update, detached.
        """
        if weights is None:
            _check_batch(batch)
            weights = equal_weights(batch[0])
        return self._make(batch, weights)

    def parameters(self) -> list[torch.Tensor]:
        """Return the tensors that the optimizer moves."""
        return [p for group in self.optimizer.param_groups for p in group["params"]]

    # What a step over several processes (`sgdlib.deep.parallel`) does otherwise.
    look_every: int | None = None  # steps between two looks at the losses; None: by the clock

    def seed(self, seed: int) -> int:
        """Return the seed of the random numbers that the model draws here."""
        return seed

    def settle(self) -> None:
        """Complete the losses that were returned, before somebody reads them."""

    def agree(self, holds: bool) -> bool:
        """Tell whether something holds in every process."""
        return holds

    def measure(
        self, data: Sequence[torch.Tensor], metrics: Mapping[str, Metric]
    ) -> evaluation.Evaluation:
        """Evaluate the model, each example once."""
        return evaluation.measure(self.model, self.loss, data, metrics, precision=self.precision)

    def to_save(self, state: dict) -> dict | None:
        """Return what this process writes into a checkpoint, None if another one does."""
        return state

    def to_load(self, state: dict) -> dict:
        """Return this process's part of a checkpoint."""
        return state

    def renew(self) -> None:
        """Begin anew: forget gradients with the next call, and what was recorded before it."""
        self._make = self._first

    def _first(self, batch: Sequence[torch.Tensor], weights: torch.Tensor) -> torch.Tensor:
        _check_batch(batch)
        check_weights(weights, batch[0])
        self._forget_gradients()
        self._make = self._update
        if self.capture:
            self._make = CapturedSteps(self._update, self.model, self.optimizer)
        return self._make(batch, weights)

    def _update(self, batch: Sequence[torch.Tensor], weights: torch.Tensor) -> torch.Tensor:
        losses = accumulate(
            self._engine,
            self.loss,
            batch,
            weights,
            micro_batch_size=self.micro_batch_size,
            precision=self.precision,
        )
        if self.reduce is not None:
            self.reduce(self.parameters())
        if self.clip is not None:
            nn.utils.clip_grad_norm_(self.parameters(), self.clip)
        self.optimizer.step()
        self._forget_gradients()
        return losses

    def _forget_gradients(self) -> None:
        """Do what `zero_grad` does without its bookkeeping, a twentieth of a small step."""
        for group in self.optimizer.param_groups:
            for p in group["params"]:
                p.grad = None


def _check_batch(batch):
    if not isinstance(batch, Sequence):
        raise TypeError(f"batch: expected tensors, such as (x, y), got {type(batch).__name__}")
    check_tensors("batch", batch)
