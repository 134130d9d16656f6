"""Previews: which links have one, what it says, and that it is renewed."""

import json
import re

import pytest
from small_book import SmallBook

ONE = """# One

(here)=
## Part

```{prf:theorem} Bounded
:label: thm-one

Let $x<1$. See [here](https://elsewhere.invalid). It ends.
```

$$a=b$$ (eq-one)

{prf:ref}`thm-one`, {eq}`eq-one`, {ref}`here`, {term}`batch`, {ref}`marks`
"""
TWO = "# Two\n\n{prf:ref}`thm-one`, {eq}`eq-one` and {term}`batch`\n"
TERMS = "# Words\n\n```{glossary}\nbatch\n  Some *examples* of $N^2$.\n```\n"
NOTATION = "# Notation\n\n(marks)=\n## Marks\n\n| a | b |\n|---|---|\n| $c^2$ | d |\n"


@pytest.fixture
def book(tmp_path):
    book = SmallBook(
        tmp_path,
        *("sphinx_proof", "math_at_build", "previews", "page_checks"),
        html_math_renderer="mathml",
    )
    book.write(one=ONE, two=TWO, words=TERMS, notation=NOTATION)
    return book


def texts(book, name):
    found = re.search(r'id="previews">(.*?)</script>', book.page(name), re.S)
    return json.loads(found[1]) if found else {}


def test_a_theorem_an_equation_a_term_of_another_page(book):
    assert book.passes()
    found = texts(book, "two")
    theorem = found["one.html#thm-one"]
    assert "Theorem 1" in theorem
    assert "It ends." in theorem
    assert "<math" in theorem
    assert "admonition " not in theorem
    assert "<a" not in theorem
    assert "<mi>a</mi>" in found["one.html#equation-eq-one"]
    assert "Some <em>examples</em> of <math" in found["words.html#term-batch"]
    assert book.page("two").count('data-preview=""') == 3


def test_what_stands_in_the_same_page_is_not_said_twice(book):
    assert book.passes()
    assert set(texts(book, "one")) == {"words.html#term-batch", "notation.html#marks"}
    marks = texts(book, "one")["notation.html#marks"]
    assert marks.startswith('<p class="admonition-title">Marks</p>')
    assert re.search(r"<td>(<p>)?<math", marks)


def test_a_link_to_a_section_has_none(book):
    assert book.passes()
    page = book.page("one")
    assert '<a class="reference internal" href="#here">' in page
    assert '<a class="reference internal" data-preview="" href="#thm-one">' in page


def test_a_page_that_was_not_written_again_is_renewed(book):
    assert book.passes()
    book.write(words=TERMS.replace("Some", "Quite a few"))
    assert book.passes()
    assert "Quite a few" in texts(book, "two")["words.html#term-batch"]
    assert book.page("two").count('id="previews"') == 1


def test_a_long_text_is_cut_and_stays_whole(book):
    book.write(words=TERMS.replace("Some", "word $x^2$ and " * 200 + "Some"))
    assert book.passes()
    text = texts(book, "two")["words.html#term-batch"]
    assert "examples" not in text
    assert len(re.sub(r"<[^>]*>", "", text)) < 500
    for tag in ("p", "math", "msup"):
        assert len(re.findall(rf"<{tag}[ >]", text)) == text.count(f"</{tag}>")
