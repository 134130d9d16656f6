"""The checkers: what passes, and the sentence that says what does not."""

import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sgdlib import _check

quick = settings(max_examples=100, deadline=None, derandomize=True)


def refuses(error, sentence, function, *args, **kwargs):
    """Assert that the call raises `error` with exactly this sentence."""
    with pytest.raises(error, match=f"^{re.escape(sentence)}$"):
        function(*args, **kwargs)


@pytest.mark.parametrize("value", [1, 1503, np.int64(7), np.uint8(7)])
def test_integer_returns_a_plain_int(value):
    out = _check.integer("batch_size", value, high=1503)
    assert out == value
    assert type(out) is int


@pytest.mark.parametrize("value", [0, -3, 1504, 10**30, np.int64(0)])
def test_integer_out_of_range(value):
    sentence = f"batch_size={int(value)}: expected an int in 1..1503"
    refuses(ValueError, sentence, _check.integer, "batch_size", value, high=1503)


@pytest.mark.parametrize("value", [1.0, 2.5, float("nan"), "8", None, True, [8], 1j, np.ones(2)])
def test_integer_of_the_wrong_type(value):
    sentence = f"batch_size={value!r}: expected an int >= 1"
    refuses(TypeError, sentence, _check.integer, "batch_size", value)


@given(st.integers(-20, 20), st.integers(-10, 10), st.none() | st.integers(-10, 10))
@quick
def test_integer_accepts_its_interval_and_nothing_else(value, low, high):
    if value >= low and (high is None or value <= high):
        assert _check.integer("k", value, low=low, high=high) == value
    else:
        with pytest.raises(ValueError, match=rf"^k={value}: expected an int"):
            _check.integer("k", value, low=low, high=high)


@pytest.mark.parametrize("value", [1, 0.5, np.float32(0.5), np.int8(1)])
def test_number_returns_a_plain_float(value):
    out = _check.number("lr", value, above=0, at_most=1)
    assert out == value
    assert type(out) is float


@pytest.mark.parametrize(
    ("value", "bounds", "wanted"),
    [
        (float("nan"), {}, "a finite number"),
        (float("inf"), {}, "a finite number"),
        (float("-inf"), {"below": 3}, "a finite number < 3"),
        (0.0, {"above": 0}, "a finite number > 0"),
        (-0.5, {"at_least": 0, "below": 1}, "a finite number >= 0 and < 1"),
        (1.0, {"at_least": 0, "below": 1}, "a finite number >= 0 and < 1"),
        (2.0, {"above": 0, "at_most": 1.5}, "a finite number > 0 and <= 1.5"),
    ],
)
def test_number_out_of_range(value, bounds, wanted):
    refuses(ValueError, f"lr={value}: expected {wanted}", _check.number, "lr", value, **bounds)


@pytest.mark.parametrize(("value", "shown"), [(10**400, "inf"), (-(10**400), "-inf")])
def test_number_too_large_for_a_float(value, shown):
    refuses(ValueError, f"lr={shown}: expected a finite number", _check.number, "lr", value)


@pytest.mark.parametrize("value", ["0.1", None, True, np.True_, 1j, [0.1], np.array(0.1)])
def test_number_of_the_wrong_type(value):
    refuses(TypeError, f"lr={value!r}: expected a finite number", _check.number, "lr", value)


@pytest.mark.parametrize("value", ["dorp", "", None, 3, ["keep"], np.array(["keep", "drop"])])
def test_option(value):
    assert _check.option("last", "keep", ("keep", "drop")) == "keep"
    sentence = f"last={value!r}: expected one of 'keep', 'drop'"
    refuses(ValueError, sentence, _check.option, "last", value, ("keep", "drop"))


@pytest.mark.parametrize("value", ["no", 1, 0.0, None, [True]])
def test_flag(value):
    assert _check.flag("nesterov", np.True_) is True
    sentence = f"nesterov={value!r}: expected True or False"
    refuses(TypeError, sentence, _check.flag, "nesterov", value)


def test_function():
    assert _check.function("losses", len) is len
    refuses(TypeError, "losses=3: expected a function", _check.function, "losses", 3)


@pytest.mark.parametrize("dtype", [bool, np.int8, np.uint64, np.float64])
def test_array_makes_integers_and_booleans_float64(dtype):
    assert _check.array("X", np.ones((2, 2), dtype)).dtype == np.float64


def test_array_keeps_float32_and_does_not_copy():
    X = np.ones((2, 2), np.float32)
    assert _check.array("X", X, ndim=2) is X


