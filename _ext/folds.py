"""Folds for the switch "hide code, hide proofs": open in the page, so that it reads as before.

The code of each cell that is shown, and each proof, stands in a ``<details open>`` whose summary is
seen only while the reader hides them (``_static/hide.css``, ``_static/hide.js``). What a reader
chose is put on the page before it is painted, by one line in its head.
"""

from docutils import nodes
from sphinx.transforms.post_transforms import SphinxPostTransform

EARLY = """try { document.documentElement.dataset.hide = localStorage.getItem("hide") || ""; }
catch { /* a browser that keeps nothing */ }"""
PROOF = {"proof"}


class Folds(SphinxPostTransform):
    """Wraps code and proofs, after inputs are hidden by their tags."""

    default_priority = 250
    formats = ("html",)

    def run(self, **kwargs):
        """Look at each cell, and at each proof."""
        for cell in list(self.document.findall(nodes.container)):
            if cell.get("nb_element") == "cell_code" and not cell.get("hide_mode"):
                first = cell.children[0] if cell.children else None
                if first is not None and first.get("nb_element") == "cell_code_source":
                    fold(first, "code", "Show the code")
        for box in list(self.document.findall(nodes.admonition)):
            if set(box["classes"]) == PROOF:
                fold(box, "proofs", "Proof")


def fold(node, kind, title):
    """Put a node into a fold of a kind that the switch knows."""
    start = f'<details class="fold" data-fold="{kind}" open><summary>{title}</summary>'
    place = node.parent.index(node)
    node.parent.insert(place + 1, nodes.raw("", "</details>", format="html"))
    node.parent.insert(place, nodes.raw("", start, format="html"))


def setup(app):
    """Register the transform, and what runs before a page is painted."""
    app.add_post_transform(Folds)
    app.add_js_file(None, body=EARLY, priority=1)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
