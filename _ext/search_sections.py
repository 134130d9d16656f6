"""Search by section: an index of the book's sections, made with it, that needs no server.

Every section, and every entry of the API reference, is one thing to be found. What a word is worth
there is settled here: a word in a heading more than one in the headings above, that more than one
in the text, a rare word more than a common one. ``_ext/scripts/search_sections.js`` adds this up
for the words of a query and shows the sections. Words are split and stemmed by Sphinx's own code,
as its script does in the browser. `search_synonyms.txt` says what readers call otherwise.

Each page's sections are kept beside its doctree, so that the index is right after an incremental
build. The ledger, the API and the bibliography are listed last.
"""

import json
import math
import re
from collections import Counter
from pathlib import Path

from docutils import nodes
from sphinx import addnodes
from sphinx.search import SearchEnglish

HERE = Path(__file__).resolve().parent
INDEX = "sections.js"
# Weights of a word: in the heading of a section, in the headings above it, in its text.
HEADING, ABOVE, TEXT = 2.5, 0.9, 1.0
SATURATION = 1.5
LEAD = 100  # characters of a section that a result shows
ENTRY = 300  # characters of an API entry that are searched: what it is, not every parameter
LAST = ("claims", "api", "bibliography", "genindex")
LATE = ("corrections", "performance", "glossary", "quiz", "exercises")
NO_TEXT = (nodes.raw, nodes.comment, nodes.target, addnodes.index, addnodes.toctree)
LANGUAGE = SearchEnglish({})


def stems(text):
    """Split a text into the stems that the index knows.

    >>> stems("The learning rates, scaled by 1/K")
    ['learn', 'rate', 'scale']
    """
    words = (word.lower() for word in LANGUAGE.split(text) if len(word) > 1)
    kept = (word for word in words if LANGUAGE.word_filter(word) and not word[0].isdigit())
    return [LANGUAGE.stem(word) if len(word) > 2 else word for word in kept]


def plain(node):
    """Return the text of a node; a formula as one reads it, code that is a block left out."""
    if isinstance(node, (nodes.math, nodes.math_block)):
        shown = re.sub(r"<[^>]*>", "", "".join(node["formula"].pieces)) if "formula" in node else ""
        return node.get("before", "") + shown + node.get("after", "")
    if isinstance(node, (*NO_TEXT, nodes.literal_block)):
        return ""
    if isinstance(node, nodes.Text):
        return node.astext()
    gap = "" if isinstance(node, (nodes.TextElement, nodes.inline)) else " "
    return gap.join(map(plain, node.children)) + gap


def is_heading(node):
    """Whether a node is a section with a title: theorems and exercises hold some without."""
    return isinstance(node, nodes.section) and isinstance(node.next_node(), nodes.title)


def entries(doctree):
    """Yield [anchor, headings from the page's down, text] of every section and API entry."""

    def own(node):
        """Collect the text of a section without that of the sections in it."""
        parts = []
        for child in node.children:
            inside = is_heading(child) or isinstance(child, addnodes.desc)
            if not inside and not isinstance(child, nodes.title):
                found = any(is_heading(n) or isinstance(n, addnodes.desc) for n in child.findall())
                parts.append(own(child) if found else plain(child))
        return " ".join(" ".join(parts).split())

    def walk(node, above):
        for child in node.children:
            trail = above
            if is_heading(child):
                title = " ".join(plain(child.next_node(nodes.title)).split())
                trail = [*above, title]
                yield [child["ids"][0] if above else "", trail, own(child)]
            elif isinstance(child, addnodes.desc):
                signature = child.next_node(addnodes.desc_signature)
                if signature is not None and signature["ids"]:
                    name = signature.get("fullname") or signature.astext()
                    module = signature.get("module")
                    trail = [*above[:1], f"{module}.{name}" if module else name]
                    yield [signature["ids"][0], trail, own(child)[:ENTRY]]
            if isinstance(child, nodes.Element):
                yield from walk(child, trail)

    yield from walk(doctree, [])


