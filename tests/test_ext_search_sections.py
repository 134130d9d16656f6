"""The index of sections: what is found where, what a word is worth, right after small changes."""

import json
from itertools import accumulate

import pytest
from small_book import ROOT, SmallBook, code, markdown

PAGES = {
    "alpha": "# Learning rate\n\nOf rates.\n\n(why)=\n## Warmup\n\nStarts at $\\eta/2$, not $x$.\n",
    "beta": "# Batches\n\nA warmup is mentioned, and once more: warmup.\n\n## Sizes\n\nLarge.\n",
}


@pytest.fixture
def book(tmp_path):
    book = SmallBook(
        tmp_path, "math_at_build", "search_sections", "page_checks", html_math_renderer="mathml"
    )
    book.write(**PAGES)
    return book


def index(book):
    assert book.passes()
    text = (book.folder / "_build/html/_static/sections.js").read_text()
    assert text.startswith("SectionSearch.start(")
    return json.loads(text.partition("(")[2].rpartition(")")[0])


def worth(index, stem):
    """The sections that a stem is worth something in, best first: (page, anchor)."""
    list_ = index["words"].get(stem, [])
    pairs = sorted(zip(list_[1::2], accumulate(list_[::2]), strict=True), reverse=True)
    places = [index["sections"][section] for _, section in pairs]
    return [(index["pages"][page][0], anchor) for page, anchor, *_ in places]


def test_a_heading_is_worth_more_than_the_text(book):
    found = worth(index(book), "warmup")
    assert found == [("alpha.html", "warmup"), ("beta.html", "")]


def test_headings_above_count_a_little(book):
    assert worth(index(book), "batch") == [("beta.html", ""), ("beta.html", "sizes")]


def test_a_result_has_its_headings_and_its_first_words(book):
    found = index(book)
    [section] = [s for s in found["sections"] if s[1] == "warmup"]
    assert found["pages"][section[0]][1] == "Learning rate"
    assert section[2:] == [["Warmup"], "Starts at η/2, not x."]


def test_code_is_not_searched_and_theorems_are_no_sections(book):
    book.settings["extensions"] += ["sphinx_proof"]
    text = "# Third\n\n```{prf:theorem} Bounded\n:label: thm-x\n\nSo it is.\n```\n"
    book.write(third=[markdown(text), code("sentinel = 1")])
    found = index(book)
    assert "sentinel" not in found["words"]
    assert worth(found, "bound") == [("third.html", "")]


def test_an_incremental_build_keeps_the_others(book):
    index(book)
    book.write(beta="# Batches\n\nSomething else.\n")
    found = index(book)
    assert worth(found, "warmup") == [("alpha.html", "warmup")]
    assert worth(found, "els") == [("beta.html", "")]


def test_a_page_that_has_left_is_not_found(book):
    index(book)
    (book.folder / "beta.md").unlink()
    book.write()
    assert "mention" not in index(book)["words"]


def test_the_ledger_comes_last(book):
    book.write(claims="# Claims\n\nWarmup.\n", glossary="# Words\n\nWarmup.\n")
    tiers = {title: tier for _, title, tier in index(book)["pages"]}
    assert tiers["Claims"] > tiers["Words"] > tiers["Batches"] == 0


def test_synonyms_lead_to_what_the_book_says(book):
    pairs = index(book)["synonyms"]
    assert [["learn", "rate", "finder"], ["rang", "test"]] in pairs
    text = (ROOT / "_ext/search_synonyms.txt").read_text()
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    assert len(pairs) == sum(line.partition("=")[0].count(",") + 1 for line in lines)
    assert all(asked and meant for asked, meant in pairs)
