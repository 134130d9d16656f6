"""Batches of tensors in memory: `TensorBatches` against torch's `DataLoader(TensorDataset)`.

Run it as ``python -m benchmarks.loading``.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch.utils.data import DataLoader, TensorDataset

from benchmarks._measure import Result, compare, report
from sgdlib.deep import TensorBatches

PEER = "DataLoader(TensorDataset, shuffle=True)"
GOALS = {(64, 32): 45, (64, 512): 140, (784, 32): 12, (784, 512): 15}  # (columns, batch size)
ROWS = 16_384


def consume(loader) -> None:
    for _ in loader:
        pass


def measure(columns: int, batch_size: int, goal: float, repeats: int = 9) -> Result:
    """Compare one shuffled pass over rows of float32 with labels."""
    generator = torch.Generator().manual_seed(0)
    X = torch.randn(ROWS, columns, generator=generator)
    y = torch.randint(10, (ROWS,), generator=generator)
    ours = TensorBatches(X, y, batch_size=batch_size, rng=0)
    peer = DataLoader(TensorDataset(X, y), batch_size, shuffle=True)
    comparison = compare(lambda: consume(ours), lambda: consume(peer), repeats, calls=(10, 1))
    name = f"{ROWS} rows of {columns} floats, B={batch_size}"
    return Result.faster(name, PEER, comparison, goal)


def main(argv: Sequence[str] | None = None) -> None:
    torch.set_num_threads(1)
    results = [measure(*case, goal) for case, goal in GOALS.items()]
    report("Batches of tensors in memory", results, argv)


if __name__ == "__main__":
    main()
