"""Record what a GPU does with batches: the curves of the chapter *GPU training*.

``python -m benchmarks.gpu`` is sized for some minutes on a large GPU and writes
`sgdlib/book/data/gpu.json`, which the chapter draws. What it has after each part is written to
`gpu.partial.json` beside it: a run that is cut short keeps the parts that were done, and replaces
no recording. ``--quick --device cpu --json FILE`` tries the
program out in seconds, at sizes that say nothing. Let nothing else run on the GPU meanwhile.

Rates are medians with quartiles over repeats, each repeat waited for; ratios are taken within pairs
of neighbouring runs. Float32 is computed as such: TensorFloat-32 is off, in convolutions too.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import platform
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import date
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from benchmarks import ensembles
from benchmarks._measure import compare
from sgdlib.book.datasets import GPU_RECORDING, load_gpu_recording, load_mnist1d
from sgdlib.deep import PlainSGD, Step, TensorBatches, Timing, benchmark, train
from sgdlib.deep.accumulation import forward
from sgdlib.deep.ensembles import train_ensemble
from sgdlib.deep.timing import synchronize
from sgdlib.schedules import cosine, warmup

PRECISIONS = ("float32", "bf16")


@dataclass(frozen=True)
class Sizes:
    """How large everything is: the recording's sizes, and small ones to try the program."""

    repeats: int = 9
    seconds_per_repeat: float = 0.1
    product_sizes: tuple[int, ...] = (2048, 4096, 8192)
    copied_bytes: int = 1 << 30
    widths: tuple[int, ...] = (1024, 4096, 4096, 4096, 10)
    rows: int = 65_536
    batch_sizes: tuple[int, ...] = (1, 4, 16, 64, 256, 1024, 4096, 16_384)
    small_widths: tuple[int, ...] = (40, 100, 100, 10)
    small_steps: int = 300
    target: float = 0.94
    target_batch_sizes: tuple[int, ...] = (16, 32, 64, 128, 256, 512, 1024)
    target_seeds: int = 3
    target_epochs: int = 200
    map_batch_sizes: tuple[int, ...] = (8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4000)
    map_rates: int = 33
    map_seeds: int = 32
    map_epochs: int = 16
    networks: int = 1024
    network_rows: int = 2048
    share: int = 16


QUICK = Sizes(
    repeats=3,
    seconds_per_repeat=0.002,
    product_sizes=(64, 128),
    copied_bytes=1 << 22,
    widths=(16, 32, 32, 10),
    rows=256,
    batch_sizes=(1, 16, 256),
    small_steps=5,
    target=0.2,
    target_batch_sizes=(128, 512),
    target_seeds=1,
    target_epochs=2,
    map_batch_sizes=(1024, 4000),
    map_rates=3,
    map_seeds=2,
    map_epochs=1,
    networks=8,
    network_rows=128,
    share=4,
)


# -- the networks and the three ways to train them --


def network(widths: Sequence[int], seed: int = 0) -> nn.Module:
    """Linear layers with ReLU between them."""
    torch.manual_seed(seed)
    layers = []
    for a, b in pairwise(widths):
        layers += [nn.Linear(a, b), nn.ReLU()]
    return nn.Sequential(*layers[:-1])


def convolutional(seed: int, channels: int = 64) -> nn.Module:
    """Three convolutions and a linear layer, for the curves of MNIST-1D."""
    torch.manual_seed(seed)
    c = channels
    return nn.Sequential(
        *(nn.Conv1d(1, c, 5, stride=2, padding=1), nn.ReLU()),
        *(nn.Conv1d(c, c, 3, stride=2, padding=1), nn.ReLU()),
        *(nn.Conv1d(c, c, 3, stride=2, padding=1), nn.ReLU()),
        *(nn.Flatten(), nn.Dropout(0.3), nn.Linear(5 * c, 10)),
    )


def flops_per_example(widths: Sequence[int]) -> int:
    """Count a step's operations in products: 6 per weight, 4 in the first layer.

    Forward, gradient of the weights and gradient of the inputs take 2 each; nobody asks for the
    gradient of the first layer's inputs.
    """
    products = [a * b for a, b in pairwise(widths)]
    return 6 * sum(products) - 2 * products[0]


def cross_entropy(outputs, labels):
    return F.cross_entropy(outputs, labels, reduction="none")


def endless(loader) -> Iterator:
    while True:
        yield from loader


