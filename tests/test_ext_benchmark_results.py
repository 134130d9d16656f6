"""The Performance page shows what was measured, and no build passes without it."""

import json

import pytest
from small_book import SmallBook

PAGE = (
    "# Performance\n\n```{benchmark-machine}\n```\n\n```{benchmark-results} runs\n```\n\n"
    "```{benchmark-results} networks\n```\n"
)
RESULT = {
    "name": "B=32",
    "peer": "the usual listing",
    "ratio": 2.564,
    "quartiles": [2.318, 2.826],
    "goal": 2.0,
    "units": "times as fast",
    "at_most": False,
    "met": True,
}


def results(**fields):
    """Return the results of two programs; fields replace those of the only line of the first."""
    counted = {"quartiles": [1.04, 1.04], "ratio": 1.04, "goal": 1.03, "units": "times as long"}
    counted |= {"at_most": True, "met": False, "name": "train"}
    gpu = {"name": "1,024 networks on a GPU", "why": "no CUDA device"}
    return {
        "date": "2026-03-07",
        "processor": "Abacus 3000",
        "cores": 2,
        "system": "Linux x86_64",
        "versions": {"Python": "3.11.7", "numpy": "2.4.6"},
        "load_before": 0.41,
        "seconds": 480,
        "programs": [
            {"name": "runs", "load": 1.1, "results": [RESULT | fields], "skipped": []},
            {"name": "networks", "load": 2.06, "results": [RESULT | counted], "skipped": [gpu]},
        ],
    }


@pytest.fixture
def book(tmp_path):
    book = SmallBook(
        tmp_path, "benchmark_results", "page_checks", benchmark_results="measured.json"
    )
    book.write(a=PAGE)
    return book


def measured(book, data):
    (book.folder / "measured.json").write_text(json.dumps(data))


def cells(book):
    """Return the texts of all cells of the page's tables."""
    rows = book.page("a").split("<td>")[1:]
    return [cell.split("</td>")[0].replace("<p>", "").replace("</p>", "") for cell in rows]


def test_shows_the_table_of_each_program(book):
    measured(book, results())
    assert book.passes()
    runs = ["B=32", "the usual listing", "2.56 times as fast", "2.32 to 2.83", "≥ 2", "yes"]
    train = ["train", "the usual listing", "1.04 times as long", "", "≤ 1.03", "no"]
    gpu = ["1,024 networks on a GPU", "", "skipped: no CUDA device", "", "", ""]
    assert cells(book) == runs + train + gpu


def test_says_on_what_and_when(book):
    measured(book, results())
    assert book.passes()
    page = book.page("a")
    words = "7 March 2026", "2 cores", "Abacus 3000", "numpy 2.4.6", "0.4 before", "8 minutes"
    assert [w for w in words if w not in page] == []
    assert "1.1 to 2.1 while" in page


def test_a_line_without_a_goal(book):
    measured(book, results(goal=None, met=None, ratio=0.0271))
    assert book.passes()
    assert cells(book)[2:6] == ["0.0271 times as fast", "2.32 to 2.83", "", ""]


def test_follows_the_file(book):
    measured(book, results())
    assert book.passes()
    measured(book, results(ratio=7.0))
    assert book.passes()
    assert "7.00 times as fast" in cells(book)


def test_without_the_file_it_fails_again_and_again(book):
    assert book.fails("a.md", "no file measured.json")


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda data: data["programs"].pop(), "no results of 'networks'"),
        (lambda data: data.pop("date"), "KeyError: 'date'"),
        (lambda data: data["programs"][0]["results"][0].pop("goal"), "KeyError: 'goal'"),
    ],
)
def test_what_is_missing_fails_again_and_again(book, spoil, words):
    data = results()
    spoil(data)
    measured(book, data)
    assert book.fails("a.md", words)


def test_a_file_that_is_not_json_fails(book):
    (book.folder / "measured.json").write_text("{")
    assert book.fails("a.md", "JSONDecodeError")
