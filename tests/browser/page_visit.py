"""One visit to a page, which looks at it in every way that the tests ask for."""

import sys
import threading
import time
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import page_rules as rules
import page_scripts as scripts
from built_book import sent_kilobytes

sys.path.append(str(Path(__file__).resolve().parents[2] / "tools"))
import serve

RULES = (
    "other hosts",
    "console",
    "axe",
    "width",
    "lines",
    "alt text",
    "links",
    "weight",
    "elements",
    "search",
    "notebook",
    "launch buttons",
    "live figures",
    "labels",
    "still figures",
)


@contextmanager
def served(folder):
    """Serve a folder on localhost, and give its address."""
    with serve.server(folder) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()


def knows(page, url, condition):
    """Open a page and say whether a condition holds there that hangs on what was stored before.

    Chromium may hand what one page stores to the next a moment late, on a loaded machine every
    twentieth time: then the page is opened again.
    """
    for _ in range(10):
        page.goto(url)
        if page.evaluate(condition):
            return True
    return False


class Numbers(NamedTuple):
    """A row of the table; kB are as sent (gzip), with all that the page loads.

    The milliseconds and seconds are shown and fail nothing: the next machine may be half as fast.
    """

    kB_without_frames: float
    kB_with_frames: float
    elements: int
    requests: int
    live_figures: int
    ms_a_frame: float
    s_to_test: float


def visit(open_page, address, book, name, word, *, configured=False):
    """Visit a page as different readers do; return what is wrong, by rule, and some numbers."""
    start = time.perf_counter()
    found = {rule: [] for rule in RULES}

    page = open_page(f"{address}{name}.html", width=rules.PHONE)
    page.evaluate("document.fonts.ready")
    elements = page.evaluate("document.querySelectorAll('*').length")
    found["elements"] += rules.large(elements, name)
    found["alt text"] += page.evaluate(scripts.NAMELESS) + book.nameless_frames(name)
    page.evaluate(scripts.UNFOLD)
    page.evaluate(scripts.LOAD_FRAMES)
    found["labels"] += page.evaluate(scripts.SMALL_LABELS)
    found["live figures"] += rules.moves(page)
    found["live figures"] += rules.drags(page)
    times = rules.frame_times(page)
    found["width"] += page.evaluate(scripts.WIDE)
    found["lines"] += page.evaluate(scripts.TORN)
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

    if times:
        scriptless = open_page(f"{address}{name}.html", script=False)
        found["still figures"] += rules.still(scriptless, "without script")

    heavy = sum(map(sent_kilobytes, loaded))
    light = heavy - sum(sent_kilobytes(url) for url in loaded if "/_static/frames/" in url)
    found["weight"] += rules.heavy(light, heavy)
    html = book.file(name).read_text(encoding="utf-8")
    found["launch buttons"] += rules.launch_buttons(html, configured and book.is_chapter(name))
    found["links"] += book.links(name)
    seconds = time.perf_counter() - start
    slowest = max(times.values(), default=0.0)
    return found, Numbers(light, heavy, elements, len(loaded), len(times), slowest, seconds)
