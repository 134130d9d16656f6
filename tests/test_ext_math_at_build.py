"""Math is typeset by the build: nothing is left for the browser, and a TeX error fails."""

import re
import sys

import pytest
from small_book import ROOT, SmallBook, markdown

sys.path.append(str(ROOT / "_ext"))
import math_at_build as build


@pytest.fixture
def book(tmp_path):
    return SmallBook(
        tmp_path,
        "math_at_build",
        "page_checks",
        html_math_renderer="mathml",
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
    assert page.count("<math ") == 4
    assert page.count('<math display="block">') == 3
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
    assert page.count("<math") == 1
    for letter in "Bη":
        assert f'<i class="math notranslate nohighlight">{letter}</i>' in page
    assert '<span class="math notranslate nohighlight">0.5</span>' in page


def test_a_long_formula_in_a_line_is_several_that_a_line_may_break_between(book):
    book.write(a="# One\n\nSo $aaaaaaaaaa = bbbbbbbbbb$.\n")
    assert book.passes()
    assert re.search(
        r'<span class="pieces math [^>]*><math>.*</math>'
        r'<span class="whole"><math>.*</math>\.</span></span>',
        book.page("a"),
    )


@pytest.mark.parametrize(
    ("text", "whole"),
    [
        ("The bound ($B+1$), or so.", "(▢),"),
        ("It is “$B+1$”. So", "“▢”."),
        ("at the $(t+1)$th step", "▢th"),
        ("$x<1$'s end", "▢’"),
        ("Twice ($x<1$) <b>", "(▢)"),
        ("the $(t+1)$-dimensional one", "▢-"),
        ("in the first case,\n$a+b$ and", ""),
        ("$a+b$, $c+d$; *then* $e+f$ and", "▢, ▢;"),
    ],
)
def test_what_touches_a_formula_is_in_one_box_with_it(book, text, whole):
    book.write(a=f"# One\n\nSome words. {text} more words.\n")
    assert book.passes()
    page = re.sub(r"<math[ >].*?</math>", "▢", book.page("a"))
    assert " ".join(re.findall(r'<span class="whole">([^<]*)</span>', page)) == whole
    assert "Some words. " in page
    assert "more words." in page


def test_a_page_that_shows_texts_of_other_pages_loses_nothing(tmp_path):
    book = SmallBook(tmp_path, "math_at_build", "corrections", "quiz", html_math_renderer="mathml")
    text = "# One\n\n## Questions to check yourself\n\nIs it ($B+1$)? It is $b<1$. So\n"
    book.write(one=text, zlist="# Quiz\n\n```{quiz}\n```\n")
    assert book.passes()
    for name in ("one", "zlist"):
        page = re.sub(r"<math[ >].*?</math>", "▢", book.page(name))
        assert 'Is it <span class="whole">(▢)?</span> It is <span class="whole">▢.</span>' in page


def test_a_letter_in_a_line_needs_no_box(book):
    book.write(a="# One\n\nWith ($B$), words.\n")
    assert book.passes()
    assert "whole" not in book.page("a").partition("<body")[2]


def test_a_long_formula_keeps_the_bracket_before_and_the_comma_after(book):
    book.write(a="# One\n\nSo ($aaaaaaaaaa = bbbbbbbbbb = cccccccccc$), words.\n")
    assert book.passes()
    page = re.sub(r"<math[ >].*?</math>", "▢", book.page("a"))
    first, middle, last = '<span class="whole">(▢</span>', "▢", '<span class="whole">▢),</span>'
    assert f'notranslate nohighlight">{first}{middle}{last}</span> words' in page


def test_what_was_put_into_a_box_can_be_taken_out_again():
    first, last = '<math class="x"><mi>a</mi></math>', "<math><mi>b</mi></math>"
    text = f'<p>(<span class="{build.PIECES}">{first}{last}</span>), so ({first}).</p>'
    held = f"<p>{build.hold([first, last], '(', '),')} so {build.hold([first], '(', ').')}</p>"
    assert held.count("whole") == 3
    assert build.loosen(held) == text


@pytest.mark.parametrize(
    ("tex", "reason"),
    [
        (r"$\frobnicate{x}$", r"Unsupported function name: \frobnicate at position 1"),
        (r"$$ \frac{1}{ $$", "Unexpected end of input"),
        (r"$\begin{foo}x\end{foo}$", "No such environment: foo"),
    ],
)
def test_a_tex_error_fails_with_its_place_again_and_again(book, tex, reason):
    book.write(a=f"# One\n\nGood $x$.\n\n{tex}\n")
    assert book.fails("a.md:5", f"math: {reason}")


def test_an_unknown_equation_fails(book):
    book.write(a="# One\n\n{eq}`nowhere`\n")
    assert book.fails("nowhere")
