"""Figures: colours that everyone can tell apart, ink from the page, ids that do not meet."""

import html
import itertools
import json
import os
import re
import subprocess
import sys
import xml.etree.ElementTree as ET

import matplotlib.pyplot as plt
import numpy as np
import pytest

from sgdlib.book import COLORS, begin, figures, ramp, show
from sgdlib.book._svg import PAPER, inline_svg

WHITE, DARK = "#ffffff", "#14181e"
# Machado, Oliveira and Fernandes (2009), severity 1, for linear RGB
SEEN_BY = {
    "everyone": np.eye(3),
    "protanopes": np.array(
        [
            [0.152286, 1.052583, -0.204868],
            [0.114503, 0.786281, 0.099216],
            [-0.003882, -0.048116, 1.051998],
        ]
    ),
    "deuteranopes": np.array(
        [
            [0.367322, 0.860646, -0.227968],
            [0.280085, 0.672501, 0.047413],
            [-0.011820, 0.042940, 0.968881],
        ]
    ),
    "tritanopes": np.array(
        [
            [1.255528, -0.076749, -0.178779],
            [-0.078411, 0.930809, 0.147602],
            [0.004733, 0.691367, 0.303900],
        ]
    ),
}


@pytest.fixture(autouse=True)
def style(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    with plt.rc_context():
        begin()
        yield
    plt.close("all")


@pytest.fixture
def shown(monkeypatch):
    outputs = []
    monkeypatch.setattr(figures, "display", lambda data, raw: outputs.append(data))
    return outputs


def linear(colour):
    c = np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)]) / 255
    return np.where(c <= 0.04045, c / 12.92, ((c + 0.055) / 1.055) ** 2.4)


