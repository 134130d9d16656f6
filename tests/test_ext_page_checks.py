"""Images have names, live figures keep their budget, and a failed build is not forgotten."""

import random

import pytest
from small_book import SmallBook, code, markdown

PNG = (
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNkYPhf"
    "DwAChwGA60e6kgAAAABJRU5ErkJggg=="
)
SVG = '<svg viewBox="0 0 1 1" {}><g><svg><path d="M0 0"/></svg></g></svg>'
NAMED = SVG.format('role="img" aria-label="A curve that falls."')


@pytest.fixture
def book(tmp_path):
    return SmallBook(tmp_path, "figure_links", "page_checks")


def shown(output, kind="text/html"):
    return [markdown("# One"), code("show()", {kind: output})]


def explored(frames, declared=None, name="fig-paths", noise=0):
    letters = random.Random(name)
    inside = "".join(
        f"<template>{NAMED}{letters.randbytes(noise).hex()}</template>" for _ in range(frames)
    )
    return (
        f'<figure id="{name}" class="own explore" data-frames="{declared or frames}">'
        f"{NAMED}{inside}</figure>"
    )


@pytest.mark.parametrize(
    "output",
    [
        NAMED,
        f"<figure class='own'>{NAMED}<figcaption>A curve.</figcaption></figure>",
        SVG.format('aria-hidden="true"'),
        '<img src="x.png" alt="A curve that falls."/>',
        f"<figure>{NAMED}<template>{SVG.format('')}</template></figure>",  # not shown as it is
        "<table><tr><td>no image</td></tr></table>",
    ],
)
def test_images_with_a_name_pass(book, output):
    book.write(a=shown(output))
    assert book.passes()


@pytest.mark.parametrize(
    "output",
    [
        SVG.format(""),
        SVG.format('role="img"'),
        SVG.format('role="img" aria-label=" "'),
        SVG.format('aria-label="A label without a role."'),
        '<img src="x.png">',
        '<img src="x.png" alt="">',
        NAMED + SVG.format(""),
    ],
)
def test_html_without_alt_text_fails_again_and_again(book, output):
    book.write(a=shown(output))
    assert book.fails("a.ipynb", "without a name: give alt=")


def test_a_png_output_without_alt_text_fails(book):
    book.write(a=shown(PNG, "image/png"))
    assert book.fails("a.ipynb", "image without alt text")


def test_a_picture_in_the_text_needs_alt_text(book):
    (book.folder / "dot.svg").write_text('<svg xmlns="http://www.w3.org/2000/svg"/>')
    book.write(a="# One\n\n![A dot.](dot.svg)\n")
    assert book.passes()
    book.write(a="# One\n\n![](dot.svg)\n")
    assert book.fails("a.md", "image without alt text: dot.svg")


def test_sixty_frames_pass(book):
    book.write(a=shown(explored(59, declared=60)))
    assert book.passes()


@pytest.mark.parametrize(("frames", "declared"), [(61, 61), (61, 3), (3, 61)])
def test_more_frames_fail_with_the_name_of_the_figure(book, frames, declared):
    book.write(a=shown(explored(frames, declared)))
    assert book.fails("a.ipynb", "fig-paths has 61 frames, at most 60")


def test_heavy_frames_fail_with_the_weights_of_the_figures(book):
    light, heavy = (
        explored(3, name="fig-light", noise=1000),
        explored(10, name="fig-heavy", noise=50_000),
    )
    book.write(a=[*shown(light), code("show(2)", {"text/html": heavy})])
    assert book.fails("frames of this page weigh", "at most 500", "fig-heavy", "fig-light 4 kB")
    assert book.said.index("fig-heavy") < book.said.index("fig-light")


def test_pages_that_only_together_are_heavy_pass(book):
    book.write(
        a=shown(explored(10, noise=20_000)), b=shown(explored(10, name="fig-b", noise=20_000))
    )
    assert book.passes()


def test_the_next_build_after_a_repair_passes(book):
    book.write(a=shown(SVG.format("")))
    assert book.fails("without a name")
    book.write(a=shown(NAMED))
    assert book.passes()


def test_links_to_a_figure_that_a_cell_draws(book):
    figure = f'<figure id="fig-bowl" class="own">{NAMED}<figcaption>A bowl.</figcaption></figure>'
    book.write(a=shown(figure), b="# Two\n\n[the bowl](#fig-bowl) and {ref}`fig-bowl`\n")
    assert book.passes()
    assert book.page("b").count('href="a.html#fig-bowl"') == 2
    assert ">A bowl.<" in book.page("b")


def test_two_figures_of_one_name_fail(book):
    figure = f'<figure id="fig-bowl" class="own">{NAMED}</figure>'
    book.write(a=shown(figure), b=shown(figure))
    assert book.fails("called 'fig-bowl' already")
