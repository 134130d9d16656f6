"""Every page of the built book, found by crawling, served as a web server would, in a browser.

The book is in `_build/html` (`make book`), or where the variable BOOK_HTML says. The weights of
the pages are printed at the end, and written into `page_weights.json` beside the book.
"""

import json
import os
import sys
import threading
import time
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import page_rules as rules
import pytest
import yaml
from built_book import Book, frame_kilobytes, sent_kilobytes

ROOT = Path(__file__).resolve().parents[2]
sys.path.append(str(ROOT / "tools"))
import serve

FOLDER = Path(os.environ.get("BOOK_HTML", ROOT / "_build/html")).resolve()
BOOK = Book(FOLDER)
PAGES = BOOK.crawl() if BOOK.file("index").is_file() else []
RULES = (
    "other hosts",
    "console",
    "axe",
    "width",
    "alt text",
    "links",
    "weight",
    "search",
    "notebook",
    "launch buttons",
    "live figures",
    "still figures",
)


def settings(name):
    """Read a settings file of the book."""
    return yaml.safe_load((FOLDER.parents[1] / name).read_text(encoding="utf-8"))


@contextmanager
def served(folder):
    with serve.server(folder) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()


def visit(open_page, address, book, name, word, *, configured=False):
    """Visit a page as different readers do; return what is wrong, by rule, and some numbers."""
    start = time.perf_counter()
    found = {rule: [] for rule in RULES}

    page = open_page(f"{address}{name}.html", width=rules.PHONE)
    page.evaluate("document.fonts.ready")
    found["alt text"] += page.evaluate(rules.NAMELESS)
    page.evaluate(rules.UNFOLD)
    found["live figures"] += rules.moves(page)
    times = rules.frame_times(page)
    found["live figures"] += rules.slow(times)
    found["width"] += page.evaluate(rules.WIDE)
    page.emulate_media(media="print")
    found["still figures"] += rules.still(page, "in print")
    page.emulate_media(media="screen")
    found["axe"] += rules.accessible(page)
    loaded = {url for url in page.asked if url.startswith(address)}
    if book.is_chapter(name):
        found["notebook"] += rules.notebook(page)
    found["search"] += rules.search(page, *word)
    found["other hosts"] += rules.other_hosts(page, address)
    found["console"] += page.complaints

    scriptless = open_page(f"{address}{name}.html", script=False)
    found["still figures"] += rules.still(scriptless, "without script")

    heavy = sum(map(sent_kilobytes, loaded))
    light = heavy - frame_kilobytes(book.file(name))
    found["weight"] += rules.heavy(light, heavy)
    html = book.file(name).read_text(encoding="utf-8")
    found["launch buttons"] += rules.launch_buttons(html, configured and book.is_chapter(name))
    found["links"] += book.links(name)
    seconds = time.perf_counter() - start
    slowest = max(times.values(), default=0.0)
    return found, Numbers(light, heavy, len(loaded), len(times), slowest, seconds)


class Numbers(NamedTuple):
    """A row of the table; kB are as sent (gzip), with all that the page loads."""

    kB_without_frames: float
    kB_with_frames: float
    requests: int
    live_figures: int
    ms_a_frame: float
    s_to_test: float


class Table:
    """Collects the numbers of the pages, and shows them at the end of the run."""

    def __init__(self):
        self.rows = {}

    def pytest_terminal_summary(self, terminalreporter):
        if not self.rows:
            return
        width = max(map(len, self.rows))
        write = terminalreporter.write_line
        terminalreporter.section("pages")
        write(" " * width + "".join(f"{f.replace('_', ' '):>20s}" for f in Numbers._fields))
        for name, row in self.rows.items():
            write(f"{name:{width}s}" + "".join(f"{number:20.0f}" for number in row))

    def write(self, path):
        rounded = {
            name: {field: round(number, 1) for field, number in row._asdict().items()}
            for name, row in self.rows.items()
        }
        path.write_text(json.dumps(rounded, indent=1) + "\n", encoding="utf-8")


@pytest.fixture(scope="module")
def table(request):
    table = Table()
    request.config.pluginmanager.register(table)
    yield table
    if table.rows:
        table.write(FOLDER.parent / "page_weights.json")


@pytest.fixture(scope="module")
def address(opening):
    with served(FOLDER) as address:
        yield address


@pytest.fixture(scope="module", params=PAGES)
def problems(request, opening, address, table):
    name = request.param
    configured = bool(settings("_config.yml").get("repository", {}).get("url"))
    word = BOOK.telling_word(name, PAGES)
    with opening() as open_page:
        found, table.rows[name] = visit(open_page, address, BOOK, name, word, configured=configured)
    return found


def test_there_is_a_book():
    assert PAGES, f"There is no book in {FOLDER}: make book"


@pytest.mark.parametrize("rule", RULES)
def test_page(problems, rule):
    assert problems[rule] == []


@pytest.mark.skipif(not PAGES, reason="no book")
def test_every_page_of_the_contents_is_found():
    contents = settings("_toc.yml")
    parts = [*contents.get("parts", []), contents]
    files = [chapter["file"] for part in parts for chapter in part.get("chapters", [])]
    assert [file for file in files if file not in PAGES] == []


@pytest.mark.skipif(not PAGES, reason="no book")
def test_the_menu_of_a_small_screen(open_page, address):
    page = open_page(f"{address}index.html", width=390)
    page.locator(".primary-toggle").click()
    links = page.get_by_role("navigation", name="Main").get_by_role("link")
    links.last.wait_for()
    assert links.count() >= 3
    assert page.evaluate(rules.WIDE) == []
    assert rules.violations(page) == []


@pytest.mark.skipif(not PAGES, reason="no book")
@pytest.mark.parametrize("theme", ["light", "dark"])
def test_what_the_search_lists(open_page, address, theme):
    page = open_page(f"{address}search.html?q=gradient", width=390, dark=theme == "dark")
    page.locator("#search-results li").nth(2).wait_for()
    page.locator("#search-results .search-summary", has_text="found").wait_for()
    assert page.evaluate(rules.WIDE) == []
    assert rules.violations(page) == []
