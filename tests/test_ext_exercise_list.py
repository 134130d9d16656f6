"""The list of all exercises: kind, first sentence, minutes, place; right after a change."""

import pytest
from small_book import SmallBook

PAGE = """# {0}

```{{exercise-start}}
:label: ex-{0}
```
**({1})** Show that $x^2$ is {2}. Then see {{doc}}`zlist`.
```{{exercise-end}}
```

```{{solution-start}} ex-{0}
```
It is.
```{{solution-end}}
```
"""


@pytest.fixture
def book(tmp_path):
    book = SmallBook(
        tmp_path,
        "sphinx_exercise",
        "claims_ledger",
        "exercise_list",
        "page_checks",
        numfig=True,
    )
    book.write(
        one=PAGE.format("first", "derive", "positive"),
        two=PAGE.format("second", "code, experiment", "even"),
        zlist="# Exercises\n\n```{exercise-list}\n```\n",
    )
    return book


def test_every_exercise_is_listed_with_kind_minutes_and_place(book):
    assert book.passes()
    page = book.page("zlist")
    assert "2 exercises, some 1 hours" in page
    assert 'href="one.html#ex-first"' in page
    assert page.index("derive") < page.index("code, experiment")
    first, second = page.index('href="one.html#ex-first"'), page.index('href="two.html#ex-second"')
    assert first < page.index(">20<") < second < page.index(">55<")
    assert ">Exercise 1<" in page
    assert ">Exercise 2<" in page


def test_the_first_sentence_stands_there_with_its_formula(book):
    assert book.passes()
    page = book.page("zlist")
    assert "Show that" in page
    assert "x^2" in page
    assert "is positive." in page
    assert "Then see" not in page
    assert "It is." not in page


def test_a_changed_exercise_changes_the_page(book):
    assert book.passes()
    book.write(one=PAGE.format("first", "experiment", "round"))
    assert book.passes()
    assert "is round." in book.page("zlist")
    assert "is positive." not in book.page("zlist")
    assert ">30<" in book.page("zlist")


def test_an_exercise_that_does_not_say_its_kind_fails(book):
    book.write(one=PAGE.format("first", "ponder", "positive"))
    assert book.fails("exercise ex-first: expected its kind first", "one.md")


def test_practices_are_listed(book):
    (book.folder / "practice").mkdir()
    (book.folder / "practice/p1_sums.md").write_text("---\norphan: true\n---\n# Sums by hand\n")
    assert book.passes()
    assert 'href="practice/p1_sums.html"' in book.page("zlist")
    assert "Sums by hand" in book.page("zlist")
