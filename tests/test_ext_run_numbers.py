"""Numbers in the prose: what is typed agrees with the run, or the build fails."""

import sys

import pytest
from small_book import ROOT, SmallBook, code, markdown

sys.path.append(str(ROOT / "_ext"))
from run_numbers import shown


@pytest.fixture
def book(tmp_path):
    return SmallBook(tmp_path, "run_numbers", "page_checks")


def quoted(name, text):
    """Return a cell that left a number, as sgdlib.book.quote does."""
    data = {"application/papermill.record/text/plain": text}
    scrapbook = {"name": name, "mime_prefix": "application/papermill.record/"}
    return code(f"quote({name!r})", (data, {"scrapbook": scrapbook}))


@pytest.mark.parametrize(
    ("typed", "value", "expected"),
    [
        ("0.031", 0.0312, True),
        ("0.032", 0.0312, False),
        ("0.0312", 0.0312, True),
        ("0.03120", 0.03125, False),
        ("3.1 %", 3.14, True),
        ("1,503", 1503.0, True),
        ("1,503", 1504.0, False),
        ("−2.5", -2.46, True),
        ("-2.5", 2.46, False),
        ("about 4 times", 4.3, True),
        ("2e-3", 0.0021, True),
        ("2e-3", 0.0026, False),
        ("1.5e6", 1_540_000, True),
        ("1.5e6", 1_560_000, False),
        ("0.25", 0.255, True),  # half a unit is the most
        ("0.25", 0.2551, False),
    ],
)
def test_compares_at_the_precision_that_was_typed(typed, value, expected):
    if expected:
        assert shown(typed, str(value)) == typed
    else:
        with pytest.raises(ValueError, match="the prose says"):
            shown(typed, str(value))


@pytest.mark.parametrize(
    ("typed", "quoted", "page"),
    [
        ("-0.2", "-0.2875 +- 0.13", "-0.3"),
        ("−0.2", "-0.2875 +- 0.13", "−0.3"),
        ("0.2", "0.2375 +- 0.13", "0.2"),
        ("about 3 %", "4.2 +- 2", "about 4 %"),
        ("1,503", "1510 +- 40", "1,510"),
        ("2e-3", "0.0031 +- 0.001", "3e-3"),
        ("1.50e6", "1540000 +- 50000", "1.54e6"),
        ("7", "9 +- 2", "9"),
    ],
)
def test_shows_the_runs_own_digits_inside_the_error(typed, quoted, page):
    assert shown(typed, quoted) == page


@pytest.mark.parametrize(
    ("typed", "quoted"),
    [
        ("-0.2", "-0.4 +- 0.13"),
        ("7", "10 +- 2"),
        ("0.2", "nan +- 1"),
        ("0.2", "0.2 +- nan"),
        ("1", "nan"),
    ],
)
def test_outside_the_error_or_without_a_number_it_fails(typed, quoted):
    with pytest.raises(ValueError, match="the prose says"):
        shown(typed, quoted)


def test_shows_what_was_typed(book):
    prose = markdown("# One\n\nThe ratio is {run}`0.031 <ratio>`, not {run}`7 <n>`.")
    book.write(a=[prose, quoted("ratio", "0.0312"), quoted("n", "7")])
    assert book.passes()
    assert '<span class="from-run">0.031</span>' in book.page("a")


def test_the_page_shows_the_run_and_the_build_fails_outside_its_error(book):
    prose = "# One\n\nThe gap is {run}`−0.2 <gap>` points."
    book.write(a=[markdown(prose), quoted("gap", "-0.2875 +- 0.1")])
    assert book.passes()
    assert '<span class="from-run">−0.3</span>' in book.page("a")
    book.write(a=[markdown(prose), quoted("gap", "-0.3600 +- 0.1")])
    assert book.fails("a.ipynb", "the prose says −0.2, the run says -0.36 +- 0.1")


def test_a_digit_that_the_run_denies_fails_again_and_again(book):
    book.write(a=[markdown("# One\n\nIt is {run}`0.032 <ratio>`."), quoted("ratio", "0.0312")])
    assert book.fails("a.ipynb", "the prose says 0.032, the run says 0.0312")


@pytest.mark.parametrize("role", ["0.031 <other>", "0.031", "few <ratio>"])
def test_a_number_that_cannot_be_checked_fails(book, role):
    book.write(a=[markdown(f"# One\n\nIt is {{run}}`{role}`."), quoted("ratio", "0.0312")])
    assert book.build() == 1
    assert "a.ipynb" in book.said
    assert f"run {role}" in book.said


def test_outside_a_notebook_it_fails(book):
    book.write(a="# One\n\nIt is {run}`0.031 <ratio>`.\n")
    assert book.build() == 1
    assert "run 0.031" in book.said
