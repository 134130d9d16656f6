"""The live half of `explore`: ipywidgets that draw what is asked for."""

from __future__ import annotations

import html
import itertools
import math
from collections.abc import Callable
from typing import Any

import ipywidgets as widgets

from sgdlib.book._choices import Choice, Interval
from sgdlib.book.explore import Explore


def panel(figure: Explore) -> widgets.VBox:
    """Return sliders, menus and the "new random batches" button over the figure they redraw."""
    picture = widgets.HTML(figure.first_frame)
    values = {choice.name: choice.values[0] for choice in figure.choices}

    def redraw(name: str, value: Any) -> None:
        values[name] = value
        try:
            picture.value = figure.frame(**values)
        except Exception as error:  # a widget's callback has nowhere else to show it
            picture.value = f"<pre>{html.escape(f'{type(error).__name__}: {error}')}</pre>"

    controls = [_control(choice, redraw) for choice in figure.choices]
    row = widgets.HBox(controls, layout={"flex_flow": "row wrap"})
    return widgets.VBox([row, picture, widgets.HTML(html.escape(figure.caption))])


def _control(choice: Choice, redraw: Callable[[str, Any], None]) -> widgets.Widget:
    if choice.kind == "seed":
        return _seed_button(choice, redraw)
    shown = {"description": choice.label, "style": {"description_width": "initial"}}
    if choice.kind == "menu":
        options = list(zip(choice.texts, choice.values, strict=True))
        control = widgets.Dropdown(options=options, **shown)
    elif choice.span is None:
        options = list(zip(choice.texts, choice.values, strict=True))
        control = widgets.SelectionSlider(options=options, continuous_update=False, **shown)
    else:
        control = _continuous_slider(choice.span, **shown)
    control.observe(lambda change: redraw(choice.name, change["new"]), names="value")
    return control


def _continuous_slider(span: Interval, **shown: Any) -> widgets.Widget:
    """Return a slider over every value of an interval, not only those that have a frame."""
    slider, scale = (
        (widgets.FloatLogSlider, math.log10) if span.log else (widgets.FloatSlider, float)
    )
    low, high = scale(span.low), scale(span.high)
    return slider(
        value=span.low,
        min=low,
        max=high,
        step=(high - low) / 200,
        readout_format=".3g",
        continuous_update=False,
        **shown,
    )


def _seed_button(choice: Choice, redraw: Callable[[str, Any], None]) -> widgets.Button:
    """Each press draws the next seed: first those of the page, then new ones without end."""
    button = widgets.Button(description="New random batches", layout={"width": "auto"})
    seeds = itertools.chain(choice.values[1:], itertools.count(max(choice.values) + 1))
    button.on_click(lambda _: redraw(choice.name, next(seeds)))
    return button
