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


def test_generator_refuses_a_negative_seed():
    refuses(ValueError, "rng=-1: expected an int >= 0", _check.generator, -1)
