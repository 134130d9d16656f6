"""Print the built book as one PDF, in reading order, with bookmarks.

An installed Chromium prints each page; pypdf puts them together. Bookmarks follow the table of
contents, and below that the headings. Links inside the book lead to their place in the PDF. The
pages are those that a reader would print (``_static/print.css``): live figures show their first
frame, and what is folded in the page stays folded.
"""

import argparse
import io
import os
import sys
from pathlib import Path
from urllib.parse import unquote, urldefrag

import yaml
from playwright.sync_api import sync_playwright
from pypdf import PdfReader, PdfWriter
from pypdf.generic import ArrayObject, FloatObject, NameObject, NullObject, TextStringObject
from run_tests import BROWSERS, ROOT, browser

FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-sync"]
WAIT = 300_000  # ms; what has not come by then hangs
# Sheets are numbered through the whole book. One style sheet for all pages, read when printing.
SHEETS = """@page {{ size: A4; @bottom-center {{ content: counter(page); font-size: 9pt; }} }}
html {{ counter-set: page {before}; }}"""

# Chromium gives a place in the PDF to what is linked to from the same page. So for once everything
# that has a name is, from an invisible corner.
NAME_ALL = """() => {
    const corner = document.createElement("div");
    corner.style.cssText = "position: absolute; top: 0; left: 0; font-size: 1px; opacity: 0";
    for (const {id} of document.querySelectorAll("article [id]:not(svg *, template *, math *)")) {
        const link = document.createElement("a");
        link.href = "#" + encodeURIComponent(id);
        link.textContent = ".";
        corner.append(link);
    }
    document.body.append(corner);
    const text = (heading) => {
        const copy = heading.cloneNode(true);
        for (const e of copy.querySelectorAll(".headerlink")) e.remove();
        return copy.textContent.trim().replace(/\\s+/g, " ");
    };
    const depth = (heading) => Number(heading.tagName[1]) - 1;
    return [...document.querySelectorAll("article :is(h1, h2, h3)")].map((heading) =>
        [depth(heading), text(heading), heading.closest("[id]")?.id ?? ""]);
}"""

# What was never on the screen has not asked for its fonts, and printing does not wait for them.
FONTS = "() => Promise.all([...document.fonts].map((font) => font.load()))"


def contents(toc):
    """Yield the entries of a table of contents: (depth, title or None, page or None).

    >>> chapters = [{"file": "a", "title": "A", "sections": [{"file": "c"}]}, {"file": "b"}]
    >>> list(contents({"root": "index", "parts": [{"caption": "One", "chapters": chapters}]}))
    [(0, None, 'index'), (0, 'One', None), (1, 'A', 'a'), (1, None, 'c'), (1, None, 'b')]
    """
    yield 0, None, toc["root"]
    for part in toc.get("parts", [toc]):
        if caption := part.get("caption"):
            yield 0, caption, None
        for chapter in part.get("chapters", []):
            for page in (chapter, *chapter.get("sections", [])):
                yield int(bool(caption)), page.get("title"), page["file"]