def contrast(a, b):
    light, dark = sorted((linear(c) @ [0.2126, 0.7152, 0.0722] for c in (a, b)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def cielab(rgb):
    to_xyz = np.array(
        [[0.4125, 0.3576, 0.1804], [0.2127, 0.7152, 0.0722], [0.0193, 0.1192, 0.9503]]
    )
    t = to_xyz @ rgb / [0.95047, 1.0, 1.08883]
    f = np.where(t > (6 / 29) ** 3, np.cbrt(t), t / (3 * (6 / 29) ** 2) + 4 / 29)
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


def closest_pair(colours, matrix):
    seen = [cielab(np.clip(matrix @ linear(c), 0, 1)) for c in colours]
    return min(np.linalg.norm(a - b) for a, b in itertools.combinations(seen, 2))


def line_figure(**style):
    fig, ax = plt.subplots()
    ax.plot([0, 1, 2], [1, 3, 2], **style)
    return fig


# ------------------------------------------------------------------ colours


@pytest.mark.parametrize("page", [WHITE, DARK])
def test_each_colour_stands_out_from_the_page(page):
    assert min(contrast(colour, page) for colour in COLORS) >= 3


@pytest.mark.parametrize("readers", SEEN_BY)
def test_the_colours_stay_apart(readers):
    # 2.3 is just noticeable side by side; thin lines apart from each other need far more
    assert closest_pair(COLORS, SEEN_BY[readers]) > 20


def test_the_measure_finds_a_pair_that_deuteranopes_confuse():
    orange, ochre = "#d9632a", "#a87a12"
    assert closest_pair([orange, ochre], SEEN_BY["everyone"]) > 20
    assert closest_pair([orange, ochre], SEEN_BY["deuteranopes"]) < 5


@pytest.mark.parametrize("page", [WHITE, DARK])
@pytest.mark.parametrize("count", [1, 2, 5, 9])
def test_the_colours_of_batch_sizes_stand_out_and_go_from_hot_to_cold(page, count):
    colours = ramp(count)
    assert len(set(colours)) == count
    assert min(contrast(colour, page) for colour in colours) >= 3
    assert colours[0] == COLORS[1]
    assert count == 1 or colours[-1] == COLORS[0]


@pytest.mark.parametrize("count", [0, -1, 2.5, "3", None])
def test_a_ramp_needs_a_count(count):
    with pytest.raises((TypeError, ValueError), match="count"):
        ramp(count)


def test_exponents_are_nearly_as_large_as_their_base():
    fig, ax = plt.subplots()
    ax.plot([1, 2], [1e-3, 1e3])
    ax.set(yscale="log")
    drawn = inline_svg(fig, "A line.")
    sizes = {float(size) for size in re.findall(r"font-size:([\d.]+)px", drawn)}
    assert min(sizes) >= 0.85 * max(sizes)


def test_the_drawing_says_where_its_axes_are_and_what_they_measure():
    fig, (left, right) = plt.subplots(1, 2, figsize=(5, 2))
    left.set(xlim=(0, 4), ylim=(1e-3, 10), yscale="log", xlabel=r"rate $\eta_1$", ylabel="loss")
    right.set_axis_off()
    drawn = inline_svg(fig, "Axes.")
    data = re.search(r'data-axes="([^"]*)"', drawn)[1]
    ((x0, y0, x1, y1, x, y),) = json.loads(html.unescape(data))
    assert x == [0, 4, False, "rate η_1"]
    assert y == [1e-3, 10, True, "loss"]
    corners = left.get_window_extent().get_points() * 72 / fig.dpi
    np.testing.assert_allclose([x0, x1], corners[:, 0], atol=0.1)
    np.testing.assert_allclose([y0, y1], 144 - corners[::-1, 1], atol=0.1)
    assert "data-axes" not in inline_svg(right.figure.__class__(), "Nothing.")


def test_lines_differ_in_dashes_and_points_in_markers_too():
    cycle = list(plt.rcParams["axes.prop_cycle"])
    assert [entry["color"] for entry in cycle] == list(COLORS)
    assert len({str(entry["linestyle"]) for entry in cycle}) == len(COLORS)
    assert len(set(figures.MARKERS)) == len(COLORS)


# ---------------------------------------------------------------------- SVG


def test_ink_and_paper_come_from_the_page():
    fig = line_figure(color="black", marker="o", markerfacecolor=PAPER)
    fig.axes[0].set_title("In black")
    svg = inline_svg(fig, "A line.")
    assert not re.search(r"#000000|#fefdfc|#ffffff", svg)
    assert "fill:currentColor" in svg.split(">")[0]
    assert "stroke:currentColor" in svg
    assert "fill:var(--pst-color-background,var(--jp-layout-color0,Canvas))" in svg


def test_the_name_survives_quotes_and_angles():
    alt = 'a < b & "c" falls'
    svg = inline_svg(line_figure(), alt)
    assert ET.fromstring(svg).attrib["aria-label"] == alt
    assert ET.fromstring(svg).attrib["role"] == "img"


def test_nothing_in_it_styles_the_page():
    svg = inline_svg(line_figure(), "A line.")
    assert "<style" not in svg
    assert "<metadata" not in svg


def ids(svg):
    return re.findall(r' id="([^"]+)"', svg)


def references(svg):
    return set(re.findall(r'url\(#([^)]+)\)|href="#([^"]+)"', svg))


def test_ids_are_the_ones_in_use_and_differ_between_figures():
    first = inline_svg(line_figure(marker="o"), "A line.")
    second = inline_svg(line_figure(marker="s"), "A line.")
    for svg in (first, second):
        assert sorted(ids(svg)) == sorted(a or b for a, b in references(svg))
        assert len(ids(svg)) == len(set(ids(svg)))
    assert not set(ids(first)) & set(ids(second))


def test_the_same_figure_is_the_same_text_in_another_process():
    program = (
        "import matplotlib.pyplot as plt; from sgdlib.book import begin\n"
        "from sgdlib.book._svg import inline_svg\n"
        "begin(); fig, ax = plt.subplots(); ax.plot([0, 1, 2], [1, 3, 2])\n"
        "print(inline_svg(fig, 'A line.'))"
    )
    out = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert out.stdout.strip() == inline_svg(line_figure(), "A line.")


def test_a_curve_keeps_its_shape():
    x = np.linspace(0, 1, 90)
    fig, ax = plt.subplots()
    (line,) = ax.plot(x, np.sin(9 * x))
    svg = inline_svg(fig, "A curve.")
    path = max(re.findall(r' d="([^"]+)"', svg), key=len)
    drawn = np.array(re.findall(r"-?\d*\.?\d+", path), float).reshape(-1, 2)
    exact = ax.transData.transform(line.get_xydata()) * 72 / fig.dpi
    exact[:, 1] = fig.get_size_inches()[1] * 72 - exact[:, 1]
    # in points; Matplotlib leaves out points that change nothing, so compare what is drawn
    distance = np.linalg.norm(drawn[:, None] - exact[None], axis=-1).min(axis=1)
    assert len(drawn) > 60
    assert distance.max() < 0.1


def test_an_image_is_embedded_without_loss():
    import base64
    import io

    from PIL import Image

    values = np.random.default_rng(0).random((20, 30))
    fig, ax = plt.subplots()
    image = ax.imshow(values)
    svg = inline_svg(fig, "A field.")
    kind, data = re.search(r'href="data:image/(png|webp);base64,([^"]+)"', svg).groups()
    pixels = np.asarray(Image.open(io.BytesIO(base64.b64decode(data))).convert("RGB"))
    expected = (image.cmap(image.norm(values), bytes=True))[..., :3]
    assert kind == "webp"
    assert pixels.shape == expected.shape
    assert (pixels == expected).all() or (pixels == expected[::-1]).all()


def labels(svg):
    texts = ("".join(text.itertext()) for text in ET.fromstring(svg).iter("text"))
    return [text.replace("\N{NO-BREAK SPACE}", " ") for text in texts]


def test_a_formula_is_a_line_of_text():
    fig = line_figure()
    fig.axes[0].set_xlabel(r"batch size $B$, rate $\eta_t$, $10^{-2}$", color="#da6b07")
    svg = inline_svg(fig, "A line.")
    assert "batch size B, rate ηt, 10−2" in labels(svg)
    label = next(t for t in ET.fromstring(svg).iter("text") if "batch" in "".join(t.itertext()))
    shifts = [float(t.get("dy")) for t in label if t.get("dy")]
    assert shifts[0] > 0
    assert shifts[0] + shifts[1] == pytest.approx(0, abs=0.15)
    assert "fill:#da6b07" in label.get("style")


@pytest.mark.parametrize(
    "formula", [r"$\frac{a}{b}$", r"$\sqrt{B}$", r"$\hat\theta$", r"$\mathbb{E}$", r"$x_t^2$"]
)
def test_a_formula_that_is_more_than_a_line_is_drawn(formula):
    fig = line_figure()
    fig.axes[0].set_xlabel(f"known: {formula}")
    fig.axes[0].set_ylabel("plain words")
    svg = inline_svg(fig, "A line.")
    assert "plain words" in labels(svg)
    assert not any("known" in label for label in labels(svg))
    assert {a or b for a, b in references(svg)} <= set(ids(svg))
    assert not re.search("[\ue000-\uf8ff]", svg)


def test_several_panels_are_one_image():
    fig, axs = plt.subplots(1, 2, figsize=(7, 3))
    axs[0].scatter([1, 2, 3], [1, 2, 3])
    axs[1].hist([1, 2, 2, 3])
    root = ET.fromstring(inline_svg(fig, "Two panels."))
    assert root.get("viewBox") == "0 0 504 216"
    assert (root.get("width"), root.get("height")) == ("773", "331")


def test_equal_markers_share_their_style():
    fig, ax = plt.subplots()
    ax.scatter(np.arange(200), np.arange(200), alpha=0.5)
    svg = inline_svg(fig, "Points.")
    assert svg.count("<use") > 200
    assert svg.count("fill-opacity:0.5") < 3
    assert len(svg) < 14_000


# --------------------------------------------------------------------- show


def test_show_displays_the_figure_with_its_words_and_closes_it(shown):
    fig = line_figure()
    show(fig, alt="A line goes up and down.", caption="Up & down.", name="fig-line")
    assert shown[0]["text/plain"] == "[figure: A line goes up and down.]"
    page = shown[0]["text/html"]
    assert page.startswith('<figure id="fig-line" class="own"><svg role="img"')
    assert page.endswith("<figcaption>Up &amp; down.</figcaption></figure>")
    assert not plt.fignum_exists(fig.number)


@pytest.mark.parametrize("alt", ["", "   ", "a line", None])
def test_show_wants_a_sentence(alt, shown):
    with pytest.raises(ValueError, match="expected a sentence"):
        show(line_figure(), alt=alt)
    assert not shown


@pytest.mark.parametrize("name", ["Fig", "fig bowl", "1", 'x"', "fig_bowl", 3])
def test_show_wants_an_anchor(name, shown):
    with pytest.raises(ValueError, match="expected lower-case letters"):
        show(line_figure(), alt="A line goes up and down.", name=name)


def test_show_wants_a_figure(shown):
    fig = line_figure()
    with pytest.raises(TypeError, match="expected a Matplotlib figure to show, got Axes"):
        show(fig.axes[0], alt="A line goes up and down.")


@pytest.mark.parametrize("order", ["import torch; torch.set_num_threads(2); begin()", "begin()"])
def test_begin_steadies_what_is_loaded_and_what_will_be(order):
    program = (
        "import sys; from sgdlib.book import begin\n"
        "assert 'torch' not in sys.modules\n"
        f"{order}\n"
        "import torch, scipy.linalg, threadpoolctl\n"
        "counts = {pool['num_threads'] for pool in threadpoolctl.threadpool_info()}\n"
        "print(counts, torch.get_num_threads())"
    )
    environment = {k: v for k, v in os.environ.items() if not k.endswith("_NUM_THREADS")}
    out = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, env=environment
    )
    assert out.stdout.strip() == "{1} 1", out.stderr
