"""Each page describes itself by its own first sentences."""

import re

import pytest
from small_book import SmallBook, code, markdown


def described(made, name):
    """Return the descriptions of a page."""
    return re.findall(r'<meta content="([^"]*)" name="description"', made.page(name))


@pytest.fixture
def book(tmp_path):
    return SmallBook(tmp_path, "descriptions")


TEXTS = {  # a page's text: its description
    "A page about bowls. It has a second sentence.": (
        "A page about bowls. It has a second sentence."
    ),
    "Short.\n\nThe next paragraph makes it long enough.": (
        "Short. The next paragraph makes it long enough."
    ),
    "Forty letters at least are in this text.\n\nNo more.": (
        "Forty letters at least are in this text."
    ),
    "- a list\n\nThe text after the list says what it is about.": (
        "The text after the list says what it is about."
    ),
    "At $\\eta = 8$ all is well.\n\nThis has no formula and is forty letters long.": (
        "This has no formula and is forty letters long."
    ),
    "What comes before the formula is kept here. Then $x^2$. More.": (
        "What comes before the formula is kept here."
    ),
    'Is "it" <b> & safe? It has to be, in every page.': (
        "Is &quot;it&quot; &lt;b&gt; &amp; safe? It has to be, in every page."
    ),
    "You have a rate that works at $B = 32$. More?": "You have a rate that works at B = 32. More?",
    "**Prerequisites**: the chapters before this one.\n\nWhat it is about.": "What it is about.",
    "": "One",
}


@pytest.mark.parametrize("text", TEXTS)
def test_the_first_sentences(tmp_path, text):
    book = SmallBook(tmp_path, "descriptions", smartquotes=False)
    book.write(a=f"# One\n\n{text.replace('<b>', '`<b>`')}\n")
    assert book.passes()
    assert described(book, "a") == [TEXTS[text]]


def test_a_long_sentence_is_cut_at_a_word(book):
    book.write(a="# One\n\n" + "longword " * 40 + "end.\n")
    assert book.passes()
    (text,) = described(book, "a")
    assert len(text) <= 202
    assert re.fullmatch(r"(longword )+…", text)


def test_a_page_can_describe_itself(book):
    own = "---\nmyst:\n  html_meta:\n    description: Said by its author.\n---\n\n"
    book.write(a=own + "# One\n\nThe first sentence of the text, which is not wanted.\n")
    assert book.passes()
    assert described(book, "a") == ["Said by its author."]


def test_what_a_cell_prints_describes_nothing(book):
    printed = code("run()", {"text/html": "<p>Not this, which a cell has shown in the page.</p>"})
    book.write(a=[markdown("# One"), printed, markdown("But this, which stands in the text.")])
    assert book.passes()
    assert described(book, "a") == ["But this, which stands in the text."]