@pytest.mark.parametrize(
    ("value", "ndim", "error", "sentence"),
    [
        ([], 1, ValueError, "X: expected data, got an empty array of shape (0,)"),
        (np.ones((0, 3)), 2, ValueError, "X: expected data, got an empty array of shape (0, 3)"),
        (3.0, (1, 2), ValueError, "X: expected a 1- or 2-dimensional array, got shape ()"),
        ([1.0], 2, ValueError, "X: expected a 2-dimensional array, got shape (1,)"),
        ([[1], []], 2, ValueError, "X: expected an array of numbers, got rows of unequal length"),
        ([1, np.nan], 1, ValueError, "X: expected finite numbers, got nan at index (1,)"),
        ([[1, -np.inf]], 2, ValueError, "X: expected finite numbers, got -inf at index (0, 1)"),
        (["a"], 1, TypeError, "X: expected an array of real numbers, got dtype <U1"),
        ([1j], 1, TypeError, "X: expected an array of real numbers, got dtype complex128"),
        (None, None, TypeError, "X: expected an array of real numbers, got dtype object"),
    ],
)  # fmt: skip
def test_array_refuses(value, ndim, error, sentence):
    refuses(error, sentence, _check.array, "X", value, ndim=ndim)


def lossy():
    """What `np.asarray` would drop or misread, with the word by which the sentence names it."""
    import scipy.sparse
    import torch

    class Quantity(np.ndarray):
        unit = "m"

    class Measured:
        units = "m"

        def __array__(self, dtype=None, copy=None):
            return np.ones(2)

    masked = np.ma.masked_equal([1.0, -999.0], -999.0)
    return {
        "masked": (masked, "MaskedArray, whose mask would be lost"),
        "masked rows": ([masked, masked], "MaskedArray, whose mask would be lost"),
        "nothing masked": (np.ma.array([1.0]), "MaskedArray, whose mask would be lost"),
        "a masked entry": ([1.0, np.ma.masked], "MaskedConstant, whose mask would be lost"),
        "sparse matrix": (scipy.sparse.csr_matrix(np.eye(2)), "sparse csr_matrix"),
        "sparse array": (scipy.sparse.coo_array(np.eye(2)), "sparse coo_array"),
        "list of sparse": ([scipy.sparse.csr_array(np.eye(2))], "sparse csr_array"),
        "matrix": (np.ones((1, 2)).view(np.matrix), "a matrix"),
        "units": (np.ones(2).view(Quantity), "Quantity, whose unit would be lost"),
        "units, no array": (Measured(), "Measured, whose unit would be lost"),
        "rows with units": ([Measured(), Measured()], "Measured, whose unit would be lost"),
        "records": (np.rec.array([1.0, 2.0]), "recarray"),
        "fields": (np.array([(1.0, 2.0)], dtype=[("a", float), ("b", float)]), "dtype"),
        "objects": (np.array([1.0, 2.0], dtype=object), "dtype object"),
        "objects with NaN": (np.array([1.0, np.nan], dtype=object), "dtype object"),
        "objects with None": (np.array(["a", None], dtype=object), "dtype object"),
        "a None": ([1.0, None], "dtype object"),
        "strings with a gap": (np.array(["a"], dtype=np.dtypes.StringDType(na_object=None)), "dty"),
        "strings and numbers": (["a", np.nan], "strings, got both|real numbers|got both"),
        "a set": ({1.0, 2.0}, "dtype object"),
        "a generator": ((i for i in range(3)), "dtype object"),
        "a gradient": (torch.ones(2, requires_grad=True), "got a Tensor .*requires grad"),
        "a sparse tensor": (torch.eye(2).to_sparse(), "got a Tensor .*Sparse"),
        "bfloat16": (torch.ones(2, dtype=torch.bfloat16), "got a Tensor .*BFloat16"),
        "another device": (torch.ones(2, device="meta"), "got a Tensor .*meta"),
    }


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("check", [_check.array, _check.data])
@pytest.mark.parametrize("name", lossy())
def test_whose_meaning_an_array_would_drop_is_refused(check, name):
    value, word = lossy()[name]
    with pytest.raises(TypeError, match=rf"^X: expected .*({word})"):
        check("X", value)


def test_what_an_array_means_all_of_is_accepted(tmp_path):
    torch = pytest.importorskip("torch")
    np.save(tmp_path / "x.npy", np.arange(3.0))
    for value in (
        np.load(tmp_path / "x.npy", mmap_mode="r"),
        [0, 1, 2],
        (0.0, np.float32(1), np.int8(2)),
        range(3),
        torch.arange(3),
        torch.arange(3.0),
        list(torch.arange(3)),
        np.arange(3, dtype=np.longdouble),
        np.arange(6.0)[::2] / 2,
    ):
        np.testing.assert_array_equal(_check.array("X", value, ndim=1), [0, 1, 2])


def test_numbers_beyond_float64_are_no_numbers():
    with pytest.raises(ValueError, match=r"^X: expected finite numbers, got inf at index \(0,\)$"):
        _check.array("X", np.array(["1e4000"]).astype(np.longdouble))
    with pytest.raises(
        TypeError, match=r"^X: expected an array of real numbers, got dtype object$"
    ):
        _check.array("X", [2**70])


def test_missing_dates_are_noticed():
    days = np.array(["2020-01-01", "NaT"], dtype="datetime64[D]")
    assert _check.data("y", days[:1]).size == 1
    with pytest.raises(ValueError, match=r"^y: expected finite numbers, got NaT at index \(1,\)$"):
        _check.data("y", days)


# -- frozen arrays --