def loader_step(model, data, batch_size: int, precision: str, device) -> Callable[[], object]:
    """Return one step of the loop everybody writes: data on the CPU, DataLoader, torch's SGD."""
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-4)
    batches = endless(DataLoader(TensorDataset(*data), batch_size, shuffle=True))

    def step():
        x, labels = (t.to(device) for t in next(batches))
        optimizer.zero_grad()
        F.cross_entropy(forward(model, x, precision), labels).backward()
        optimizer.step()

    return step


def device_step(
    model, data, batch_size: int, precision: str, device, capture: bool = False
) -> Callable[[], object]:
    """Return one step of sgdlib's loop: data on the device, the update written out."""
    on_device = [t.to(device) for t in data]
    batches = endless(TensorBatches(*on_device, batch_size=batch_size, last="drop", rng=0))
    optimizer = PlainSGD(model.parameters(), lr=1e-4)
    update = Step(model, cross_entropy, optimizer, precision=precision, capture=capture)

    def step():
        *batch, weights = next(batches)
        update(batch, weights)

    return step


def methods(device: torch.device) -> dict[str, Callable]:
    """Return the ways to train by name; the captured graph only where there is one."""
    ways = {"loader": loader_step, "device": device_step}
    if device.type == "cuda":
        ways["captured"] = lambda *args: device_step(*args, capture=True)
    return ways


# -- the parts of the recording --


def rates(timing: Timing, amount: float) -> list[float]:
    """Return lower quartile, median and upper quartile of `amount` per second."""
    return [amount / timing.upper, amount / timing.median, amount / timing.lower]


