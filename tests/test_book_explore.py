"""Live figures: the frames of the page, the widgets of Jupyter, one drawing function for both."""

import html
import itertools
import json
import re
import subprocess
import sys

import matplotlib.pyplot as plt
import numpy as np
import pytest

from sgdlib.book import begin, explore, interval

ALT = "A bar that is as high as the choices say."


@pytest.fixture(autouse=True)
def style(monkeypatch):
    monkeypatch.delenv("BOOK_BUILD", raising=False)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    with plt.rc_context():
        begin()
        yield
    assert not plt.get_fignums()


@pytest.fixture
def book(monkeypatch):
    monkeypatch.setenv("BOOK_BUILD", "1")


class Drawing:
    """Draws the values it is given as text, and remembers them."""

    def __init__(self):
        self.asked = []

    def __call__(self, **values):
        self.asked.append(values)
        fig = plt.figure(figsize=(2, 1))
        fig.text(0.5, 0.5, ",".join(f"{k}={v}" for k, v in values.items()))
        return fig


def page(figure):
    return figure._repr_mimebundle_()["text/html"]


def frames(figure):
    """What each frame shows, in the order in which the script counts them."""
    return re.findall(r"<text[^>]*>([^<]*)</text>", page(figure))


# ----------------------------------------------------------------- the page


def test_the_frames_count_through_the_choices_last_fastest(book):
    draw = Drawing()
    figure = explore(draw, alt=ALT, batch_size=[1, 8, 32], seed=range(2))
    expected = [f"batch_size={b},seed={s}" for b, s in itertools.product([1, 8, 32], range(2))]
    assert frames(figure) == expected
    assert len(draw.asked) == 6
    assert 'data-frames="6"' in page(figure)
    assert page(figure).count("<template>") == 5


def test_the_first_frame_needs_no_script(book):
    before = page(explore(Drawing(), alt=ALT, b=[1, 2])).split("<template>")[0]
    assert "b=1</text>" in before
    assert f'aria-label="{ALT}"' in before
    assert 'class="explore-controls" hidden' in before


def test_each_choice_has_its_native_control(book):
    figure = explore(
        Drawing(), alt=ALT, name="fig-c", batch_size=[1, 8], rule=["keep", "drop"], seed=[3, 5]
    )
    text = page(figure)
    assert (
        '<label for="fig-c-choice0">batch size</label> <input type="range" min="0" max="1"' in text
    )
    assert '<output for="fig-c-choice0" aria-live="off">1</output>' in text
    assert '<label for="fig-c-choice1">rule</label> <select id="fig-c-choice1"' in text
    assert '<option value="1">drop</option>' in text
    assert re.search(r'<button type="button" value="0" id="fig-c-choice2"[^>]*>New random', text)
    values = [json.loads(html.unescape(v)) for v in re.findall(r'data-values="([^"]*)"', text)]
    assert values == [["1", "8"], ["keep", "drop"], ["3", "5"]]
    play = text.index("explore-play")
    assert text.index("fig-c-choice1") < play < text.index("fig-c-choice2")


def test_a_scale_may_end_in_a_word(book):
    text = page(explore(Drawing(), alt=ALT, batch_size=[1, 8, "all"], keep=[True, False]))
    assert text.count('type="range"') == 1
    assert '<option value="0">True</option>' in text


def test_only_seeds_are_not_played(book):
    assert "explore-play" not in page(explore(Drawing(), alt=ALT, seed=range(3)))


def test_values_and_words_cannot_break_the_page(book):
    text = page(explore(Drawing(), alt='a "<b>" & more of this', rule=['"<i>', "&"], caption="<u>"))
    assert not re.search("<(b|i|u)>", text)
    assert json.loads(html.unescape(re.search(r'data-values="([^"]*)"', text)[1])) == ['"<i>', "&"]


def test_the_name_of_a_frame_may_depend_on_the_choices(book):
    figure = explore(Drawing(), alt=lambda b: f"A bar of the height {b} stands there.", b=[1, 2])
    names = re.findall('aria-label="([^"]*)"', page(figure))
    assert names == [f"A bar of the height {b} stands there." for b in (1, 2)]
    assert figure.text == "[interactive figure: A bar of the height 1 stands there.]"


def test_an_interval_shows_values_that_are_what_they_say(book):
    draw = Drawing()
    text = page(explore(draw, alt=ALT, lr=interval(0.01, 1, 4, log=True)))
    shown = json.loads(html.unescape(re.search(r'data-values="([^"]*)"', text)[1]))
    assert shown == ["0.01", "0.0464", "0.215", "1"]
    assert [asked["lr"] for asked in draw.asked] == [float(s) for s in shown]
    assert "learning rate</label>" in text


