"""64 small networks trained at once, against one after another.

40-100-100-10 networks, plain SGD, one epoch, two threads. Run it as
``python -m benchmarks.ensembles``.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import nn

from benchmarks._measure import Result, Skipped, compare, report
from sgdlib.deep import train
from sgdlib.deep.ensembles import train_ensemble

PEER = "sgdlib.deep.train, one network after another"
NETWORKS = 64
CASES = {8: (1024, 8.0), 32: (2048, 5.0), 256: (4096, 1.5)}  # batch size: examples, goal
GPU_NETWORKS, GPU_GOAL = 1024, 100.0
SHARE = 16  # on a GPU only one network in so many is trained alone


def network(seed: int) -> nn.Module:
    torch.manual_seed(seed)
    layers = nn.Linear(40, 100), nn.ReLU(), nn.Linear(100, 100), nn.ReLU(), nn.Linear(100, 10)
    return nn.Sequential(*layers)


def data(rows: int) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    X = torch.randn(rows, 40, generator=generator)
    return X, torch.randint(10, (rows,), generator=generator)


def cross_entropy(outputs, labels):
    return F.cross_entropy(outputs, labels, reduction="none")


def together(networks, rows: int, batch_size: int, device: str = "cpu") -> None:
    seeds = range(len(networks))
    options = {"batch_size": batch_size, "epochs": 1, "lr": 0.05, "device": device}
    train_ensemble(networks, cross_entropy, data(rows), rng=seeds, **options)


def alone(networks, rows: int, batch_size: int, device: str = "cpu") -> None:
    options = {"batch_size": batch_size, "epochs": 1, "lr": 0.05, "device": device}
    for seed, one in enumerate(networks):
        train(one, cross_entropy, data(rows), rng=seed, progress=False, **options)


def measure(batch_size: int, rows: int, goal: float) -> Result:
    """Compare one epoch of 64 networks."""
    ours = [network(seed) for seed in range(NETWORKS)]
    peer = [network(seed) for seed in range(NETWORKS)]
    comparison = compare(
        lambda: together(ours, rows, batch_size),
        lambda: alone(peer, rows, batch_size),
        repeats=7,
    )
    return Result.faster(f"{NETWORKS} networks, B={batch_size}", PEER, comparison, goal)


def measure_gpu(batch_size: int = 32, rows: int = 2048) -> Result | Skipped:
    """Compare 1,024 networks on a GPU, where there is one."""
    name = f"{GPU_NETWORKS:,} networks on a GPU, B={batch_size}"
    if not torch.cuda.is_available():
        return Skipped(name, "no CUDA device")
    ours = [network(seed) for seed in range(GPU_NETWORKS)]
    peer = [network(seed) for seed in range(GPU_NETWORKS // SHARE)]
    comparison = compare(
        lambda: together(ours, rows, batch_size, "cuda"),
        lambda: alone(peer, rows, batch_size, "cuda"),
        repeats=7,
    ).scaled(SHARE)
    return Result.faster(name, f"{PEER} (1 in {SHARE} timed)", comparison, GPU_GOAL)


def main(argv: Sequence[str] | None = None) -> None:
    torch.set_num_threads(2)
    results = [measure(batch_size, *case) for batch_size, case in CASES.items()]
    report("Ensembles of networks", [*results, measure_gpu()], argv)


if __name__ == "__main__":
    main()