def limits(sizes: Sizes, device: torch.device, show) -> dict:
    """Measure the two limits of the roofline: matrix products and memory."""
    options = {"repeats": sizes.repeats, "min_seconds": sizes.seconds_per_repeat, "device": device}
    products = []
    for precision in PRECISIONS:
        dtype = torch.float32 if precision == "float32" else torch.bfloat16
        for n in sizes.product_sizes:
            a, b = (torch.randn(n, n, device=device).to(dtype) for _ in range(2))
            out = torch.empty_like(a)
            timing = benchmark(lambda a=a, b=b, out=out: torch.mm(a, b, out=out), **options)
            rate = rates(timing, 2 * n**3)
            products.append({"precision": precision, "size": n, "flops_per_second": rate})
            show(f"matrix product {precision} {n}: {rate[1] / 1e12:.4g} TFLOP/s")
    source = torch.zeros(sizes.copied_bytes, dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    timing = benchmark(lambda: target.copy_(source), **options)
    bandwidth = rates(timing, 2 * sizes.copied_bytes)
    show(f"memory: {bandwidth[1] / 1e9:.4g} GB/s")
    return {"products": products, "bytes_per_second": bandwidth}


def throughput(sizes: Sizes, device: torch.device, show) -> dict:
    """Measure examples per second against batch size, on a wide network, to saturation."""
    generator = torch.Generator().manual_seed(0)
    X = torch.randn(sizes.rows, sizes.widths[0], generator=generator)
    data = X, torch.randint(sizes.widths[-1], (sizes.rows,), generator=generator)
    rows = []
    for precision in PRECISIONS:
        for method, make in methods(device).items():
            for batch_size in sizes.batch_sizes:
                model = network(sizes.widths).to(device)
                step = make(model, data, batch_size, precision, device)
                timing = benchmark(
                    step,
                    repeats=sizes.repeats,
                    min_seconds=sizes.seconds_per_repeat,
                    device=device,
                )
                row = {"method": method, "precision": precision, "batch_size": batch_size}
                row["examples_per_second"] = rates(timing, batch_size)
                rows.append(row)
                show(f"{method} {precision} B={batch_size}: {batch_size / timing.median:.4g} ex/s")
    flops = flops_per_example(sizes.widths)
    return {"widths": list(sizes.widths), "flops_per_example": flops, "rows": rows}


def small_network(sizes: Sizes, device: torch.device, show) -> dict:
    """Compare the ways at B = 32 on a small network with the standard loader's loop."""
    generator = torch.Generator().manual_seed(0)
    X = torch.randn(4096, sizes.small_widths[0], generator=generator)
    data = X, torch.randint(sizes.small_widths[-1], (4096,), generator=generator)

    def program(make):
        step = make(network(sizes.small_widths).to(device), data, 32, "float32", device)

        def run():
            for _ in range(sizes.small_steps):
                step()
            synchronize(device)

        return run

    ways = methods(device)
    ratios = {}
    for method in [name for name in ways if name != "loader"]:
        pair = compare(program(ways[method]), program(ways["loader"]), max(7, sizes.repeats))
        ratios[method] = list(pair.ratio)
        show(f"small network, B=32: {method} {pair.ratio[1]:.3g} times the loader's loop")
    return {"widths": list(sizes.small_widths), "batch_size": 32, "ratios": ratios}


def time_to_target(sizes: Sizes, device: torch.device, show) -> dict:
    """Train a convolutional network on MNIST-1D to the published accuracy, by batch size."""
    split = load_mnist1d()
    train_data, test_data = (
        (torch.tensor(X, dtype=torch.float32)[:, None].to(device), torch.tensor(y).to(device))
        for X, y in (split[:2], split[2:])
    )
    _run_to_target(sizes, device, train_data, test_data, 128, 0, epochs=1)  # warm up
    rows = []
    for batch_size in sizes.target_batch_sizes:
        for seed in range(sizes.target_seeds):
            row = _run_to_target(sizes, device, train_data, test_data, batch_size, seed)
            rows.append(row)
            show(
                f"B={batch_size}, seed {seed}: {row['accuracy']:.3f} after {row['epochs']} epochs, "
                f"{row['seconds']:.2f} s"
            )
    return {"accuracy": sizes.target, "most_epochs": sizes.target_epochs, "rows": rows}


def _run_to_target(sizes, device, data, test, batch_size, seed, epochs=None):
    """Train, evaluating after each epoch, until the test accuracy reaches the target.

    The rate follows the linear rule up to 0.8, after an epoch of warmup, and a cosine.
    """
    epochs = epochs or sizes.target_epochs
    rate = warmup(cosine(min(0.5 * batch_size / 100, 0.8), length=epochs, end=0.01), length=1)
    model = convolutional(seed).to(device)

    def reached(moment):
        return moment.validation is not None and moment.validation.accuracy >= sizes.target

    synchronize(device)
    joules, start = energy(device), time.perf_counter()
    history = train(
        model,
        cross_entropy,
        data,
        batch_size=batch_size,
        epochs=epochs,
        lr=rate,
        validation=test,
        capture=device.type == "cuda",
        hook=reached,
        device=device,
        progress=False,
        rng=seed,
    )
    synchronize(device)
    seconds, after = time.perf_counter() - start, energy(device)
    return {
        "batch_size": batch_size,
        "seed": seed,
        "reached": history.stopped_early,
        "accuracy": float(history.validation_accuracies[-1]),
        "epochs": int(history.epochs[-1]),
        "steps": int(history.steps[-1]),
        "seconds": seconds,
        "joules": after - joules if joules is not None and after is not None else None,
    }


def heat_map(sizes: Sizes, device: torch.device, show) -> dict:
    """Train networks on MNIST-1D for every batch size, learning rate and seed."""
    split = load_mnist1d()
    data = torch.tensor(split.X_train, dtype=torch.float32), torch.tensor(split.y_train)
    learning_rates = np.geomspace(0.003, 12, sizes.map_rates)
    start = time.perf_counter()
    losses = []
    for batch_size in sizes.map_batch_sizes:
        models = [
            network(sizes.small_widths, seed) for seed in range(sizes.map_seeds)
            for _ in learning_rates
        ]  # fmt: skip
        history = train_ensemble(
            models,
            cross_entropy,
            data,
            batch_size=batch_size,
            epochs=sizes.map_epochs,
            lr=np.tile(learning_rates, sizes.map_seeds),
            device=device,
            rng=0,
        )
        last = history.losses[-1].reshape(sizes.map_seeds, -1)
        # a run that diverged has no loss: None
        losses.append([float(x) if np.isfinite(x) else None for x in last.mean(axis=0)])
        show(f"heat map, B={batch_size}: {len(models)} networks")
    return {
        "widths": list(sizes.small_widths),
        "epochs": sizes.map_epochs,
        "seeds": sizes.map_seeds,
        "batch_sizes": list(sizes.map_batch_sizes),
        "rates": learning_rates.tolist(),
        "losses": losses,
        "seconds": time.perf_counter() - start,
    }


def many_networks(sizes: Sizes, device: torch.device, show) -> dict:
    """Compare many networks at once with one after another, of which one in `share` is timed."""
    ours = [ensembles.network(seed) for seed in range(sizes.networks)]
    peer = [ensembles.network(seed) for seed in range(sizes.networks // sizes.share)]
    pair = compare(
        lambda: ensembles.together(ours, sizes.network_rows, 32, device),
        lambda: ensembles.alone(peer, sizes.network_rows, 32, device),
        repeats=7,
    ).scaled(sizes.share)
    show(f"{sizes.networks} networks: {pair.ratio[1]:.4g} times one after another")
    return {"networks": sizes.networks, "batch_size": 32, "ratio": list(pair.ratio)}


PARTS = {
    "limits": limits,
    "throughput": throughput,
    "small_network": small_network,
    "time_to_target": time_to_target,
    "heat_map": heat_map,
    "many_networks": many_networks,
}


# -- what it was recorded on --


def energy(device: torch.device) -> float | None:
    """Return the joules that a GPU has used since its driver was loaded, where it tells."""
    if device.type != "cuda":
        return None
    try:
        library = ctypes.CDLL("libnvidia-ml.so.1")
        uuid = f"GPU-{torch.cuda.get_device_properties(device).uuid}".encode()
        handle, millijoules = ctypes.c_void_p(), ctypes.c_ulonglong()
        failed = (
            library.nvmlInit_v2()
            or library.nvmlDeviceGetHandleByUUID(uuid, ctypes.byref(handle))
            or library.nvmlDeviceGetTotalEnergyConsumption(handle, ctypes.byref(millijoules))
        )
    except (OSError, AttributeError):
        return None
    return None if failed else millijoules.value / 1000


def driver() -> str | None:
    """Return the version of the GPU's driver, where its own program tells."""
    command = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=20)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.split("\n")[0].strip() or None


def described(device: torch.device) -> dict:
    """Return the name, kind, memory and driver of the device."""
    if device.type != "cuda":
        return {"kind": "cpu", "name": platform.machine(), "bytes": None, "driver": None}
    properties = torch.cuda.get_device_properties(device)
    return {
        "kind": "cuda",
        "name": properties.name,
        "bytes": properties.total_memory,
        "driver": driver(),
    }


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--device", default="cuda", help="cuda (the default), cuda:1, cpu")
    parser.add_argument("--quick", action="store_true", help="try the program at tiny sizes")
    parser.add_argument("--json", metavar="FILE", type=Path, default=GPU_RECORDING)
    options = parser.parse_args(argv)
    device = torch.device(options.device)
    if device.type == "cuda" and not torch.cuda.is_available():
        parser.error("--device cuda: PyTorch finds no GPU here")
    if options.json == GPU_RECORDING and (options.quick or device.type != "cuda"):
        parser.error("--json FILE is needed: only a full run on a GPU is the book's recording")
    if device.type == "cuda":
        device = torch.device("cuda", device.index or 0)  # set_device takes no bare "cuda"
        torch.cuda.set_device(device)
    torch.set_num_threads(1)  # the loader's gather; nothing else of weight is on the CPU
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    sizes = QUICK if options.quick else Sizes()
    partial = options.json.with_suffix(".partial.json")
    start = time.perf_counter()
    record = {
        "program": "benchmarks/gpu.py",
        "quick": options.quick,
        "complete": False,
        "date": date.today().isoformat(),
        "device": described(device),
        "versions": {
            "Python": platform.python_version(),
            "torch": torch.__version__,
            "CUDA": torch.version.cuda,
            "numpy": np.__version__,
        },
        "tf32": False,
        "repeats": sizes.repeats,
        "sizes": asdict(sizes),
    }

    def show(text: str) -> None:
        print(f"{time.perf_counter() - start:6.1f} s  {text}", file=sys.stderr, flush=True)

    for name, part in PARTS.items():
        show(f"-- {name}")
        record[name] = part(sizes, device, show)
        record["seconds"] = time.perf_counter() - start
        write(partial, record)
    record["complete"] = True
    write(options.json, record)
    partial.unlink()
    load_gpu_recording(options.json)  # as the chapter will read it
    show(f"written to {options.json}")


def write(path: Path, record: dict) -> None:
    """Write the record so that a run cut short never leaves half a file."""
    aside = path.with_suffix(".part")
    aside.write_text(json.dumps(record, indent=1, allow_nan=False) + "\n", encoding="utf-8")
    aside.replace(path)


if __name__ == "__main__":
    main()
