"""Streams from disk: `StreamDataset` against the same batches in memory, and against two peers.

The data lie in 16 `.npy` shards. Before each pass from disk the system is asked to forget what it
has of them in memory, so that they are read again; whether it does is the system's affair. The goal
is a share of the training rate in memory: a stream that reads ahead hides behind the steps. Beside
it, to be known, the bare loading rate, and the ratios to a `DataLoader` with two workers over a
memory map, which fetches random single rows, and to Hugging Face `datasets`, which streams Parquet
files through a shuffle buffer of as many rows as our mixture has. These two take long, so they are
timed over a sixteenth of the data, and in their favour: they run on from one timing to the next,
so that neither the start of workers nor the first filling of a buffer counts, and nothing makes the
system forget what they have read.

Run it as ``python -m benchmarks.streaming``.
"""

from __future__ import annotations

import importlib.util
import os
import tempfile
from collections.abc import Callable, Sequence
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset

from benchmarks._measure import Result, Skipped, compare, report
from sgdlib.deep import StreamDataset, TensorBatches, train

SHARDS, ROWS, COLUMNS = 16, 16_384, 64
BLOCK, MIX = 1024, 16
GOAL = 0.8
MAPPED = "DataLoader(memory map, shuffle=True, num_workers=2)"
HUGGING_FACE = "datasets, streaming, shuffle(buffer_size)"


def write(folder: Path) -> list[list[str]]:
    """Write the shards, and return the paths of inputs and labels."""
    rng, files = np.random.default_rng(0), ([], [])
    for k in range(SHARDS):
        arrays = rng.normal(size=(ROWS, COLUMNS)).astype(np.float32), rng.integers(10, size=ROWS)
        for column, array, name in zip(files, arrays, "xy", strict=True):
            column.append(str(folder / f"{name}{k}.npy"))
            np.save(column[-1], array)
            with open(column[-1], "rb") as file:
                os.fsync(file.fileno())
    return [list(column) for column in files]


def forget(files: Sequence[Sequence[str]]) -> None:
    """Ask the system to read the files from disk the next time, where it can be asked."""
    if not hasattr(os, "posix_fadvise"):  # macOS, Windows
        return
    for path in (path for column in files for path in column):
        file = os.open(path, os.O_RDONLY)
        os.posix_fadvise(file, 0, 0, os.POSIX_FADV_DONTNEED)
        os.close(file)


def consume(loader) -> None:
    for _ in loader:
        pass


def next_part(loader: DataLoader, batch_size: int) -> Callable[[], None]:
    """Return what takes the next sixteenth of the data from a pass that runs on."""
    batches = iter(loader)
    consume(islice(batches, 1))  # the start
    return lambda: consume(islice(batches, ROWS // batch_size))


class Mapped(Dataset):
    """The usual dataset over arrays that stay on disk: row by row, through a memory map."""

    def __init__(self, files: Sequence[Sequence[str]]):
        self.X, self.y = ([np.load(f, mmap_mode="r") for f in column] for column in files)

    def __len__(self) -> int:
        return sum(map(len, self.X))

    def __getitem__(self, i: int) -> tuple[torch.Tensor, int]:
        shard, row = divmod(i, ROWS)
        return torch.from_numpy(self.X[shard][row].copy()), int(self.y[shard][row])


def cross_entropy(outputs: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    return nn.functional.cross_entropy(outputs, labels, reduction="none")


def train_on(loader) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(COLUMNS, 32), nn.ReLU(), nn.Linear(32, 10))
    train(model, cross_entropy, loader, lr=0.01, epochs=1, progress=False)


def hugging_face(folder: Path, files: Sequence[Sequence[str]], batch_size: int):
    """Return the loader over the same data as Parquet files, or None without the package."""
    if importlib.util.find_spec("datasets") is None:
        return None
    os.environ["HF_HUB_OFFLINE"] = os.environ["HF_DATASETS_OFFLINE"] = "1"
    import datasets
    import pyarrow.parquet

    paths = []
    for k in range(SHARDS):
        x, y = (np.load(column[k]) for column in files)
        rows = pyarrow.FixedSizeListArray.from_arrays(pyarrow.array(x.reshape(-1)), COLUMNS)
        paths.append(str(folder / f"{k}.parquet"))
        pyarrow.parquet.write_table(pyarrow.table({"x": rows, "y": y}), paths[-1])

    stream = datasets.load_dataset(
        "parquet", data_files=paths, streaming=True, split="train", cache_dir=str(folder)
    )
    stream = stream.shuffle(seed=0, buffer_size=BLOCK * MIX).with_format("torch")
    return DataLoader(stream, batch_size=batch_size)


def measure(folder: Path, batch_size: int) -> list[Result | Skipped]:
    files = write(folder)
    X, y = (torch.from_numpy(np.concatenate([np.load(f) for f in column])) for column in files)
    options = {"batch_size": batch_size, "rng": 0}
    ours = StreamDataset(files, block=BLOCK, mix=MIX, **options)
    memory = TensorBatches(X, y, **options)

    def from_disk(use) -> None:
        forget(files)
        use(ours)

    name = f"B={batch_size}"
    results: list[Result | Skipped] = [
        Result.faster(
            f"training, {name}",
            "the same training in memory",
            compare(lambda: from_disk(train_on), lambda: train_on(memory), 7),
            GOAL,
        ),
        Result.faster(
            f"loading, {name}",
            "TensorBatches in memory",
            compare(lambda: from_disk(consume), lambda: consume(memory), 9),
        ),
    ]
    mapped = DataLoader(Mapped(files), batch_size, shuffle=True, num_workers=2)
    peers = {"a map": (MAPPED, mapped)}
    peers["Hugging Face"] = HUGGING_FACE, hugging_face(folder, files, batch_size)
    for short, (peer, loader) in peers.items():
        what = f"loading, {name}, of {short}"
        if loader is None:
            why = "no package datasets (pip install -r requirements-bench.txt)"
            results.append(Skipped(what, why))
            continue
        time = compare(lambda: from_disk(consume), next_part(loader, batch_size), 7).scaled(SHARDS)
        results.append(Result.faster(what, peer, time))
    return results


def main(argv: Sequence[str] | None = None) -> None:
    torch.set_num_threads(1)
    results = []
    for batch_size in (32, 512):
        with tempfile.TemporaryDirectory() as folder:
            results += measure(Path(folder), batch_size)
    report("Batches from disk", results, argv)


if __name__ == "__main__":
    main()
