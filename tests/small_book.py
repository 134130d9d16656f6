"""Small books for the tests of the local extensions, built in the test's own process."""

import hashlib
import html
import io
import json
import os
import re
import sys
from pathlib import Path
from unittest.mock import patch

import nbformat
from sphinx.application import Sphinx
from sphinx.util.docutils import docutils_namespace, patch_docutils

ROOT = Path(__file__).resolve().parent.parent
COLOUR = re.compile(r"\x1b\[[\d;]*m")
PYTHON = {
    "kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"},
    "language_info": {"name": "python", "pygments_lexer": "ipython3"},
}


def unpublished(**environment):
    """Return the environment without the addresses of a published book, with some changes."""
    own = ("BOOK_ADDRESS", "BOOK_REPOSITORY")
    return {name: value for name, value in os.environ.items() if name not in own} | environment


class SmallBook:
    """A book of a few pages; `build` does what the strict build does, with the plainest theme."""

    def __init__(self, folder, *extensions, **settings):
        self.folder = folder
        self.settings = {
            "extensions": ["myst_nb", *extensions],
            "exclude_patterns": ["_build"],
            "html_theme": "basic",
            "myst_enable_extensions": ["amsmath", "dollarmath"],
            "nb_execution_mode": "off",
            "nb_mime_priority_overrides": [("html", "text/html", 0)],
            "nitpicky": True,
            **settings,
        }
        self.said = ""

    def write(self, **pages):
        """Write pages, each from its text or (a notebook) from a list of cells, and the index."""
        for name, content in pages.items():
            if isinstance(content, list):
                notebook = {"cells": content, "metadata": PYTHON, "nbformat": 4}
                text = nbformat.writes(nbformat.from_dict({**notebook, "nbformat_minor": 5}))
                (self.folder / f"{name}.ipynb").write_text(text)
            else:
                (self.folder / f"{name}.md").write_text(content)
        pages = [p for p in self.folder.iterdir() if p.suffix in (".md", ".ipynb")]
        names = sorted({page.stem for page in pages} - {"index"})
        toc = "# Index\n\n```{toctree}\n" + "\n".join(names) + "\n```\n"
        index = self.folder / "index.md"
        if not index.exists() or index.read_text() != toc:
            index.write_text(toc)

    def build(self, **environment):
        """Build; return the exit status, and keep what was said in `said`."""
        warnings, status = io.StringIO(), io.StringIO()
        path = [str(ROOT / "_ext"), *sys.path]
        with (
            patch.dict(os.environ, unpublished(**environment), clear=True),
            patch.object(sys, "path", path),
            patch_docutils(str(self.folder)),
            docutils_namespace(),
        ):
            app = Sphinx(
                srcdir=self.folder,
                confdir=None,
                outdir=self.folder / "_build/html",
                doctreedir=self.folder / "_build/.doctrees",
                buildername="html",
                confoverrides=self.settings,
                status=status,
                warning=warnings,
                warningiserror=True,
                keep_going=True,
            )
            app.build()
        self.said = COLOUR.sub("", status.getvalue() + warnings.getvalue())
        return app.statuscode

    def passes(self):
        """Build, and show what was said if that fails."""
        assert self.build() == 0, self.said
        return True

    def fails(self, *words):
        """Build twice: both times it must fail, and say each of the words."""
        for _ in range(2):
            assert self.build() == 1, self.said
            assert [word for word in words if word not in self.said] == [], self.said
        return True

    def page(self, name):
        """Return a built page."""
        return (self.folder / f"_build/html/{name}.html").read_text()


def markdown(source):
    """Return a Markdown cell."""
    return {"cell_type": "markdown", "id": ident(source), "metadata": {}, "source": source}


def code(source, *outputs, tags=()):
    """Return a code cell; each output is a dictionary of MIME types, or (data, metadata)."""
    pairs = [output if isinstance(output, tuple) else (output, {}) for output in outputs]
    return {
        "cell_type": "code",
        "id": ident(source),
        "metadata": {"tags": list(tags)} if tags else {},
        "source": source,
        "execution_count": 1,
        "outputs": [
            {"output_type": "display_data", "data": data, "metadata": metadata}
            for data, metadata in pairs
        ],
    }


def ident(source):
    """Return an id for a cell."""
    return hashlib.sha256(source.encode()).hexdigest()[:8]


def claimed(text="falls as 1/B", **fields):
    """Return the HTML of a claim; fields replace those of a good record, or add to them."""
    record = {
        "text": text, "kind": "expected", "target": "0.5", "measured": "0.49",
        "tolerance": "4 s.e.", "notices": 0.08, "coarse": "",
    } | fields  # fmt: skip
    return f'<p class="claim" data-claim="{html.escape(json.dumps(record))}">claimed</p>'
