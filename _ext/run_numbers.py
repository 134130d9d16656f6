"""Numbers typed in the prose are checked against the run, and shown as the run has them.

In a Markdown cell, ``{run}`0.031 <ratio>` `` is compared with the number that a cell of the same
notebook left by ``sgdlib.book.quote("ratio", ...)``. Without a tolerance the typed digits have to
be the run's. Where the quote carries an error (``stderr=``, ``rel_tol=``), another processor may
move the digits: the page shows those of the run that built it, as many as were typed, and the
strict build fails if the two are further apart than the error.
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


def shown(typed, quoted):
    """Return what the page says for `typed`, given the text that a quote left.

    Raises
    ------
    ValueError
        If nothing typed is a number, or the run says something else.

    Examples
    --------
    >>> shown("3.1 %", "3.14"), shown("1,500", "1500"), shown("2e-3", "0.0021")
    ('3.1 %', '1,500', '2e-3')
    >>> shown("about 3.1 %", "3.24 +- 0.2")
    'about 3.2 %'
    >>> shown("3.1 %", "3.24")
    Traceback (most recent call last):
    ...
    ValueError: the prose says 3.1 %, the run says 3.24
    """
    number = NUMBER.search(typed)
    if number is None:
        raise ValueError(f"no number in {typed!r}")
    value, _, tolerance = quoted.partition(" +- ")
    value = float(value)
    said = float(number[0].replace(",", "").replace("−", "-"))
    decimals = len(number["decimals"] or "")
    exponent = int(number["exponent"][1:]) if number["exponent"] else 0
    half = 10.0 ** (exponent - decimals) / 2 * (1 + 1e-6)
    if not abs(value - said) <= half + float(tolerance or 0):  # NaN does not pass
        error = f" +- {float(tolerance):.2g}" if tolerance else ""
        raise ValueError(f"the prose says {typed}, the run says {value:.6g}{error}")
    if abs(value - said) <= half:
        return typed
    digits = f"{value / 10.0**exponent:{',' if ',' in number[0] else ''}.{decimals}f}"
    if "-" not in number[0]:
        digits = digits.replace("-", "−")
    return typed[: number.start()] + digits + (number["exponent"] or "") + typed[number.end() :]


class Run(SphinxRole):
    """The role ``{run}``."""

    def run(self):
        """Show the number; warn where the run says something else than what was typed."""
        parts = ROLE.fullmatch(self.text)
        typed = text = parts["typed"] if parts else self.text
        try:
            if parts is None:
                raise ValueError("expected a number and the name of a quote: 0.031 <ratio>")
            data = retrieve_glue_data(self.inliner.document, parts["name"]).data["text/plain"]
            text = shown(typed, data)
        except (KeyError, ValueError, RetrievalError) as error:
            place = (self.env.docname, self.lineno)
            logger.warning("run %s: %s", self.text, error, location=place, type="run")
        return [nodes.inline(text, text, classes=["from-run"])], []


def setup(app):
    """Register the role."""
    app.add_role("run", Run())
    return {"version": "1", "parallel_read_safe": True}
