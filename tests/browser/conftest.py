"""A browser for the tests in this folder: the one that is installed.

`browser` is a running Chromium for the whole session; `open_page(url, ...)` opens a page in a
context of its own, closed after the test, and keeps what the page complained about and asked for.
Longer than a test: `with opening() as open_page`.
Without a browser the tests are skipped and say so; where `CI=true` they fail.
"""

import os
import shutil
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pytest

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

    def open_page(url, *, width=1280, height=900, dark=False, calm=False, script=True):
        context = browser.new_context(
            viewport={"width": width, "height": height},
            color_scheme="dark" if dark else "light",
            reduced_motion="reduce" if calm else "no-preference",
            java_script_enabled=script,
        )
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