class Printed:
    """The PDF while it grows by pages of the book."""

    def __init__(self):
        self.writer = PdfWriter()
        self.places = {}  # address in the book: (sheet, height on it)
        self.owners = []  # of each sheet: the address of the page that is printed on it
        self.above = []  # the bookmarks that the next one may stand below, outermost first

    def __len__(self):
        return len(self.owners)

    def add(self, address, data):
        """Add the sheets of a page, and remember where on them everything is."""
        reader, before = PdfReader(io.BytesIO(data)), len(self)
        self.places[address] = before, float(reader.pages[0].mediabox.top)
        for name, found in reader.named_destinations.items():
            sheet = before + reader.get_destination_page_number(found)
            self.places[f"{address}#{name.removeprefix('/')}"] = sheet, float(found.top or 0)
        for page in reader.pages:
            self.writer.add_page(page)
            self.owners.append(address)

    def bookmark(self, depth, title, address):
        """Add a bookmark that leads to an address of the book, below the last one less deep."""
        sheet, height = self.places[address]
        del self.above[depth:]
        parent = self.above[-1] if self.above else None
        added = self.writer.add_outline_item(
            title=title, page_number=sheet, parent=parent, is_open=depth < 1
        )
        added.get_object()[NameObject("/Dest")] = self.destination(sheet, height)
        self.above.append(added)

    def destination(self, sheet, height):
        """Return a place as PDF writes it."""
        reference = self.writer.pages[sheet].indirect_reference
        place = [reference, NameObject("/XYZ"), NullObject(), FloatObject(height), NullObject()]
        return ArrayObject(place)

    def lead_links(self, book, site=""):
        """Lead links inside the book to their place here, and the others to the published book.

        Without an address `site` of that, links to what is not printed are removed.
        """
        for owner, page in zip(self.owners, self.writer.pages, strict=True):
            kept = ArrayObject()
            for reference in page.get("/Annots") or ():
                link = reference.get_object()
                action = link.get("/A", {})
                name = link.get("/Dest", action.get("/D"))
                leads = f"{owner}#{name[1:]}" if isinstance(name, str) else action.get("/URI", "")
                leads = unquote(leads)
                place = self.places.get(leads) or self.places.get(urldefrag(leads)[0])
                if place:
                    link.pop("/A", None)
                    link[NameObject("/Dest")] = self.destination(*place)
                elif leads.startswith(book):
                    if not site:
                        continue
                    action[NameObject("/URI")] = TextStringObject(site + leads.removeprefix(book))
                kept.append(reference)
            if kept or "/Annots" in page:
                page[NameObject("/Annots")] = kept


def print_book(folder, settings, toc, executable, site=""):
    """Print the built pages of a book; return the PDF. `site` is where the book is published."""
    printed, waiting = Printed(), []
    book = folder.resolve().as_uri() + "/"
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=executable, args=FLAGS)
        for depth, title, name in contents(toc):
            if name is None:  # a part begins where its first page does
                waiting.append((depth, title))
                continue
            address = f"{book}{name}.html"
            page = chromium.new_page()
            page.set_default_timeout(WAIT)
            page.goto(address)
            page.add_style_tag(content=SHEETS.format(before=len(printed)))
            page.evaluate(FONTS)
            headings = page.evaluate(NAME_ALL)
            data = page.pdf(prefer_css_page_size=True, print_background=True)
            page.close()
            printed.add(unquote(address), data)
            for above in waiting:
                printed.bookmark(*above, unquote(address))
            waiting = []
            for below, text, ident in headings:
                text = title if title and below == 0 else text
                place = f"{unquote(address)}#{ident}"
                if place in printed.places:
                    printed.bookmark(depth + below, text, place)
            print(f"{len(printed):5d} sheets  {title or name}", flush=True)
        chromium.close()
    printed.lead_links(unquote(book), site)
    printed.writer.add_metadata({"/Title": settings["title"], "/Author": settings["author"]})
    printed.writer.page_mode = "/UseOutlines"
    printed.writer.root_object[NameObject("/Lang")] = TextStringObject("en")
    printed.writer.compress_identical_objects()
    return printed.writer


def main():
    """Print the book."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=ROOT / "_build/book.pdf")
    out = parser.parse_args().out
    folder = ROOT / "_build/html"
    if not (folder / "index.html").exists():
        sys.exit(f"There is no book in {folder} yet: make book")
    executable = browser()
    if executable is None:
        names = ", ".join(BROWSERS)
        sys.exit(f"No browser to print with ({names}, or the variable CHROMIUM): install Chromium.")
    settings, toc = (
        yaml.safe_load((ROOT / name).read_text(encoding="utf-8"))
        for name in ("_config.yml", "_toc.yml")
    )
    site = os.environ.get("BOOK_ADDRESS") or settings["html"].get("baseurl") or ""
    pdf = print_book(folder, settings, toc, executable, site and site.rstrip("/") + "/")
    pdf.write(out)
    print(f"The book is in {out}: {len(pdf.pages)} sheets, {out.stat().st_size / 1e6:.1f} MB.")


if __name__ == "__main__":
    main()
