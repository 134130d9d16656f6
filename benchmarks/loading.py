"""Batches of tensors in memory: `TensorBatches` against the least that any loader has to do.

That is to draw an order, to gather blocks of rows by `index_select` into memory that is used again,
and to cut them into batches, as a bare loop. The goal is a share of that loop's rate. Beside it, to
be known: the share of a loop that gathers and does not cut (a batch handed over is a new tensor
object for inputs and one for targets, which for 32 short rows takes longer than their gathering),
and the ratio to torch's `DataLoader(TensorDataset)`.

Run it as ``python -m benchmarks.loading``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch.utils.data import DataLoader, TensorDataset

from benchmarks._measure import Result, compare, report
from sgdlib.deep import TensorBatches

LOADER = "DataLoader(TensorDataset, shuffle=True)"
CUT = "a bare loop that gathers blocks and cuts them"
GATHER = "a bare loop that gathers blocks"
GOAL = 0.85
CASES = [(columns, batch_size) for columns in (16, 64, 784) for batch_size in (32, 512)]
ROWS, BLOCK_BYTES = 16_384, 1 << 20


def consume(loader) -> None:
    for _ in loader:
        pass


def bare(X: torch.Tensor, y: torch.Tensor, batch_size: int, *, cut: bool) -> Callable[[], None]:
    """Return one shuffled pass, as short as it can be written."""
    batches = max(1, BLOCK_BYTES // (X.shape[1] * X.element_size()) // batch_size)
    rows = min(len(X), batches * batch_size)
    x_block, y_block = X.new_empty((rows, X.shape[1])), y.new_empty(rows)
    rng = np.random.default_rng(0)

    def one_pass() -> None:
        order = torch.from_numpy(rng.permutation(len(X)))
        for start in range(0, len(X), rows):
            indices = order[start : start + rows]
            x, labels = x_block[: len(indices)], y_block[: len(indices)]
            torch.index_select(X, 0, indices, out=x)
            torch.index_select(y, 0, indices, out=labels)
            if cut:
                consume(zip(x.split(batch_size), labels.split(batch_size), strict=True))

    return one_pass


def measure(columns: int, batch_size: int, repeats: int = 21) -> list[Result]:
    """Compare one shuffled pass over rows of float32 with labels."""
    generator = torch.Generator().manual_seed(0)
    X = torch.randn(ROWS, columns, generator=generator)
    y = torch.randint(10, (ROWS,), generator=generator)
    ours = TensorBatches(X, y, batch_size=batch_size, rng=0)
    loader = DataLoader(TensorDataset(X, y), batch_size, shuffle=True)
    name, calls = f"{columns} floats, B={batch_size}", max(2, 1280 // columns)

    def against(peer: Callable[[], object], repeats: int, calls: tuple[int, int]):
        return compare(lambda: consume(ours), peer, repeats, calls)

    return [
        Result.faster(
            f"{name}, of gather and cut",
            CUT,
            against(bare(X, y, batch_size, cut=True), repeats, (calls, calls)),
            GOAL,
        ),
        Result.faster(
            f"{name}, of the gather alone",
            GATHER,
            against(bare(X, y, batch_size, cut=False), repeats, (calls, calls)),
        ),
        Result.faster(name, LOADER, against(lambda: consume(loader), 7, (10, 1))),
    ]


def main(argv: Sequence[str] | None = None) -> None:
    torch.set_num_threads(1)
    results = [result for case in CASES for result in measure(*case)]
    report("Batches of tensors in memory", results, argv)


if __name__ == "__main__":
    main()
