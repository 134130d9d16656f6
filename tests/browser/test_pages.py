"""Every page of the built book, found by crawling, served as a web server would, in a browser.

The book is in `_build/html` (`make book`), or where the variable BOOK_HTML says. The tests of one
page share a visit; with `-n 2` two pages are visited at once: see conftest.py. The weights of
the pages are printed at the end, and written into `page_weights.json` beside the book.
"""

import os
from pathlib import Path

import page_rules as rules
import page_scripts as scripts
import pytest
import yaml
from built_book import Book
from page_visit import RULES, served, visit

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
    configured = bool(settings("_config.yml").get("repository", {}).get("url"))
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
    files = [chapter["file"] for part in parts for chapter in part.get("chapters", [])]
    assert [file for file in files if file not in PAGES] == []


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
