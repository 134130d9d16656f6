"""Handles: marks of a live figure that the reader can drag, and the choices they move.

An artist with the `gid` "drag rate" is the handle of the choice `rate`. It stands at the artist's
last point: a dot, the end of a curve, the head of a line.
"""

from __future__ import annotations

import html
import json

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

_SIGN = "drag "
Place = tuple[float, float] | None


def places(fig: Figure) -> dict[str, Place]:
    """Return where the handles of a drawn figure stand, in the units of its drawing.

    None stands for a place outside of its axes, where nothing can be seized.
    """
    height = fig.get_figheight()
    found: dict[str, Place] = {}
    for line in fig.findobj(lambda artist: (artist.get_gid() or "").startswith(_SIGN)):
        name = line.get_gid().removeprefix(_SIGN)
        if not isinstance(line, Line2D):
            raise TypeError(f"gid={line.get_gid()!r}: expected on a line or marker of `plot`")
        point = line.get_transform().transform(line.get_xydata()[-1])
        inside = np.isfinite(point).all() and line.axes.bbox.padded(2).contains(*point)
        x, y = fig.dpi_scale_trans.inverted().transform(point)
        found[name] = (round(72 * x, 1), round(72 * (height - y), 1)) if inside else None
    return found


def attribute(title: str, movable: list[str], frames: list[dict[str, Place]]) -> str:
    """Return the attribute with the places of each handle in all frames, or nothing.

    Raises
    ------
    ValueError
        If a handle moves no choice, or stands at one place in all frames.
    """
    names = list(dict.fromkeys(name for frame in frames for name in frame))
    moves = {name: [frame.get(name) for frame in frames] for name in names}
    for name, seen in moves.items():
        if name not in movable:
            raise ValueError(
                f"{title}: gid='{_SIGN}{name}', expected one of the choices {', '.join(movable)}"
            )
        if len(set(seen) - {None}) < 2:
            raise ValueError(f"{title}: the handle of {name!r} never moves")
    if not moves:
        return ""
    data = json.dumps(moves, separators=(",", ":"))
    return f' data-handles="{html.escape(data)}"'
