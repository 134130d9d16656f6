"""What a printer gets: all formulas, no dead controls, nothing clipped; and the book as one PDF."""

import io
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from page_visit import served
from pypdf import PdfReader

sys.path.append(str(Path(__file__).resolve().parents[2] / "tools"))
import pdf

ROOT = pdf.ROOT
FOLDER = Path(os.environ.get("BOOK_HTML", ROOT / "_build/html")).resolve()
CHAPTER = "chapters/principles/01_spectrum"
SHEET = "chapters/back/cheat_sheet"
FONT_IS_THERE = """() => document.fonts.check("1em Formulas", "x")"""
SUMS = """() => [...document.querySelectorAll("article mo")].filter(
    (e) => e.textContent === "∑" && e.checkVisibility()).length"""
SEEN = """(selector) => [...document.querySelectorAll(selector)].filter(
    (e) => e.checkVisibility({visibilityProperty: true})).length"""
SMALLEST = """(selector) => Math.min(...[...document.querySelectorAll(selector)].map(
    (e) => parseFloat(getComputedStyle(e).fontSize)))"""
# Formulas, tables and code that are wider than the page as it is laid out for printing.
WIDE = """() => [...document.querySelectorAll("article :is(.equation, table, pre, figure)")].filter(
    (e) => e.checkVisibility() && e.getBoundingClientRect().left + e.scrollWidth > innerWidth + 1
).map((e) => e.outerHTML.slice(0, 100))"""
WIDEN = """() => {
    const wide = document.createElementNS("http://www.w3.org/1998/Math/MathML", "mspace");
    wide.setAttribute("width", "60em");
    document.querySelector("article .equation math").append(wide);
}"""
COLUMN = 665  # CSS pixels: A4 less its margins

STYLE = (ROOT / "_static/print.css").read_text(encoding="utf-8")
PAGE = f'<!doctype html><meta charset="utf-8"><style>{STYLE}</style><article>%s</article>'
PAGES = {
    "index": '<h1 id="top">A Book</h1><p><a href="b/c.html#far">far</a>'
    + ' <a href="extra.html">no</a>',
    "a": '<section id="one"><h1>One</h1><h2 id="same">Part of one</h2></section>'
    + '<p style="break-before: page">next sheet <a href="#same">back</a>',
    "b/c": '<h1 id="two">Two</h1><h2 id="same">Part of two</h2><a href="#same">here</a>'
    + '<p style="break-before: page" id="far">far away <a href="../index.html">first</a>',
}
TOC = {
    "root": "index",
    "parts": [
        {
            "caption": "All",
            "chapters": [{"file": "a", "title": "1 · One", "sections": [{"file": "b/c"}]}],
        }
    ],
}
SETTINGS = {"title": "A Book", "author": "Someone"}


WITH_A_BOOK = pytest.mark.skipif(not FOLDER.is_dir(), reason="there is no book")


@pytest.fixture(scope="module")
def address():
    with served(FOLDER) as address:
        yield address


@WITH_A_BOOK
def test_a_page_that_was_never_scrolled_prints_its_sums(open_page, address):
    page = open_page(f"{address}{CHAPTER}.html")
    page.wait_for_function(FONT_IS_THERE)
    there = page.evaluate(SUMS)
    printed = PdfReader(io.BytesIO(page.pdf(prefer_css_page_size=True)))
    assert there > 2
    assert sum(sheet.extract_text().count("∑") for sheet in printed.pages) == there


@WITH_A_BOOK
def test_what_only_opens_something_is_not_printed_and_solutions_stay_folded(open_page, address):
    page = open_page(f"{address}{CHAPTER}.html", width=COLUMN)
    folded = page.evaluate(SEEN, ".solution.toggle-hidden")
    controls = ".toggle-button, .copybtn, details.above-input, .headerlink, .explore-controls"
    assert folded
    assert page.evaluate(SEEN, controls)
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    page.emulate_media(media="print")
    assert page.evaluate(SEEN, controls) == 0
    assert page.evaluate(SEEN, ".solution .solution-content, .solution section p") == 0
    assert page.evaluate(WIDE) == []


@WITH_A_BOOK
def test_a_formula_wider_than_the_column_is_printed_smaller(open_page, address):
    page = open_page(f"{address}{CHAPTER}.html", width=COLUMN)
    page.evaluate(WIDEN)
    page.emulate_media(media="print")
    assert len(page.evaluate(WIDE)) == 1
    page.emulate_media(media="screen")
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    page.emulate_media(media="print")
    assert page.evaluate(WIDE) == []
    page.evaluate("dispatchEvent(new Event('afterprint'))")
    assert len(page.evaluate(WIDE)) == 1


