"""The frames of live figures leave the page: each figure's stand in a script of its own.

A page then has the first frame of each figure, which is all that is read, printed and searched, and
is several times lighter. `_static/explore.js` loads the others when the figure comes near. They are
a script, not data to be fetched, so that a book opened as files moves too. A script is named by
what is in it: none is ever stale.
"""

import hashlib
import json
import re
from pathlib import Path

from docutils import nodes
from sphinx.util.osutil import relative_uri

FIGURE = re.compile(r"<figure\b[^>]*\bclass=\"own explore\"[^>]*>.*?</figure>", re.S)
TEMPLATE = re.compile(r"<template>(.*?)</template>", re.S)
FOLDER = "_static/frames"


def move(app, doctree, docname):
    """Write the frames of a page's figures beside it, and leave their address with the figure."""
    if app.builder.format != "html":
        return
    folder = Path(app.outdir, FOLDER)
    here = app.builder.get_target_uri(docname)

    def without_frames(match):
        frames = TEMPLATE.findall(match[0])
        if not frames:
            return match[0]
        text = json.dumps(frames, ensure_ascii=False, separators=(",", ":"))
        name = hashlib.sha256(text.encode()).hexdigest()[:16] + ".js"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(f'(window.exploreFrames??={{}})["{name}"]={text}', "utf-8")
        address = relative_uri(here, f"{FOLDER}/{name}")
        figure = TEMPLATE.sub("", match[0])
        return figure.replace("<figure", f'<figure data-src="{address}"', 1)

    for raw in list(doctree.findall(nodes.raw)):
        if raw.get("format") == "html" and "<template>" in raw.astext():
            text = FIGURE.sub(without_frames, raw.astext())
            raw.replace_self(nodes.raw("", text, **raw.non_default_attributes()))


def setup(app):
    """Register the event: after the pages were checked, before they are written."""
    app.connect("doctree-resolved", move, priority=950)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