def test_two_figures_on_a_page_share_no_id(book):
    first = page(explore(Drawing(), alt=ALT, b=[1, 2]))
    second = page(explore(Drawing(), alt=ALT, b=[3, 4]))
    ids = [set(re.findall(r' id="([^"]+)"', text)) for text in (first, second)]
    assert ids[0]
    assert not ids[0] & ids[1]


def test_the_page_has_no_widget(book):
    assert set(explore(Drawing(), alt=ALT, b=[1, 2])._repr_mimebundle_()) == {
        "text/plain",
        "text/html",
    }


def test_frames_of_two_sizes_would_jump(book):
    def draw(b):
        return plt.figure(figsize=(2, b))

    with pytest.raises(
        ValueError, match=r"explore 'fig-j': the frame for {'b': 2} differs in size"
    ):
        explore(draw, alt=ALT, name="fig-j", b=[1, 2])


# --------------------------------------------------------------- everywhere


def test_too_many_frames_are_refused_by_name_before_any_is_drawn():
    draw = Drawing()
    message = r"explore 'fig-big': 61 frames \(b 61\), expected at most 60"
    with pytest.raises(ValueError, match=message):
        explore(draw, alt=ALT, name="fig-big", b=range(61))
    with pytest.raises(ValueError, match=r"72 frames \(b 12 x seed 6\)"):
        explore(draw, alt=ALT, b=range(12), seed=range(6))
    assert not draw.asked
    assert explore(draw, alt=ALT, b=range(10), seed=range(6)).frames == 60


@pytest.mark.parametrize(
    ("choices", "error", "message"),
    [
        ({}, ValueError, "at least one choice"),
        ({"b": [1]}, ValueError, r"b=\(1,\): expected at least two values"),
        ({"b": []}, ValueError, "expected at least two values"),
        ({"b": "keep"}, TypeError, "b='keep': expected a list"),
        ({"b": 3}, TypeError, "b=3: expected a list"),
        ({"seed": ["a", "b"]}, TypeError, "expected ints"),
        ({"seed": [0.5, 1.5]}, TypeError, "expected ints"),
    ],
)
def test_choices_that_are_none(choices, error, message):
    with pytest.raises(error, match=message):
        explore(Drawing(), alt=ALT, **choices)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((1, 1), r"high=1\S*: expected a finite number > 1"),
        ((2, 1), r"high=1\S*: expected a finite number > 2"),
        ((0, float("inf")), "high=inf"),
        ((0, 1, 1), r"frames=1: expected an int in 2\.\.60"),
        ((0, 1, 61), "frames=61"),
    ],
)
def test_intervals_that_are_none(arguments, message):
    with pytest.raises(ValueError, match=message):
        interval(*arguments)


def test_a_logarithmic_interval_is_positive():
    with pytest.raises(ValueError, match=r"low=0\S*: expected a finite number > 0"):
        interval(0, 1, log=True)


def test_errors_stop_the_cell_and_leave_no_figure():
    with pytest.raises(TypeError, match="expected a Matplotlib figure to show, got str"):
        explore(lambda b: "no figure", alt=ALT, b=[1, 2])
    with pytest.raises(ZeroDivisionError):
        explore(lambda b: 1 / 0, alt=ALT, b=[1, 2])
    with pytest.raises(ValueError, match="expected a sentence"):
        explore(Drawing(), alt="bar", b=[1, 2])


def test_outside_the_book_only_the_first_frame_is_drawn():
    draw = Drawing()
    figure = explore(draw, alt=ALT, caption="A bar.", b=range(60))
    bundle = figure._repr_mimebundle_()
    assert draw.asked == [{"b": 0}]
    assert "<template>" not in bundle["text/html"]
    assert "<input" not in bundle["text/html"]
    assert bundle["text/plain"] == f"[interactive figure: {ALT}]"
    assert bundle["application/vnd.jupyter.widget-view+json"]["model_id"]


def test_numpy_values_read_like_numbers(book):
    draw = Drawing()
    figure = explore(draw, alt=ALT, b=np.array([1, 2]), lr=np.array([0.1, 1.0]))
    assert [c.texts for c in figure.choices] == [["1", "2"], ["0.1", "1"]]
    assert type(draw.asked[0]["b"]) is int


# ---------------------------------------------------------------- live half


def live(draw, **choices):
    from sgdlib.book._live import panel

    figure = explore(draw, alt=ALT, caption="a < b", **choices)
    controls, picture, caption = panel(figure).children
    assert caption.value == "a &lt; b"
    return {c.description: c for c in controls.children}, picture


def test_a_slider_recomputes():
    draw = Drawing()
    controls, picture = live(draw, batch_size=[1, 8, 32], seed=range(2))
    controls["batch size"].value = 32
    assert draw.asked[-1] == {"batch_size": 32, "seed": 0}
    assert "batch_size=32,seed=0</text>" in picture.value


