"""Math is typeset while the book is built: TeX in, HTML and MathML out, nothing left to run.

KaTeX (vendored in ``_assets/katex``) runs in an embedded JavaScript engine. Formulas are typeset
when a page is read, so a TeX error is a warning with its place and fails the strict build; the
characters that occur are kept for `light_pages`, which cuts KaTeX's fonts down to them. In Jupyter
the same ``$...$`` is typeset by Jupyter itself.
"""

import html
import json
import re
from functools import cache
from pathlib import Path

import quickjs
from by_page import keep
from docutils import nodes
from sphinx.locale import _
from sphinx.util import logging
from sphinx.util.math import get_node_equation_number

logger = logging.getLogger(__name__)
SCRIPT = Path(__file__).resolve().parent.parent / "_assets/katex/katex.min.js"
# The bridge to the engine fails on a long plain string, not on JSON.
CALL = """(tex, display) => JSON.stringify(katex.renderToString(tex,
    {displayMode: display, throwOnError: true, strict: "ignore", output: "htmlAndMathml"}))"""
NUMBERED = re.compile(r"\\(begin|end)\{(align|alignat|equation|gather)\}")
TEX_SOURCE = re.compile(r"<annotation .*?</annotation>|</?semantics>", re.S)
PHONE = 24  # characters of a formula that a phone shows in a line, surely
MATHML = re.compile(r"<math .*?</math>", re.S)
# A letter or a number alone needs neither a layout nor a second copy for those who listen.
ALONE = re.compile(
    r"<span class=\"katex\"><span class=\"katex-mathml\"><math [^>]*><mrow>"
    r"<m[in]>[\w.]+</m[in]></mrow></math></span><span class=\"katex-html\" aria-hidden=\"true\">"
    r"<span class=\"katex-base\"><span class=\"katex-strut\"[^>]*></span>"
    r"(<span class=\"mord[^\"]*\"[^>]*>)([\w.]+)</span></span></span></span>"
)


@cache
def engine():
    """Load KaTeX, once, and return its function that typesets."""
    context = quickjs.Context()
    context.eval(SCRIPT.read_text(encoding="utf-8"))
    return context.eval(CALL)


@cache
def render(tex, display):
    """Typeset one formula as HTML, without the copy of its TeX source that would be read out."""
    markup = TEX_SOURCE.sub("", json.loads(engine()(tex, display)))
    return ALONE.sub(r'<span class="katex">\1\2</span></span>', markup)


def source(node):
    """Return the TeX of a node and whether it is displayed; Sphinx numbers equations, not KaTeX."""
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
        reason = str(error).splitlines()[0].removeprefix("ParseError: ").replace("\u0332", "")
        logger.warning("math: %s in %r", reason, tex, location=node, type="math")
        return f"<code>{html.escape(tex)}</code>"


def characters(markup):
    """Collect the characters that a formula shows, without those of its MathML."""
    return set(characters_in_line(markup))


def characters_in_line(markup):
    """Return what a formula shows, in a row."""
    return html.unescape(re.sub(r"<[^>]*>", "", MATHML.sub("", markup)))


def read(app, doctree):
    """Typeset every formula of a page that was just read."""
    if app.builder.format != "html":
        return
    used = set()
    for kind in (nodes.math, nodes.math_block):
        for node in doctree.findall(kind):
            node["html"] = typeset(node)
            used |= characters(node["html"])
    app.env.math_characters[app.env.docname] = used


def visit_math(self, node):
    """Write an inline formula."""
    self.body.append(self.starttag(node, "span", "", CLASS="math notranslate nohighlight"))
    self.body.append((node.get("html") or typeset(node)) + "</span>")
    raise nodes.SkipNode


def visit_math_block(self, node):
    """Write a displayed formula, which scrolls in its own box, and its number beside it."""
    self.body.append(self.starttag(node, "div", CLASS="math notranslate nohighlight"))
    formula = node.get("html") or typeset(node)
    scrolls = len(characters_in_line(formula)) > PHONE
    reached = ' tabindex="0" role="group" aria-label="equation"' if scrolls else ""
    self.body.append(f'<div class="equation"{reached}>{formula}</div>')
    if node["number"]:
        self.body.append(f'<span class="eqno">({get_node_equation_number(self, node)})')
        self.add_permalink_ref(node, _("Link to this equation"))
        self.body.append("</span>")
    self.body.append("</div>\n")
    raise nodes.SkipNode


def setup(app):
    """Register the renderer ``katex``."""
    keep(app, "math_characters")
    app.add_html_math_renderer("katex", (visit_math, None), (visit_math_block, None))
    app.connect("doctree-read", read)
    return {"version": "1", "env_version": 1, "parallel_read_safe": True}
