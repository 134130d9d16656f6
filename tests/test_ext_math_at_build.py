"""Math is typeset by the build: nothing is left for the browser, and a TeX error fails."""

import re

import pytest
from small_book import SmallBook, markdown


@pytest.fixture
def book(tmp_path):
    return SmallBook(
        tmp_path,
        "math_at_build",
        "page_checks",
        html_math_renderer="katex",
        myst_update_mathjax=False,
    )


def test_typesets_every_kind_of_formula(book):
    book.write(
        a=r"""# One

Inline $\mathbb{E}\|g_B\|^2$ in a line.

$$
\begin{aligned} a &= b \\ &= \operatorname{tr}\Sigma \end{aligned}
$$

$$ x = 1 \\ y = 2 $$

\begin{align}
u &= 1 \\
v &= 2
\end{align}
"""
    )
    assert book.passes()
    page = book.page("a")
    assert page.count('<span class="katex">') == 4
    assert page.count('<span class="katex-display">') == 3
    assert page.count("<math ") == 4  # for those who listen
    assert "annotation" not in page
    text = re.sub(r"<[^>]*>", "", page)
    assert "\\" not in text
    assert "$" not in text
    assert "mathjax" not in page.lower()


def test_numbers_equations_and_links_to_them_from_other_pages(book):
    book.write(
        a="# One\n\n$$ x = 1 $$ (first)\n\n$$ y $$ (second)\n", b="# Two\n\nBy {eq}`second`.\n"
    )
    assert book.passes()
    assert 'href="a.html#equation-second"' in book.page("b")
    assert ">(2)</a>" in book.page("b")
    assert 'id="equation-second"' in book.page("a")


def test_works_in_a_notebook(book):
    book.write(a=[markdown("# One $x^2$\n\nBecause $y^2$.")])
    assert book.passes()
    assert book.page("a").count("<math ") >= 2


def test_a_letter_or_a_number_alone_is_plain_text(book):
    book.write(a="# One\n\nWith $B$, $\\eta$ and $0.5$, but not $B_1$.\n")
    assert book.passes()
    page = book.page("a")
    assert page.count("<math ") == 1
    assert [f">{shown}</span></span>" in page for shown in ("B", "η", "0.5")] == [True] * 3


@pytest.mark.parametrize(
    "tex", [r"$\frobnicate{x}$", r"$$ \frac{1}{ $$", r"$\begin{foo}x\end{foo}$"]
)
def test_a_tex_error_fails_with_its_place_again_and_again(book, tex):
    book.write(a=f"# One\n\nGood $x$.\n\n{tex}\n")
    assert book.fails("a.md:5", "math: KaTeX parse error")


def test_an_unknown_equation_fails(book):
    book.write(a="# One\n\n{eq}`nowhere`\n")
    assert book.fails("nowhere")
