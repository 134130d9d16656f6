"""Three small real data sets that need no network: airfoil noise, handwritten digits, MNIST-1D."""

from __future__ import annotations

import functools
import random
from importlib import resources
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
    if standardize:
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
