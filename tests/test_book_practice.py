"""The checks of the practices: ticks, hints, and what is said where no hint fits."""

import numpy as np
import pytest
import torch
from hypothesis import given as hypothesis_given
from hypothesis import strategies as st

from sgdlib.book.practice import NotYet, check, check_that, given


def said(*arguments, **options):
    """Return the sentence of a check that fails."""
    with pytest.raises(NotYet) as caught:
        check(*arguments, **options)
    return str(caught.value)


@pytest.mark.parametrize(
    "answer", [2, 2.0, np.float32(2), np.array(2.0), torch.tensor(2.0, requires_grad=True)]
)
def test_any_kind_of_number_is_an_answer(answer, capsys):
    check("two", answer, 2)
    assert capsys.readouterr().out == "✓ two\n"


@pytest.mark.parametrize("answer", [[1, 2], (1, 2), np.array([1, 2]), torch.tensor([1.0, 2.0])])
def test_any_kind_of_array_is_an_answer(answer, capsys):
    check("a pair", answer, [1, 2])
    assert "✓" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("answer", "expected", "words"),
    [
        (None, 1.0, "does the function return it?"),
        ("two", 2.0, "your answer is a str"),
        ([[1], [2, 3]], 2.0, "expected numbers"),
        (np.nan, 2.0, "not finite"),
        ([1.0, np.inf], [1.0, 2.0], "not finite"),
        ([1.0], 1.0, "has the shape (1,), expected one number"),
        (1.0, [1.0], "is one number, expected the shape (1,)"),
        ([[1.0, 2.0]], [1.0, 2.0], "has the shape (1, 2), expected the shape (2,)"),
        ([2.0, 4.0], [1.0, 2.0], "2 times too large"),
        ([0.25, 0.5], [1.0, 2.0], "4 times too small"),
        (-3.0, 3.0, "wrong sign"),
        (-6.0, 3.0, "2 times too large, and has the wrong sign"),
        ([1.0, 2.0, 4.0], [1.0, 2.0, 3.0], "1 of 3 entries"),
        ([0.0, 0.0], [1.0, 2.0], "2 of 2 entries"),
        (5.0, 0.0, "5 is not right"),
    ],
)
def test_what_is_wrong_is_said(answer, expected, words):
    assert words in said("the answer", answer, expected)


def test_the_hint_of_the_nearest_mistake_is_shown_with_the_place_to_read():
    mistakes = {"a sum": 6.0, "nearly a sum": 6.5, "another shape": [6.0]}
    sentence = said("the mean", 6.2, 2.0, mistakes=mistakes, rel_tol=0.1, see="chapter 2, Sum")
    assert sentence == "the mean: a sum (read: chapter 2, Sum)"
    assert "3.5 times too large" in said("the mean", 7.0, 2.0, mistakes=mistakes)


@hypothesis_given(st.floats(-1e6, 1e6), st.floats(1e-3, 0.5))
def test_the_tolerance_is_that_of_the_largest_entry(value, share):
    right = np.array([value, 1.0])
    room = share * max(abs(value), 1)
    check("inside", right + 0.99 * room, right, rel_tol=share)
    said("outside", right + 1.01 * room, right, rel_tol=share)


def test_a_right_answer_is_right_whatever_the_mistakes_say(capsys):
    check("two", 2.0, 2.0, mistakes={"no": 2.0})
    assert "✓" in capsys.readouterr().out


def test_check_that(capsys):
    check_that("it holds", True, "no")
    assert capsys.readouterr().out == "✓ it holds\n"
    with pytest.raises(NotYet, match=r"^it holds: because \(read: chapter 1\)$"):
        check_that("it holds", False, "because", see="chapter 1")


def test_a_notebook_shows_one_line():
    assert NotYet("a: b")._render_traceback_() == ["✗ a: b"]


def helper():
    return 1


def answer():
    return helper() + 1


def needs_nothing_there():
    return not_there()  # noqa: F821


def test_given_replaces_names_and_puts_them_back():
    with given(answer, helper=lambda: 10):
        assert answer() == 11
    assert answer() == 2
    with given(needs_nothing_there, not_there=lambda: 3):
        assert needs_nothing_there() == 3
    with pytest.raises(NameError):
        needs_nothing_there()
    with pytest.raises(ZeroDivisionError), given(answer, helper=lambda: 1 / 0):
        answer()
    assert answer() == 2
    with pytest.raises(TypeError, match="expected a function"), given(3, helper=helper):
        pass
