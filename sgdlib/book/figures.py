"""Figures for a page, for Jupyter and for print: one look, inline SVG, alt text always.

Ink is the page's own color, the background is transparent, so a figure is legible in light and in
dark. The six line colors have a contrast of at least 3:1 on white and on the dark page, and stay
apart for readers who do not see all colors; the dashes in the cycle tell lines apart where color
cannot.
"""

from __future__ import annotations

import html
import os
import re
import sys

import matplotlib as mpl
import matplotlib.pyplot as plt
from IPython.display import display
from matplotlib.figure import Figure

from sgdlib import _check
from sgdlib.book._svg import PAPER, inline_svg

COLORS = ("#2e8aee", "#da6b07", "#4f804f", "#bb379d", "#8739ff", "#c27995")
"""Six line colors: what `C0` to `C5` mean after `begin()`."""

MARKERS = ("o", "s", "^", "D", "v", "P")
"""One marker for each color, for points: `ax.plot(x, y, "o")` has no dashes to tell it by."""

DASHES = (
    "-",
    (0, (5, 1.5)),
    (0, (1.5, 1.1)),
    (0, (6, 1.5, 1, 1.5)),
    (0, (3, 1)),
    (0, (8, 2, 2, 2)),
)
"""One dash pattern for each color."""

_RAMP = ("#da6b07", "#d0504f", "#bb379d", "#8739ff", "#5a62f7", "#2e8aee")
_GREY = "#808080"

STYLE = {
    "axes.facecolor": "none",
    "axes.prop_cycle": mpl.cycler(color=COLORS) + mpl.cycler(linestyle=DASHES),
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlesize": "medium",
    "figure.constrained_layout.use": True,
    "figure.facecolor": "none",
    "figure.figsize": (4.9, 3.1),  # the width of which a phone shows enough: labels of 9 px
    "font.size": 10.5,
    "grid.alpha": 0.35,
    "grid.color": _GREY,
    "image.cmap": "viridis",
    "image.interpolation": "none",
    "legend.edgecolor": "none",
    "legend.facecolor": PAPER,
    "legend.framealpha": 0.7,
    "lines.linewidth": 1.6,
    "lines.markersize": 5,
    "savefig.facecolor": "none",
}


def begin() -> None:
    """Set the figure style and steady thread counts; the first cell of every chapter.

    Linear algebra runs on one thread, in the libraries that are loaded and in those that will be,
    so that a sum is added up in the same order on every machine and its printed digits agree.
    """
    from threadpoolctl import threadpool_limits

    os.environ["OMP_NUM_THREADS"] = "1"
    threadpool_limits(1)
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(1)
    plt.rcParams.update(STYLE)


def ramp(count: int) -> list[str]:
    """Return `count` colors for batch sizes, from the smallest (hot) to the full batch (cold).

    Parameters
    ----------
    count
        How many colors, at least 1; one alone is that of the smallest batch.

    Raises
    ------
    ValueError, TypeError
        If `count` is no int >= 1.

    Notes
    -----
    The colors keep the contrast of `COLORS` in light and in dark. Used wherever curves differ by
    their batch size.

    Examples
    --------
    >>> ramp(3)
    ['#da6b07', '#a038cf', '#2e8aee']
    """
    count = _check.integer("count", count)
    mix = mpl.colors.LinearSegmentedColormap.from_list("batch sizes", _RAMP)
    return [mpl.colors.to_hex(mix(i / max(count - 1, 1))) for i in range(count)]


def show(fig: Figure, *, alt: str, caption: str = "", name: str | None = None) -> None:
    """Show `fig` as inline SVG with its description; the last line of the figure's cell.

    Parameters
    ----------
    fig
        A Matplotlib figure, one panel or several. It is closed afterwards.
    alt
        One or two sentences: what the figure shows. Kept as the cell's text output.
    caption
        Plain text below the figure.
    name
        Anchor for links to the figure: lower-case letters, digits and hyphens, such as `fig-bowl`.

    Raises
    ------
    TypeError
        If `fig` is no figure.
    ValueError
        If `alt` is shorter than a sentence, or `name` is no anchor.
    """
    page = figure_html(draw_svg(fig, described(alt)), caption, name)
    display({"text/plain": f"[figure: {alt}]", "text/html": page}, raw=True)


def described(alt: str) -> str:
    """Return `alt` if it can stand for a figure, or raise ValueError."""
    if not isinstance(alt, str) or len(alt.strip()) < 20:
        raise ValueError(
            f"alt={_check.shown(alt)}: expected a sentence that says what the figure shows"
        )
    return alt


def draw_svg(fig: Figure, alt: str, prefix: str | None = None) -> str:
    """Return `fig` as inline SVG and close it, so that it is not shown a second time."""
    if not isinstance(fig, Figure):
        raise TypeError(f"expected a Matplotlib figure to show, got {type(fig).__name__}")
    try:
        return inline_svg(fig, alt, prefix)
    finally:
        plt.close(fig)


def anchor(name: str) -> str:
    """Return `name` if it can be an anchor, or raise ValueError."""
    if not isinstance(name, str) or not re.fullmatch(r"[a-z][a-z0-9-]*", name):
        shown = _check.shown(name)
        raise ValueError(
            f"name={shown}: expected lower-case letters, digits and hyphens, such as 'fig-bowl'"
        )
    return name


def figure_html(body: str, caption: str, name: str | None, attributes: str = 'class="own"') -> str:
    """Wrap `body` in a `<figure>` with its anchor and caption."""
    ident = f' id="{anchor(name)}"' if name else ""
    text = f"<figcaption>{html.escape(caption)}</figcaption>" if caption else ""
    return f"<figure{ident} {attributes}>{body}{text}</figure>"
