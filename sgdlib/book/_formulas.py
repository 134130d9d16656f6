"""Formulas in the labels of an SVG figure, in the font of the page.

Matplotlib places each letter of a formula by the widths of its own font. In another font the
letters would stand apart; in a line of text each follows the one before. What is more than a line
is drawn as outlines, which need no font.
"""

from __future__ import annotations

import functools
import re
import unicodedata
import xml.etree.ElementTree as ET
from collections.abc import Callable

from matplotlib.font_manager import FontProperties, findfont, get_font

_SCRIPT = 0.86  # of a sub- or superscript to its letter


def set_formulas(root: ET.Element, outlines: Callable[[], ET.Element]) -> None:
    """Turn each formula below `root` into a line of text; one that is more, into outlines.

    Parameters
    ----------
    root
        A drawing with its letters as text.
    outlines
        Draws it again with its letters as outlines; called only if a formula needs them.
    """
    stacked = []
    for label in root.iter("g"):
        placed = label.find("g[text]")
        if not label.get("id", "").startswith("text_") or placed is None:
            continue
        line = _line(placed)
        if line is None:
            stacked.append(label)
        else:
            label[list(label).index(placed)] = line
    if not stacked:
        return
    outlined = outlines()
    groups = {group.get("id"): group for group in outlined.iter("g")}
    letters = {path.get("id"): path for path in outlined.iterfind(".//defs/path")}
    for label in stacked:
        label[:] = groups[label.get("id")]
        for defs in list(label.iter("defs")):
            defs[:] = []
        used = (use.get("href", "").removeprefix("#") for use in label.iter("use"))
        new = [letters.pop(name) for name in dict.fromkeys(used) if name in letters]
        defs = ET.Element("defs")
        defs.extend(new)
        label.insert(0, defs)


def _line(group: ET.Element) -> ET.Element | None:
    """Return a formula as one line of flowing text, or None if it is not one line.

    Sub- and superscripts are shifted. Fractions, roots, accents and letters from special fonts are
    not lines.
    """
    if [child.tag for child in group] != ["text"]:
        return None
    spans = sorted(group[0], key=lambda span: float(span.get("x")))
    level, base = float(spans[0].get("y")), max(map(_font_size, spans))
    line = ET.Element("text", {**group.attrib, "y": f"{level:.1f}"})
    end, run, run_style = None, None, None
    for span in spans:
        letter, style, size = span.text, span.get("style"), _font_size(span)
        x, y = float(span.get("x")), float(span.get("y"))
        gap = 0.0 if end is None else x - end
        if not _ordinary(letter, style) or gap < -0.1 * size:
            return None
        shift = round(y - level, 1) if abs(y - level) > 0.05 * size else 0
        apart = gap > 0.12 * size
        if (
            size < _SCRIPT * base
        ):  # as small as Matplotlib sets them, exponents cannot be read on a phone
            style = style.replace(f"font-size: {size:g}px", f"font-size: {_SCRIPT * base:.3g}px")
        if run is None or style != run_style or shift or apart:
            run = ET.SubElement(line, "tspan", style=style)
            run.text, run_style, level = "", style, level + shift
            if shift:
                run.set("dy", f"{shift:g}")
            if apart:
                run.set("dx", f"{gap:.1f}")
        run.text += letter
        end = x + _advance(letter, size, "oblique" in style, "700" in style)
    return line


def _font_size(span: ET.Element) -> float:
    return float(re.search(r"font-size: ([\d.]+)", span.get("style"))[1])


def _ordinary(letter: str, style: str) -> bool:
    """Whether the page's font can stand in for the letter."""
    return len(letter) == 1 and not unicodedata.combining(letter) and "'DejaVu Sans'" in style


@functools.cache
def _advance(letter: str, size: float, oblique: bool, bold: bool) -> float:
    """Width of a letter in the font that Matplotlib measures with, in points."""
    style, weight = "oblique" if oblique else "normal", "bold" if bold else "normal"
    font = get_font(findfont(FontProperties(style=style, weight=weight)))
    font.set_size(size, 72)
    return font.load_char(ord(letter)).linearHoriAdvance / 65536
