"""Each page says in its head what it is about: its own first sentences.

Search engines and previews of a link show them. A page that wants others sets them, as MyST does,
in its front matter (of a notebook: in its metadata): ``myst: {html_meta: {description: ...}}``.
"""

import html
import re

from docutils import nodes

ENOUGH, AT_MOST = 40, 200  # characters
SENTENCE = re.compile(r"(?<=[.?!])\s+(?=[\"“(]?[A-Z0-9])")
FORMULA = "\ufffc"


def plain(paragraph):
    """Return the text of a paragraph; a formula that is no plain text becomes a mark."""
    copy = paragraph.deepcopy()
    for formula in list(copy.findall(nodes.math)):
        tex = FORMULA if re.search(r"[\\{}^_]", formula.astext()) else formula.astext()
        touching = formula.get("before", ""), formula.get("after", "")
        formula.replace_self(nodes.Text(tex.join(touching)))
    return " ".join(copy.astext().split())


def description(doctree):
    """Return the first sentences of the running text, up to one with a formula."""
    text = ""
    for paragraph in doctree.findall(nodes.paragraph):
        if not isinstance(paragraph.parent, nodes.section):
            continue  # a list, a box, what a cell printed
        if isinstance(next((part for part in paragraph if part.astext()), None), nodes.strong):
            continue  # a label: "What you will be able to do"
        for sentence in SENTENCE.split(plain(paragraph)):
            longer = f"{text} {sentence}".strip()
            if FORMULA in sentence or (text and len(longer) > AT_MOST):
                break
            text = longer
        if len(text) >= ENOUGH:
            break
    return shortened(text)


def shortened(text):
    """Cut a text that is too long at a word."""
    return text if len(text) <= AT_MOST else text[:AT_MOST].rsplit(" ", 1)[0] + " …"


def describe(app, pagename, templatename, context, doctree):
    """Put the description into the head of a page that has none, and into its social card."""
    if doctree is None:
        return
    own = re.search(r'<meta content="([^"]*)" name="description"', context["metatags"])
    text = own[1] if own else html.escape(description(doctree) or app.env.titles[pagename].astext())
    if not own:
        context["metatags"] += f'\n<meta content="{text}" name="description" />'
    context["meta"] = {**(context["meta"] or {}), "og:description": text}


def setup(app):
    """Register the event, before the social cards are made."""
    app.connect("html-page-context", describe, priority=400)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
