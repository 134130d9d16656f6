"""The claims ledger: every claim of the book, what was expected and what was measured, by chapter.

``sgdlib.book.claim`` leaves a record in the page: ``<p class="claim" data-claim="{json}">``. It is
read with the page, whether the notebook was executed now or came from the cache, and kept in
Sphinx's environment by page; so the ledger is right after an incremental build too. The directive
``{claims-ledger}`` shows it. What would make the ledger untrue is a warning, and a warning fails
the strict build: a malformed record, a claim stated twice in a chapter, a claim in a cell whose
output is removed, an empty ledger.

The column *Notices* is the smallest relative error that the claim would have noticed. Claims that
would not notice 25 % are listed apart, each with its reason; one without a reason is a warning,
and so is a claim of zero that does not say what an error is compared with.
"""

import json
from html.parser import HTMLParser
from types import NoneType

from by_page import keep, reading_order
from docutils import nodes
from sphinx.util import logging
from sphinx.util.docutils import SphinxDirective
from sphinx.util.nodes import make_refnode

logger = logging.getLogger(__name__)
TEXTS = ("text", "kind", "target", "measured", "tolerance", "coarse")
FIELDS = (*TEXTS, "notices")
HEADINGS = {"Claim": 42, "Expected": 18, "Measured": 14, "Tolerance": 16, "Notices": 10}
# Works by a script (``_ext/scripts/ledger_filter.js``), and is not seen without one.
FILTER = """<div class="ledger-filter pst-js-only"><label>Show claims with
<input type="search" autocomplete="off"></label> <span role="status"></span></div>"""
COARSE = 0.25
# What a bound or a standard error would notice moves a little from one processor to the next: a
# reason is asked for a step above the line, so that no build fails where another passed.
NEEDS_REASON = 0.3
HIDDEN = {"remove-output", "remove_output", "remove-cell", "remove_cell"}


class ledger(nodes.General, nodes.Element):
    """Stands for the tables until every page has been read."""


class ClaimsLedger(SphinxDirective):
    """``{claims-ledger}``: all claims, a table for each chapter, after a list of the chapters."""

    def run(self):
        """Leave a placeholder and remember the page."""
        self.env.ledger_pages[self.env.docname] = True
        return [ledger()]


class RecordParser(HTMLParser):
    """Collects the ``data-claim`` attributes of ``<p class="claim">``."""

    def __init__(self):
        super().__init__()
        self.found = []

    def handle_starttag(self, tag, attrs):
        """Attributes come in any order."""
        attributes = dict(attrs)
        if tag == "p" and "claim" in (attributes.get("class") or "").split():
            self.found.append(attributes.get("data-claim"))


def parse(data):
    """Read one record; ValueError says what is wrong with it."""
    try:
        record = json.loads(data)
    except (TypeError, ValueError):
        raise ValueError(f"data-claim={data!r} is not JSON") from None
    if not isinstance(record, dict) or set(record) != set(FIELDS):
        raise ValueError(f"{data}: expected the fields {', '.join(FIELDS)}")
    for field in TEXTS:
        may_be_empty = field in ("tolerance", "coarse")
        value = record[field]
        if not isinstance(value, str) or not (value.strip() or may_be_empty):
            raise ValueError(f"{field}={value!r}: expected text")
    if not isinstance(record["notices"], (int, float, NoneType)):
        raise ValueError(f"notices={record['notices']!r}: expected a number or null")
    return record


def warn(subtype, message, *args, location):
    """Fail the strict build, with the place."""
    logger.warning(message, *args, location=location, type="claims", subtype=subtype)


def collect(app, doctree):
    """Keep the records of one page, and put an anchor before each."""
    found = {}
    for raw in list(doctree.findall(nodes.raw)):
        parser = RecordParser()
        parser.feed(raw.astext())
        for data in parser.found:
            try:
                record = parse(data)
            except ValueError as error:
                warn("malformed", "malformed claim: %s", error, location=raw)
                continue
            if any(record["text"] == other["text"] for other in found.values()):
                warn("twice", "claim stated twice in one chapter: %r", record["text"], location=raw)
                continue
            anchor = name = nodes.make_id("claim-" + record["text"])
            while anchor in found:  # texts that differ in what no anchor can hold, such as a symbol
                anchor = f"{name}-{len(found)}"
            check_power(record, raw)
            place = output_of(raw)
            place.parent.insert(place.parent.index(place), nodes.target("", "", ids=[anchor]))
            found[anchor] = record
    app.env.claims[app.env.docname] = found


def check_power(record, raw):
    """Ask for a scale, or for a reason, where a claim would hardly notice an error."""
    if record["notices"] is None:
        message = "claim of zero without a scale: %r; give scale=, what an error is compared with"
        warn("scale", message, record["text"], location=raw)
    elif record["notices"] > NEEDS_REASON and not record["coarse"]:
        message = "claim that would notice no error below %s: %r; sharpen it, or say why: coarse="
        warn("coarse", message, percent(record["notices"]), record["text"], location=raw)


def is_coarse(record):
    """Whether a claim belongs to those that are listed apart."""
    return record["notices"] is None or record["notices"] > COARSE or bool(record["coarse"])


