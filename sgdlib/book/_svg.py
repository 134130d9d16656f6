"""From Matplotlib's SVG to a small inline one that takes its ink from the page.

Matplotlib writes a stand-alone document: fixed black ink, an id on every group, six decimals, a
list of fonts on every label, each letter of a formula placed on its own. A page needs the opposite:
`currentColor`, few ids that are unique on the page, few digits, and labels in the page's own font.
"""

from __future__ import annotations

import base64
import hashlib
import html
import io
import json
import re
import unicodedata
import xml.etree.ElementTree as ET
from contextlib import suppress

import matplotlib as mpl
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

from sgdlib.book._formulas import set_formulas

PAPER = "#fefdfc"
"""What is drawn in this color takes the color of the page behind the figure."""

_COLORS = {
    "#000000": "currentColor",
    PAPER: "var(--pst-color-background,var(--jp-layout-color0,Canvas))",
}
_SVG = "{http://www.w3.org/2000/svg}"
_HREF = "{http://www.w3.org/1999/xlink}href"
_DECIMAL = re.compile(r"-?\d*\.\d+(?:e[-+]?\d+)?")
_RASTER_DPI = 144  # of what an artist asks to be drawn as pixels
_PIXELS = 4 / 3 * 1.15  # of the page to a point, where the page is wide enough: labels as its text
_PNG = "data:image/png;base64,"
_ROOT_STYLE = (
    "max-width:100%;height:auto;overflow:visible;fill:currentColor;stroke-linejoin:round;"
    "font-family:inherit"
)


def inline_svg(fig: Figure, alt: str, prefix: str | None = None) -> str:
    """Return `fig` as inline SVG text with the accessible name `alt`.

    Parameters
    ----------
    fig
        The figure; it is drawn at its own size, not trimmed.
    alt
        What assistive technology says in its place.
    prefix
        Start of every id in the drawing. By default a digest of the drawing, so that two different
        figures on one page never share a clip path or a marker.
    """
    root, axes = _drawing(fig, "none"), _axes(fig)
    set_formulas(root, lambda: _drawing(fig, "path"))
    width, height = (float(size) for size in root.get("viewBox").split()[2:])
    _compact(root)
    _number_ids(root)
    body = "".join(ET.tostring(child, encoding="unicode") for child in root)
    prefix = prefix or "f" + hashlib.sha256(body.encode()).hexdigest()[:8]
    return (
        f'<svg role="img" aria-label="{html.escape(alt)}" viewBox="0 0 {width:g} {height:g}" '
        f'width="{width * _PIXELS:.0f}" height="{height * _PIXELS:.0f}" {axes}'
        f'style="{_ROOT_STYLE}">'
        f"{body.replace('@', prefix)}</svg>"
    )


def _drawing(fig: Figure, fonttype: str) -> ET.Element:
    """Return Matplotlib's SVG, letters as text ("none") or as outlines ("path")."""
    buffer = io.StringIO()
    fig.set_facecolor("none")
    fig.set_dpi(_RASTER_DPI)
    with mpl.rc_context({"svg.fonttype": fonttype, "svg.hashsalt": "sgdlib"}):
        # not savefig, which draws everything twice
        FigureCanvasSVG(fig).print_svg(buffer, metadata={"Date": None})
    root = ET.fromstring(buffer.getvalue())
    for element in root.iter():  # inline SVG in HTML does without namespaces
        element.tag = element.tag.removeprefix(_SVG)
        if _HREF in element.attrib:
            element.set("href", element.attrib.pop(_HREF))
    return root


def _axes(fig: Figure) -> str:
    """Return the attribute that says where the axes are, from which a page reads values off.

    For each pair of plain axes: left, top, right and bottom in the drawing's units, then for x and
    for y the limits, whether the scale is logarithmic, and the label.
    """
    places = []
    for ax in fig.axes:
        scales = {ax.get_xscale(), ax.get_yscale()}
        plain = ax.name == "rectilinear" and scales <= {"linear", "log"}
        if not (plain and ax.axison and ax.xaxis.get_visible() and ax.get_label() != "<colorbar>"):
            continue
        box = ax.get_window_extent().transformed(fig.dpi_scale_trans.inverted())
        height = 72 * fig.get_figheight()
        corners = [72 * box.x0, height - 72 * box.y1, 72 * box.x1, height - 72 * box.y0]
        place: list[object] = [round(corner, 1) for corner in corners]
        for axis, (low, high) in ((ax.xaxis, ax.get_xlim()), (ax.yaxis, ax.get_ylim())):
            if not len(axis.get_majorticklocs()):  # an axis without values
                place.append(None)
                continue
            log, label = axis.get_scale() == "log", axis.get_label_text()
            place.append([float(f"{low:.5g}"), float(f"{high:.5g}"), log, _in_words(label)])
        if place[4:] != [None, None]:
            places.append(place)
    if not places:
        return ""
    return f'tabindex="0" data-axes="{html.escape(json.dumps(places, ensure_ascii=False))}" '


