"""Previews: what a link leads to, shown beside it, without leaving the page.

When all pages are written, each link to a theorem, an exercise, an equation, a source, a term of
the glossary or the notation is marked with ``data-preview``. What stands in the same page is cloned
by ``_static/previews.js`` when it is asked for; what stands in another page is put into this one
as a short text, with its formulas. Nothing is fetched: a book opened as files has
previews too. The block is renewed in every build, since what a page links to may have changed.
"""

import html
import json
import posixpath
import re
from functools import cache
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urldefrag

LIMIT = 420  # characters that are seen
LINK = re.compile(r'<a class="reference internal"(?: data-preview="")? href="([^"#]*#[^"]+)"')
VOID = {"br", "col", "hr", "img", "input", "link", "meta", "source", "wbr"}
KEPT = {"p", "em", "strong", "code", "sub", "sup", "ul", "ol", "li"}
KEPT |= {"table", "thead", "tbody", "tr", "td", "th"}
LEFT_OUT = {"script", "style", "button", "details", "template", "svg", "caption", "colgroup"}
INLINE = {"i", "span"}  # what a formula in a line may be, beside `math`
LEFT_OUT_CLASSES = {"label", "headerlink", "backrefs", "fn-backref"}
HEADINGS, TITLE = {"h1", "h2", "h3", "h4"}, "admonition-title"
BOXES = ({"proof", "admonition"}, {"exercise", "admonition"}, {"math"}, {"citation"})


class Excerpt(HTMLParser):
    """Reads one element, from its start tag on, and keeps the beginning of what one sees of it."""

    def __init__(self):
        super().__init__(convert_charrefs=True)
        self.kept, self.open, self.length = [], [], 0
        self.depth = self.silent = self.formula = 0
        self.done = False

    def handle_starttag(self, tag, attrs):
        """Keep the tags that matter, without their attributes; inside a formula keep all."""
        if self.done or tag in VOID:
            return
        self.depth += 1
        classes = set((dict(attrs).get("class") or "").split())
        late = self.length >= LIMIT and not self.formula
        formula = tag == "math" or (tag in INLINE and "math" in classes)
        if self.silent or tag in LEFT_OUT or classes & LEFT_OUT_CLASSES or (late and formula):
            self.silent += 1
            return
        self.formula += formula or bool(self.formula)
        title = tag in HEADINGS or TITLE in classes
        if self.formula or ((tag in KEPT or title) and not late):
            given = "".join(f' {k}="{html.escape(v or "")}"' for k, v in attrs)
            given = given if self.formula else f' class="{TITLE}"' if title else ""
            tag = "p" if title else tag
            self.kept.append(f"<{tag}{given}>")
            self.open.append((self.depth, tag))

    def handle_endtag(self, tag):
        """Close what was opened; the first element's end is the end."""
        if self.done or tag in VOID:
            return
        if self.open and self.open[-1][0] == self.depth:
            self.kept.append(f"</{self.open.pop()[1]}>")
        self.depth -= 1
        self.silent -= bool(self.silent)
        self.formula -= bool(self.formula)
        self.done = self.depth <= 0

    def handle_startendtag(self, tag, attrs):
        """Pass over ``<br/>``; an empty element of a formula opens and closes."""
        if self.formula:
            self.handle_starttag(tag, attrs)
            self.handle_endtag(tag)

    def handle_data(self, data):
        """Keep text up to the limit, formulas whole."""
        if self.done or self.silent or (self.length >= LIMIT and not self.formula):
            return
        if not self.formula and self.length + len(data) > LIMIT:
            data = data[: LIMIT - self.length].rpartition(" ")[0] + " …"
            self.length = LIMIT
        self.length += len(data)
        self.kept.append(html.escape(data, quote=False))


def excerpt(page, anchor, *, whole_page=False):
    """Return what is to be seen of an element of a page, or None where it has no preview."""
    at = page.find(f' id="{anchor}"')
    if at < 0:
        return None
    start = page.rfind("<", 0, at)
    tag = page[start : page.find(">", at)]
    classes = re.search(r'\bclass="([^"]*)"', tag)
    classes = set(classes[1].split()) if classes else set()
    if tag.startswith("<dt ") and anchor.startswith("term-"):
        start = page.find("<dd", start)
    elif not whole_page and not any(box <= classes for box in BOXES):
        return None
    reader = Excerpt()
    for end in range(start, len(page), 4096):
        reader.feed(page[end : end + 4096])
        if reader.done:
            break
    return "".join(reader.kept).strip()


def find(folder, name, address, read):
    """Return (whether a link of a page has a preview, its text where it stands elsewhere)."""
    path, anchor = urldefrag(html.unescape(address))
    there = posixpath.normpath(posixpath.join(posixpath.dirname(name), unquote(path)))
    there = there if path else name
    if not (folder / there).is_file():
        return False, None
    notation = posixpath.basename(there) == "notation.html"
    text = excerpt(read(there), unquote(anchor), whole_page=notation and bool(path))
    return bool(text), text if path else None


def with_block(page, ident, texts):
    """Return a page with these texts as the JSON of that id at its end, in place of any before."""
    page = re.sub(
        rf'<script type="application/json" id="{ident}">.*?</script>\n?', "", page, flags=re.S
    )
    if not texts:
        return page
    data = json.dumps(texts, ensure_ascii=False, separators=(",", ":")).replace("</", "<\\/")
    before, end, after = page.rpartition("</body>")
    return f'{before}<script type="application/json" id="{ident}">{data}</script>\n{end}{after}'


def put_in(app, exception):
    """Renew the marks and the block of every page."""
    if exception or app.builder.format != "html":
        return
    folder = Path(app.outdir)

    @cache
    def read(name):
        return (folder / name).read_text(encoding="utf-8")

    look = cache(lambda name, address: find(folder, name, address, read))
    for docname in sorted(app.env.found_docs):
        name = app.builder.get_target_uri(docname)
        if not (folder / name).is_file():
            continue
        page = read(name)
        texts = {}

        def mark(match, name=name, texts=texts):
            shown, text = look(name, match[1])
            if text:
                texts[html.unescape(match[1])] = text
            mark = ' data-preview=""' if shown else ""
            return f'<a class="reference internal"{mark} href="{match[1]}"'

        marked = LINK.sub(mark, with_block(page, "previews", {}))
        new = with_block(marked, "previews", texts)
        if new != page:
            (folder / name).write_text(new, encoding="utf-8")


def setup(app):
    """Register the event: after those that write pages, before those that weigh them."""
    app.connect("build-finished", put_in, priority=600)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
