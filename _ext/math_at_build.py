"""Math is typeset while the book is built: TeX in, MathML out, nothing left to run.

Temml (vendored in ``_assets/temml``) runs in an embedded JavaScript engine. Formulas are typeset
when a page is read, so a TeX error is a warning with its place and fails the strict build; the
characters that occur are kept for `light_pages`, which cuts the font of formulas down to them. In
Jupyter the same ``$...$`` is typeset by Jupyter itself.

To a browser a formula is a picture: a line may end before the comma that follows it, and after the
bracket that opens before it. So what touches a formula is written into one box with it.
"""

import html
import json
import re
from functools import cache
from pathlib import Path
from typing import NamedTuple

import mathml
import quickjs
from by_page import keep
from docutils import nodes
from sphinx.locale import _
from sphinx.util import logging
from sphinx.util.math import get_node_equation_number

logger = logging.getLogger(__name__)
SCRIPT = Path(__file__).resolve().parent.parent / "_assets/temml/temml.min.js"
# The bridge to the engine fails on a long plain string, not on JSON.
CALL = """(tex, display) => JSON.stringify(temml.renderToString(tex,
    {displayMode: display, throwOnError: true}))"""
NUMBERED = re.compile(r"\\(begin|end)\{(align|alignat|equation|gather)\}")
PHONE = 24  # characters of a formula that a phone shows in a line, surely
KIND = "math notranslate nohighlight"
PIECES = f"pieces {KIND}"
OPENS = re.compile(r"[^\s\w]+\Z")  # before a formula: brackets, quotation marks
CLOSES = re.compile(r"[^\s\w]+|\S{1,6}(?!\S)")  # after it: punctuation, and a "th" or a "'s"
SLANTED = set(mathml.ITALIC.values())


@cache
def engine():
    """Load Temml, once, and return its function that typesets."""
    context = quickjs.Context()
    context.eval(SCRIPT.read_text(encoding="utf-8"))
    return context.eval(CALL)


class Formula(NamedTuple):
    """A typeset formula: its markup in pieces between which a line may break, and what one sees."""

    pieces: tuple
    shown: str


@cache
def render(tex, display):
    """Typeset one formula."""
    math = mathml.parse(json.loads(engine()(tex, display)))
    shown = mathml.text(math)
    if display:
        return Formula((mathml.write(math),), shown)
    if len(math) == 1 and math[0].tag in ("mi", "mn") and not math[0].get("class"):
        # a letter or a number that is a whole formula: plain text, in the font of formulas
        plain, tag = html.escape(math[0].text, quote=False), "i" if shown in SLANTED else "span"
        return Formula((f'<{tag} class="{KIND}">{plain}</{tag}>',), shown)
    parts = mathml.pieces(math)
    if len(parts) == 1:
        parts[0].set("class", KIND)
    return Formula(tuple(map(mathml.write, parts)), shown)


def source(node):
    """Return the TeX of a node and whether it is displayed; Sphinx numbers equations, not Temml."""
    tex = node.astext()
    if isinstance(node, nodes.math):
        return tex, False
    if node.get("nowrap"):
        return NUMBERED.sub(r"\\\1{\2*}", tex), True
    parts = [part for part in tex.split("\n\n") if part.strip()]
    parts = [rf"\begin{{split}}{p}\end{{split}}" if r"\\" in p else p for p in parts]
    if len(parts) > 1:
        return r"\begin{gathered}" + r"\\".join(parts) + r"\end{gathered}", True
    return "".join(parts), True


def typeset(node):
    """Typeset one math node; on a TeX error warn with its place, and show the source."""
    tex, display = source(node)
    try:
        return render(tex, display)
    except quickjs.JSException as error:
        said = [line for line in str(error).splitlines() if not line.startswith("    at ")]
        reason = " ".join(" ".join(said).removeprefix("ParseError:").replace("\u0332", "").split())
        logger.warning("math: %s in %r", reason, tex, location=node, type="math")
        return Formula((f"<code>{html.escape(tex)}</code>",), tex)


def read(app, doctree):
    """Typeset every formula of a page that was just read."""
    if app.builder.format != "html":
        return
    used = set()
    for kind in (nodes.math, nodes.math_block):
        for node in doctree.findall(kind):
            node["formula"] = typeset(node)
            used |= set(node["formula"].shown)
    app.env.math_characters[app.env.docname] = used


def touch(app, doctree, docname):
    """Move what touches a formula in a line from the text into the formula's node."""
    if app.builder.format != "html":
        return
    for node in list(doctree.findall(nodes.math)):
        if "after" in node or not is_box(node):  # a list of other pages' texts is touched already
            continue
        siblings, place = node.parent.children, node.parent.index(node)
        for key, beside, cut, rest in (
            ("before", place - 1, OPENS.search, str.removesuffix),
            ("after", place + 1, CLOSES.match, str.removeprefix),
        ):
            text = siblings[beside] if 0 <= beside < len(siblings) else None
            found = cut(text.astext()) if isinstance(text, nodes.Text) else None
            node[key] = found[0] if found else ""
            if found:
                siblings[beside] = nodes.Text(rest(text.astext(), found[0]))


def is_box(node):
    """Whether a browser sees a box where a formula stands, and no letters of a text."""
    return (node.get("formula") or typeset(node)).pieces[0].startswith("<math")


def hold(pieces, before, after):
    """Write a formula with what touches it: the line breaks between its pieces only."""
    whole = [""] * (len(pieces) - 1)
    held = zip(pieces, [html.escape(before), *whole], [*whole, html.escape(after)], strict=True)
    parts = [f'<span class="whole">{a}{p}{b}</span>' if a or b else p for p, a, b in held]
    return f'<span class="{PIECES}">{"".join(parts)}</span>' if whole else parts[0]


def loosen(page):
    """Return a piece of a page with what `hold` put beside its formulas beside them again."""
    page = re.sub(
        r'<span class="whole">([^<]*)(<math[ >].*?</math>)([^<]*)</span>', r"\1\2\3", page
    )
    page = re.sub(rf'(<span class="{PIECES}">)([^<]+)', r"\2\1", page)
    return re.sub(r"</math>([^<]+)</span>", r"</math></span>\1", page)


def visit_math(self, node):
    """Write an inline formula."""
    pieces = (node.get("formula") or typeset(node)).pieces
    self.body.append(hold(pieces, node.get("before", ""), node.get("after", "")))
    raise nodes.SkipNode


def visit_math_block(self, node):
    """Write a displayed formula, which scrolls in its own box, and its number beside it."""
    self.body.append(self.starttag(node, "div", CLASS=KIND))
    (markup,), shown = node.get("formula") or typeset(node)
    reached = ' tabindex="0" role="group" aria-label="equation"' if len(shown) > PHONE else ""
    self.body.append(f'<div class="equation"{reached}>{markup}</div>')
    if node["number"]:
        self.body.append(f'<span class="eqno">({get_node_equation_number(self, node)})')
        self.add_permalink_ref(node, _("Link to this equation"))
        self.body.append("</span>")
    self.body.append("</div>\n")
    raise nodes.SkipNode


def setup(app):
    """Register the renderer ``mathml``."""
    keep(app, "math_characters")
    app.add_html_math_renderer("mathml", (visit_math, None), (visit_math_block, None))
    app.connect("doctree-read", read)
    app.connect("doctree-resolved", touch, priority=960)  # the others read whole sentences
    return {"version": "3", "env_version": 3, "parallel_read_safe": True}
