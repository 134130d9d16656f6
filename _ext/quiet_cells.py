"""Checks, imports and drawing stay in the background: in the page they are folded.

A reader came for what is taught. So statements that only call ``claim`` or ``quote`` are taken out
of the code that is shown, and the claims out of its output; both stand, folded, under "✓ 4 checks",
with a link to the ledger. What is taught in the same cell stays open. The code of a cell that only
imports, or that draws a figure, is folded as a whole. The rule is found here, from the code:
authors tag nothing, and in Jupyter nothing changes.
"""

import ast

from docutils import nodes
from sphinx.transforms.post_transforms import SphinxPostTransform

CHECKS = ("claim", "quote")
FIGURES = ("show", "explore")
PROMPTS = {"prompt_show": "Show the code", "prompt_hide": "Hide the code"}
ASSIGNMENTS = (ast.Assign, ast.AugAssign, ast.AnnAssign)
FEW_LINES = 3


def is_check(statement):
    """Whether a statement does nothing but claim or quote, or prepares that inside a loop."""
    if called(statement) in CHECKS:
        return True
    if isinstance(statement, (ast.For, ast.If, ast.With)):
        inside = [*statement.body, *getattr(statement, "orelse", [])]
        return any(map(is_check, inside)) and all(
            is_check(s) or isinstance(s, ASSIGNMENTS) for s in inside
        )
    return False


def split(source):
    r"""Split a cell's code into what is taught and what is only checked, (taught, checks).

    >>> split("x = run(3)\nprint(x)\n\n# as in theory\nclaim('x', measured=x, below=2)")
    ('x = run(3)\nprint(x)', "# as in theory\nclaim('x', measured=x, below=2)")
    >>> split("ratio = a / b\nclaim('ratio', measured=ratio, below=2)")
    ('', "ratio = a / b\nclaim('ratio', measured=ratio, below=2)")
    """
    try:
        statements = ast.parse(source).body
    except SyntaxError:  # a cell with magics
        return source, ""
    lines, taught, checks, done = source.split("\n"), [], [], 0
    kept = []
    for statement in statements:
        piece = lines[done : statement.end_lineno]  # with the comments above it
        done = statement.end_lineno
        if is_check(statement):
            checks += piece
        else:
            taught += piece
            kept.append(statement)
    (checks if checks and not kept else taught).extend(lines[done:])
    short = sum(s.end_lineno - s.lineno + 1 for s in kept) <= FEW_LINES
    if checks and short and all(isinstance(s, ASSIGNMENTS) for s in kept):
        return "", source
    return "\n".join(taught).strip("\n"), "\n".join(checks).strip("\n")


def called(statement):
    """Return the name of the function that a statement calls, or an empty string."""
    call = statement.value if isinstance(statement, ast.Expr) else None
    return getattr(call.func, "id", "") if isinstance(call, ast.Call) else ""


def is_background(source):
    r"""Whether a cell only imports and sets up, or draws a figure.

    >>> is_background("import numpy as np\nbegin()"), is_background("explore(draw, lr=[1, 2])")
    (True, True)
    >>> is_background("import numpy as np\nx = np.ones(3)")
    False
    """
    try:
        statements = ast.parse(source).body
    except SyntaxError:
        return False
    imports = (ast.Import, ast.ImportFrom)
    if statements and all(isinstance(s, imports) or called(s) == "begin" for s in statements):
        return True
    return any(called(s) in FIGURES for s in statements)


def is_claim(node):
    """Whether an output is the line of a claim."""
    return isinstance(node, nodes.raw) and 'class="claim"' in node.astext()


def with_anchors(output):
    """Yield the outputs of a cell, each as a list that begins with the anchors before it."""
    together = []
    for node in output.children:
        together.append(node)
        if not isinstance(node, nodes.target):
            yield together
            together = []
    if together:
        yield together


class QuietCells(SphinxPostTransform):
    """Folds what every code cell has of these; before inputs are hidden by their tags."""

    default_priority = 198
    formats = ("html",)

    def run(self, **kwargs):
        """Look at each cell."""
        for cell in list(self.document.findall(nodes.container)):
            if cell.get("nb_element") == "cell_code":
                self.fold(cell)

    def fold(self, cell):
        """Fold what is not taught in one cell."""
        parts = {part.get("nb_element"): part for part in cell.children}
        source, output = parts.get("cell_code_source"), parts.get("cell_code_output")
        block = source.next_node(nodes.literal_block) if source is not None else None
        text = block.astext() if block is not None else ""
        if cell.get("hide_mode") == "input" or (not cell.get("hide_mode") and is_background(text)):
            cell.attributes |= PROMPTS | {"hide_mode": "input"}
        taught, checks = split(text)
        pieces = list(with_anchors(output)) if output is not None else []
        claims = [piece for piece in pieces if is_claim(piece[-1])]
        if not checks and not claims:
            return
        folded = []
        if checks and not cell.get("hide_mode"):
            folded.append(with_text(source, checks))
            if taught:
                source.replace_self(with_text(source, taught))
            else:
                cell.remove(source)
        for piece in claims:
            for node in piece:
                output.remove(node)
            folded += piece
        if output is not None and not output.children:
            cell.remove(output)
        if not folded:
            return
        count = sum(node.astext().count('class="claim"') for (*_, node) in claims)
        if claims:
            title = f"✓ {count} {'check' if count == 1 else 'checks'}"
            folded.append(self.way_to_the_ledger())
        else:
            title = "numbers for the text"
        cell += [
            html(f'<details class="checks"><summary>{title}</summary>'),
            *folded,
            html("</details>"),
        ]

    def way_to_the_ledger(self):
        """Return a link to this chapter's part of the ledger, where there is one."""
        pages = sorted(getattr(self.env, "ledger_pages", ()))
        if not pages:
            return html("")
        address = self.app.builder.get_relative_uri(self.env.docname, pages[0])
        anchor = "claims-of-" + nodes.make_id(self.env.docname)
        return html(f'<p class="to-ledger"><a href="{address}#{anchor}">all claims</a></p>')


def html(text):
    """Return a node of raw HTML."""
    return nodes.raw("", text, format="html")


def with_text(source, text):
    """Return a copy of a cell's input that shows other code."""
    copy = source.deepcopy()
    block = copy.next_node(nodes.literal_block)
    block.rawsource = text
    block.children = []
    block += nodes.Text(text)
    return copy


def setup(app):
    """Register the transform."""
    app.add_post_transform(QuietCells)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
