"""Data parallelism on one machine: what an all-reduce costs, and whether that predicts a step.

Run it as ``python -m benchmarks.parallel``. It starts itself under torchrun with 2 and 4 processes
of one thread each, which talk by gloo over the loopback. Fitted is ``T = a + M/w`` to the medians
of all-reduces of M bytes; predicted is the time of a step with nothing hidden, the time of its
computing plus that of the all-reduce, and with all of it hidden behind the backward pass, two
thirds of the computing. The measured step should lie between the two.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from benchmarks._measure import Result, quartiles, report
from sgdlib.deep import Processes, processes, train, train_parallel

ROOT = Path(__file__).resolve().parent.parent
COUNTS, REPEATS = (2, 4), 11
CORES = os.cpu_count() or 1
BYTES = [4 * 2**power for power in range(0, 23, 2)]
BATCHES = (32, 128, 512)  # examples per process
TRAINED, STEPS = (256, 2048), 4  # examples per process where training is compared
WIDTH = 1024


def network() -> nn.Module:
    torch.manual_seed(0)
    widths = [(256, WIDTH), (WIDTH, WIDTH), (WIDTH, WIDTH), (WIDTH, 10)]
    layers = [part for a, b in widths for part in (nn.Linear(a, b), nn.ReLU())]
    return nn.Sequential(*layers[:-1])


def cross_entropy(outputs, labels):
    return F.cross_entropy(outputs, labels, reduction="none")


def data(rows: int) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    X = torch.randn(rows, 256, generator=generator)
    return X, torch.randint(10, (rows,), generator=generator)


def seconds(programs: Sequence[Callable[[], object]], repeats: int = REPEATS) -> list[list[float]]:
    """Time the programs in turn, all processes beginning together."""
    taken: list[list[float]] = [[] for _ in programs]
    for repeat in range(repeats + 1):
        for program, times in zip(programs, taken, strict=True):
            if dist.is_initialized():
                dist.barrier()
            start = time.perf_counter()
            program()
            if repeat:
                times.append(time.perf_counter() - start)
    return taken


def gradient(engine: nn.Module, b: int, *, quiet: bool) -> None:
    X, y = data(b)
    engine.require_backward_grad_sync = not quiet  # what `no_sync` sets
    F.cross_entropy(engine(X), y).backward()
    for p in engine.parameters():
        p.grad = None


def epoch(run: Callable, model: nn.Module, rows: tuple[torch.Tensor, torch.Tensor]) -> None:
    size = len(rows[0]) // STEPS
    run(model, cross_entropy, rows, batch_size=size, epochs=1, lr=0.01, rng=0, progress=False)


def alone(group: Processes, *arguments) -> None:
    """Train in the first process, while the others wait."""
    if group.first:
        epoch(train, *arguments)


def measured(group: Processes) -> dict:
    """Measure as one of the processes."""
    talk = {m: seconds([partial(dist.all_reduce, torch.zeros(m // 4))])[0] for m in BYTES}
    engine, steps = DistributedDataParallel(network(), gradient_as_bucket_view=True), {}
    for b in BATCHES:
        ways = [partial(gradient, engine, b, quiet=quiet) for quiet in (True, False)]
        steps[b] = dict(zip(("alone", "together"), seconds(ways), strict=True))
    runs = {}
    for b in TRAINED if group.size <= CORES else ():
        what = network(), data(STEPS * b * group.size)
        runs[b] = seconds([partial(alone, group, *what), partial(epoch, train_parallel, *what)], 7)
    size = 4 * sum(p.numel() for p in engine.parameters())
    return {"talk": talk, "steps": steps, "bytes": size, "epochs": runs}


def started(count: int) -> dict:
    """Start the processes, and return what the first of them measured."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "measured.json")
        command = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
        command += [f"--nproc-per-node={count}", "-m", "benchmarks.parallel", "--worker", str(file)]
        environment = os.environ | {"OMP_NUM_THREADS": "1"}
        subprocess.run(command, cwd=ROOT, env=environment, check=True)
        return json.loads(file.read_text())


def fitted(talk: dict) -> tuple[float, float]:
    """Return a and 1/w of T = a + M/w, by relative least squares to the medians."""
    M = np.array([float(m) for m in talk])
    T = np.array([statistics.median(t) for t in talk.values()])
    unit = np.array([T.min(), T.max() / M.max()])
    design = np.stack([np.ones_like(M), M], axis=1) * unit / T[:, None]
    a, per_byte = np.linalg.lstsq(design, np.ones_like(T))[0] * unit
    return float(a), float(per_byte)


def lines(count: int, found: dict) -> list[Result]:
    """Compare step and training with the prediction; goals hold where each process has a core."""
    a, per_byte = fitted(found["talk"])
    alpha, W = a / (2 * (count - 1)), 2 * (count - 1) / count / per_byte
    print(f"{count} processes: latency {1e6 * alpha:.0f} us, bandwidth {W / 1e9:.3g} GB/s")
    talk, results = a + per_byte * found["bytes"], []
    for b, times in found["steps"].items():
        single = statistics.median(times["alone"])
        hidden, bare = single / 3 + max(2 * single / 3, talk), single + talk
        low, middle, high = quartiles([t / bare for t in times["together"]])
        name = f"step, {b} examples each, K={count}"
        print(f"{name}: all hidden {hidden / bare:.2f}, measured {middle:.2f}, nothing hidden 1")
        goal, peer = 1.1 if count <= CORES else None, "computing + fitted all-reduce"
        results.append(
            Result(name, peer, middle, (low, high), goal, "times as long", True, REPEATS)
        )
    for b, (one, together) in found["epochs"].items():
        low, middle, high = quartiles([t / u for t, u in zip(one, together, strict=True)])
        name, peer = f"train, {b} examples each, K={count}", "one process, the same batches"
        goal = 1.7 if (count, int(b)) == (2, TRAINED[-1]) else None
        results.append(Result(name, peer, middle, (low, high), goal, "times as fast", repeats=7))
    return results


def main(argv: Sequence[str] | None = None) -> None:
    torch.set_num_threads(1)
    arguments = list(sys.argv[1:] if argv is None else argv)
    if arguments[:1] == ["--worker"]:
        with processes() as group:
            found = measured(group)
            if group.first:
                Path(arguments[1]).write_text(json.dumps(found))
        return
    results = [line for count in COUNTS for line in lines(count, started(count))]
    report("Data parallel training", results, arguments)


if __name__ == "__main__":
    main()
