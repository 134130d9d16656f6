"""The first use of a term in a chapter leads to the glossary, as if ``{term}`` stood there.

What counts is running text: not a title, a formula, code, a table, a caption, a fold, or what is a
link already. A term may begin with a capital and end with an s; of two that begin at one place the
longer is taken. Where a chapter uses a word for something else, `OTHERWISE` says so.
"""

import re

from docutils import nodes
from sphinx.util.nodes import make_refnode

CHAPTER = re.compile(r"(^|/)(principles|applications|physics|practice)/")
OTHERWISE = {
    "floor": {"10_flat_minima", "13_gpu", "20_barrier"},
    "interpolation": {"20_barrier"},
    "temperature": {"15_asynchronous", "18_physics_informed"},
}
NOT_THERE = (
    nodes.title,
    nodes.reference,
    nodes.literal,
    nodes.math,
    nodes.table,
    nodes.caption,
    nodes.legend,
    nodes.container,
    nodes.citation,
)
FOLDED = {"dropdown", "solution", "proof", "trap"}


def terms(env):
    """Return the glossary: each term with the page and the anchor of its entry."""
    objects = env.get_domain("std").objects
    return {name: place for (kind, name), place in objects.items() if kind == "term"}


def pattern(name):
    r"""Match a term as it stands in running text, where lines may end between its words.

    >>> pattern("saddle point").search("Saddle\npoints attract.")[0]
    'Saddle\npoints'
    >>> pattern("Adam").search("adamant, adam") is None
    True
    """
    words = r"\s+".join(map(re.escape, name.split()))
    first = words[0]
    return re.compile(rf"(?<![\w-])[{first}{first.upper()}]{words[1:]}(?:e?s)?(?![\w-])")


def join(doctree):
    """Make one piece of text of those that follow each other, as lines of a paragraph do."""
    for parent in list(doctree.findall(nodes.TextElement)):
        pieces = []
        for child in parent.children:
            if isinstance(child, nodes.Text) and pieces and isinstance(pieces[-1], nodes.Text):
                child = nodes.Text(pieces.pop().astext() + child.astext())
            pieces.append(child)
        if len(pieces) < len(parent.children):
            parent[:] = pieces


def text_of(doctree):
    """Yield the pieces of running text in their order."""
    for piece in doctree.findall(nodes.Text):
        above, inside = piece.parent, False
        while above is not None and not isinstance(above, NOT_THERE):
            if isinstance(above, nodes.Element) and FOLDED & set(above.get("classes", ())):
                break
            inside |= isinstance(above, nodes.paragraph)
            above = above.parent
        if above is None and inside:
            yield piece


def link(app, doctree, docname):
    """Link each term's first use in a chapter."""
    if not CHAPTER.search(docname) or app.builder.format != "html":
        return
    page = docname.rpartition("/")[2]
    left = {
        name: (pattern(name), place)
        for name, place in terms(app.env).items()
        if page not in OTHERWISE.get(name, ())
    }
    join(doctree)
    for piece in list(text_of(doctree)):
        parts = []
        rest = piece.astext()
        while found := [
            (m.start(), -m.end(), n) for n, (p, _) in left.items() if (m := p.search(rest))
        ]:
            start, end, name = min(found)
            entry, anchor = left.pop(name)[1]
            shown = nodes.inline("", rest[start:-end], classes=["xref", "std", "std-term"])
            parts += [nodes.Text(rest[:start])]
            parts += [make_refnode(app.builder, docname, entry, anchor, shown)]
            rest = rest[-end:]
        if parts:
            piece.parent.replace(piece, [*parts, nodes.Text(rest)])


def changed(app, env):
    """Write all chapters anew where the terms of the glossary have changed."""
    before, env.first_uses_terms = getattr(env, "first_uses_terms", None), terms(env)
    same = before == env.first_uses_terms
    return [] if same else sorted(filter(CHAPTER.search, env.found_docs))


def setup(app):
    """Register the events."""
    app.connect("env-updated", changed)
    app.connect("doctree-resolved", link, priority=600)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
