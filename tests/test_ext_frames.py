"""Frames of live figures stand beside the page, one script for each figure."""

import json
import re

import pytest
from small_book import SmallBook, code, markdown

FIGURE = (
    '<figure id="fig-a" class="own explore" data-frames="3"><div class="explore-frame">'
    '<svg role="img" aria-label="first"></svg></div><template><svg>second −</svg></template>'
    "<template><svg>third</svg></template><figcaption>A.</figcaption></figure>"
)


@pytest.fixture
def book(tmp_path):
    return SmallBook(tmp_path, "page_checks", "frames")


def scripts(book):
    """The frames that were written, by the name of their script."""
    found = {}
    for path in (book.folder / "_build/html/_static/frames").glob("*.js"):
        name, text = re.fullmatch(
            r'\(window\.exploreFrames\?\?=\{\}\)\["(.*?)"\]=(.*)', path.read_text("utf-8")
        ).groups()
        assert name == path.name
        found[name] = json.loads(text)
    return found


def test_the_page_keeps_the_first_frame_and_the_address_of_the_others(book):
    book.write(a=[markdown("# One"), code("explore(a)", {"text/html": FIGURE})])
    assert book.passes()
    page = book.page("a")
    assert 'aria-label="first"' in page
    assert "<template>" not in page
    (name,) = scripts(book)
    assert f'<figure data-src="_static/frames/{name}" id="fig-a"' in page
    assert scripts(book)[name] == ["<svg>second −</svg>", "<svg>third</svg>"]


def test_another_drawing_has_another_script_and_equal_ones_share_theirs(book):
    figures = [FIGURE, FIGURE.replace("fig-a", "fig-b"), FIGURE.replace("third", "3")]
    book.write(a=[markdown("# One"), *(code(f"explore({f!r})", {"text/html": f}) for f in figures)])
    assert book.passes()
    assert sorted(frames[1] for frames in scripts(book).values()) == [
        "<svg>3</svg>",
        "<svg>third</svg>",
    ]


def test_a_still_figure_stays_as_it_is(book):
    still = '<figure id="fig-s" class="own"><svg role="img" aria-label="still"></svg></figure>'
    book.write(a=[markdown("# One"), code("show(a)", {"text/html": still})])
    assert book.passes()
    assert still in book.page("a")
    assert scripts(book) == {}


def test_too_many_frames_are_still_seen_by_the_checks(book):
    many = FIGURE.replace("<template><svg>third", "<template></template>" * 60 + "<template>")
    book.write(a=[markdown("# One"), code("explore(a)", {"text/html": many})])
    assert book.fails("at most 60 are allowed")
