"""Links to single claims: by how a claim begins, and never to one that is no longer there."""

import pytest
from small_book import SmallBook, claimed, code

NUMBERS = code("claim(...)", {"text/html": claimed("the variance falls as 1/B")})
LINK = "# Links\n\nIt falls ({{claim}}`checked <{}>`).\n"


@pytest.fixture
def book(tmp_path):
    book = SmallBook(tmp_path, "claims_ledger", "claim_links")
    title = {"cell_type": "markdown", "id": "title", "metadata": {}, "source": "# One"}
    book.write(one=[title, NUMBERS], two=LINK.format("one#the variance"))
    return book


def test_a_link_leads_to_the_claim(book):
    assert book.passes()
    assert 'href="one.html#claim-the-variance-falls-as-1-b"' in book.page("two")
    assert ">checked</a>" in book.page("two")


def test_a_link_to_no_claim_fails(book):
    book.write(two=LINK.format("one#the mean"))
    assert book.fails("0 claims of one begin with 'the mean'", "two.md")


def test_a_link_to_two_claims_fails(book):
    other = code("claim(2)", {"text/html": claimed("the variance is positive")})
    title = {"cell_type": "markdown", "id": "title", "metadata": {}, "source": "# One"}
    book.write(one=[title, NUMBERS, other])
    assert book.fails("2 claims of one begin with 'the variance'")


def test_a_claim_that_is_reworded_is_found_missing_in_an_incremental_build(book):
    assert book.passes()
    title = {"cell_type": "markdown", "id": "title", "metadata": {}, "source": "# One"}
    other = code("claim(2)", {"text/html": claimed("the spread falls")})
    book.write(one=[title, other])
    assert book.fails("0 claims of one begin with 'the variance'")


def test_a_link_without_a_place_fails(book):
    book.write(two=LINK.format("one"))
    assert book.fails("expected one, as `shown <page#beginning>`")
