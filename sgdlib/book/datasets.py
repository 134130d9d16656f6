"""Three small real data sets that need no network: airfoil noise, handwritten digits, MNIST-1D.

And a recording of what a GPU does, where someone has made one.
"""

from __future__ import annotations

import functools
import json
import math
import os
import random
from importlib import resources
from pathlib import Path
from typing import NamedTuple

import numpy as np

from sgdlib import _check


class Split(NamedTuple):
    """Training and test examples: inputs (n, features) float64, labels (n,) int64."""

    X_train: np.ndarray
    y_train: np.ndarray
    X_test: np.ndarray
    y_test: np.ndarray


def load_airfoil(
    n: int | None = None, *, standardize: bool = True
) -> tuple[np.ndarray, np.ndarray]:
    """Return the NASA airfoil self-noise data: five features of a wing, and the sound it makes.

    Parameters
    ----------
    n
        How many rows, from the first on; all 1503 by default. (*Dive into Deep Learning* takes
        1500.)
    standardize
        Give every column, the target too, mean 0 and standard deviation 1 (divisor 1503) over all
        rows. Otherwise the units are Hz, degrees, m, m/s, m, and dB for the target.

    Returns
    -------
    X, y
        Arrays of shape (n, 5) and (n,), float64: frequency, angle of attack, chord length,
        free-stream velocity and displacement thickness; scaled sound pressure level.

    Notes
    -----
    Brooks, Pope and Marcolini, NASA Reference Publication 1218 (1989); UCI Machine
    Learning Repository, CC BY 4.0. First used in the chapter *The gradient-descent spectrum*.

    Examples
    --------
    >>> X, y = load_airfoil()
    >>> X.shape, y.shape
    ((1503, 5), (1503,))
    """
    table = _airfoil()
    if _check.flag("standardize", standardize):
        table = (table - table.mean(axis=0)) / table.std(axis=0)
    n = len(table) if n is None else _check.integer("n", n, high=len(table))
    return table[:n, :5].copy(), table[:n, 5].copy()


@functools.cache
def _airfoil() -> np.ndarray:
    with resources.files("sgdlib.book").joinpath("data/airfoil_self_noise.dat").open() as file:
        return np.loadtxt(file)


def load_digits(*, split: str = "random", rng: int = 0) -> Split:
    """Return scikit-learn's 1797 handwritten digits, 8 by 8 pixels scaled to 0..1.

    Parameters
    ----------
    split
        `"random"`: 1437 shuffled training and 360 test examples. `"half"`: the first 898 train, the
        last 899 test, in the order of the file, which is about three points harder. Say which one
        when you report an accuracy.
    rng
        Seed of the random split.

    Returns
    -------
    Split
        Inputs of shape (n, 64), labels 0..9 of shape (n,).

    Notes
    -----
    Alpaydin and Kaynak, *Optical Recognition of Handwritten Digits*, UCI Machine
    Learning Repository (1998). First used in the chapter *The training loop*.
    """
    from sklearn import datasets, model_selection

    _check.option("split", split, ("random", "half"))
    rng = _check.integer("rng", rng, low=0)
    data = datasets.load_digits()
    how = (
        {"test_size": 0.2, "random_state": rng}
        if split == "random"
        else {"test_size": 0.5, "shuffle": False}
    )
    X_train, X_test, y_train, y_test = model_selection.train_test_split(
        data.data / 16, data.target, **how
    )
    return Split(X_train, y_train, X_test, y_test)


def load_mnist1d() -> Split:
    """Return MNIST-1D: ten classes of noisy curves of 40 points, made here from a fixed seed.

    Returns
    -------
    Split
        4000 training and 1000 test examples, inputs of shape (n, 40), labels 0..9 of shape (n,).

    Notes
    -----
    Greydanus and Kobak, *Scaling Down Deep Learning with MNIST-1D*, arXiv:2011.14439.
    Takes about a second, once in a session. First used in the chapter *The training loop*.
    """
    return Split(*(part.copy() for part in _mnist1d()))


@functools.cache
def _mnist1d() -> Split:
    from mnist1d.data import get_dataset_args, make_dataset

    # the generator seeds and uses the global random state: give the caller's back
    state, numpy_state = random.getstate(), np.random.get_state()  # noqa: NPY002
    try:
        data = make_dataset(get_dataset_args())
    finally:
        random.setstate(state)
        np.random.set_state(numpy_state)  # noqa: NPY002
    return Split(data["x"], data["y"], data["x_test"], data["y_test"])


