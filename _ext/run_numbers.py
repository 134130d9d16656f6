"""Numbers typed in the prose are checked against the run.

In a Markdown cell, ``{run}`0.031 <ratio>` `` shows 0.031, in Jupyter as well as in the book, and
the build compares it, at the precision that was typed, with the number that a cell of the same
notebook left by ``sgdlib.book.quote("ratio", ...)``. Where they differ the strict build fails.
"""

import re

from docutils import nodes
from myst_nb.core.variables import RetrievalError
from myst_nb.ext.glue.utils import retrieve_glue_data
from sphinx.util import logging
from sphinx.util.docutils import SphinxRole

logger = logging.getLogger(__name__)
ROLE = re.compile(r"(?P<typed>.+?)\s*<(?P<name>[^<>]+)>")
NUMBER = re.compile(r"[-−]?\d[\d,]*(?:\.(?P<decimals>\d*))?(?P<exponent>e[-+]?\d+)?")


def agrees(typed, value):
    """Whether a value, rounded as the typed number is, is that number.

    >>> agrees("3.1 %", 3.14), agrees("3.2", 3.14), agrees("1,500", 1500), agrees("2e-3", 0.0021)
    (True, False, True, True)
    """
    number = NUMBER.search(typed)
    if number is None:
        raise ValueError(f"no number in {typed!r}")
    shown = float(number[0].replace(",", "").replace("−", "-"))
    unit = 10.0 ** -len(number["decimals"] or "")
    if number["exponent"]:
        unit *= 10.0 ** int(number["exponent"][1:])
    return abs(value - shown) <= unit / 2 * (1 + 1e-6)


class Run(SphinxRole):
    """The role ``{run}``."""

    def run(self):
        """Show what was typed; warn where the run says otherwise."""
        parts = ROLE.fullmatch(self.text)
        typed = parts["typed"] if parts else self.text
        try:
            if parts is None:
                raise ValueError("expected a number and the name of a quote: 0.031 <ratio>")
            data = retrieve_glue_data(self.inliner.document, parts["name"]).data["text/plain"]
            value = float(data)
            if not agrees(typed, value):
                raise ValueError(f"the prose says {typed}, the run says {value:.6g}")
        except (KeyError, ValueError, RetrievalError) as error:
            place = (self.env.docname, self.lineno)
            logger.warning("run %s: %s", self.text, error, location=place, type="run")
        return [nodes.inline(typed, typed, classes=["from-run"])], []


def setup(app):
    """Register the role."""
    app.add_role("run", Run())
    return {"version": "1", "parallel_read_safe": True}