def percent(share):
    """Say a relative error in words.

    >>> [percent(share) for share in (0.0, 1e-9, 0.0123, 0.25, 7.0, None)]
    ['exact', '< 0.1 %', '1.2 %', '25 %', 'factor 8', '–']
    """
    if share is None:
        return "–"
    if share == 0:
        return "exact"
    if share < 0.001:
        return "< 0.1 %"
    return f"{100 * share:.2g} %" if share < 0.995 else f"factor {1 + share:.3g}"


def output_of(raw):
    """Find the output that a piece of HTML belongs to: an anchor inside it would be left out."""
    node = raw
    while node is not None and not isinstance(node, nodes.section):
        if isinstance(node, nodes.container) and node.get("nb_element") == "mime_bundle":
            return node
        node = node.parent
    return raw


def check_hidden(app, docname, source):
    """Refuse a claim in a cell whose output is removed: it would never reach the ledger."""
    if not str(app.env.doc2path(docname)).endswith(".ipynb"):
        return
    for number, cell in enumerate(json.loads(source[0])["cells"], 1):
        tags = HIDDEN & set(cell["metadata"].get("tags", []))
        if cell["cell_type"] == "code" and tags and "claim(" in "".join(cell["source"]):
            message = "cell %d states a claim, but its tag %s removes the output: use hide-output"
            warn("hidden", message, number, min(tags), location=docname)


def updated(app, env):
    """Write the ledger anew in every build: any chapter's claims or title may have moved."""
    return sorted(env.ledger_pages)


def fill(app, doctree, docname):
    """Put the list of chapters and their tables in place of each placeholder."""
    env = app.env
    for node in list(doctree.findall(ledger)):
        pages = [page for page in reading_order(env) if env.claims.get(page)]
        if not pages:
            warn("empty", "the claims ledger is empty", location=docname)
        chapters = nodes.bullet_list()
        for page in pages:
            name = nodes.Text(env.titles[page].astext())
            link = nodes.reference("", "", name, internal=True, refid=section_id(page))
            count = nodes.Text(f": {len(env.claims[page])}")
            chapters += nodes.list_item("", nodes.paragraph("", "", link, count))
        records = [record for page in pages for record in env.claims[page].values()]
        fine, medium = (
            sum(r["notices"] is not None and r["notices"] <= limit for r in records)
            for limit in (0.05, COARSE)
        )
        text = (
            f"{len(records)} claims; {fine} would notice an error of 5 %, {medium} one of 25 %. "
            "By chapter:"
        )
        field = nodes.raw("", FILTER, format="html")
        tables = [section(app, docname, page) for page in pages]
        apart = coarse_section(app, docname, pages)
        node.replace_self([field, nodes.paragraph("", text), chapters, *tables, *apart])


def section_id(page):
    """Return the anchor of a chapter's part of the ledger."""
    return "claims-of-" + nodes.make_id(page)


def section(app, docname, page):
    """Build a chapter's part: its title, which links to it, and the table of its claims."""
    name = nodes.Text(app.env.titles[page].astext())
    title = nodes.title("", "", make_refnode(app.builder, docname, page, "", name))
    rows = [
        row(
            link(app, docname, page, anchor, record),
            f"{'' if record['kind'] == 'expected' else record['kind'] + ' '}{record['target']}",
            record["measured"],
            record["tolerance"] or "–",
            percent(record["notices"]),
        )
        for anchor, record in app.env.claims[page].items()
    ]
    claims = table(HEADINGS, rows)
    return nodes.section("", title, claims, ids=[section_id(page)])


def coarse_section(app, docname, pages):
    """Build the list of the claims that would not notice 25 %, with their reasons; or nothing."""
    rows = [
        row(
            link(app, docname, page, anchor, record),
            percent(record["notices"]),
            record["coarse"] or "–",
        )
        for page in pages
        for anchor, record in app.env.claims[page].items()
        if is_coarse(record)
    ]
    if not rows:
        return []
    title = nodes.title("", "Claims that are coarse, and why")
    headings = {"Claim": 45, "Notices": 10, "Why": 45}
    return [nodes.section("", title, table(headings, rows), ids=["coarse-claims"])]


def link(app, docname, page, anchor, record):
    """Return a claim's text as a link to its place."""
    return make_refnode(app.builder, docname, page, anchor, nodes.Text(record["text"]))


def table(headings, rows):
    """Build a table with columns of the given names and widths."""
    group = nodes.tgroup("", cols=len(headings))
    group += [nodes.colspec(colwidth=width) for width in headings.values()]
    group += nodes.thead("", row(*headings))
    group += nodes.tbody("", *rows)
    return nodes.table("", group, classes=["claims-ledger"])


def row(*cells):
    """One row of text and links."""
    texts = [nodes.Text(cell) if isinstance(cell, str) else cell for cell in cells]
    return nodes.row("", *(nodes.entry("", nodes.paragraph("", "", text)) for text in texts))


def setup(app):
    """Register the directive and the events."""
    keep(app, "claims")
    keep(app, "ledger_pages")
    app.add_node(ledger)
    app.add_directive("claims-ledger", ClaimsLedger)
    app.connect("source-read", check_hidden)
    app.connect("doctree-read", collect)
    app.connect("env-updated", updated)
    app.connect("doctree-resolved", fill)
    return {"version": "1", "env_version": 3, "parallel_read_safe": True}
