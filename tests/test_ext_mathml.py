"""Formulas as MathML: lean, cut where a line may break, and read off for the font."""

import json
import sys

import pytest
from small_book import ROOT

sys.path.append(str(ROOT / "_ext"))
import math_at_build as build
import mathml


def typeset(tex, display):
    """Return the markup of a formula."""
    return "".join(build.render(tex, display).pieces)


def cut(tex):
    """Return what the pieces of an inline formula show."""
    math = mathml.parse(json.loads(build.engine()(tex, False)))
    whole = mathml.text(math)
    parts = [mathml.text(piece) for piece in mathml.pieces(math)]
    assert "".join(parts) == whole
    return parts


@pytest.mark.parametrize(
    ("markup", "lean"),
    [
        ("<math><mrow><mi>a</mi></mrow></math>", "<math><mi>a</mi></math>"),
        (
            "<math><msub><mrow><mi>a</mi></mrow><mrow><mi>b</mi><mo>+</mo></mrow></msub></math>",
            "<math><msub><mi>a</mi><mrow><mi>b</mi><mo>+</mo></mrow></msub></math>",
        ),
        (
            "<math><msqrt><mrow><mi>a</mi><mi>b</mi></mrow></msqrt><mspace></mspace></math>",
            "<math><msqrt><mi>a</mi><mi>b</mi></msqrt></math>",
        ),
        (
            '<math><mi>ln</mi><mo>\u2061</mo><mspace width="0.1667em"></mspace><mi>x</mi></math>',
            '<math><mi>ln</mi><mo rspace="0.1667em">\u2061</mo><mi>x</mi></math>',
        ),
        (
            '<math><mstyle displaystyle="true" scriptlevel="0"><mi>a</mi></mstyle></math>',
            '<math displaystyle="true"><mi>a</mi></math>',
        ),
        (
            '<math><mrow style="border:1px solid"><mi>a</mi></mrow></math>',
            '<math><mrow style="border:1px solid"><mi>a</mi></mrow></math>',
        ),
    ],
)
def test_what_says_nothing_is_left_out(markup, lean):
    assert mathml.write(mathml.parse(markup)) == lean


def test_limits_keep_their_row_for_the_brackets_around_them():
    sums = "<mrow><munder><mo>∑</mo><mi>i</mi></munder></mrow>"
    markup = f"<math>{sums}<mi>x</mi></math>"
    assert mathml.write(mathml.parse(markup)) == markup


def test_brackets_that_grow_keep_their_row():
    cases = typeset(r"\begin{cases}1&x\\2&y\end{cases}", True)
    assert cases.startswith('<math display="block"><mrow><mo fence="true" form="prefix"')


def test_an_accent_on_a_function_stands_on_it_alone():
    made = typeset(r"\widehat{\operatorname{tr}}", False)
    assert "<mover><mi>tr</mi><mo " in made


def test_dots_have_the_space_of_a_comma():
    made = typeset(r"x_1,\dots,x_n", False)
    assert '<mo lspace="0em" rspace="0.1667em">…</mo>' in made


def test_a_function_stands_apart_from_the_factor_before_it():
    made = typeset(r"\frac12\exp x", False)
    assert '</mfrac><mspace width="0.1667em"></mspace><mi>exp</mi>' in made


def test_a_short_formula_is_whole():
    assert len(cut(r"\eta = 0.1")) == 1
    assert len(cut(r"D_{t+1}\le\rho D_t")) == 1


def test_a_long_one_is_cut_after_a_relation_or_a_sign():
    parts = cut(r"f(\theta_{t+1})\le f(\theta_t)-\eta\,\lVert\nabla f\rVert^2+\tfrac12\eta^2LC")
    assert len(parts) > 2
    assert all(part[-1] in "≤−+" for part in parts[:-1])
    assert min(map(len, parts)) >= mathml.PIECE


def test_a_long_bracket_is_cut_a_short_one_is_not():
    short = cut(r"aaaaaaaaaa = (b+c) d d d d d d d d")
    assert [part for part in short if part.count("(") != part.count(")")] == []
    assert len(cut(r"\exp(aaaaaaaaaa + bbbbbbbbbb + cccccccccc + dddddddd)")) > 2


def test_what_grows_with_its_content_is_whole():
    assert len(cut(r"\left(aaaaaaaaaa + bbbbbbbbbb + cccccccccc + \frac12\right)")) == 1
    assert len(cut(r"-aaaaaaaaaa")) == 1


def test_an_operator_at_the_end_of_a_piece_keeps_its_space():
    made = typeset("aaaaaaaaaa = bbbbbbbbbb", False)
    assert '<mo form="infix">=</mo></math><math>' in made


@pytest.mark.parametrize(
    ("tex", "shown"),
    [
        ("x", "𝑥"),
        ("h", "ℎ"),
        (r"\eta", "𝜂"),
        (r"\epsilon\varepsilon", "𝜖𝜀"),
        (r"\Sigma", "Σ"),
        ("0.5", "0.5"),
        (r"\ln x", "ln\u2061𝑥"),
        (r"\sqrt{2}", "√2"),
        (r"\mathbb E", "𝔼"),
    ],
)
def test_the_font_has_to_show_letters_as_they_are_drawn(tex, shown):
    assert build.render(tex, False).shown == shown
