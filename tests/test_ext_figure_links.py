"""Figures are counted by chapter, and named ones can be linked."""

import pytest
from small_book import SmallBook, code, markdown


@pytest.fixture
def book(tmp_path):
    return SmallBook(tmp_path, "figure_links", "page_checks")


def figure(name="", caption=""):
    ident = f' id="{name}"' if name else ""
    text = f"<figcaption>{caption}</figcaption>" if caption else ""
    drawing = '<svg role="img" aria-label="A line."></svg>'
    return {"text/html": f'<figure{ident} class="own">{drawing}{text}</figure>'}


def test_figures_of_a_chapter_are_numbered_in_order_and_link_to_themselves(book):
    cells = [code("show(1)", figure("fig-a", "The bowl.")), code("show(2)", figure())]
    cells.append(code("show(3)", figure("fig-c")))
    book.write(**{"04_rates": [markdown("# Rates"), *cells]})
    assert book.passes()
    page = book.page("04_rates")
    first = '<span class="figure-number"><a href="#fig-a">Figure 4.1</a></span> The bowl.'
    assert f"<figcaption>{first}</figcaption>" in page
    assert '<figcaption><span class="figure-number">Figure 4.2</span></figcaption>' in page
    assert '<a href="#fig-c">Figure 4.3</a>' in page


def test_the_second_page_of_a_chapter_has_numbers_of_its_own(book):
    book.write(**{"04b_more": [markdown("# More"), code("show(1)", figure("fig-a", "The bowl."))]})
    assert book.passes()
    assert '<a href="#fig-a">Figure 4b.1</a>' in book.page("04b_more")
    assert '<h1><span class="chapter-number">4b</span>More' in book.page("04b_more")


def test_a_page_that_is_no_chapter_has_no_numbers(book):
    book.write(start=[markdown("# Start"), code("show(1)", figure("fig-a", "The bowl."))])
    assert book.passes()
    assert "<figcaption>The bowl.</figcaption>" in book.page("start")


def test_a_link_to_a_figure_says_its_caption(book):
    cells = [markdown("# Rates\n\nSee {ref}`fig-a`."), code("show(1)", figure("fig-a", "The bowl"))]
    book.write(**{"04_rates": cells})
    assert book.passes()
    assert 'href="#fig-a"><span class="std std-ref">The bowl</span></a>' in book.page("04_rates")


def test_two_figures_of_one_name_fail(book):
    cells = [code(f"show({i})", figure("fig-a", "The bowl")) for i in range(2)]
    book.write(**{"04_rates": [markdown("# Rates"), *cells]})
    assert book.fails("is called 'fig-a' already")


def test_a_chapter_shows_its_number_and_keeps_its_title(book):
    book.write(**{"04_rates": [markdown("# Rates")], "b": "# Start\n\n{doc}`04_rates`\n"})
    assert book.passes()
    assert '<h1><span class="chapter-number">4</span>Rates' in book.page("04_rates")
    assert "<title>Rates" in book.page("04_rates")
    assert '<span class="doc">Rates</span>' in book.page("b")
