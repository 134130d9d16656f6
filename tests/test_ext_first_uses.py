"""First uses of terms: what is linked, what is not, and that a new term is linked everywhere."""

import re

import pytest
from small_book import ROOT, SmallBook

WORDS = """# Words

```{glossary}
batch
  Examples.

batch gap
  A gap.

Adam
  Optimizer.
```
"""
CHAPTER = """# About a batch

Code `batch`, [a batch](https://elsewhere.invalid), and $batch$ are none.

| batch |
|-------|
| batch |

```{admonition} A batch
:class: dropdown
One batch in a fold.
```

A mini-batch is another word. Here *three
batch
gaps*, then Batches, at last a batch of adam, and Adam.
"""
LINK = re.compile(
    r'<a class="reference internal" href="\.\./words\.html#(term-[\w-]+)"[^>]*>'
    r'<span class="xref std std-term">(.*?)</span></a>',
    re.S,
)


@pytest.fixture
def book(tmp_path):
    book = SmallBook(tmp_path, "first_uses")
    (tmp_path / "physics").mkdir()
    (tmp_path / "physics/heat.md").write_text(CHAPTER)
    book.write(words=WORDS, plain="# Plain\n\nA batch.\n")
    index = tmp_path / "index.md"
    index.write_text(index.read_text().replace("plain\n", "plain\nphysics/heat\n"))
    return book


def test_the_first_use_in_running_text_is_linked_once(book):
    assert book.passes()
    assert LINK.findall(book.page("physics/heat")) == [
        ("term-batch-gap", "batch\ngaps"),
        ("term-batch", "Batches"),
        ("term-Adam", "Adam"),
    ]


def test_only_chapters_have_such_links(book):
    assert book.passes()
    assert "std-term" not in book.page("plain")


def test_a_new_term_reaches_chapters_that_did_not_change(book):
    assert book.passes()
    words = book.folder / "words.md"
    words.write_text(words.read_text().replace("Adam\n", "word\n  Of a language.\n\nAdam\n"))
    assert book.passes()
    assert ("term-word", "word") in LINK.findall(book.page("physics/heat"))


def test_a_word_that_means_something_else_there(book, monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "_ext"))
    import first_uses

    monkeypatch.setitem(first_uses.OTHERWISE, "batch", {"heat"})
    assert book.passes()
    assert "term-batch" not in dict(LINK.findall(book.page("physics/heat")))
