"""Code without spans that colour nothing; what is folded is coloured when it is opened."""

import html
import re
import sys

import pytest
from small_book import ROOT, SmallBook, code, markdown

sys.path.append(str(ROOT / "_ext"))
from light_code import coloured

PROGRAM = "import numpy as np\n\nx = np.ones(3)  # <three>\nif x.all():\n    print('a & b')"


@pytest.fixture
def book(tmp_path):
    return SmallBook(tmp_path, "quiet_cells", "light_code")


def blocks(page):
    return re.findall(r"<div class=\"highlight\"><pre>(.*?)</pre>(.*?)</div>", page, re.S)


def text(markup):
    return html.unescape(re.sub(r"<[^>]*>", "", markup)).strip()


def test_what_has_a_look_of_its_own_is_told_from_the_rest():
    kept = coloured(["a11y-high-contrast-light", "a11y-high-contrast-dark"])
    assert {"k", "c1", "s1", "mi", "o"} <= kept
    assert not {"n", "p", "w"} & kept


def test_the_text_stays_and_plain_names_lose_their_spans(book):
    book.write(a=[markdown("# One"), code(PROGRAM)])
    assert book.passes()
    ((shown, beside),) = blocks(book.page("a"))
    assert text(shown) == PROGRAM
    assert beside.strip() == ""
    assert '<span class="k">if</span> x<span class="o">.</span>all():' in shown
    assert '<span class="c1"># &lt;three&gt;</span>' in shown


def test_folded_code_is_plain_and_its_coloured_copy_asleep(book):
    drawing = f"{PROGRAM}\nshow(x)"
    book.write(a=[markdown("# One"), code(drawing), code(PROGRAM)])
    assert book.passes()
    (folded, copy), (open_code, _) = blocks(book.page("a"))
    assert "<span" not in folded
    assert text(folded) == drawing
    inside = re.search(r"<template class=\"code\">(.*?)</template>", copy, re.S)[1]
    assert '<span class="k">if</span>' in inside
    assert text(inside) == drawing
    assert "<span" in open_code


def test_other_languages_and_plain_blocks_keep_their_text(book):
    book.write(a="# One\n\n```bash\nmake book  # all\n```\n\n```text\na <b> & c\n```\n")
    assert book.passes()
    assert [text(shown) for shown, _ in blocks(book.page("a"))] == ["make book  # all", "a <b> & c"]


def test_a_signature_has_no_spans_around_its_words(book):
    book.settings["extensions"] += ["sphinx.ext.autodoc"]
    book.write(
        a="# One\n\n```{py:function} f(x: int = 3, *, y: str | None = None) -> int\n```\n\n`a b`\n"
    )
    assert book.passes()
    signature = re.search(r"<dt class=\"sig .*?</dt>", book.page("a"), re.S)[0]
    assert "x: int = 3" in signature
    assert 'class="pre"' not in signature