def test_frozen_is_a_copy_that_nobody_writes_into():
    X = np.ones((3, 4))
    for array in (X, X[:, ::2], X.T, np.asfortranarray(X), X.view()):
        out = _check.frozen(array)
        assert not np.shares_memory(out, X)
        assert out.flags.c_contiguous
        with pytest.raises(ValueError, match="read-only"):
            out[0] = 2.0
    hidden = X.view()
    hidden.flags.writeable = False  # but X itself can be written into
    assert not np.shares_memory(_check.frozen(hidden), X)


def test_frozen_keeps_what_is_frozen_already(tmp_path):
    X = np.ones((3, 4))
    X.flags.writeable = False
    assert _check.frozen(X) is X
    assert np.shares_memory(_check.frozen(X[1:]), X)
    assert not np.shares_memory(_check.frozen(X.T), X)  # not contiguous
    np.save(tmp_path / "x.npy", X)
    disk = np.load(tmp_path / "x.npy", mmap_mode="r")
    assert _check.frozen(disk) is disk
    writeable = np.load(tmp_path / "x.npy", mmap_mode="c")
    assert not np.shares_memory(_check.frozen(writeable), writeable)
    assert _check.frozen(np.frombuffer(b"12345678")).base is not None
    assert not np.shares_memory(_check.frozen(np.frombuffer(bytearray(8))), np.ones(1))


# -- what a caller's function gives --


def test_answers_of_functions():
    assert _check.answer("loss", [1, 2], (2,), "two thetas").tolist() == [1, 2]
    sentence = "loss: expected shape (2,) of two thetas, got (1,)"
    refuses(ValueError, sentence, _check.answer, "loss", [1.0], (2,), "two thetas")
    for value in (None, "x", [1j, 2j], {1}):
        with pytest.raises(TypeError, match=r"^loss: expected real numbers of two thetas, got dty"):
            _check.answer("loss", value, (2,), "two thetas")


def test_a_function_that_writes_into_its_arguments_is_refused():
    def halve(theta):
        theta /= 2
        return theta

    sentence = "gradient: expected a function that does not write into its arguments"
    refuses(ValueError, sentence, _check.probed, "gradient", halve, np.ones(2))
    refuses(TypeError, "gradient=3: expected a function", _check.probed, "gradient", 3)
    with pytest.raises(ValueError, match=r"^invalid literal for int"):
        _check.probed("gradient", lambda t: int("its own error"), np.ones(2))


def test_sequences_and_scalars():
    assert _check.sequence("boundaries", range(2)) == [0, 1]
    for value in ("ab", b"ab", {1: 2}, 5, None):
        refuses(
            TypeError, f"boundaries={value!r}: expected a sequence", _check.sequence, "boundaries",
            value,
        )  # fmt: skip
    for value in (1, 1.0, "a", None, np.float64(1), np.array(1.0), {1}):
        assert _check.scalar(value)
    for value in ([1], (), np.ones(1)):
        assert not _check.scalar(value)


def test_schedules():
    assert _check.schedule("lr", np.cos) is np.cos
    assert _check.schedule("lr", 2)(7.0) == 2.0
    refuses(TypeError, "lr='hot': expected a finite number", _check.schedule, "lr", "hot")


def test_data_of_any_type_must_exist_and_be_finite():
    assert _check.data("y", np.array(["cat", "dog"])).size == 2
    assert _check.data("y", np.array([1, 2], np.uint8)).dtype == np.uint8
    with pytest.raises(ValueError, match=r"^y: expected data, got an empty array of shape \(0,\)$"):
        _check.data("y", np.array([], dtype="U1"))
    with pytest.raises(ValueError, match=r"^y: expected finite numbers, got nan at index \(1,\)$"):
        _check.data("y", np.array([1, np.nan], np.float16))


def test_parameters():
    out = _check.parameters([1, 2], 2)
    assert out.dtype == np.float64
    assert _check.parameters(np.ones((5, 2), np.float32), 2).dtype == np.float64
    for value in ([1.0], [[1.0, 2.0, 3.0]]):
        shape = np.shape(value)
        sentence = f"theta: expected shape (2,) or (R, 2), got {shape}"
        refuses(ValueError, sentence, _check.parameters, value, 2)


def test_generator():
    rng = np.random.default_rng(0)
    assert _check.generator(rng) is rng
    assert _check.generator(3).random() == np.random.default_rng(3).random()
    assert _check.generator(None).random() != _check.generator(None).random()


@pytest.mark.parametrize("value", ["a", 1.5, True, np.random, [1]])
def test_generator_of_the_wrong_type(value):
    sentence = f"rng={value!r}: expected an int >= 0, a numpy.random.Generator or None"
    refuses(TypeError, sentence, _check.generator, value)


def test_integers_are_counted_exactly_by_floats():
    assert _check.integer("steps", 2**53) == 2**53
    sentence = f"steps={2**53 + 1}: expected an int in 1..{2**53}"
    refuses(ValueError, sentence, _check.integer, "steps", 2**53 + 1)
    assert _check.generator(10**40).random() == np.random.default_rng(10**40).random()


def test_generator_refuses_a_negative_seed():
    refuses(ValueError, "rng=-1: expected an int >= 0", _check.generator, -1)
