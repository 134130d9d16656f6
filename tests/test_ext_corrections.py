"""The page of all traps: in reading order, with links, right after an incremental build."""

import pytest
from small_book import SmallBook

PAGE = '# {}\n\n:::{{admonition}} Trap: "{}"\n:class: warning\nIt is otherwise.\n:::\n'


@pytest.fixture
def book(tmp_path):
    book = SmallBook(tmp_path, "corrections", "page_checks", myst_enable_extensions=["colon_fence"])
    book.write(
        one=PAGE.format("First", "batches are equal"),
        two=PAGE.format("Second", "noise is white"),
        zlist="# Corrections\n\n```{corrections}\n```\n",
    )
    return book


def test_every_trap_is_listed_with_a_link_to_its_place(book):
    assert book.passes()
    page = book.page("zlist")
    assert 'href="one.html#trap-batches-are-equal"' in page
    assert 'id="trap-batches-are-equal"' in book.page("one")
    assert "Trap:" not in page
    assert page.index("batches are equal") < page.index("noise is white")


def test_beside_each_saying_stands_what_is_the_case(book):
    book.write(
        one='# First\n\n(here)=\n## Part\n\n:::{admonition} Trap: "all are equal"\n'
        ":class: warning\nOnly *some* are: see [the part](#here) and {doc}`two`.\n\n"
        "In all, $x^2$ of them.\n:::\n"
    )
    assert book.passes()
    page = book.page("zlist").partition("all are equal")[2].partition("noise is white")[0]
    assert "Only <em>some</em> are" in page
    assert 'href="one.html#here"' in page
    assert 'href="two.html"' in page
    assert "x^2" in page
    assert "It is otherwise." in book.page("zlist")


def test_a_link_in_a_trap_of_another_folder(book):
    (book.folder / "part").mkdir()
    book.write(
        **{"part/three": PAGE.format("Third", "it is far").replace("It is", "{doc}`/two` is")}
    )
    text = "---\norphan: true\n---\n" + (book.folder / "part/three.md").read_text()
    (book.folder / "part/three.md").write_text(text)
    assert book.passes()
    page = book.page("zlist").partition("it is far")[2]
    assert 'href="two.html"' in page
    assert 'href="../two.html"' not in page


def test_a_changed_trap_changes_the_page_in_an_incremental_build(book):
    assert book.passes()
    book.write(one=PAGE.format("First", "epochs are short"))
    assert book.passes()
    assert "epochs are short" in book.page("zlist")
    assert "batches are equal" not in book.page("zlist")


def test_other_admonitions_are_not_listed(book):
    book.write(two="# Second\n\n:::{admonition} Answer\nNo.\n:::\n")
    assert book.passes()
    assert "Answer" not in book.page("zlist")


def test_two_traps_with_one_title_fail(book):
    box = PAGE.format("First", "batches are equal")
    book.write(one=box + "\n" + box.partition("\n\n")[2])
    assert book.fails("two traps with one title", "batches are equal", "one.md")
