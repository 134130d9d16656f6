"""One figure, two lives: live sliders in Jupyter, frames drawn beforehand in the page.

While the book is built (the environment variable `BOOK_BUILD` is set) every combination of the
choices is drawn once and put into the page as inline SVG, moved by `_static/explore.js`: no kernel,
no widget manager. Everywhere else only the first frame is drawn, and ipywidgets ask the same
function for what the reader wants to see.
"""

from __future__ import annotations

import hashlib
import html
import itertools
import json
import math
import os
from collections.abc import Callable, Iterator
from typing import Any

from matplotlib.figure import Figure

from sgdlib.book import _handles
from sgdlib.book._choices import MAX_FRAMES, Choice, choice_from, interval
from sgdlib.book.figures import anchor, described, draw_svg, figure_html

__all__ = ["explore", "interval"]


def explore(
    draw: Callable[..., Figure],
    *,
    alt: str | Callable[..., str],
    caption: str = "",
    name: str | None = None,
    **choices: Any,
) -> Explore:
    """Show `draw(**choices)` as a figure that the reader can move; the last line of its cell.

    Parameters
    ----------
    draw
        Takes one value of each choice as keyword arguments and returns a Matplotlib figure, always
        of one size. Give its axes fixed limits, so that only what is drawn moves. A dot that shows
        where a choice stands can be dragged in the page: `ax.plot(x, y, "o", gid="drag rate")` is
        a handle of the choice `rate`.
    alt
        A sentence that says what the figure shows, or a function of the choices that returns one.
    caption
        Plain text below the figure.
    name
        Anchor for links to the figure, such as `fig-paths`.
    **choices
        For each argument of `draw` a list of values, a range, or an `interval`. Numbers make a
        slider (a word among them is a value like the others), words alone a menu; `seed` makes the
        button "New random batches".

    Returns
    -------
    Explore
        An object that Jupyter and the book know how to show.

    Raises
    ------
    ValueError
        If the choices make more than 60 frames, a choice has fewer than two values, the frames
        differ in size, or a handle moves none of the choices.
    TypeError
        If `draw` returns something other than a figure.
    """
    return Explore(draw, alt, caption, name, [choice_from(k, v) for k, v in choices.items()])


