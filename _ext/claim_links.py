"""Links from the prose to single claims: ``{claim}`checked <../principles/03_paths#mean square>```.

Behind the ``#`` stands how the claim begins. No such claim, or more than one, is a warning, and a
warning fails the strict build: so a summary cannot cite what a chapter no longer claims.
"""

import posixpath
import re

from by_page import keep
from docutils import nodes
from sphinx.util import logging
from sphinx.util.docutils import SphinxRole
from sphinx.util.nodes import make_refnode

logger = logging.getLogger(__name__)
FORM = re.compile(r"(?P<shown>[^<]+?)\s*<(?P<page>[^<#]+)#(?P<start>.+)>", re.S)


class claim_link(nodes.Inline, nodes.TextElement):
    """Stands for the link until every page has been read."""


class ClaimLink(SphinxRole):
    """``{claim}`shown <page#how the claim begins>```, the page relative to this one."""

    def run(self):
        """Leave a placeholder and remember the page."""
        form = FORM.fullmatch(self.text)
        shown, page, start = form.groups() if form else (self.text, "", self.text)
        self.env.claim_link_pages[self.env.docname] = True
        folder = posixpath.dirname(self.env.docname)
        page = posixpath.normpath(posixpath.join(folder, page))
        link = claim_link(shown, shown, page=page, start=start)
        self.set_source_info(link)
        return [link], []


def updated(app, env):
    """Write pages with such links anew in every build: any chapter's claims may have changed."""
    return sorted(env.claim_link_pages)


def fill(app, doctree, docname):
    """Put the link in place of each placeholder."""
    for node in list(doctree.findall(claim_link)):
        claims = app.env.claims.get(node["page"], {})
        places = [a for a, record in claims.items() if record["text"].startswith(node["start"])]
        shown = nodes.Text(node.astext())
        if len(places) == 1:
            node.replace_self(make_refnode(app.builder, docname, node["page"], places[0], shown))
            continue
        message = "%d claims of %s begin with %r: expected one, as `shown <page#beginning>`"
        values = len(places), node["page"], node["start"]
        logger.warning(message, *values, location=node, type="claims", subtype="link")
        node.replace_self(shown)


def setup(app):
    """Register the role and the events."""
    keep(app, "claim_link_pages")
    app.add_node(claim_link)
    app.add_role("claim", ClaimLink())
    app.connect("env-updated", updated)
    app.connect("doctree-resolved", fill)
    return {"version": "1", "env_version": 1, "parallel_read_safe": True}
