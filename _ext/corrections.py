"""All traps of the book on one page: what is often said, and beside it what is the case.

A trap is an admonition whose title begins with "Trap:". The directive ``{corrections}`` lists all
of them, chapter by chapter: the title, linked to its place, and the text that puts it right. Like
the claims, they are kept in Sphinx's environment by page, so that incremental builds are right.
"""

from urllib.parse import urldefrag, urljoin

from by_page import keep, reading_order
from docutils import nodes
from docutils.utils import new_document
from sphinx.util import logging
from sphinx.util.docutils import SphinxDirective
from sphinx.util.nodes import make_refnode
from sphinx.util.osutil import relative_uri

logger = logging.getLogger(__name__)
PREFIX = "Trap:"


class corrections(nodes.General, nodes.Element):
    """Stands for the list until every page has been read."""


class Corrections(SphinxDirective):
    """``{corrections}``: the list of all traps."""

    def run(self):
        """Leave a placeholder and remember the page."""
        self.env.corrections_pages[self.env.docname] = True
        return [corrections()]


def collect(app, doctree):
    """Keep the titles of one page's traps, and give each trap an anchor."""
    found = {}
    for box in doctree.findall(nodes.admonition):
        title = box.next_node(nodes.title)
        if title is None or not title.astext().startswith(PREFIX):
            continue
        said = nodes.title("", "", *(child.deepcopy() for child in title.children))
        anchor = "trap-" + nodes.make_id(title.astext().removeprefix(PREFIX))
        if anchor in found:
            message = "two traps with one title in this chapter: %r"
            logger.warning(message, title.astext(), location=box, type="traps")
            continue
        box["ids"].append(anchor)
        found[anchor] = said, copied(node for node in box.children if node is not title)
    app.env.traps[app.env.docname] = found


def copied(children):
    """Copy the text of a trap, without its anchors: they stay where they were."""
    copy = nodes.container("", *(child.deepcopy() for child in children))
    for node in copy.findall(nodes.Element):
        node["ids"] = node["names"] = []
    for target in list(copy.findall(nodes.target)):
        target.parent.remove(target)
    return copy


def resolved(app, docname, page, text):
    """Return a copy of the text of a trap in `page` whose references hold in `docname`."""
    document = new_document(docname)
    document.settings.env = app.env
    document += text.deepcopy()
    app.env.resolve_references(document, docname, app.builder)
    here, there = map(app.builder.get_target_uri, (docname, page))
    for reference in document.findall(nodes.reference):
        if "refid" in reference:  # a place in the trap's own page
            reference["refuri"] = f"#{reference.attributes.pop('refid')}"
        if reference.get("internal") or reference["refuri"].startswith("#"):
            # Sphinx has made it relative to the page where the trap stands
            address, anchor = urldefrag(urljoin(there, reference["refuri"]))
            anchor = anchor and f"#{anchor}"
            reference["refuri"] = relative_uri(here, address) + anchor
    return document.children[0]


def updated(app, env):
    """Write the list anew in every build: any chapter's traps may have moved."""
    return sorted(env.corrections_pages)


def fill(app, doctree, docname):
    """Put the list in place of each placeholder."""
    env = app.env
    for node in list(doctree.findall(corrections)):
        entries = nodes.definition_list()
        for page in reading_order(env):
            traps = env.traps.get(page)
            if not traps:
                continue
            chapter = nodes.Text(env.titles[page].astext())
            term = nodes.term("", "", make_refnode(app.builder, docname, page, "", chapter))
            items = nodes.bullet_list()
            for anchor, (title, text) in traps.items():
                said = nodes.inline("", "", *(child.deepcopy() for child in title.children))
                _without_prefix(said)
                link = make_refnode(app.builder, docname, page, anchor, said)
                truth = resolved(app, docname, page, text)
                items += nodes.list_item("", nodes.paragraph("", "", link), *truth.children)
            entries += nodes.definition_list_item("", term, nodes.definition("", items))
        node.replace_self(entries)


def _without_prefix(node):
    """Take "Trap: " from the beginning of the node's text, and begin with a capital."""
    first = next(node.findall(nodes.Text))
    text = first.astext().removeprefix(PREFIX).lstrip()
    first.parent.replace(first, nodes.Text(text[:1].upper() + text[1:]))


def setup(app):
    """Register the directive and the events."""
    keep(app, "traps")
    keep(app, "corrections_pages")
    app.add_node(corrections)
    app.add_directive("corrections", Corrections)
    app.connect("doctree-read", collect)
    app.connect("env-updated", updated)
    app.connect("doctree-resolved", fill)
    return {"version": "1", "env_version": 3, "parallel_read_safe": True}
