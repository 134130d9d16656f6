"""The page of all questions: in reading order, with their answers, right after a change."""

import pytest
from small_book import SmallBook

PAGE = """# {0}

## Questions to check yourself

**1.** {1}? See {{doc}}`zlist`.

:::{{admonition}} Answer
:class: dropdown
{2}.
:::

## Exercises

None.
"""


@pytest.fixture
def book(tmp_path):
    book = SmallBook(
        tmp_path, "corrections", "quiz", "page_checks", myst_enable_extensions=["colon_fence"]
    )
    book.write(
        one=PAGE.format("First", "Is it so", "Yes"),
        two=PAGE.format("Second", "Is it not", "It is"),
        zlist="# Quiz\n\n```{quiz}\n```\n",
    )
    return book


def test_every_question_is_there_with_its_answer(book):
    assert book.passes()
    page = book.page("zlist")
    assert page.index("Is it so") < page.index("Yes.") < page.index("Is it not")
    assert 'href="one.html#questions-to-check-yourself"' in page
    assert "None." not in page
    assert 'class="dropdown' in page


def test_a_changed_question_changes_the_page(book):
    assert book.passes()
    book.write(one=PAGE.format("First", "Was it so", "Yes"))
    assert book.passes()
    assert "Was it so" in book.page("zlist")
    assert "Is it so" not in book.page("zlist")
    book.write(one="# First\n\nNo questions.\n")
    assert book.passes()
    assert "Was it so" not in book.page("zlist")
    assert "Is it not" in book.page("zlist")
