"""What every page must keep: images with a name, figures within their budget.

Each broken rule is a warning with its place, and a warning fails the strict build. Sphinx would
forget it: it has stored the pages as done, and a second run passes. So after a build with warnings
the stored environment is removed, and the next run reads everything again (from the execution
cache, which is quick).
"""

import gzip
import re
from html.parser import HTMLParser
from pathlib import Path

from docutils import nodes
from sphinx.util import logging

logger = logging.getLogger(__name__)
FRAMES = 60  # a figure
FRAME_KILOBYTES = 500  # a page, gzip
FIGURE = re.compile(r"<figure\b[^>]*\bclass=\"[^\"]*\bexplore\b[^\"]*\".*?</figure>", re.S)
TEMPLATE = re.compile(r"<template\b.*?</template>", re.S)


class Names(HTMLParser):
    """Collects the images of a piece of HTML that have no name for those who cannot see them."""

    def __init__(self):
        super().__init__()
        self.nameless = []
        self.inside = {"svg": 0, "template": 0}

    def handle_starttag(self, tag, attrs):
        """Look at each image and each outermost SVG; frames in templates are not shown yet."""
        attributes = dict(attrs)
        if tag in ("svg", "img") and not any(self.inside.values()):
            name = attributes.get("aria-label") or attributes.get("aria-labelledby")
            if tag == "img":
                name = name or attributes.get("alt")
            else:
                name = name if attributes.get("role") == "img" else None
            if not (name or "").strip() and attributes.get("aria-hidden") != "true":
                self.nameless.append(tag)
        if tag in self.inside:
            self.inside[tag] += 1

    def handle_endtag(self, tag):
        """Leave an element."""
        if tag in self.inside:
            self.inside[tag] -= 1

    def handle_startendtag(self, tag, attrs):
        """``<img/>`` opens and closes."""
        self.handle_starttag(tag, attrs)
        self.handle_endtag(tag)


def check_names(app, doctree, docname):
    """Every image has alt text, every inline SVG a label."""
    for image in doctree.findall(nodes.image):
        if not image.get("alt", "").strip():
            warn(image, docname, "image without alt text: %s", Path(image["uri"]).name)
    for raw in doctree.findall(nodes.raw):
        if raw.get("format") != "html":
            continue
        names = Names()
        names.feed(raw.astext())
        for tag in names.nameless:
            warn(raw, docname, "<%s> without a name: give alt=", tag)


def check_frames(app, doctree, docname):
    """At most 60 frames a figure and 500 kB of frames (gzip) a page."""
    weights = {}
    for raw in doctree.findall(nodes.raw):
        for figure in FIGURE.findall(raw.astext()):
            frames = TEMPLATE.findall(figure)
            declared = re.search(r'data-frames="(\d+)"', figure)
            count = max(len(frames), int(declared[1]) if declared else 0)
            name = name_of(raw, figure)
            if count > FRAMES:
                message = "the figure %s has %d frames, at most %d are allowed"
                warn(raw, docname, message, name, count, FRAMES)
            weights[name] = len(gzip.compress("".join(frames).encode())) / 1000
    if sum(weights.values()) > FRAME_KILOBYTES:
        heaviest = sorted(weights, key=weights.get, reverse=True)
        listed = ", ".join(f"{name} {weights[name]:.0f} kB" for name in heaviest)
        message = "the frames of this page weigh %.0f kB (gzip), at most %d are allowed: %s"
        warn(None, docname, message, sum(weights.values()), FRAME_KILOBYTES, listed)


def name_of(raw, figure):
    """Return what the author calls a figure: its label, or the beginning of its description."""
    node = raw.parent
    while node is not None:
        if isinstance(node, nodes.figure) and node.get("names"):
            return node["names"][0]
        node = node.parent
    label = re.search(r"<figure\b[^>]*\bid=\"([^\"]+)\"", figure)
    text = re.search(r"aria-label=\"([^\"]+)\"", figure)
    return label[1] if label else repr(text[1][:60]) if text else "without a name"


def warn(node, docname, message, *args):
    """Fail the strict build, with the place."""
    logger.warning(message, *args, location=node or docname, type="page")


def check(app, doctree, docname):
    """Look at a page as it will be written."""
    if app.builder.format == "html":
        check_names(app, doctree, docname)
        check_frames(app, doctree, docname)


def forget(app, exception):
    """Do not remember a build with warnings as done."""
    if exception or app._warncount:
        Path(app.doctreedir, "environment.pickle").unlink(missing_ok=True)


def setup(app):
    """Register the events."""
    app.connect("doctree-resolved", check, priority=900)
    app.connect("build-finished", forget)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
