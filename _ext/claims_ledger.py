"""The claims ledger: every claim of the book, what was expected and what was measured, by chapter.

``sgdlib.book.claim`` leaves a record in the page: ``<p class="claim" data-claim="{json}">``. It is
read with the page, whether the notebook was executed now or came from the cache, and kept in
Sphinx's environment by page; so the ledger is right after an incremental build too. The directive
``{claims-ledger}`` shows it. What would make the ledger untrue is a warning, and a warning fails
the strict build: a malformed record, a claim stated twice in a chapter, a claim in a cell whose
output is removed, an empty ledger.
"""

import json
from html.parser import HTMLParser

from docutils import nodes
from sphinx.util import logging
from sphinx.util.docutils import SphinxDirective
from sphinx.util.nodes import make_refnode

logger = logging.getLogger(__name__)
FIELDS = ("text", "theory", "measured", "tolerance")
HEADINGS = {"Claim": 46, "Expected": 18, "Measured": 16, "Tolerance": 20}
HIDDEN = {"remove-output", "remove_output", "remove-cell", "remove_cell"}


class ledger(nodes.General, nodes.Element):
    """Stands for the tables until every page has been read."""


class ClaimsLedger(SphinxDirective):
    """``{claims-ledger}``: all claims, a table for each chapter, after a list of the chapters."""

    def run(self):
        """Leave a placeholder and remember the page."""
        self.env.ledger_pages.add(self.env.docname)
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
    for field, value in record.items():
        if not isinstance(value, str) or not (value.strip() or field == "tolerance"):
            raise ValueError(f"{field}={value!r}: expected text")
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
            anchor = "claim-" + nodes.make_id(record["text"])
            if anchor in found:
                warn("twice", "claim stated twice in one chapter: %r", record["text"], location=raw)
                continue
            place = output_of(raw)
            place.parent.insert(place.parent.index(place), nodes.target("", "", ids=[anchor]))
            found[anchor] = record
    app.env.claims[app.env.docname] = found


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


def start(app, env, docnames):
    """Give a new environment its places for records and for pages with a ledger."""
    env.claims = getattr(env, "claims", {})
    env.ledger_pages = getattr(env, "ledger_pages", set())


def purge(app, env, docname):
    """Forget a page that is read again or has left the book."""
    getattr(env, "claims", {}).pop(docname, None)
    getattr(env, "ledger_pages", set()).discard(docname)


def merge(app, env, docnames, other):
    """Take over what a parallel reader found."""
    env.claims.update({name: other.claims[name] for name in docnames})
    env.ledger_pages |= other.ledger_pages & set(docnames)


def updated(app, env):
    """Write the ledger anew in every build: any chapter's claims or title may have moved."""
    return sorted(env.ledger_pages)


def reading_order(env):
    """Every page in the order of the table of contents."""
    order = []

    def walk(name):
        if name not in order:
            order.append(name)
            for child in env.toctree_includes.get(name, []):
                walk(child)

    walk(env.config.root_doc)
    return order + sorted(env.found_docs - set(order))


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
        total = sum(len(env.claims[page]) for page in pages)
        text = f"{total} claims, by chapter:"
        tables = [section(app, docname, page) for page in pages]
        node.replace_self([nodes.paragraph("", text), chapters, *tables])


def section_id(page):
    """Return the anchor of a chapter's part of the ledger."""
    return "claims-of-" + nodes.make_id(page)


def section(app, docname, page):
    """Build a chapter's part: its title, which links to it, and the table of its claims."""
    name = nodes.Text(app.env.titles[page].astext())
    title = nodes.title("", "", make_refnode(app.builder, docname, page, "", name))
    claims = table(app, docname, page)
    return nodes.section("", title, claims, ids=[section_id(page)])


def table(app, docname, page):
    """Build the table of a chapter's claims; each links to its place."""
    group = nodes.tgroup("", cols=len(HEADINGS))
    group += [nodes.colspec(colwidth=width) for width in HEADINGS.values()]
    group += nodes.thead("", row(*HEADINGS))
    body = nodes.tbody()
    group += body
    for anchor, record in app.env.claims[page].items():
        link = nodes.Text(record["text"])
        body += row(
            make_refnode(app.builder, docname, page, anchor, link),
            record["theory"],
            record["measured"],
            record["tolerance"] or "–",
        )
    return nodes.table("", group, classes=["claims-ledger"])


def row(*cells):
    """One row of text and links."""
    texts = [nodes.Text(cell) if isinstance(cell, str) else cell for cell in cells]
    return nodes.row("", *(nodes.entry("", nodes.paragraph("", "", text)) for text in texts))


def setup(app):
    """Register the directive and the events."""
    app.add_node(ledger)
    app.add_directive("claims-ledger", ClaimsLedger)
    app.connect("env-before-read-docs", start)
    app.connect("env-purge-doc", purge)
    app.connect("env-merge-info", merge)
    app.connect("source-read", check_hidden)
    app.connect("doctree-read", collect)
    app.connect("env-updated", updated)
    app.connect("doctree-resolved", fill)
    return {"version": "1", "env_version": 1, "parallel_read_safe": True}