class Explore:
    """A figure and its choices; made by `explore`."""

    def __init__(
        self,
        draw: Callable[..., Figure],
        alt: str | Callable[..., str],
        caption: str,
        name: str | None,
        choices: list[Choice],
    ):
        self.title = f"explore {anchor(name)!r}" if name else "explore"
        self.choices = choices
        self.frames = math.prod(len(choice.values) for choice in choices)
        if not choices:
            raise ValueError(f"{self.title}: expected at least one choice")
        if self.frames > MAX_FRAMES:
            product = " x ".join(f"{c.name} {len(c.values)}" for c in choices)
            raise ValueError(
                f"{self.title}: {self.frames} frames ({product}), expected at most {MAX_FRAMES}"
            )
        self._draw, self._alt = draw, alt
        self.caption, self._name = caption, name
        first = {choice.name: choice.values[0] for choice in choices}
        self._ident, self._places = None, None
        self.first_frame, self._first_handles = self._drawn(first)
        self._ident = name or "x" + hashlib.sha256(self.first_frame.encode()).hexdigest()[:8]
        self.text = f"[interactive figure: {self._describe(first)}]"
        # drawn here and not when it is shown: an error in `draw` has to stop the cell
        self._page = self._page_html() if os.environ.get("BOOK_BUILD") else None

    def frame(self, **values: Any) -> str:
        """Return the frame for one value of each choice as inline SVG."""
        return self._drawn(values)[0]

    def _drawn(self, values: dict[str, Any]) -> tuple[str, dict[str, _handles.Place]]:
        """Return a frame and where its handles stand."""
        alt = self._describe(values)
        fig = self._draw(**values)
        self._place_axes(fig)
        return draw_svg(fig, alt, self._ident), _handles.places(fig)

    def _place_axes(self, fig: Figure) -> None:
        """Put the axes where the first frame has them: nothing jumps, and it is twice as fast."""
        if not isinstance(fig, Figure) or fig.get_layout_engine() is None:
            return
        if self._places is None:
            fig.draw_without_rendering()
            self._places = [ax.get_position(original=True) for ax in fig.axes]
        if len(self._places) == len(fig.axes):
            fig.set_layout_engine("none")
            for ax, place in zip(fig.axes, self._places, strict=True):
                ax.set_position(place)

    def _describe(self, values: dict[str, Any]) -> str:
        return described(self._alt(**values) if callable(self._alt) else self._alt)

    def _all_frames(self) -> Iterator[tuple[str, dict[str, _handles.Place]]]:
        yield self.first_frame, self._first_handles
        names = [choice.name for choice in self.choices]
        combinations = itertools.product(*(choice.values for choice in self.choices))
        for combination in itertools.islice(combinations, 1, None):
            values = dict(zip(names, combination, strict=True))
            frame, handles = self._drawn(values)
            if _size(frame) != _size(self.first_frame):
                raise ValueError(f"{self.title}: the frame for {values} differs in size")
            yield frame, handles

    def _page_html(self) -> str:
        """Return the page's figure: first frame, controls, and the other frames in templates."""
        drawn = list(self._all_frames())
        first, *others = (frame for frame, _ in drawn)
        movable = [choice.name for choice in self.choices if choice.kind != "seed"]
        handles = _handles.attribute(self.title, movable, [places for _, places in drawn])
        controls = [self._control(i, choice) for i, choice in enumerate(self.choices)]
        movers = [i for i, choice in enumerate(self.choices) if choice.kind != "seed"]
        if movers:
            play = '<button type="button" class="explore-play">Play</button>'
            controls.insert(movers[-1] + 1, play)
        if handles:
            which = "the" if len(drawn[0][1]) == 1 else "a"
            controls.insert(0, f"<span>Drag {which} ring, or choose:</span>")
        controls.append(
            '<button type="button" class="explore-pin" aria-pressed="false">Pin</button>'
        )
        body = [
            f'<div class="explore-frame">{first}</div>',
            f'<div class="explore-controls" hidden>{"".join(controls)}</div>',
            '<p class="explore-said" role="status"></p>',
            *(f"<template>{frame}</template>" for frame in others),
        ]
        attributes = f'class="own explore" data-frames="{self.frames}"{handles}'
        return figure_html("".join(body), self.caption, self._name, attributes)

    def _control(self, index: int, choice: Choice) -> str:
        """Return the native control of one choice; `data-values` says what its positions mean."""
        ident, texts = f"{self._ident}-choice{index}", [html.escape(t) for t in choice.texts]
        values = html.escape(json.dumps(choice.texts, ensure_ascii=False))
        # autocomplete: a reloaded page starts at the first frame, and so must its controls
        common = (
            f'id="{ident}" class="explore-input" data-choice="{html.escape(choice.name)}" '
            f'data-values="{values}" autocomplete="off"'
        )
        label = f'<label for="{ident}">{html.escape(choice.label)}</label>'
        if choice.kind == "seed":
            parts = [
                f'<button type="button" value="0" {common}>New random batches</button>',
                f'<output for="{ident}" aria-live="off">draw 1 of {len(texts)}</output>',
            ]
        elif choice.kind == "menu":
            options = (f'<option value="{i}">{text}</option>' for i, text in enumerate(texts))
            parts = [label, f"<select {common}>{''.join(options)}</select>"]
        else:
            position = f'min="0" max="{len(texts) - 1}" value="0" aria-valuetext="{texts[0]}"'
            parts = [
                label,
                f'<input type="range" {position} {common}>',
                f'<output for="{ident}" aria-live="off">{texts[0]}</output>',
            ]
        return f'<span class="explore-choice">{" ".join(parts)}</span>'

    def _repr_mimebundle_(self, **kwargs: Any) -> dict[str, Any]:
        if self._page:
            return {"text/plain": self.text, "text/html": self._page}
        from sgdlib.book._live import panel

        view = panel(self)._repr_mimebundle_(**kwargs)
        still = figure_html(self.first_frame, self.caption, self._name)
        return {**view, "text/plain": self.text, "text/html": still}


def _size(svg: str) -> str:
    return svg[svg.index("viewBox=") :].split('"')[1]
