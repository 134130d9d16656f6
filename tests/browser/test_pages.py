"""Every page of the built book, found by crawling, served as a web server would, in a browser.

The book is in `_build/html` (`make book`), or where the variable BOOK_HTML says. The tests of one
page share a visit; with `-n 2` two pages are visited at once: see conftest.py. The weights of
the pages are printed at the end, and written into `page_weights.json` beside the book.
"""

import json
import os
from pathlib import Path

import numpy as np
import page_rules as rules
import page_scripts as scripts
import pytest
import yaml
from built_book import Book
from page_visit import RULES, knows, served, visit

from sgdlib import LeastSquares, minibatch_sgd

ROOT = Path(__file__).resolve().parents[2]
FOLDER = Path(os.environ.get("BOOK_HTML", ROOT / "_build/html")).resolve()
BOOK = Book(FOLDER)
PAGES = BOOK.crawl() if BOOK.file("index").is_file() else []
THEMES = pytest.mark.parametrize("theme", ["light", "dark"])
WITH_A_BOOK = pytest.mark.skipif(not PAGES, reason="there is no book")


def settings(name):
    """Read a settings file of the book."""
    return yaml.safe_load((FOLDER.parents[1] / name).read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def address(opening):
    with served(FOLDER) as address:
        yield address


@pytest.fixture(scope="module", params=PAGES)
def problems(request, opening, address):
    name = request.param
    repository = settings("_config.yml").get("repository", {}).get("url")
    configured = bool(os.environ.get("BOOK_REPOSITORY") or repository)
    word = BOOK.telling_word(name, PAGES)
    with opening() as open_page:
        found, numbers = visit(open_page, address, BOOK, name, word, configured=configured)
    return name, numbers, found


def test_there_is_a_book():
    assert PAGES, f"There is no book in {FOLDER}: make book"


@pytest.mark.parametrize("rule", RULES)
def test_page(problems, rule, record_property):
    name, numbers, found = problems
    if rule == "weight":  # the numbers travel with one test's report: see conftest.py
        record_property("page", (name, str(FOLDER.parent), numbers._asdict()))
    assert not found[rule], "\n".join(found[rule])


@WITH_A_BOOK
def test_every_page_of_the_contents_is_found():
    contents = settings("_toc.yml")
    parts = [*contents.get("parts", []), contents]
    chapters = [chapter for part in parts for chapter in part.get("chapters", [])]
    files = [page["file"] for first in chapters for page in (first, *first.get("sections", []))]
    assert [file for file in files if file not in PAGES] == []


def race_data(page):
    return json.loads(page.locator("#fig-landing script").text_content())


@WITH_A_BOOK
def test_the_race_on_the_first_page_runs_as_the_library_does(open_page, address):
    page = open_page(f"{address}index.html", calm=True)
    page.wait_for_function("document.querySelector('#fig-landing').dataset.done")
    data = race_data(page)
    bowl = LeastSquares(np.array(data["X"]), np.array(data["y"]))
    options = {"lr": data["rate"], "steps": data["steps"], "sampling": "sequential"}
    trace = minibatch_sgd(bowl, data["start"], batch_size=bowl.n, **options)
    excess = bowl.loss(trace.theta) - bowl.loss(bowl.minimizer())
    cells = page.locator(".race-table .race-full td").all_text_contents()
    assert cells[:2] == ["90", f"{90 * bowl.n:,}"]
    assert float(cells[2]) == pytest.approx(max(excess, 1e-7), rel=0.05)
    few = page.locator(".race-table .race-few td").all_text_contents()
    assert few[:2] == ["90", "360"]
    page.locator(".race-clock").select_option("examples")
    few = page.locator(".race-table .race-few td").all_text_contents()
    assert few[:2] == [f"{90 * bowl.n // 4:,}".replace(",", ""), f"{90 * bowl.n:,}"]


@WITH_A_BOOK
def test_the_race_begins_where_the_reader_drops_it(open_page, address):
    page = open_page(f"{address}index.html", calm=True)
    plane = page.locator(".race-plane")
    assert "(−2.2, 2.2)" in plane.get_attribute("aria-label")
    plane.focus()
    page.keyboard.press("ArrowRight")
    assert "(−2.0, 2.2)" in plane.get_attribute("aria-label")
    box = plane.bounding_box()
    page.mouse.click(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    assert "(0.0, 0.0)" in plane.get_attribute("aria-label").replace("−0.0", "0.0")
    said = page.locator(".race-said").text_content()
    assert said.startswith("At the end: all 256:")
    page.locator(".race-size").select_option("64")
    assert "64 at a time" in page.locator(".race-said").text_content()


@WITH_A_BOOK
def test_the_race_is_a_still_figure_without_script(open_page, address):
    page = open_page(f"{address}index.html", script=False)
    assert page.locator("#fig-landing svg[role=img]").is_visible()
    assert page.locator(".race-box").count() == 0


@WITH_A_BOOK
def test_the_menu_of_a_small_screen(open_page, address):
    page = open_page(f"{address}index.html", width=390)
    page.locator(".primary-toggle").click()
    links = page.get_by_role("navigation", name="Main").get_by_role("link")
    links.last.wait_for()
    assert links.count() >= 3
    assert page.evaluate(scripts.WIDE) == []
    assert rules.violations(page) == []


@WITH_A_BOOK
@THEMES
def test_colours_follow_the_system_until_the_reader_chooses(open_page, address, theme):
    page = open_page(f"{address}chapters/start.html", dark=theme == "dark")
    chosen = "document.documentElement.dataset.mode + document.documentElement.dataset.theme"
    other = "light" if theme == "dark" else "dark"
    assert page.evaluate(chosen) == f"auto{theme}"
    button = page.locator(".theme-switch-button:visible")
    button.click()
    assert page.evaluate(chosen) == other + other
    assert knows(page, page.url, f"{chosen} === '{other + other}'")
    button.click()
    assert page.evaluate(chosen) == theme + theme
    button.click()
    assert page.evaluate(chosen) == f"auto{theme}"
    page.emulate_media(color_scheme=other)
    page.wait_for_function(f"document.documentElement.dataset.theme === '{other}'")


@WITH_A_BOOK
def test_the_search_opens_by_keyboard_and_closes(open_page, address):
    page = open_page(f"{address}chapters/start.html")
    dialog = page.locator("#pst-search-dialog")
    page.keyboard.press("Control+k")
    assert dialog.evaluate("d => d.open && d.contains(document.activeElement)")
    page.keyboard.press("Escape")
    assert not dialog.evaluate("d => d.open")
    page.locator(".search-button__button:visible").first.click()
    page.mouse.click(5, 700)  # outside
    assert not dialog.evaluate("d => d.open")


@WITH_A_BOOK
def test_menu_and_sidebar(open_page, address):
    page = open_page(f"{address}chapters/principles/01_spectrum.html")
    button, menu = page.locator(".dropdown-toggle"), page.locator(".dropdown-menu")
    button.click()
    assert menu.is_visible()
    page.mouse.move(5, 700)  # it shows under the mouse too
    page.keyboard.press("Escape")
    assert not menu.is_visible()
    assert button.get_attribute("aria-expanded") == "false"
    bar = page.locator("#pst-primary-sidebar")
    page.locator(".primary-toggle").click()
    bar.wait_for(state="hidden")
    page.locator(".primary-toggle").click()
    bar.wait_for(state="visible")
    assert page.complaints == []


@WITH_A_BOOK
def test_the_way_back_to_the_top(open_page, address):
    page = open_page(f"{address}chapters/principles/01_spectrum.html", width=390)
    page.evaluate("scrollTo({top: 4000, behavior: 'instant'})")
    page.wait_for_function("document.body.classList.contains('scrolled')")
    # upwards, step by step: a figure that comes in above may move the page down in between
    page.wait_for_function(
        "() => { scrollBy({top: -20, behavior: 'instant'});"
        " return document.getElementById('pst-back-to-top').checkVisibility(); }"
    )
    page.locator("#pst-back-to-top").click()
    page.wait_for_function("scrollY === 0")
    assert page.complaints == []


@WITH_A_BOOK
def test_the_contents_of_a_small_screen_close_when_they_have_led_there(open_page, address):
    page = open_page(f"{address}chapters/principles/01_spectrum.html", width=390)
    page.locator(".secondary-toggle").click()
    link = page.locator("#pst-secondary-sidebar-modal a").nth(3)
    place = link.get_attribute("href")
    link.click()
    assert not page.locator("#pst-secondary-sidebar-modal").evaluate("d => d.open")
    assert page.evaluate("decodeURIComponent(location.hash)") == place
    page.locator(".secondary-toggle").click()
    assert page.locator("#pst-secondary-sidebar-modal a").count() > 3


@WITH_A_BOOK
@THEMES
def test_what_the_search_lists(open_page, address, theme):
    page = open_page(f"{address}search.html?q=gradient", width=390, dark=theme == "dark")
    page.locator("#search-results li").nth(2).wait_for()
    page.locator("#search-results .search-summary", has_text="found").wait_for()
    assert page.evaluate(scripts.WIDE) == []
    assert rules.violations(page) == []


@WITH_A_BOOK
@THEMES
def test_links_under_the_mouse_and_what_they_lead_to(open_page, address, theme):
    colours = {"runOnly": rules.COLOUR_RULES}
    page = open_page(f"{address}chapters/start.html", dark=theme == "dark")
    for links in ("nav.bd-links", "nav.page-toc", ".prev-next-footer", ".bd-article"):
        page.locator(f"{links} a:visible").first.hover()
        page.evaluate(scripts.REST)
        assert rules.violations(page, {"include": [[links]]}, colours) == []
    name = next(ident for ident in BOOK.page("chapters/back/api").ids if ident.count(".") > 1)
    page.goto(f"{address}chapters/back/api.html#{name}")
    assert page.locator("dt:target").count() == 1
    assert rules.violations(page, {"include": [["dt:target"]]}, colours) == []
