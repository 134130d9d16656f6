"""Figures are numbered, and can be linked: ``[the bowl](#fig-bowl)`` or ``{ref}`fig-bowl` ``.

``sgdlib.book.show(fig, name="fig-bowl", caption=...)`` writes ``<figure id="fig-bowl">``, which
Sphinx does not look into. Here its name becomes a label, with the caption as the link's text, and
the figures of a chapter are counted: *Figure 4.3*, which links to the figure itself. The chapter's
own number stands before its title.
"""

import html
import re

from docutils import nodes
from sphinx.util import logging

logger = logging.getLogger(__name__)
FIGURE = re.compile(r"<figure\b[^>]*?\bclass=\"own[^>]*>.*?</figure>", re.S)
NAME = re.compile(r"<figure\b[^>]*\bid=\"([^\"]+)\"")
CAPTION = re.compile(r"<figcaption>(.*?)</figcaption>", re.S)
# The name of a chapter begins with its number: 04_name; 04b_name is its second page.
CHAPTER = re.compile(r"(?:^|/)0*(\d+[a-z]?)_[^/]*$")


def read(app, doctree):
    """Register the named figures of a page, and number those of a chapter."""
    domain = app.env.get_domain("std")
    chapter, count = CHAPTER.search(app.env.docname), 0
    for raw in list(doctree.findall(nodes.raw)):
        text = raw.astext()
        for figure in FIGURE.findall(text):
            name, caption = NAME.search(figure), CAPTION.search(figure)
            count += 1
            if name:
                register(app, domain, name[1], caption and caption[1], raw)
            if chapter:
                numbered = with_number(figure, f"Figure {chapter[1]}.{count}", name and name[1])
                text = text.replace(figure, numbered, 1)
        if text != raw.astext():
            raw.replace_self(nodes.raw("", text, **raw.non_default_attributes()))


def register(app, domain, name, caption, place):
    """Make a figure's name a label of the book."""
    if name in domain.anonlabels:
        logger.warning(
            "a figure or section is called %r already", name, location=place, type="figure"
        )
    domain.anonlabels[name] = app.env.docname, name
    if caption:
        text = html.unescape(re.sub(r"<[^>]*>", "", caption))
        domain.labels[name] = app.env.docname, name, text


def with_number(figure, number, name):
    """Put the number before the caption, as a link to the figure if it has a name."""
    shown = f'<a href="#{name}">{number}</a>' if name else number
    shown = f'<span class="figure-number">{shown}</span>'
    if CAPTION.search(figure):
        return figure.replace("<figcaption>", f"<figcaption>{shown} ", 1)
    return figure.removesuffix("</figure>") + f"<figcaption>{shown}</figcaption></figure>"


def number_title(app, doctree, docname):
    """Show the chapter's number before its title; in links and in the window the title stays."""
    chapter, title = CHAPTER.search(docname), doctree.next_node(nodes.title)
    if chapter and title is not None and app.builder.format == "html":
        number = f'<span class="chapter-number">{chapter[1]}</span>'
        title.insert(0, nodes.raw("", number, format="html"))


def setup(app):
    """Register the events."""
    app.connect("doctree-read", read)
    app.connect("doctree-resolved", number_title)
    return {"version": "2", "parallel_read_safe": True, "parallel_write_safe": True}