def _in_words(label: str) -> str:
    r"""Return a label with its formulas as plain text.

    >>> _in_words(r"rate $\eta_1 / \mathrm{B}$")
    'rate η_1 / B'
    """

    def word(match: re.Match) -> str:
        with suppress(KeyError):
            return unicodedata.lookup(f"GREEK SMALL LETTER {match[1].upper()}")
        return ""

    return " ".join(re.sub(r"[${}]", "", re.sub(r"\\([a-zA-Z]+)", word, label)).split())


def _compact(element: ET.Element) -> None:
    """Round, shorten and recolor what is below `element`; drop what draws nothing."""
    children = []
    for child in element:
        if child.tag in ("metadata", "style"):
            continue
        _shorten(child)
        _compact(child)
        if child.tag in ("g", "defs") and not len(child):
            continue
        if child.tag == "path" and child.get("style") == "fill:none":
            continue
        if child.tag == "g" and not set(child.attrib) - {"id"}:
            children.extend(child)
        else:
            children.append(child)
    element[:] = _gathered(children)
    if element.tag not in ("text", "tspan"):
        element.text = None
        for child in children:
            child.tail = None


def _gathered(children: list[ET.Element]) -> list[ET.Element]:
    """Merge neighboring groups with equal attributes; say the style of equal markers once."""
    out: list[ET.Element] = []
    for child in children:
        if out and child.tag == out[-1].tag == "g" and child.attrib == out[-1].attrib:
            out[-1].extend(child)
        else:
            out.append(child)
    for group in out:
        styles = {mark.get("style") if mark.tag == "use" else None for mark in group}
        style = styles.pop() if len(styles) == 1 and len(group) > 1 else None
        if group.tag == "g" and style and not group.get("style") and ";opacity:" not in f";{style}":
            group.set("style", style)
            for mark in group:
                del mark.attrib["style"]
    return out


def _shorten(element: ET.Element) -> None:
    """Write the attributes of one element with few digits and in page colors."""
    for name in ("x", "y", "width", "height", "d", "transform"):
        if name in element.attrib:
            digits = 4 if name == "transform" else 2 if element.get("id") else 1
            element.set(name, _rounded(element.get(name), digits))
    if "d" in element.attrib:
        element.set("d", _short_path(element.get("d")))
    if "style" in element.attrib:
        element.set("style", _short_style(element.get("style")))
    if element.get("transform", "").startswith("rotate(0 ") or element.get("transform") == "":
        del element.attrib["transform"]
    if element.get("href", "").startswith(_PNG):
        element.set("href", _smaller_image(element.get("href")))


def _rounded(text: str, digits: int) -> str:
    """Round every decimal number in `text`; "-0" becomes "0"."""

    def short(match: re.Match) -> str:
        out = f"{float(match[0]):.{digits}f}".rstrip("0").rstrip(".")
        return "0" if out in ("-0", "") else out

    return re.sub(r"(?<![\d.])-0(?![\d.])", "0", _DECIMAL.sub(short, text))


def _short_path(d: str) -> str:
    """Drop what a path does not need: "M 1 2 L 3 4 L -5 6" becomes "M1 2 3 4-5 6"."""
    out, previous = [], ""
    for command, numbers in re.findall(r"([A-Za-z])([^A-Za-z]*)", d):
        numbers = " ".join(numbers.split())
        repeated = (command == previous and command in "LCQ") or (previous, command) == ("M", "L")
        out.append(f" {numbers}" if repeated else command + numbers)
        previous = "L" if command == "M" and repeated else command
    return "".join(out).replace(" -", "-")


def _short_style(style: str) -> str:
    """Drop the defaults from a style and put the page's colors in."""
    kept = []
    for item in filter(None, map(str.strip, style.split(";"))):
        name, value = (part.strip() for part in item.split(":", 1))
        if name == "font-family":
            if "Mono" not in value.split(",")[0]:
                continue
            value = "monospace"
        kept.append(f"{name}:{_COLORS.get(value, value)}")
    return ";".join(kept)


def _number_ids(root: ET.Element) -> None:
    """Rename the ids that are referred to as @a0, @a1, ... and drop the others."""
    names: dict[str, str] = {}
    references = re.compile(r"(?<=url\(#)[^)]+")

    def rename(match: re.Match | str) -> str:
        key = match if isinstance(match, str) else match[0]
        return names.setdefault(key, f"@-{len(names)}")

    for element in root.iter():
        for key, value in element.attrib.items():
            if key == "href" and value.startswith("#"):
                element.set(key, "#" + rename(value[1:]))
            elif "url(#" in value:
                element.set(key, references.sub(rename, value))
    for element in root.iter():
        if "id" in element.attrib:
            name = names.get(element.attrib.pop("id"))
            if name:
                element.set("id", name)


def _smaller_image(uri: str) -> str:
    """Return an embedded PNG as lossless WebP where that is smaller."""
    from PIL import Image

    png = "".join(uri.removeprefix(_PNG).split())
    packed = io.BytesIO()
    Image.open(io.BytesIO(base64.b64decode(png))).save(packed, "WEBP", lossless=True, exact=True)
    webp = base64.b64encode(packed.getvalue()).decode()
    return "data:image/webp;base64," + webp if len(webp) < len(png) else _PNG + png
