"""Data sets: the bytes that others report results on."""

import copy
import hashlib
import json
import random
import subprocess
import sys
from importlib import resources

import numpy as np
import pytest

from sgdlib.book import datasets as module
from sgdlib.book import load_airfoil, load_digits, load_gpu_recording, load_mnist1d


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


# -- the recording of a GPU --

RECORDING = {
    "quick": False,
    "complete": True,
    "date": "2000-01-01",
    "repeats": 9,
    "device": {"kind": "cuda", "name": "a GPU", "driver": None},
    "versions": {"Python": "3", "torch": "2", "CUDA": "12"},
    "limits": {
        "products": [{"precision": "bf16", "size": 64, "flops_per_second": [1.0, 2.0, 3.0]}],
        "bytes_per_second": [1.0, 2.0, 3.0],
    },
    "throughput": {
        "widths": [4, 2],
        "flops_per_example": 32,
        "rows": [
            {
                "method": "device",
                "precision": "bf16",
                "batch_size": 1,
                "examples_per_second": [1.0, 2.0, 3.0],
            }
        ],
    },
    "small_network": {"widths": [4, 2], "batch_size": 32, "ratios": {"captured": [1.0, 2.0, 3.0]}},
    "time_to_target": {
        "accuracy": 0.94,
        "rows": [
            {
                "batch_size": 32,
                "seed": 0,
                "reached": True,
                "accuracy": 0.95,
                "epochs": 3,
                "seconds": 1.0,
            }
        ],
    },
    "heat_map": {
        "widths": [4, 2],
        "epochs": 1,
        "seeds": 1,
        "batch_sizes": [8, 16],
        "rates": [0.1],
        "losses": [[1.0], [None]],
    },
    "many_networks": {"networks": 8, "batch_size": 32, "ratio": [1.0, 2.0, 3.0]},
}


def stored(tmp_path, change=lambda record: None):
    record = copy.deepcopy(RECORDING)
    change(record)
    file = tmp_path / "gpu.json"
    file.write_text(json.dumps(record))
    return file


def test_a_recording_is_read_and_a_missing_one_is_none(tmp_path, monkeypatch):
    assert load_gpu_recording(tmp_path / "none.json") is None
    assert load_gpu_recording(stored(tmp_path)) == RECORDING
    monkeypatch.setattr(module, "GPU_RECORDING", stored(tmp_path))
    assert load_gpu_recording()["device"]["name"] == "a GPU"


@pytest.mark.parametrize(
    "change", [{"quick": True}, {"device": {**RECORDING["device"], "kind": "cpu"}}]
)
def test_the_books_recording_is_a_full_run_on_a_gpu(change, tmp_path, monkeypatch):
    file = stored(tmp_path, lambda record: record.update(change))
    assert load_gpu_recording(file)["date"] == "2000-01-01"
    monkeypatch.setattr(module, "GPU_RECORDING", file)
    with pytest.raises(ValueError, match="expected a full run on a GPU"):
        load_gpu_recording()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda r: r.update(complete=False), "cut short"),
        (lambda r: r.pop("heat_map"), "the record: 'heat_map' is missing"),
        (lambda r: r["device"].pop("name"), "device: 'name' is missing"),
        (lambda r: r["throughput"].update(rows=[]), "expected rows, got none"),
        (lambda r: r["throughput"]["rows"][0].pop("method"), "'method' is missing"),
        (lambda r: r["many_networks"].update(ratio=[1.0, 3.0, 2.0]), "three quartiles"),
        (lambda r: r["limits"].update(bytes_per_second=[0.0, 1.0, 1.0]), "three quartiles"),
        (lambda r: r["time_to_target"]["rows"][0].update(accuracy=94), r"rows\[0\]"),
        (lambda r: r["heat_map"].update(losses=[[1.0]]), "expected 2 rows of 1"),
        (lambda r: r.update(repeats=1), "repeats=1"),
    ],
)
def test_a_damaged_recording_is_refused(change, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        load_gpu_recording(stored(tmp_path, change))


def test_half_a_file_is_refused(tmp_path):
    file = stored(tmp_path)
    file.write_text(file.read_text()[:100])
    with pytest.raises(ValueError, match="not a recording of a GPU"):
        load_gpu_recording(file)
