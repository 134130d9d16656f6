"""A browser for the tests in this folder: the one that is installed.

`browser` is a running Chromium for the whole session; `open_page(url, ...)` opens a page in a
context of its own, closed after the test, and keeps what the page complained about and asked for.
Longer than a test: `with opening() as open_page`.
Without a browser the tests are skipped and say so; where `CI=true` they fail.

What the visits measured comes here with the tests' reports, from one process or from several, and
is shown as a table at the end.
"""

import json
import os
import re
import shutil
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pytest
from page_rules import WAIT

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


def find_browser():
    """Return the path of a Chromium or Chrome, or None; the variable CHROMIUM comes first."""
    named = os.environ.get("CHROMIUM")
    return shutil.which(named) if named else next(filter(None, map(shutil.which, NAMES)), None)


@pytest.fixture(scope="session")
def browser():
    path = find_browser()
    if path is None:
        message = f"no browser found: {', '.join(NAMES)}, or the variable CHROMIUM"
        if os.environ.get("CI") == "true":
            pytest.fail(message)
        pytest.skip(message)
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=path, args=FLAGS)
        yield running
        running.close()


@contextmanager
def opener(browser):
    """Give a function that opens a page and returns it.

    The page has two more attributes: `complaints` (errors and warnings of its console, failed
    scripts) and `asked` (the addresses it requested).
    """
    contexts = []

    def open_page(url, *, width=1280, height=900, dark=False, calm=False, script=True, touch=False):
        context = browser.new_context(
            viewport={"width": width, "height": height},
            color_scheme="dark" if dark else "light",
            reduced_motion="reduce" if calm else "no-preference",
            java_script_enabled=script,
            has_touch=touch,
            is_mobile=touch,
        )
        context.set_default_timeout(WAIT)
        contexts.append(context)
        page = context.new_page()
        page.complaints, page.asked = [], []
        page.on("pageerror", lambda error: page.complaints.append(str(error)))
        page.on(
            "console",
            lambda message: (
                page.complaints.append(message.text)
                if message.type in ("error", "warning")
                else None
            ),
        )
        page.on("request", lambda request: page.asked.append(request.url))
        page.goto(url.as_uri() if isinstance(url, Path) else url)
        return page

    try:
        yield open_page
    finally:
        for context in contexts:
            context.close()


@pytest.fixture(scope="session")
def opening(browser):
    return partial(opener, browser)


@pytest.fixture
def open_page(opening):
    with opening() as open_page:
        yield open_page


def pytest_terminal_summary(terminalreporter):
    """Show the numbers of the pages, and write them beside the book that was visited."""
    rows, folder = {}, None
    for reports in terminalreporter.stats.values():
        for report in reports:
            for key, value in getattr(report, "user_properties", []):
                if key == "page":
                    name, folder, rows[name] = value
    if not rows:
        return
    width = max(map(len, rows))
    heads = [f"  {field.replace('_', ' ')}" for field in next(iter(rows.values()))]
    terminalreporter.section("pages")
    terminalreporter.write_line(" " * width + "".join(heads))
    for name, row in rows.items():
        numbers = zip(row.values(), heads, strict=True)
        cells = "".join(f"{number:{len(head)}.0f}" for number, head in numbers)
        terminalreporter.write_line(f"{name:{width}s}{cells}")
    rounded = {
        name: {field: round(number, 1) for field, number in row.items()}
        for name, row in sorted(rows.items())
    }
    weights = Path(folder, "page_weights.json")
    weights.write_text(json.dumps(rounded, indent=1) + "\n", encoding="utf-8")


def pytest_xdist_make_scheduler(config, log):
    """Keep together what shares a visit: the tests of one page, else those of one file."""
    from xdist.scheduler import LoadScopeScheduling

    class ByPage(LoadScopeScheduling):
        def _split_scope(self, nodeid):
            file, _, test = nodeid.partition("::")
            page = re.fullmatch(r"test_page\[(.+)-[^-]+\]", test)
            return f"{file}::{page[1]}" if page else file

    return ByPage(config, log)
