"""Checks, imports and drawing are folded in the page; what is taught stays open."""

import re
import sys

import pytest
from small_book import ROOT, SmallBook, claimed, code, markdown

sys.path.append(str(ROOT / "_ext"))
from quiet_cells import is_background, split

LOOP = "for b in (1, 2):\n    v = 1 / b\n    claim(f'at {b}', measured=v, below=2)"


@pytest.mark.parametrize(
    ("source", "taught", "checks"),
    [
        ("print(1)", "print(1)", ""),
        ("claim('a', measured=1, below=2)", "", "claim('a', measured=1, below=2)"),
        ("quote('a', 1)\nclaim(\n    'b',\n)", "", "quote('a', 1)\nclaim(\n    'b',\n)"),
        (f"x = train()\nprint(x)\n{LOOP}", "x = train()\nprint(x)", LOOP),
        ("a = 1\nclaim('a')", "", "a = 1\nclaim('a')"),
        ("a = f(\n 1,\n 2,\n)\nclaim('a')", "a = f(\n 1,\n 2,\n)", "claim('a')"),
        ("claim('a')\nx = 1\nshow(x)", "x = 1\nshow(x)", "claim('a')"),
        ("# why\n\n# what\nclaim('a')  # so", "", "# why\n\n# what\nclaim('a')  # so"),
        (
            "for b in c:\n    print(b)\n    claim('a')",
            "for b in c:\n    print(b)\n    claim('a')",
            "",
        ),
        ("def claim_it():\n    claim('a')", "def claim_it():\n    claim('a')", ""),
        ("%matplotlib inline\nclaim('a')", "%matplotlib inline\nclaim('a')", ""),
        ("reclaim('a')", "reclaim('a')", ""),
        ("", "", ""),
    ],
)
def test_what_is_taught_and_what_is_checked(source, taught, checks):
    assert split(source) == (taught, checks)


def test_no_line_is_lost_or_shown_twice():
    source = (
        f"import a\n\n# first\nx = a.b()\n\nclaim('x')\n# then\ny = a.c()\n{LOOP}\nprint(y)\n# end"
    )
    taught, checks = split(source)
    lines = sorted(line for line in source.split("\n") if line)
    assert sorted(line for line in (taught + "\n" + checks).split("\n") if line) == lines


@pytest.mark.parametrize(
    ("source", "background"),
    [
        ("import a\nfrom b import c\nbegin()", True),
        ("import a\na.run()", False),
        ("fig, ax = plt.subplots()\nax.plot(x)\nshow(fig, alt='A line.')", True),
        ("explore(draw, alt='A line.', b=[1, 2])", True),
        ("def show(x):\n    return x", False),
        ("x = show", False),
        ("", False),
        ("%magic", False),
    ],
)
def test_what_is_background(source, background):
    assert is_background(source) is background


@pytest.fixture
def book(tmp_path):
    book = SmallBook(tmp_path, "claims_ledger", "quiet_cells", "page_checks")
    three = {"text/html": claimed("third")}
    book.write(
        a=[
            markdown("# One"),
            code("taught(1)\nclaim('first')", {"text/html": claimed("first")}),
            code("claim('second')\nclaim('third')", {"text/html": claimed("second")}, three),
            code("quote('n', 1)"),
            code("shown(2)", {"text/html": "<p>shown</p>"}),
            code("import numpy"),
            code("draw_it()\nshow(fig)", {"text/html": "<p>a figure</p>"}),
            code("draw()\nclaim('hidden')", {"text/html": claimed("hid")}, tags=["hide-input"]),
        ],
        z="# Ledger\n\n```{claims-ledger}\n```\n",
    )
    assert book.passes()
    return book


def folds(page):
    return [part.split("</details>")[0] for part in page.split('<details class="checks">')[1:]]


def test_claims_are_one_line_that_opens(book):
    page = book.page("a")
    first, second, third, fourth = folds(page)
    assert first.startswith("<summary>✓ 1 check</summary>")
    assert second.startswith("<summary>✓ 2 checks</summary>")
    assert third.startswith("<summary>numbers for the text</summary>")
    assert fourth.startswith("<summary>✓ 1 check</summary>")
    assert [fold.count('class="claim"') for fold in (first, second, third, fourth)] == [1, 2, 0, 1]
    assert "taught" not in first
    assert "claim" in first.split("<pre>")[1]
    assert "draw" not in fourth


def test_nothing_else_is_folded(book):
    page = book.page("a")
    outside = page
    for fold in folds(page):
        outside = outside.replace(fold, "")
    assert "taught" in outside
    assert "<p>shown</p>" in outside
    assert 'class="claim"' not in outside
    assert "second" not in outside


def test_imports_and_drawing_are_folded_and_figures_are_not(book):
    page = book.page("a")
    hidden = [part.split("</details>")[0] for part in page.split('<details class="admonition')[1:]]
    assert [
        word for fold in hidden for word in ("numpy", "draw_it", "draw()") if word in text(fold)
    ]
    assert len(hidden) == 3
    assert not any("a figure" in fold for fold in hidden)


def text(html):
    return re.sub("<[^>]*>", "", html)


def test_the_ledger_leads_into_the_fold_and_back(book):
    first = folds(book.page("a"))[0]
    assert 'id="claim-first"' in first
    assert 'href="a.html#claim-first"' in book.page("z")
    assert 'href="z.html#claims-of-a"' in first
    assert 'id="claims-of-a"' in book.page("z")


def test_without_a_ledger_there_is_no_link(tmp_path):
    book = SmallBook(tmp_path, "quiet_cells")
    book.write(a=[markdown("# One"), code("claim('x')", {"text/html": claimed("x")})])
    assert book.passes()
    assert "href" not in folds(book.page("a"))[0]
