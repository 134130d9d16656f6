"""From Matplotlib's SVG to a small inline one that takes its ink from the page.

Matplotlib writes a stand-alone document: fixed black ink, an id on every group, six decimals, a font list on every
label, one positioned glyph after another in every formula. A page needs the opposite: `currentColor`, few ids that
are unique on the page, few digits, and labels in the page's own font.
"""

from __future__ import annotations

import base64
import functools
import hashlib
import html
import io
import re
import xml.etree.ElementTree as ET

from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties, findfont, get_font

PAPER = "#fefdfc"  # drawn in this colour, a shape takes the colour of the page behind the figure

_INK = "#000000"
_PAGE = "var(--pst-color-background,var(--jp-layout-color0,Canvas))"
_NAMESPACE = "{http://www.w3.org/2000/svg}"
_HREF = "{http://www.w3.org/1999/xlink}href"
_NUMBER = re.compile(r"-?\d*\.\d+(?:e-?\d+)?|-?\d+")
_REFERENCE = re.compile(r"url\(#([^)]+)\)|^#(.+)$")
_ROOT_STYLE = (
    "max-width:100%;height:auto;fill:currentColor;stroke-linejoin:round;font-family:inherit"
)


def inline_svg(fig: Figure, alt: str, prefix: str | None = None) -> str:
    """Return `fig` as inline SVG text with the accessible name `alt`.

    Parameters
    ----------
    fig
        The figure; it is drawn at its own size, without trimming.
    alt
        What assistive technology says in its place.
    prefix
        Start of every id in the drawing. By default a digest of the drawing itself, so that two different
        figures on one page never share a clip path or a marker.
    """
    buffer = io.StringIO()
    with _svg_settings():
        fig.savefig(buffer, format="svg", facecolor="none", metadata={"Date": None})
    root = ET.fromstring(buffer.getvalue())
    _, _, width, height = map(float, root.get("viewBox").split())
    body = _serialise(_compact(root))
    if prefix is None:
        prefix = "f" + hashlib.sha256(body.encode()).hexdigest()[:8]
    size = f'viewBox="0 0 {_short(width)} {_short(height)}" width="{width * 4 / 3:.0f}" height="{height * 4 / 3:.0f}"'
    return (
        f'<svg role="img" aria-label="{html.escape(alt, quote=True)}" {size} style="{_ROOT_STYLE}">'
        f"{body.replace('@', prefix + '-')}</svg>"
    )
