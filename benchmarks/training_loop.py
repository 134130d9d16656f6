"""`train` against the loop everybody writes, and against the shortest loop that can be written.

A 64-32-10 network on the CPU, one thread. Run it as ``python -m benchmarks.training_loop``.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from benchmarks._measure import Result, compare, report
from sgdlib.deep import TensorBatches, train

LOADER = "DataLoader, cross_entropy, torch.optim.SGD"
BARE = "the same batches, loss and optimizer, nothing else"
CASES = [(32, 2.2, 49_152), (512, 6.0, 262_144)]  # batch size, goal, rows: epochs of 0.2 s or more
EPOCHS, PAIRS = 2, 21  # of the comparison with the bare loop


def data(rows: int) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    X = torch.randn(rows, 64, generator=generator)
    return X, torch.randint(10, (rows,), generator=generator)


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 10))


def cross_entropy(outputs, labels):
    return F.cross_entropy(outputs, labels, reduction="none")


def loader_loop(X, y, batch_size: int) -> None:
    model = network()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    for x, labels in DataLoader(TensorDataset(X, y), batch_size, shuffle=True):
        optimizer.zero_grad()
        loss = F.cross_entropy(model(x), labels)
        loss.backward()
        optimizer.step()


def bare_loop(X, y, batch_size: int) -> None:
    model = network()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, foreach=False)
    batches = TensorBatches(X, y, batch_size=batch_size, rng=0)
    for _ in range(EPOCHS):
        for x, labels, _ in batches:
            optimizer.zero_grad()
            loss = F.cross_entropy(model(x), labels)
            loss.backward()
            optimizer.step()


def sgdlib_loop(X, y, batch_size: int) -> None:
    train(network(), cross_entropy, (X, y), batch_size=batch_size, epochs=1, lr=0.1, rng=0)


def sgdlib_loop_with_everything(X, y, batch_size: int) -> None:
    """Train with the bare loop's optimizer; history, evaluation and a progress bar on."""
    model = network()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, foreach=False)
    with open(os.devnull, "w") as nowhere, contextlib.redirect_stderr(nowhere):
        train(
            model,
            cross_entropy,
            (X, y),
            batch_size=batch_size,
            epochs=EPOCHS,
            optimizer=optimizer,
            validation=(X[:1000], y[:1000]),
            progress=True,
            rng=0,
        )


def measure(batch_size: int, goal: float, rows: int) -> list[Result]:
    """Compare epochs of `rows` examples; the loader loop, being slow, on an eighth of them."""
    X, y = data(rows)
    short = X[: rows // 8], y[: rows // 8]

    def with_(loop, data):
        return lambda: loop(*data, batch_size)

    faster = compare(with_(sgdlib_loop, short), with_(loader_loop, short), calls=(2, 1))
    overhead = compare(
        with_(sgdlib_loop_with_everything, (X, y)), with_(bare_loop, (X, y)), repeats=PAIRS
    )
    return [
        Result.faster(f"train, B={batch_size}", LOADER, faster, goal),
        Result.overhead(f"train with everything on, B={batch_size}", BARE, overhead, 1.03),
    ]


def main(argv: Sequence[str] | None = None) -> None:
    torch.set_num_threads(1)
    report("Training loop", [r for case in CASES for r in measure(*case)], argv)


if __name__ == "__main__":
    main()
