"""Chapters, and no other page, end with a BibTeX entry that BibTeX understands."""

import html
import re
import sys

import pytest
from pybtex.database import parse_string
from small_book import ROOT, SmallBook

sys.path.append(str(ROOT / "_ext"))
import cite_page

CITED = {
    "title": "A Book: 50 % of it & more",
    "date-released": "2026-11-30",
    "version": "1.2",
    "authors": [{"given-names": "Ada", "family-names": "King"}, {"name": "the others"}],
}


def entry(page):
    """Return the entry on a page, as BibTeX reads it."""
    (block,) = re.findall(r'<details class="cite-page">.*?<pre>(.*?)</pre>', page, re.S)
    return parse_string(html.unescape(re.sub(r"<[^>]*>", "", block)), "bibtex").entries.popitem()


@pytest.mark.parametrize("site", ["", "https://someone.example/book/"])
def test_a_chapter_says_how_it_is_cited(tmp_path, site):
    (tmp_path / "CITATION.cff").symlink_to(ROOT / "CITATION.cff")
    book = SmallBook(tmp_path, "cite_page", html_baseurl=site)
    book.write(**{"04_rate": "# The *learning* rate\n\nText.\n", "notation": "# Notation\n"})
    book.write(**{"04b_more": "# More\n\nText.\n"})
    assert book.passes()
    key, cited = entry(book.page("04b_more"))
    assert (key, cited.fields["chapter"]) == ("minibatchsgd2026chapter4b", "4b")
    key, cited = entry(book.page("04_rate"))
    assert key == "minibatchsgd2026chapter4"
    assert cited.type == "incollection"
    assert cited.fields["title"] == "{The learning rate}"
    assert cited.fields["booktitle"] == "{Mini-Batch SGD: Principles, Practice, Physics}"
    assert (cited.fields["chapter"], cited.fields["year"]) == ("4", "2026")
    assert cited.fields.get("url", "") == (site and f"{site}04_rate.html")
    assert "cite-page" not in book.page("notation")
    assert "cite-page" not in book.page("index")
    index = (tmp_path / "_build/html/searchindex.js").read_text()
    assert "incollect" not in index


def test_names_and_signs_are_those_of_bibtex():
    text = cite_page.entry(CITED, "7", "Loss_1 & $2", "https://someone.example/a_b.html")
    (cited,) = parse_string(text, "bibtex").entries.values()
    authors = cited.persons["author"]
    assert [str(author) for author in authors] == ["King, Ada", "{the others}"]
    assert cited.fields["title"] == r"{Loss\_1 \& \$2}"
    assert cited.fields["booktitle"] == r"{A Book: 50 \% of it \& more}"
    assert cited.fields["url"] == "https://someone.example/a_b.html"
