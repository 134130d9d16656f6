"""What a symbol means, shown where it stands in a formula of a chapter.

When all pages are written, the rows of the notation page are read: a symbol has those rows that
begin with it, and before them the clause of *Exceptions* that says what it is in the chapter. Each
chapter gets the texts of its own symbols, for ``_static/previews.js``, which knows a symbol by the
same `keys`. Nothing is to be written in a chapter. The block is renewed in every build.
"""

import posixpath
import re
from functools import cache
from pathlib import Path
from urllib.parse import urldefrag
from xml.etree import ElementTree

from first_uses import CHAPTER
from math_at_build import loosen
from previews import Excerpt, with_block

FORMULA = re.compile(
    r'<math[ >].*?</math>|<(i|span) class="math notranslate nohighlight">[^<]+</\1>', re.S
)
OPENING = ("=", "(", "[")  # what may follow a symbol in the formula that introduces it
# In a clause: its formulas (a long one is in pieces), a verb, and what is said of them.
CLAUSE = re.compile(r"((?:\x00\d+\x00\s*(?:and\s+)?)+)(?:(?:is|are)\s+)?(.*)", re.S)


def letter(element):
    """Return the letter that an element is, or None; d, e and words stand upright."""
    text = "".join(element.itertext()).strip("\u2061 ")
    upright = element.tag == "span" or element.get("mathvariant") == "normal"
    if len(element) or element.tag not in ("mi", "i", "span") or (upright and text.isascii()):
        return None
    return text


def keys(element):
    """Return what a symbol may be known by: with its indices, with one of them, or alone.

    >>> keys(ElementTree.fromstring("<msub><mi>θ</mi><mi>t</mi></msub>"))
    ['θ_t', 'θ']
    >>> keys(ElementTree.fromstring("<msubsup><mi>x</mi><mi>i</mi><mn>2</mn></msubsup>"))
    ['x_i', 'x^2', 'x']
    >>> keys(ElementTree.fromstring('<mi mathvariant="normal">d</mi>'))
    []
    """
    joints = {"msub": "_", "msup": "^", "msubsup": "_^"}.get(element.tag, "")
    base = letter(element[0] if joints else element)
    if base is None:
        return []
    index = ("".join(child.itertext()).strip("\u2061 ") for child in element[1:])
    return [base + joint + text for joint, text in zip(joints, index, strict=False)] + [base]


def formulas(page):
    """Yield the formulas of a piece of a page."""
    for match in FORMULA.finditer(page):
        yield ElementTree.fromstring(match[0])


def introduced(formula):
    """Return the keys of the symbol with which a formula begins; a power says its base too."""
    first = formula if formula.tag != "math" else formula[0]
    following = ["".join(e.itertext()).strip("\u2061") for e in formula[1:2]]
    if formula.tag == "math" and any(f and not f.startswith(OPENING) for f in following):
        return []
    found = keys(first)
    power = first.tag == "msup" and first[1].tag == "mn"
    return found if power else found[:1]


def shown(markup):
    """Return a piece of a page without links and attributes, its formulas whole."""
    reader = Excerpt()
    reader.feed(f"<div>{markup}</div>")
    return re.sub(r"</?p>", "", "".join(reader.kept)).strip()


def clauses(item):
    """Yield what is said of a chapter's own symbols, symbol by symbol: (text, keys)."""
    said = item.rpartition("</a>")[2].partition(":")[2].strip().removesuffix("</p>").rstrip(".")
    pieces = []

    def hide(match):
        pieces.append(match[0])
        return f"\x00{len(pieces) - 1}\x00"

    for clause in re.split(r",\s+(?:and\s+)?(?=\x00)", FORMULA.sub(hide, said)):
        if match := CLAUSE.match(clause):
            head, rest = (
                re.sub("\x00(\\d+)\x00", lambda m: pieces[int(m[1])], p) for p in match.groups()
            )
            found = {key for formula in formulas(head) for key in introduced(formula)[:1]}
            yield f"Here {shown(head)}" + (f": {shown(rest)}" if rest else ""), found


def notation(page):
    """Return (symbol: its rows), (page of a chapter: its clauses and their symbols)."""
    page = loosen(page)
    table = page[page.index("<table") : page.index("</table>")]
    rows = {}
    for row in re.findall(r"<tr.*?</tr>", table, re.S):
        cells = re.findall(r"<td.*?>(.*?)</td>", row, re.S)
        if not cells:
            continue
        symbol, meaning, name = map(shown, cells)
        text = f"{symbol}: {meaning}" + (f"; in code {name}" if name else "")
        for formula in formulas(cells[0]):
            for found in introduced(formula):
                rows.setdefault(found, []).append(text)
    exceptions = {}
    section = page[page.index('id="exceptions"') :]
    for item in re.findall(r"<li>(.*?)</li>", section[: section.index("</section>")], re.S):
        for address in re.findall(r'href="([^"]+)"', item):
            exceptions.setdefault(urldefrag(address)[0], []).extend(clauses(item))
    return rows, exceptions


def symbols(page, rows, exceptions):
    """Return the texts of the symbols of a chapter's page."""
    texts = {}
    own = {found for _, names in exceptions for found in names}
    used = {key for formula in formulas(page) for e in formula.iter() for key in keys(e)}
    for found in sorted(used & (rows.keys() | own)):
        said = [text for text, names in exceptions if found in names]
        others = [f"Elsewhere {text}" if said else text for text in rows.get(found, [])]
        texts[found] = "".join(f"<p>{text}</p>" for text in dict.fromkeys(said + others))
    return texts


def put_in(app, exception):
    """Renew the block of every chapter."""
    if exception or app.builder.format != "html":
        return
    folder = Path(app.outdir)

    @cache
    def table(name):
        return notation((folder / name).read_text(encoding="utf-8"))

    home = next((d for d in app.env.found_docs if re.search(r"(^|/)notation$", d)), None)
    if not home:
        return
    home = app.builder.get_target_uri(home)
    for docname in sorted(app.env.found_docs):
        name = app.builder.get_target_uri(docname)
        if not CHAPTER.search(docname) or not (folder / name).is_file():
            continue
        rows, exceptions = table(home)
        page = (folder / name).read_text(encoding="utf-8")
        here = posixpath.relpath(name, posixpath.dirname(home) or ".")
        new = with_block(page, "symbols", symbols(page, rows, exceptions.get(here, [])))
        if new != page:
            (folder / name).write_text(new, encoding="utf-8")


def setup(app):
    """Register the event: after those that write pages, before those that weigh them."""
    app.connect("build-finished", put_in, priority=610)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
