"""Links to the figures that chapters draw: ``[the bowl](#fig-bowl)`` or ``{ref}`fig-bowl` ``.

``sgdlib.book.show(fig, name="fig-bowl", caption=...)`` writes ``<figure id="fig-bowl">``, which
Sphinx does not look into. Here its name becomes a label, with the caption as the link's text.
"""

import html
import re

from docutils import nodes
from sphinx.util import logging

logger = logging.getLogger(__name__)
FIGURE = re.compile(r"<figure\b[^>]*\bid=\"([^\"]+)\".*?</figure>", re.S)
CAPTION = re.compile(r"<figcaption>(.*?)</figcaption>", re.S)


def read(app, doctree):
    """Register the named figures of a page."""
    domain = app.env.get_domain("std")
    for raw in doctree.findall(nodes.raw):
        for figure in FIGURE.finditer(raw.astext()):
            name = figure[1]
            if name in domain.anonlabels:
                message = "a figure or section is called %r already"
                logger.warning(message, name, location=raw, type="figure")
            domain.anonlabels[name] = app.env.docname, name
            if caption := CAPTION.search(figure[0]):
                text = html.unescape(re.sub(r"<[^>]*>", "", caption[1]))
                domain.labels[name] = app.env.docname, name, text


def setup(app):
    """Register the event."""
    app.connect("doctree-read", read)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
