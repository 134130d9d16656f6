"""The claims ledger is complete after every build, and no broken claim passes it."""

import re

import pytest
from small_book import SmallBook, claimed, code, markdown

LEDGER = "# Ledger\n\n```{claims-ledger}\n```\n"


@pytest.fixture
def book(tmp_path):
    return SmallBook(tmp_path, "claims_ledger", "page_checks")


def chapter(title, *claims):
    cells = [code(f"claim({i})", {"text/html": c}) for i, c in enumerate(claims)]
    return [markdown(f"# {title}"), *cells]


def test_lists_every_claim_in_reading_order_with_links(book):
    other = claimed("a second", tolerance="")
    book.write(b=chapter("Later", claimed("in b")), a=chapter("First", claimed(), other), z=LEDGER)
    assert book.passes()
    page = book.page("z")
    places = [page.index(text) for text in ("falls as 1/B", "a second", "in b")]
    assert places == sorted(places)
    assert 'href="a.html#claim-falls-as-1-b"' in page
    assert 'id="claim-falls-as-1-b"' in book.page("a")
    for cell in ("0.5", "0.49", "4 s.e.", "8 %", "First", "Later"):
        assert f">{cell}<" in page


def test_each_chapter_has_its_table_and_a_line_with_their_number(book):
    three = [claimed(text) for text in ("one", "two", "three")]
    book.write(a=chapter("First", *three), b=chapter("Later", claimed("four")), z=LEDGER)
    assert book.passes()
    page = book.page("z")
    assert "4 claims; 0 would notice an error of 5 %, 4 one of 25 %. By chapter:" in page
    assert '<a class="reference internal" href="#claims-of-a">First</a>: 3' in page
    assert '<a class="reference internal" href="#claims-of-b">Later</a>: 1' in page
    assert page.count("<table") == 2
    last = page.index('<section id="claims-of-b">')
    assert page.index(">three<") < last < page.index(">four<")


def test_is_right_after_an_incremental_build(book):
    book.write(a=chapter("One", claimed("old")), b=chapter("Two", claimed("stays")), z=LEDGER)
    assert book.passes()
    book.write(a=chapter("One", claimed("new")))
    assert book.passes()
    assert "reading sources... [100%] a\n" in book.said  # and no other
    page = book.page("z")
    assert "new" in page
    assert "stays" in page
    assert ">old<" not in page
    (book.folder / "b.ipynb").unlink()
    book.write(a=chapter("One", claimed("new")))
    assert book.passes()
    assert "stays" not in book.page("z")


def test_reads_attributes_in_any_order(book):
    data = re.search('data-claim="([^"]*)"', claimed("t", tolerance=""))[1]
    output = f"<div><p data-claim='{data}' id=x class='big claim'>t</p></div>"
    book.write(a=chapter("One", output), z=LEDGER)
    assert book.passes()
    assert "claim-t" in book.page("z")


@pytest.mark.parametrize(
    "broken",
    [
        '<p class="claim" data-claim="{">x</p>',
        '<p class="claim" data-claim="[]">x</p>',
        '<p class="claim">x</p>',
        claimed(extra="field"),
        claimed(measured=0.49),
        claimed(measured=""),
        claimed(notices="much"),
        claimed().replace("target", "targit"),
    ],
)
def test_a_malformed_record_fails_again_and_again(book, broken):
    book.write(a=chapter("One", claimed("good"), broken), z=LEDGER)
    assert book.fails("malformed claim", "a.ipynb")


def test_a_coarse_claim_without_a_reason_fails_again_and_again(book):
    book.write(a=chapter("One", claimed(), claimed("blind", notices=0.31)), z=LEDGER)
    assert book.fails("blind", "notice no error below 31 %", "a.ipynb")


def test_a_claim_of_zero_without_a_scale_fails_again_and_again(book):
    book.write(a=chapter("One", claimed(), claimed("nil", notices=None)), z=LEDGER)
    assert book.fails("nil", "give scale=", "a.ipynb")


def test_coarse_claims_are_listed_apart_with_their_reasons(book):
    blind = claimed("blind", notices=9.0, coarse="an order of magnitude", kind="bound")
    book.write(a=chapter("One", claimed(), claimed("near", notices=0.27), blind), z=LEDGER)
    assert book.passes()
    apart = book.page("z").split('id="coarse-claims"')[1]
    for text in ("blind", "near", "an order of magnitude", "factor 10", "27 %"):
        assert text in apart
    assert "falls as" not in apart
    assert ">bound 0.5<" in book.page("z")


def test_the_same_claim_twice_in_a_chapter_fails_again_and_again(book):
    book.write(a=chapter("One", claimed(), claimed(measured="0.48")), z=LEDGER)
    assert book.fails("stated twice", "falls as 1/B", "a.ipynb")


def test_claims_that_differ_in_a_number_or_a_symbol_have_anchors_of_their_own(book):
    texts = ["4 epochs: falls", "16 epochs: falls", "η falls", "μ falls"]
    book.write(a=chapter("One", *map(claimed, texts)), z=LEDGER)
    assert book.passes()
    anchors = re.findall(r'href="a.html#(claim-[^"]*)"', book.page("z"))
    assert len(anchors) == len(set(anchors)) == 4
    assert [book.page("a").count(f'id="{anchor}"') for anchor in anchors] == [1, 1, 1, 1]


def test_the_same_claim_in_two_chapters_passes(book):
    book.write(a=chapter("One", claimed()), b=chapter("Two", claimed()), z=LEDGER)
    assert book.passes()


@pytest.mark.parametrize("tag", ["remove-output", "remove-cell", "remove_output"])
def test_a_claim_whose_output_is_removed_fails_again_and_again(book, tag):
    hidden = code("claim('hidden')", {"text/html": claimed("hidden")}, tags=[tag])
    book.write(a=[*chapter("One", claimed()), hidden], z=LEDGER)
    assert book.fails("removes the output", tag)


def test_an_empty_ledger_fails_again_and_again(book):
    book.write(a="# No claims here\n", z=LEDGER)
    assert book.fails("ledger is empty")


def test_a_book_without_a_ledger_needs_no_claims(book):
    book.write(a="# No claims here\n")
    assert book.passes()