GPU_RECORDING = Path(str(resources.files("sgdlib.book").joinpath("data/gpu.json")))
"""Where the recording of a GPU is kept."""

# Part of a recording -> what each row of it, or the part itself, must hold.
_ROWS = {
    ("limits", "products"): ("precision", "size", "flops_per_second"),
    ("throughput", "rows"): ("method", "precision", "batch_size", "examples_per_second"),
    ("time_to_target", "rows"): ("batch_size", "seed", "reached", "accuracy", "epochs", "seconds"),
}
_FIELDS = {
    "device": ("kind", "name", "driver"),
    "versions": ("Python", "torch", "CUDA"),
    "limits": ("products", "bytes_per_second"),
    "throughput": ("widths", "flops_per_example", "rows"),
    "small_network": ("widths", "batch_size", "ratios"),
    "time_to_target": ("accuracy", "rows"),
    "heat_map": ("widths", "epochs", "seeds", "batch_sizes", "rates", "losses"),
    "many_networks": ("networks", "batch_size", "ratio"),
}


def load_gpu_recording(path: str | os.PathLike | None = None) -> dict | None:
    """Return what ``python -m benchmarks.gpu`` recorded on a GPU, or None if nobody has yet.

    Parameters
    ----------
    path
        Another recording than the book's. The book's own has to be a full run on a GPU.

    Returns
    -------
    dict or None
        The parts `limits`, `throughput`, `small_network`, `time_to_target`, `heat_map` and
        `many_networks`, with the `device`, the `versions`, the `date` and the number of `repeats`.
        A rate or a ratio is a list: lower quartile, median, upper quartile. Rates are in
        operations, bytes and examples per second, times in seconds; a loss of None is that of a
        run that diverged.

    Raises
    ------
    ValueError
        If the file is no complete recording, or a field is missing or impossible.

    Notes
    -----
    Used in the chapter *GPU training*.

    Examples
    --------
    >>> load_gpu_recording("no such file") is None
    True
    """
    file = GPU_RECORDING if path is None else Path(path)
    if not file.exists():
        return None
    try:
        record = json.loads(file.read_text(encoding="utf-8"))
        _check_recording(record)
        if path is None and (record["quick"] or record["device"]["kind"] != "cuda"):
            raise ValueError("expected a full run on a GPU")
    except (KeyError, TypeError, ValueError) as error:
        what = f"{error} is missing" if isinstance(error, KeyError) else error
        raise ValueError(f"{file.name}: not a recording of a GPU: {what}") from error
    return record


def _need(part: dict, names: tuple[str, ...], where: str) -> None:
    for name in names:
        if name not in part:
            raise ValueError(f"{where}: {name!r} is missing")


def _check_recording(record: dict) -> None:
    """Raise unless the record is complete, and its numbers are possible."""
    if record["complete"] is not True:
        raise ValueError("the run was cut short: complete is not true")
    _check.integer("repeats", record["repeats"], low=3)
    _need(record, ("quick", "date", *_FIELDS), "the record")
    for part, names in _FIELDS.items():
        _need(record[part], names, part)
    for (part, name), columns in _ROWS.items():
        if not record[part][name]:
            raise ValueError(f"{part}.{name}: expected rows, got none")
        for row in record[part][name]:
            _need(row, columns, f"{part}.{name}")
    spreads = {"limits.bytes_per_second": record["limits"]["bytes_per_second"]}
    spreads["many_networks.ratio"] = record["many_networks"]["ratio"]
    for method, ratio in record["small_network"]["ratios"].items():
        spreads[f"small_network.ratios.{method}"] = ratio
    for i, row in enumerate(record["limits"]["products"]):
        spreads[f"limits.products[{i}]"] = row["flops_per_second"]
    for i, row in enumerate(record["throughput"]["rows"]):
        spreads[f"throughput.rows[{i}]"] = row["examples_per_second"]
    for name, values in spreads.items():
        if len(values) != 3 or not 0 < values[0] <= values[1] <= values[2] < math.inf:
            raise ValueError(f"{name}={values}: expected three quartiles > 0")
    for i, row in enumerate(record["time_to_target"]["rows"]):
        if not (row["seconds"] > 0 and 0 <= row["accuracy"] <= 1):
            raise ValueError(f"time_to_target.rows[{i}]: {row['seconds']} s, {row['accuracy']}")
    heat = record["heat_map"]
    shape = len(heat["batch_sizes"]), len(heat["rates"])
    if (len(heat["losses"]), *{len(row) for row in heat["losses"]}) != shape:
        raise ValueError(f"heat_map.losses: expected {shape[0]} rows of {shape[1]}")