def keep_page(app, doctree, docname):
    """Write the sections of a page beside its doctree."""
    if app.builder.format == "html":
        file = kept(app, docname)
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(list(entries(doctree))), encoding="utf-8")


def kept(app, docname):
    """Return the file that holds a page's sections."""
    return Path(app.doctreedir, f"{docname}.sections.json")


def tier(docname):
    """Return 0 for what is read, 1 for what comes after it, 2 for what is looked up."""
    name = docname.rpartition("/")[2]
    return 2 if name in LAST else 1 if name in LATE else 0


def worth(sections):
    """Return for each stem [section, worth, ...]: worth is the larger the more it says.

    A section is counted from the one before it in the list: small numbers make a small file.
    """
    bodies = [Counter(stems(text)) for *_, text in sections]
    usual = sum(body.total() for body in bodies) / max(len(bodies), 1) or 1
    found = {}
    for i, ((_, trail, _), body) in enumerate(zip(sections, bodies, strict=True)):
        heading, above = Counter(stems(trail[-1])), set(stems(" ".join(trail[:-1])))
        length = 0.5 + 0.5 * body.total() / usual
        for stem in body.keys() | heading.keys() | above:
            often = body[stem] / length
            value = TEXT * often / (often + SATURATION) + ABOVE * (stem in above)
            if stem in heading:  # a short heading is about each of its words
                value += HEADING * (0.6 + 0.4 / math.sqrt(heading.total()))
            found.setdefault(stem, []).append((i, value))
    index = {}
    for stem, places in sorted(found.items()):
        rarity = math.log(1 + len(sections) / len(places))
        before = [0, *(i for i, _ in places)]
        steps = (i - last for last, (i, _) in zip(before, places, strict=False))
        values = (round(5 * rarity * value) for _, value in places)
        index[stem] = [n for pair in zip(steps, values, strict=True) for n in pair]
    return index


def synonyms(text):
    r"""Read the synonyms: pairs of stems, what is asked and what is meant.

    >>> synonyms("# names\nLR finder, rate finder = range test")
    [[['lr', 'finder'], ['rang', 'test']], [['rate', 'finder'], ['rang', 'test']]]
    """
    pairs = []
    for line in text.splitlines():
        names, sign, meant = line.partition("#")[0].partition("=")
        if sign:
            pairs += [[stems(name), stems(meant)] for name in names.split(",")]
    return pairs


def titles(app):
    """Return the titles of the pages as the table of contents gives them, with their numbers."""
    site = getattr(app.env, "external_site_map", None) or {}
    own = {name: title.astext() for name, title in app.env.titles.items()}
    given = {name: site[name].title for name in site if name in own and site[name].title}
    return own | given


def write(app, exception):
    """Write the index of all pages."""
    if exception or app.builder.format != "html":
        return
    pages, sections, shown = [], [], []
    names = titles(app)
    for docname in sorted(app.env.found_docs):
        if not kept(app, docname).exists():
            continue
        for anchor, trail, text in json.loads(kept(app, docname).read_text(encoding="utf-8")):
            sections.append((anchor, trail, text))
            lead = text if len(text) <= LEAD else text[:LEAD].rpartition(" ")[0] + " …"
            shown.append([len(pages), anchor, trail[1:], lead])
        pages.append([app.builder.get_target_uri(docname), names[docname], tier(docname)])
    index = {
        "pages": pages,
        "sections": shown,
        "words": worth(sections),
        "synonyms": synonyms((HERE / "search_synonyms.txt").read_text(encoding="utf-8")),
    }
    text = json.dumps(index, ensure_ascii=False, separators=(",", ":"))
    static = Path(app.outdir, "_static")
    (static / INDEX).write_text(f"SectionSearch.start({text});\n", encoding="utf-8")


def setup(app):
    """Register the events; the template ``search.html`` names its script and this index."""
    app.connect("doctree-resolved", keep_page, priority=950)
    app.connect("build-finished", write)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
