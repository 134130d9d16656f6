"""Data sets: the bytes that others report results on."""

import hashlib
import random
import subprocess
import sys
from importlib import resources

import numpy as np
import pytest

from sgdlib.book import load_airfoil, load_digits, load_mnist1d


def test_the_airfoil_file_is_the_published_one():
    data = resources.files("sgdlib.book").joinpath("data/airfoil_self_noise.dat").read_bytes()
    assert hashlib.sha1(data).hexdigest() == "76e5be1548fd8222e5074cf0faae75edff8cf93f"


def test_airfoil_in_its_units():
    X, y = load_airfoil(standardize=False)
    assert X.shape == (1503, 5)
    assert y.shape == (1503,)
    assert X[0].tolist() == [800, 0, 0.3048, 71.3, 0.00266337]
    assert y[0] == 126.201


def test_airfoil_is_standardised_over_all_rows():
    X, y = load_airfoil()
    for column in (*X.T, y):
        assert column.mean() == pytest.approx(0, abs=1e-12)
        assert column.std() == pytest.approx(1)
    X_some, y_some = load_airfoil(1500)
    assert np.array_equal(X_some, X[:1500])
    assert np.array_equal(y_some, y[:1500])


def test_airfoil_has_the_known_least_squares_loss():
    X, y = load_airfoil(1500)
    A = np.column_stack([X, np.ones(len(X))])
    theta = np.linalg.lstsq(A, y, rcond=None)[0]
    assert np.mean((A @ theta - y) ** 2) / 2 == pytest.approx(0.24169, abs=5e-6)


def test_what_a_caller_does_to_the_data_stays_with_the_caller():
    for load in (load_airfoil, load_digits, load_mnist1d):
        load()[0][:] = 0
        assert load()[0].std() > 0.1


@pytest.mark.parametrize("n", [0, -1, 1504, 2.5, True])
def test_airfoil_rows_are_within_the_table(n):
    with pytest.raises((ValueError, TypeError), match=r"n=.*: expected an int in 1..1503"):
        load_airfoil(n)


def test_digits_random_split():
    split = load_digits()
    assert split.X_train.shape == (1437, 64)
    assert split.X_test.shape == (360, 64)
    assert split.X_train.min() == 0
    assert split.X_train.max() == 1
    assert np.bincount(np.r_[split.y_train, split.y_test]).tolist() == [
        178, 182, 177, 183, 181, 182, 181, 179, 174, 180,
    ]  # fmt: skip
    assert np.array_equal(load_digits(rng=0).y_test, split.y_test)
    assert not np.array_equal(load_digits(rng=1).y_test, split.y_test)


def test_digits_half_split_keeps_the_order_of_the_file():
    from sklearn import datasets

    data = datasets.load_digits()
    split = load_digits(split="half")
    assert np.array_equal(split.X_train * 16, data.data[:898])
    assert np.array_equal(split.y_test, data.target[898:])


def test_digits_half_split_has_the_known_accuracy():
    from sklearn.svm import SVC

    X, y, X_test, y_test = load_digits(split="half")
    # gamma counts in squared pixels: 0.001 for pixels of 0..16
    assert SVC(gamma=0.001 * 16**2).fit(X, y).score(X_test, y_test) == pytest.approx(
        0.96885, abs=1e-5
    )


def test_digits_unknown_split():
    with pytest.raises(ValueError, match="split='thirds': expected one of 'random', 'half'"):
        load_digits(split="thirds")


def test_mnist1d_fingerprint():
    split = load_mnist1d()
    assert split.X_train.shape == (4000, 40)
    assert split.X_test.shape == (1000, 40)
    # every example counts in both numbers; they are the generator's for its default seed 42
    assert np.abs(split.X_train).sum() == pytest.approx(118338.295, abs=0.01)
    assert split.X_train.std() == pytest.approx(0.99765, abs=1e-5)
    assert np.bincount(np.r_[split.y_train, split.y_test]).tolist() == [500] * 10


def test_mnist1d_leaves_the_random_state_alone():
    program = (
        "import random, numpy as np\n"
        "def draw(): return random.random(), np.random.rand()\n"
        "random.seed(1); np.random.seed(1); without = draw()\n"
        "from sgdlib.book import load_mnist1d\n"
        "random.seed(1); np.random.seed(1); load_mnist1d(); print(draw() == without)"
    )
    out = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert out.stdout.strip() == "True", out.stderr
    state = random.getstate()
    load_mnist1d()
    assert random.getstate() == state


def test_no_data_set_opens_a_connection(monkeypatch):
    import socket

    def refuse(*_):
        raise AssertionError("a data set asked the network")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    from sgdlib.book import datasets

    datasets._mnist1d.cache_clear()
    load_mnist1d()
    load_digits()
