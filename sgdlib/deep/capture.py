"""A training step recorded once as a CUDA graph, and replayed for every batch.

On a small network a GPU spends its time waiting for Python to hand over some forty small
operations. A graph hands them over as one. Its addresses are fixed, so each batch is copied into
the tensors with which it was recorded; its numbers are fixed too, so the learning rate must be a
tensor. Random numbers go on from replay to replay: torch moves the generator along.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import torch
from torch.utils._pytree import tree_leaves

from sgdlib import _check
from sgdlib.deep._as_found import random_numbers, tensors_as_found
from sgdlib.deep._models import check_model

StepFunction = Callable[[Sequence[torch.Tensor], torch.Tensor], torch.Tensor]

_MOST_SHAPES = 8
_WARMUP_STEPS = 3


class CapturedSteps:
    """A step function that does what `step` does, by replaying it.

    Each batch size is recorded when it first comes, up to eight of them; further ones run as they
    are. The warmup that recording needs leaves model and optimizer as they were.

    Parameters
    ----------
    step
        Function of the batch's tensors and weights that makes one update in place, leaves no
        gradients behind, and returns the losses (B,). It must not wait for the GPU (`.item()`,
        printing a tensor), nor use autocast's cache of cast weights across its end. The same
        tensor of weights, given again, is taken to be unchanged.
    model
        The model that it trains, on a CUDA device.
    optimizer
        The one it uses: its learning rates become tensors, and where it keeps a state the first
        step runs as it is, to make that. None: the step sees to all this.

    Raises
    ------
    ValueError
        If the step cannot be recorded, with torch's reason.

    Notes
    -----
    Used in the chapter *GPU training*.
    """

    def __init__(
        self,
        step: StepFunction,
        model: torch.nn.Module,
        optimizer: torch.optim.Optimizer | None = None,
    ):
        self._step = _check.function("step", step)
        if model is not None:
            check_model(model)
        if optimizer is not None and not hasattr(optimizer, "param_groups"):
            raise TypeError(
                f"optimizer={_check.shown(optimizer)}: expected a torch optimizer or None"
            )
        self._model, self._optimizer = model, optimizer
        self._stateless = not hasattr(optimizer, "state")
        self._recorded: dict[tuple, _Recorded] = {}

    def __call__(self, batch: Sequence[torch.Tensor], weights: torch.Tensor) -> torch.Tensor:
        """Make one step and return its losses."""
        shapes = tuple(t.shape for t in batch)
        if shapes not in self._recorded:
            if not self._stateless and not self._optimizer.state:
                self._stateless = True  # or it has none after this either
                return self._step(batch, weights)
            if len(self._recorded) >= _MOST_SHAPES:
                return self._step(batch, weights)
            for group in getattr(self._optimizer, "param_groups", ()):
                if not isinstance(group["lr"], torch.Tensor):
                    group["lr"] = torch.tensor(group["lr"], device=weights.device)
            with _state_put_back(self._optimizer):
                self._recorded[shapes] = _Recorded(self._step, self._model, batch, weights)
        return self._recorded[shapes].replay(batch, weights)


class _Recorded:
    """The graph of one batch size, with the tensors it reads and writes."""

    def __init__(self, step, model, batch, weights):
        self._inputs = [t.clone() for t in (*batch, weights)]
        self._weights = weights
        device = weights.device
        # Warmup and recording on one stream, on the model's device: autograd remembers the stream
        # on which a gradient is accumulated.
        with torch.cuda.device(device):
            aside = torch.cuda.Stream(device)
            with put_back(model, device):
                aside.wait_stream(torch.cuda.current_stream(device))
                with torch.cuda.stream(aside):
                    for _ in range(_WARMUP_STEPS):
                        step(self._inputs[:-1], self._inputs[-1])
                torch.cuda.current_stream(device).wait_stream(aside)
            self._graph = torch.cuda.CUDAGraph()
            try:
                # The outer context gives the stream back even where ending a capture fails.
                with torch.cuda.stream(aside), torch.cuda.graph(self._graph, stream=aside):
                    self._losses = step(self._inputs[:-1], self._inputs[-1])
            except torch.cuda.OutOfMemoryError:
                raise
            except RuntimeError as error:
                raise ValueError(
                    "capture=True: expected a step that never waits for the GPU, and torch could "
                    f"not record this one ({str(error).splitlines()[0]})"
                ) from error

    def replay(self, batch, weights):
        for static, new in zip(self._inputs[:-1], batch, strict=True):
            static.copy_(new)
        if weights is not self._weights:  # equal weights are one shared tensor
            self._inputs[-1].copy_(weights)
            self._weights = weights
        self._graph.replay()
        return self._losses.clone()  # the next replay writes over them


@contextmanager
def put_back(model: torch.nn.Module, device: torch.device) -> Iterator[None]:
    """Undo what the block does to the model, in place, and to the device's random numbers.

    Buffers that a checkpoint leaves out are put back too.
    """
    with tensors_as_found(model), random_numbers(device):
        yield


@contextmanager
def _state_put_back(optimizer) -> Iterator[None]:
    """Undo, in place, what the block does to the state of an optimizer, if it keeps one."""
    leaves = tree_leaves(list(getattr(optimizer, "state", {}).values()))
    kept = [(t, t.detach().clone()) for t in leaves if isinstance(t, torch.Tensor)]
    try:
        yield
    finally:
        with torch.no_grad():
            for t, old in kept:
                t.copy_(old)
