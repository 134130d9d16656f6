"""The built book as files: its pages (found by crawling), their links, words and weights."""

import json
import re
import sys
import urllib.request
from collections import Counter
from functools import cache
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urljoin, urlsplit

sys.path.append(str(Path(__file__).resolve().parents[2] / "_ext"))
from search_sections import stems

FRAMES = re.compile(r"data-src=\"([^\"]+)\"")
LEADS = {"a": "href", "link": "href", "form": "action"}  # what leads a reader to another file
NAMED = ("for", "aria-labelledby", "aria-describedby")  # attributes that hold ids of the same page
PAINT = re.compile(r"url\([\"']?#([^\"')]+)")
WORD = re.compile(r"(?<!\S)[a-z]{5,}(?=[.,;:]?(?:\s|$))")
NO_PROSE = {"svg", "math", "pre", "script", "style"}


class Page(HTMLParser):
    """What is written in a page: where it leads, its ids, and the words of its paragraphs."""

    def __init__(self, text):
        super().__init__()
        self.leads, self.ids, self.unclear = [], Counter(), []
        self.words = Counter()
        self._named = []
        self._paragraph, self._silent = False, 0
        self.feed(text)
        self._settle()

    def handle_starttag(self, tag, attrs):
        attributes = {name: value or "" for name, value in attrs}
        if tag in LEADS and LEADS[tag] in attributes:
            self.leads.append(attributes[LEADS[tag]])
        if "id" in attributes:
            self.ids[attributes["id"]] += 1
        for name, value in attributes.items():
            if name in NAMED:
                self._named += value.split()
            elif name in ("href", "xlink:href") and tag not in LEADS and value.startswith("#"):
                self._named.append(value[1:])
            elif "url(" in value:
                self._named += PAINT.findall(value)
        self._paragraph |= tag == "p"
        self._silent += tag in NO_PROSE

    def handle_endtag(self, tag):
        if tag == "p":
            self._paragraph = False
        self._silent -= tag in NO_PROSE

    def handle_startendtag(self, tag, attrs):
        self.handle_starttag(tag, attrs)
        self.handle_endtag(tag)

    def handle_data(self, text):
        if self._paragraph and not self._silent:
            self.words.update(WORD.findall(text))

    def _settle(self):
        counts = {name: self.ids[name] for name in self._named}
        self.unclear += [(name, n) for name, n in counts.items() if n != 1]


class Book:
    """A folder of pages. A page is called by its address without `.html`: `chapters/start`."""

    def __init__(self, folder):
        self.folder = Path(folder)
        self.page = cache(self._page)

    def _page(self, name):
        return Page(self.file(name).read_text(encoding="utf-8"))

    def file(self, name):
        return self.folder / f"{name}.html"

    def crawl(self):
        """Return the pages that a reader can come to from the first one."""
        found = ["index"]
        for name in found:
            for lead in self.page(name).leads:
                path = self.inside(name, lead)[0]
                there = path and path.endswith(".html") and (self.folder / path).is_file()
                if there and path[: -len(".html")] not in found:
                    found.append(path[: -len(".html")])
        return found

    def inside(self, name, lead):
        """Return the file and the anchor that a link leads to; no file if it leads elsewhere."""
        address = urlsplit(urljoin(f"http://book/{name}.html", lead))
        if address.netloc != "book":
            return None, ""
        path = unquote(address.path).lstrip("/")
        return path + "index.html" * (path == "" or path.endswith("/")), unquote(address.fragment)

    def links(self, name):
        """Say which links, anchors and references of a page lead nowhere."""
        page = self.page(name)
        for lead in dict.fromkeys(page.leads):
            path, anchor = self.inside(name, lead)
            if lead == "" or lead.startswith("javascript:"):
                yield f"a link without an address: {lead!r}"
            elif path is None:
                continue
            elif not (self.folder / path).is_file():
                yield f"{lead}: there is no such file"
            elif anchor and path.endswith(".html"):
                times = self.page(path[: -len(".html")]).ids[anchor]
                if times != 1:
                    yield f"{lead}: the anchor is there {times} times"
        yield from (f"#{name} is referred to, and is there {n} times" for name, n in page.unclear)
        for number, frame in enumerate(self.frames(name)):
            for ident, n in Page(frame).unclear:  # it replaces the one before: it must be complete
                yield f"frame {number} refers to #{ident}, which is in it {n} times"

    def frames(self, name):
        """Return the frames of a page's live figures, after the first of each."""
        found = []
        for address in FRAMES.findall(self.file(name).read_text(encoding="utf-8")):
            path, _ = self.inside(name, address)
            text = (self.folder / path).read_text(encoding="utf-8")
            found += json.loads(text.partition("]=")[2])
        return found

    def nameless_frames(self, name):
        """Return the beginnings of those that have no words for those who cannot see them."""
        label = re.compile(r"<svg role=\"img\" aria-label=\"[^\"]*\w")
        return [frame[:150] for frame in self.frames(name) if not label.match(frame)]

    def is_chapter(self, name):
        """Tell whether a page was made from a notebook."""
        return (self.folder / "_sources" / f"{name}.ipynb").is_file()

    def telling_word(self, name, names):
        """Return the word of a page that the fewest of some pages have, and where it is found.

        A page without a source (an index) is not searched: then it is a word of the first page.
        """
        if not any((self.folder / "_sources").glob(f"{name}.*")):
            name = "index"
        words = self.page(name).words
        pages = Counter(
            stem for other in names for stem in set(stems(" ".join(self.page(other).words)))
        )
        known = [word for word in words if stems(word)]
        return min(known, key=lambda word: (pages[stems(word)[0]], -words[word], word)), name


@cache
def sent_kilobytes(url):
    """Return the weight of what the server sends to a browser that takes gzip."""
    request = urllib.request.Request(url, headers={"Accept-Encoding": "gzip"})
    with urllib.request.urlopen(request) as answer:
        return len(answer.read()) / 1000