def test_a_continuous_range_takes_values_that_have_no_frame():
    draw = Drawing()
    controls, _ = live(draw, lr=interval(0.01, 1, log=True), h=interval(1, 3, 3))
    controls["learning rate"].value = 0.0123
    controls["h"].value = 1.37
    assert draw.asked[-1] == {"lr": 0.0123, "h": 1.37}


def test_new_random_batches_never_end():
    draw = Drawing()
    controls, _ = live(draw, b=[1, 2], seed=[4, 9])
    for _ in range(4):
        controls["New random batches"].click()
    assert [asked["seed"] for asked in draw.asked] == [4, 9, 10, 11, 12]


def test_words_are_a_menu():
    draw = Drawing()
    controls, _ = live(draw, rule=["keep", "drop"])
    controls["rule"].value = "drop"
    assert draw.asked[-1] == {"rule": "drop"}


def test_an_error_while_moving_is_shown():
    def draw(b):
        if b == 2:
            raise ValueError("b < 2 only")
        return plt.figure()

    controls, picture = live(draw, b=[1, 2])
    controls["b"].value = 2
    assert picture.value == "<pre>ValueError: b &lt; 2 only</pre>"
    controls["b"].value = 1
    assert picture.value.startswith("<svg")


def test_widgets_are_not_imported_for_the_book():
    program = (
        "import os, sys; os.environ['BOOK_BUILD'] = '1'\n"
        "import matplotlib.pyplot as plt; from sgdlib.book import explore\n"
        "e = explore(lambda b: plt.figure(), alt='Nothing at all is drawn.', b=[1, 2])\n"
        "e._repr_mimebundle_(); print('ipywidgets' in sys.modules)"
    )
    out = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert out.stdout.strip() == "False", out.stderr


# ------------------------------------------------------------------ handles


def draw_handle(rate, rule="keep", *, gid="drag rate", scale="linear"):
    fig, ax = plt.subplots(figsize=(3, 2))
    ax.plot([0, rate], [0, rate], "-o", gid=gid)
    ax.set(xlim=(0.1, 1.5), ylim=(0, 1), xscale=scale)
    return fig


def handles(figure):
    found = re.search(r' data-handles="([^"]*)"', page(figure))
    return json.loads(html.unescape(found[1])) if found else None


@pytest.mark.parametrize("scale", ["linear", "log"])
def test_a_handle_stands_where_its_mark_is_drawn(book, scale):
    def draw(rate, rule):
        return draw_handle(rate, rule, scale=scale)

    figure = explore(draw, alt=ALT, rate=[0.2, 0.6, 1.2], rule=["keep", "drop"])
    found = handles(figure)["rate"]
    assert len(found) == figure.frames
    assert found[4:] == [None, None]  # at 1.2 the mark is above the axes
    drawn = re.findall(r"<use [^>]*/>", figure.first_frame)
    marks = [re.search(r'x="([\d.]+)" y="([\d.]+)"', use) for use in drawn]
    marks = [tuple(map(float, mark.groups())) for mark in marks if mark]
    assert any(np.hypot(*np.subtract(mark, found[0])) < 0.15 for mark in marks)
    assert found[2][1] < found[0][1]
    assert found[2][0] > found[0][0]
    assert "Drag the ring, or choose:" in page(figure)


def test_a_line_across_the_axes_is_held_at_its_head(book):
    def draw(rate):
        fig, ax = plt.subplots(figsize=(3, 2))
        ax.axvline(rate, gid="drag rate")
        ax.set(xlim=(0, 1))
        return fig

    (x0, y0), (x1, y1) = handles(explore(draw, alt=ALT, rate=[0.2, 0.8]))["rate"]
    assert x0 < x1
    assert y0 == y1 < 20


def test_without_a_handle_nothing_is_said_of_dragging(book):
    figure = explore(Drawing(), alt=ALT, b=[1, 2])
    assert handles(figure) is None
    assert "Drag" not in page(figure)


@pytest.mark.parametrize(
    ("gid", "choices", "message"),
    [
        ("drag speed", {"rate": [0.2, 0.4]}, r"gid='drag speed', expected .* choices rate"),
        ("drag seed", {"rate": [0.2, 0.4], "seed": [1, 2]}, "expected one of the choices rate"),
        ("drag rule", {"rule": ["keep", "drop"]}, "the handle of 'rule' never moves"),
    ],
)
def test_handles_that_are_none(book, gid, choices, message):
    def draw(rate=0.3, rule="keep", seed=0):
        return draw_handle(rate, gid=gid)

    with pytest.raises(ValueError, match=message):
        explore(draw, alt=ALT, name="fig-h", **choices)


def test_a_handle_is_a_line_or_a_marker(book):
    def draw(rate):
        fig, ax = plt.subplots(figsize=(3, 2))
        ax.bar([0], [rate], gid="drag rate")
        return fig

    with pytest.raises(TypeError, match=r"gid='drag rate': expected on a line or marker"):
        explore(draw, alt=ALT, rate=[0.2, 0.4])
