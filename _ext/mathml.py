"""Formulas as trees of MathML: made lean, cut where a line may break, and read off.

A browser breaks no line inside of a formula. So a long formula in a line of text is several, cut
where TeX would break it: after a relation or a sign between two terms.
"""

import unicodedata
from xml.etree import ElementTree

ROWS = {"math", "mrow", "mtd", "msqrt", "mstyle"}  # what is in them stands in a row anyway
LIMITS = {"munder", "mover", "munderover"}  # Firefox stretches brackets around them in a row only
BREAKS = set("=≠≈<>≤≥≪≫≲≳∼∝∈→←↦+−±∓⋅×,")
PIECE = 6  # characters of a piece, at least
BRACKET = 24  # characters of a bracket that may be cut itself
THIN = "0.1667em"
DOTS = {"…", "⋯"}  # browsers give them the space of a relation
APPLY = "\u2061"  # between a function and its argument: heard, not seen

# A letter alone in an `mi` is shown as this one.
ITALIC = {"h": "ℎ"} | {
    chr(int(unicodedata.decomposition(char).removeprefix("<font> "), 16)): char
    for char in map(
        chr, [*range(0x1D434, 0x1D455), *range(0x1D456, 0x1D468), *range(0x1D6E2, 0x1D71C)]
    )
}


def parse(markup):
    """Read the markup of one formula, and leave out what says nothing."""
    math = ElementTree.fromstring(markup)
    for name in ("class", "style"):
        math.attrib.pop(name, None)
    lean(math)
    while len(math) == 1 and math[0].tag == "mstyle" and math[0].get("scriptlevel") == "0":
        math.set("displaystyle", math[0].get("displaystyle"))
        math[:] = math[0]
    return math


def lean(element):
    """Resolve rows of one, and rows in what is a row anyway; put spaces into operators."""
    if element.tag in LIMITS and element[1].text == APPLY:  # Temml puts a function in without a row
        del element[1:-1]
    for child in element:
        lean(child)
    children, alone = [], len(element) == 1
    for child in element:
        row = child.tag == "mrow" and not child.attrib
        if child.tag == "mo" and child.text in DOTS:
            child.attrib.update(lspace="0em", rspace=THIN)
        if child.tag == "mspace" and not child.attrib:  # a space of no width
            continue
        if row and element.tag in ROWS and (is_function(child) or (alone and not grows(child))):
            children += child
        elif row and len(child) == 1 and child[0].tag not in LIMITS:
            children.append(child[0])
        elif child.tag == "mspace" and children and children[-1].text == APPLY:
            children[-1].set("rspace", child.get("width"))
        else:
            children.append(child)
    for place in range(len(children) - 1, 1, -1):  # a function stands apart from a factor before it
        if children[place].text == APPLY and children[place - 2].tag not in ("mo", "mspace"):
            children.insert(place - 1, ElementTree.Element("mspace", width=THIN))
    element[:] = children


def is_function(row):
    """Whether a row is the name of a function: what it is applied to comes after it."""
    return len(row) > 0 and row[-1].text == APPLY


def write(element):
    """Return the markup of a tree."""
    return ElementTree.tostring(element, encoding="unicode", method="html")


def text(element):
    """Return what an element shows, letter by letter, as the font has to show it."""
    own = element.text or ""
    if element.tag == "mi" and len(own) == 1 and element.get("mathvariant") != "normal":
        own = ITALIC.get(own, own)
    elif element.tag in ("msqrt", "mroot"):
        own = "√"
    return own + "".join(map(text, element))


def pieces(math):
    """Cut a formula where a line may break; a short one stays whole."""
    parts, rest = [[]], len(text(math))
    for child in opened(math):
        parts[-1].append(child)
        size = sum(len(text(part)) for part in parts[-1])
        ends = child.tag == "mo" and child.text in BREAKS and child.get("form") != "prefix"
        if ends and len(parts[-1]) > 1 and size >= PIECE and rest - size >= PIECE:
            child.set("form", "infix")
            parts.append([])
            rest -= size
    if len(parts) == 1:
        return [math]
    made = []
    for part in parts:
        piece = ElementTree.Element("math", math.attrib)
        piece[:] = part
        made.append(piece)
    return made


def opened(row):
    """Yield what stands in a row; of a long bracket what stands in it."""
    for child in row:
        bracket = child.tag == "mrow" and not child.attrib and len(child) and child[0].get("fence")
        if bracket and not grows(child) and len(text(child)) >= BRACKET:
            yield from opened(child)
        else:
            yield child


def grows(row):
    """Whether something in a row becomes as high as the row, so that it must stay whole."""
    return any(child.get("stretchy") == "true" for child in row)
