"""Memory and exactness of K accumulated micro-batches, against the batch in one piece.

Everything here is counted, not timed: it comes out the same on every run. Run it as
``python -m benchmarks.accumulation``.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import nn

from benchmarks._measure import Result, report
from sgdlib.deep import LivePeak, SavedBytes, accumulate_gradients

PEER = "the same batch in one piece"
BATCH, PIECES = 4096, (2, 4, 8)
RAGGED = [1000, 7, 1, 1500, 1500, 88]


def network(dtype: torch.dtype) -> nn.Module:
    torch.manual_seed(0)
    layers = nn.Linear(64, 128), nn.ReLU(), nn.Linear(128, 128), nn.ReLU(), nn.Linear(128, 10)
    return nn.Sequential(*layers).to(dtype)


def data(dtype: torch.dtype) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    X = torch.randn(BATCH, 64, generator=generator, dtype=torch.float64).to(dtype)
    return X, torch.randint(10, (BATCH,), generator=generator)


def cross_entropy(outputs, labels):
    return F.cross_entropy(outputs, labels, reduction="none")


def memory(pieces: int) -> tuple[int, int]:
    """Return the peaks of the bytes saved for backward, and of all bytes alive."""
    model, batch = network(torch.float32), data(torch.float32)
    options = {"micro_batch_size": BATCH // pieces}
    with SavedBytes(model.parameters()) as saved:
        accumulate_gradients(model, cross_entropy, batch, **options)
    model.zero_grad()
    with LivePeak() as live:
        accumulate_gradients(model, cross_entropy, batch, **options)
    return saved.peak, live.peak


def gradient_error(dtype: torch.dtype, sizes: list[int]) -> float:
    """Return the relative error of the accumulated gradient, in norm."""
    gradients = []
    for micro_batch_size in (None, sizes):
        model = network(dtype)
        accumulate_gradients(model, cross_entropy, data(dtype), micro_batch_size=micro_batch_size)
        gradients.append(torch.cat([p.grad.flatten() for p in model.parameters()]))
    whole, accumulated = gradients
    return ((accumulated - whole).norm() / whole.norm()).item()


def main(argv: Sequence[str] | None = None) -> None:
    torch.set_num_threads(1)
    saved_whole, live_whole = memory(1)
    results = []
    for pieces in PIECES:
        saved, live = memory(pieces)
        for name, ratio, goal in [
            ("bytes saved for backward", saved * pieces / saved_whole, 1.02),
            ("live peak", live * pieces / live_whole, 1.15),
        ]:
            name = f"{name}, K={pieces}"
            results.append(Result(name, PEER, ratio, (ratio, ratio), goal, "times 1/K", True))
    for dtype, goal in [(torch.float32, 1e-6), (torch.float64, 1e-12)]:
        for name, sizes in [("8 equal pieces", [512] * 8), ("ragged pieces", RAGGED)]:
            error = gradient_error(dtype, sizes)
            name = f"gradient, {name}, {str(dtype).removeprefix('torch.')}"
            results.append(Result(name, PEER, error, (error, error), goal, "relative error", True))
    report("Gradient accumulation", results, argv)


if __name__ == "__main__":
    main()
