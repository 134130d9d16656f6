"""A training step recorded once as a CUDA graph, and replayed for every batch.

On a small network a GPU spends its time waiting for Python to hand over some forty small
operations. A graph hands them over as one. Its addresses are fixed, so each batch is copied into
the tensors with which it was recorded; its numbers are fixed too, so the learning rate must be a
tensor.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch

Step = Callable[[Sequence[torch.Tensor], torch.Tensor], torch.Tensor]

_MOST_SHAPES = 8
_WARMUP_STEPS = 3


class CapturedSteps:
    """A step function that does what `step` does, by replaying it.

    Each batch size is recorded when it first comes, up to eight of them; further ones run as they
    are. The warmup that recording needs leaves the model as it was.

    Parameters
    ----------
    step
        Function of the batch's tensors and weights that makes one update in place, leaves no
        gradients behind, and returns the losses (B,).
    model
        The model that it trains, on a CUDA device.

    Notes
    -----
    Used in the chapter *GPU training*.
    """

    def __init__(self, step: Step, model: torch.nn.Module):
        self._step, self._model = step, model
        self._recorded: dict[tuple, _Recorded] = {}

    def __call__(self, batch: Sequence[torch.Tensor], weights: torch.Tensor) -> torch.Tensor:
        """Make one step and return its losses."""
        shapes = tuple(t.shape for t in batch)
        if shapes not in self._recorded:
            if len(self._recorded) >= _MOST_SHAPES:
                return self._step(batch, weights)
            self._recorded[shapes] = _Recorded(self._step, self._model, batch, weights)
        return self._recorded[shapes].replay(batch, weights)


class _Recorded:
    """The graph of one batch size, with the tensors it reads and writes."""

    def __init__(self, step, model, batch, weights):
        self._inputs = [t.clone() for t in (*batch, weights)]
        self._weights = weights
        state = {k: v.clone() for k, v in model.state_dict().items()}
        random = torch.cuda.get_rng_state(weights.device)
        aside = torch.cuda.Stream(weights.device)
        aside.wait_stream(torch.cuda.current_stream(weights.device))
        with torch.cuda.stream(aside):
            for _ in range(_WARMUP_STEPS):
                step(self._inputs[:-1], self._inputs[-1])
        torch.cuda.current_stream(weights.device).wait_stream(aside)
        model.load_state_dict(state)  # in place: the graph keeps the parameters' addresses
        torch.cuda.set_rng_state(random, weights.device)
        self._graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self._graph):
            self._losses = step(self._inputs[:-1], self._inputs[-1])

    def replay(self, batch, weights):
        for static, new in zip(self._inputs[:-1], batch, strict=True):
            static.copy_(new)
        if weights is not self._weights:
            self._inputs[-1].copy_(weights)
            self._weights = weights
        self._graph.replay()
        return self._losses.clone()