@WITH_A_BOOK
def test_the_cheat_sheet_has_room_on_two_sides_of_a_sheet(open_page, address):
    page = open_page(f"{address}{SHEET}.html")
    page.wait_for_function("document.fonts.status === 'loaded'")
    rows = page.locator("table.cheat-sheet tbody tr").count()
    assert rows > 40
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    printed = PdfReader(io.BytesIO(page.pdf(format="A4", prefer_css_page_size=True)))
    texts = [sheet.extract_text() for sheet in printed.pages]
    assert len(texts) == 2
    assert "Cheat sheet" in texts[0]
    page.emulate_media(media="print")
    assert page.evaluate(SEEN, "table.cheat-sheet tbody tr") == rows
    assert page.evaluate(SMALLEST, "table.cheat-sheet td p") >= 9  # CSS pixels: 6.75 points


@pytest.fixture(scope="module")
def printed(tmp_path_factory, browser):
    folder = tmp_path_factory.mktemp("pages")
    for name, text in PAGES.items():
        file = folder / f"{name}.html"
        file.parent.mkdir(exist_ok=True)
        file.write_text(PAGE.replace("%s", text))
    (folder / "extra.html").write_text("not in the contents")
    # Playwright runs once a process: the tool prints in one of its own
    code = "import sys; sys.path.insert(0, sys.argv[1]); from pathlib import Path\n"
    code += "import pdf, run_tests\nfolder = Path(sys.argv[2])\n"
    code += (
        f"for site in ('', 'https://b.example/'):\n    out = pdf.print_book(folder, {SETTINGS!r}"
    )
    code += f", {TOC!r}, run_tests.browser(), site)\n    out.write(folder / f'{{bool(site)}}.pdf')"
    command = [sys.executable, "-c", code, str(ROOT / "tools"), str(folder)]
    subprocess.run(command, check=True)
    return {site: PdfReader(folder / f"{site}.pdf") for site in (False, True)}


def titles(reader, items):
    """Return bookmarks as (title, number of the sheet), those below another in a list."""
    return [
        titles(reader, item)
        if isinstance(item, list)
        else (item.title, reader.get_destination_page_number(item) + 1)
        for item in items
    ]


def links(reader, sheet):
    """Return where the links of a sheet lead: to a sheet, or to an address."""
    notes = [note.get_object() for note in reader.pages[sheet - 1].get("/Annots", [])]
    return [
        note["/A"]["/URI"]
        if "/A" in note
        else reader.get_page_number(note["/Dest"][0].get_object()) + 1
        for note in notes
    ]


def test_bookmarks_follow_the_contents_and_the_headings(printed):
    reader = printed[False]
    first, second = [("Part of one", 2)], [("Part of two", 4)]
    parts = [("1 · One", 2), first, ("Two", 4), second]
    assert titles(reader, reader.outline) == [("A Book", 1), ("All", 2), parts]
    assert (reader.metadata.title, reader.metadata.author) == ("A Book", "Someone")
    assert reader.page_mode == "/UseOutlines"


def test_sheets_are_numbered_through(printed):
    texts = [sheet.extract_text() for sheet in printed[False].pages]
    assert [re.findall(r"\d+", text) for text in texts] == [["1"], ["2"], ["3"], ["4"], ["5"]]


def test_links_lead_to_their_place_in_the_pdf(printed):
    found = [links(printed[False], sheet) for sheet in range(1, 6)]
    assert found == [[5], [], [2], [4], [1]]


def test_what_is_not_printed_is_linked_where_it_is_published(printed):
    assert links(printed[True], 1) == [5, "https://b.example/extra.html"]


@WITH_A_BOOK
def test_without_a_browser_it_says_so(monkeypatch, capsys):
    monkeypatch.setattr(pdf, "browser", lambda: None)
    monkeypatch.setattr(pdf, "ROOT", FOLDER.parents[1])
    monkeypatch.setattr(sys, "argv", ["pdf.py"])
    with pytest.raises(SystemExit, match=r"No browser to print with .* install Chromium"):
        pdf.main()


def test_without_a_book_it_says_so(monkeypatch, tmp_path):
    monkeypatch.setattr(pdf, "ROOT", tmp_path)
    monkeypatch.setattr(sys, "argv", ["pdf.py"])
    with pytest.raises(SystemExit, match=r"There is no book in .*: make book"):
        pdf.main()
