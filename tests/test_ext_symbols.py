"""What a symbol means: which rows of the notation a chapter's symbols have, exceptions first."""

import doctest
import json
import re
import sys

import pytest
from small_book import ROOT, SmallBook

sys.path.append(str(ROOT / "_ext"))
import symbols

NOTATION = r"""# Notation

| symbol | meaning | in `sgdlib` |
|---|---|---|
| $N$ | number of examples | `n` |
| $\theta_t$ | parameters after $t$ steps | |
| $\theta^*$ | a minimizer | |
| $L(\theta)=\frac1N\sum_i\ell_i$ | full loss | `loss` |
| $\Sigma$ ($\sigma^2$ in one dimension) | covariance | |
| $h_{\max}$, or $L$ where no loss is near | the largest curvature | |
| $\Delta L$; $k_a$ | height of a barrier | |
| $\mathbb E$ | expectation | |
| $d$ | number of parameters | |

## Exceptions

- {doc}`1 <principles/one>`: $N$ is the size of a population, and $z$ a root of $a+N$.
- {doc}`2 <principles/two>`: $d$ and $x_i$ are distances, $w$ a weight, and $y=2$.
"""
ONE = r"""---
orphan: true
---
# One

$$\theta_{t+1}=\theta_t-\eta\,\partial L,\qquad\sigma_j^2=\mathbb E z^2$$

$N$ and $\int f\,\mathrm d x$, $\Delta L$, and `N`.
"""


@pytest.fixture
def book(tmp_path):
    book = SmallBook(tmp_path, "math_at_build", "previews", "symbols", html_math_renderer="mathml")
    (tmp_path / "principles").mkdir()
    (tmp_path / "principles/one.md").write_text(ONE)
    (tmp_path / "principles/two.md").write_text(
        "---\norphan: true\n---\n# Two\n\n$d$ of $x_i^2$, $w$, $y$ and $N_i$\n"
    )
    book.write(notation=NOTATION, elsewhere="# Elsewhere\n\n$N$\n")
    return book


def texts(book, name):
    found = re.search(r'id="symbols">(.*?)</script>', book.page(name), re.S)
    return json.loads(found[1]) if found else {}


def plain(text):
    return re.sub(r"\s+", " ", re.sub(r"<[^>]*>", "", text))


def test_a_symbol_has_the_rows_that_begin_with_it(book):
    assert book.passes()
    found = texts(book, "principles/one")
    assert set(found) == {"N", "θ_t", "L", "σ", "σ^2", "𝔼", "z"}
    assert "θ" not in found
    assert plain(found["θ_t"]) == "θt: parameters after t steps"
    assert plain(found["L"]).count("full loss; in code loss") == 1
    assert "the largest curvature" in plain(found["L"])
    assert plain(found["σ"]).endswith("in one dimension): covariance")
    for text in found.values():
        assert text.count("<p>") == text.count("</p>") >= 1
        assert "<a" not in text
        assert "class=" not in text.replace('class="math notranslate nohighlight"', "")


def test_what_a_chapter_says_of_its_own_comes_first(book):
    assert book.passes()
    one, two = texts(book, "principles/one"), texts(book, "principles/two")
    assert plain(one["N"]).startswith("Here N: the size of a population")
    assert plain(one["N"]).endswith("Elsewhere N: number of examples; in code n")
    assert plain(one["z"]) == "Here z: a root of a+N"
    assert set(two) == {"d", "x_i", "w", "y", "N"}
    assert plain(two["x_i"]) == "Here d and xi: distances"
    assert plain(two["d"]).endswith("distancesElsewhere d: number of parameters")
    assert plain(two["y"]) == "Here y=2"
    assert plain(two["N"]) == "N: number of examples; in code n"


def test_only_chapters_have_them(book):
    assert book.passes()
    assert texts(book, "elsewhere") == {}
    assert texts(book, "notation") == {}


def test_a_page_that_was_not_written_again_is_renewed(book):
    assert book.passes()
    book.write(notation=NOTATION.replace("size of a population", "weight of a stone"))
    assert book.passes()
    assert "weight of a stone" in texts(book, "principles/one")["N"]
    assert book.page("principles/one").count('id="symbols"') == 1


def test_the_examples_in_the_docstrings():
    assert doctest.testmod(symbols).failed == 0
