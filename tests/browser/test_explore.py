"""A live figure in a bare page: keyboard, mouse, play, calm readers, small screens, no script."""

import datetime
import json
import re
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pytest

from sgdlib.book import begin, explore, interval

STATIC = Path(__file__).resolve().parents[2] / "_static"
PAGE = """<!doctype html><html lang="en"><head><meta charset="utf-8"><title>Figures</title>
<meta name="viewport" content="width=device-width"><style>{css}
html {{ background: #fff; color: #222832 }}
html[data-theme="dark"] {{ background: #14181e; color: #ced6dd }}
body {{ margin: 0 auto; padding: 0 1rem; max-width: 46rem }}</style></head>
<body><main><h1>Figures</h1>{body}<p id="after">After.</p></main>
<script>{js}</script></body></html>"""


def draw_paths(batch_size, seed):
    noise = np.random.default_rng(seed).standard_normal(300)
    fig, ax = plt.subplots()
    ax.plot(np.exp(-np.arange(300) / 90) + 0.3 * noise / batch_size**0.5)
    ax.set(title=f"B={batch_size} seed={seed}", ylim=(-1, 2))
    return fig


def draw_rule(lr, rule):
    fig, ax = plt.subplots(figsize=(7, 3))
    ax.plot([0, lr])
    ax.set(title=f"lr={lr} {rule}", ylim=(0, 1))
    return fig


def draw_place(temperature, way):
    fig, ax = plt.subplots(figsize=(4.9, 3))
    ax.plot([0, 4], [0, 4] if way == "rise" else [4, 0])
    height = temperature if way == "rise" else 4 - temperature
    ax.plot(temperature, height, "o", gid="drag temperature")
    ax.set(title=f"T={temperature} {way}", xlim=(-0.5, 4.5), ylim=(-0.5, 4.5))
    return fig


@pytest.fixture(scope="module")
def page_file(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch, plt.rc_context():
        patch.setenv("BOOK_BUILD", "1")
        begin()
        figures = [
            explore(
                draw_paths,
                alt=lambda batch_size, seed: f"A falling curve, batch size {batch_size}, {seed}.",
                caption="Larger batches, smoother paths.",
                name="fig-paths",
                batch_size=[1, 2, 8, 32, 128],
                seed=range(4),
            ),
            explore(
                draw_rule,
                alt="A line that rises as far as the rate says.",
                name="fig-rule",
                lr=interval(0.1, 1, 4),
                rule=["keep", "drop"],
            ),
            explore(
                draw_place,
                alt="A line, and a dot on it where the temperature is.",
                name="fig-place",
                temperature=[0, 1, 2, 3, 4],
                way=["rise", "fall"],
            ),
        ]
    path = tmp_path_factory.mktemp("page") / "page.html"
    body = "".join(figure._repr_mimebundle_()["text/html"] for figure in figures)
    css = (STATIC / "explore.css").read_text()
    js = "".join((STATIC / name).read_text() for name in ("explore.js", "readout.js"))
    path.write_text(PAGE.format(css=css, js=js, body=body), encoding="utf-8")
    return path


def title(page, figure="fig-paths"):
    """What the frame that is seen says of itself."""
    texts = page.locator(f"#{figure} .explore-frame svg text").all_text_contents()
    return next(text for text in texts if "=" in text)


def test_keyboard(open_page, page_file):
    page = open_page(page_file)
    slider = page.get_by_role("slider", name="batch size")
    slider.focus()
    seen = []
    for key in ("ArrowRight", "ArrowUp", "ArrowLeft", "End", "ArrowRight", "Home"):
        page.keyboard.press(key)
        seen.append((title(page), slider.get_attribute("aria-valuetext")))
    values = ["2", "8", "2", "128", "128", "1"]
    assert seen == [(f"B={value} seed=0", value) for value in values]
    assert page.locator("#fig-paths output").first.text_content() == "1"
    page.keyboard.press("Tab")
    page.keyboard.press("Tab")
    page.keyboard.press("Space")
    assert title(page) == "B=1 seed=1"
    assert page.complaints == []


def test_mouse(open_page, page_file):
    page = open_page(page_file)
    box = page.get_by_role("slider", name="batch size").bounding_box()
    page.mouse.click(box["x"] + box["width"] - 2, box["y"] + box["height"] / 2)
    assert title(page) == "B=128 seed=0"
    new = page.locator("#fig-paths").get_by_role("button", name="New random batches")
    for seed in range(1, 5):
        new.click()
        assert title(page) == f"B=128 seed={seed % 4}"
    assert page.locator("#fig-paths output").last.text_content() == "draw 1 of 4"


def test_each_figure_moves_alone(open_page, page_file):
    page = open_page(page_file)
    page.get_by_role("combobox", name="rule").select_option("drop")
    page.get_by_role("slider", name="learning rate").press("End")
    assert title(page, "fig-rule") == "lr=1.0 drop"
    assert title(page) == "B=1 seed=0"


def test_every_combination_shows_its_own_frame(open_page, page_file):
    page = open_page(page_file)
    slider = page.get_by_role("slider", name="learning rate")
    for rule in ("keep", "drop"):
        page.get_by_role("combobox", name="rule").select_option(rule)
        slider.press("Home")
        for lr in (0.1, 0.4, 0.7, 1.0):
            assert title(page, "fig-rule") == f"lr={lr} {rule}"
            slider.press("ArrowRight")


def stand_still(page):
    """Load a page again whose clock goes only when it is told to, however slow the machine is."""
    page.clock.install(time=datetime.datetime(2026, 1, 1))
    page.reload()
    page.clock.pause_at(datetime.datetime(2026, 1, 2))


def test_play_runs_to_the_end_and_can_be_paused(open_page, page_file):
    page = open_page(page_file)
    stand_still(page)
    page.locator("#fig-paths .explore-play").click()
    play = page.locator("#fig-paths .explore-play")
    assert (title(page), play.text_content()) == ("B=2 seed=0", "Pause")
    page.clock.run_for(800)
    assert title(page) == "B=8 seed=0"
    play.click()
    page.clock.run_for(3000)
    assert (title(page), play.text_content()) == ("B=8 seed=0", "Play batch size")
    play.click()
    page.clock.run_for(5000)
    assert (title(page), play.text_content()) == ("B=128 seed=0", "Play batch size")
    play.click()
    assert title(page) == "B=1 seed=0"
    page.get_by_role("slider", name="batch size").press("End")
    page.clock.run_for(3000)
    assert (title(page), play.text_content()) == ("B=128 seed=0", "Play batch size")


def test_play_moves_what_was_moved_last_and_says_so(open_page, page_file):
    page = open_page(page_file)
    play = page.locator("#fig-rule .explore-play")
    assert play.text_content() == "Play learning rate"
    page.get_by_role("combobox", name="rule").select_option("drop")
    assert play.text_content() == "Play rule"
    play.click()
    assert title(page, "fig-rule") == "lr=0.1 keep"


def test_for_calm_readers_play_is_one_step(open_page, page_file):
    page = open_page(page_file, calm=True)
    stand_still(page)
    play = page.locator("#fig-paths .explore-play")
    for value in (2, 8, 32, 128, 1):
        assert play.text_content() == "Next batch size"
        play.click()
        page.clock.run_for(5000)
        assert title(page) == f"B={value} seed=0"


def test_the_new_frame_is_announced_once_the_reader_rests(open_page, page_file):
    page = open_page(page_file)
    stand_still(page)
    said = page.locator("#fig-paths").get_by_role("status").last
    assert said.text_content() == ""
    slider = page.get_by_role("slider", name="batch size")
    for _ in range(3):
        slider.press("ArrowRight")
    assert said.text_content() == ""
    page.clock.run_for(700)
    assert said.text_content() == "A falling curve, batch size 32, 0."
    name = page.locator("#fig-paths .explore-frame svg").get_attribute("aria-label")
    assert name == "A falling curve, batch size 32, 0."


def test_a_state_has_an_address_that_leads_back_to_it(open_page, page_file):
    page = open_page(page_file)
    page.get_by_role("combobox", name="rule").select_option("drop")
    page.get_by_role("slider", name="learning rate").press("End")
    page.wait_for_function("location.hash.includes('?')")
    assert page.evaluate("location.hash") == "#fig-rule?lr=1&rule=drop"
    page.get_by_role("slider", name="batch size").press("ArrowRight")
    page.wait_for_function("location.hash.startsWith('#fig-paths')")
    page.reload()  # both figures are as they were left
    assert (title(page), title(page, "fig-rule")) == ("B=2 seed=0", "lr=1.0 drop")
    slider = page.get_by_role("slider", name="learning rate")
    assert slider.get_attribute("aria-valuetext") == "1"
    go_to = """hash => new Promise((heard) => {
        addEventListener("hashchange", () => setTimeout(heard), {once: true});
        location.hash = hash;
    })"""
    page.evaluate(go_to, "#fig-rule?lr=0.4&rule=keep")
    assert title(page, "fig-rule") == "lr=0.4 keep"
    page.evaluate(go_to, "#fig-rule?lr=7&no=thing")  # what there is not changes nothing
    assert title(page, "fig-rule") == "lr=0.4 keep"
    assert page.complaints == []


def test_a_pinned_curve_stays_behind_the_next_one(open_page, page_file):
    page = open_page(page_file)
    pin = page.locator("#fig-paths .explore-pin")
    pin.click()
    assert (pin.text_content(), pin.get_attribute("aria-pressed")) == ("Pinned: 1, 0", "true")
    page.get_by_role("slider", name="batch size").press("End")
    assert title(page) == "B=128 seed=0"
    drawings = page.locator("#fig-paths .explore-frame > svg")
    boxes = [drawing.bounding_box() for drawing in drawings.all()]
    assert len(boxes) == 2
    for side in ("x", "y", "width", "height"):
        assert boxes[0][side] == pytest.approx(boxes[1][side], abs=0.6)
    ids = page.evaluate("[...document.querySelectorAll('[id]')].map(e => e.id)")
    assert len(ids) == len(set(ids))
    pin.click()
    assert (pin.text_content(), drawings.count()) == ("Pin", 1)


def test_values_are_read_off_under_the_mouse_and_by_keyboard(open_page, page_file):
    page = open_page(page_file)
    drawing = page.locator("#fig-rule .explore-frame svg").first
    left, top, right, bottom, x, y = json.loads(drawing.get_attribute("data-axes"))[0]
    assert y == [0.0, 1.0, False, ""]
    box, width = (
        drawing.bounding_box(),
        page.evaluate("s => s.viewBox.baseVal.width", drawing.element_handle()),
    )
    scale = box["width"] / width
    page.mouse.move(
        box["x"] + (left + right) / 2 * scale, box["y"] + (top + 3 * bottom) / 4 * scale
    )
    shown = page.locator("#fig-rule .readout")
    middle, quarter = (
        float(part.split(": ")[1].replace("−", "-")) for part in shown.text_content().split(" · ")
    )
    assert middle == pytest.approx((x[0] + x[1]) / 2, abs=0.02)
    assert quarter == pytest.approx(0.25, abs=0.01)
    page.mouse.move(0, 0)
    assert shown.text_content() == ""
    drawing.focus()
    page.keyboard.press("ArrowUp")
    assert shown.text_content().endswith("y: 0.52")
    page.keyboard.press("Escape")
    assert shown.text_content() == ""
    assert page.complaints == []


def handle_at(page, temperature, way="rise"):
    """Where on the page the handle of fig-place stands at a temperature."""
    figure = page.locator("#fig-place")
    places = json.loads(figure.get_attribute("data-handles"))["temperature"]
    x, y = places[2 * temperature + (way == "fall")]
    drawing = figure.locator(".explore-frame svg").first
    drawing.scroll_into_view_if_needed()
    box = drawing.bounding_box()
    scale = box["width"] / drawing.evaluate("s => s.viewBox.baseVal.width")
    return box["x"] + x * scale, box["y"] + y * scale


def test_a_handle_is_dragged_along_its_curve(open_page, page_file):
    page = open_page(page_file)
    page.locator("#fig-place .explore-choice select").select_option("fall")
    page.mouse.move(*handle_at(page, 0, "fall"))
    page.mouse.down()
    for temperature in (1, 3, 2, 4, 0, 3):
        page.mouse.move(*handle_at(page, temperature, "fall"), steps=3)
        assert title(page, "fig-place") == f"T={temperature} fall"
    page.mouse.up()
    page.mouse.move(*handle_at(page, 0, "fall"))
    assert title(page, "fig-place") == "T=3 fall"  # it was let go
    slider = page.get_by_role("slider", name="temperature")
    assert slider.get_attribute("aria-valuetext") == "3"
    ring = page.locator("#fig-place .explore-handle .ring").bounding_box()
    x, y = handle_at(page, 3, "fall")
    assert ring["x"] + ring["width"] / 2 == pytest.approx(x, abs=1)
    assert ring["y"] + ring["height"] / 2 == pytest.approx(y, abs=1)
    assert title(page) == "B=1 seed=0"
    assert page.complaints == []


def test_a_handle_follows_the_slider_and_is_not_pinned(open_page, page_file):
    page = open_page(page_file)
    page.locator("#fig-place .explore-pin").click()
    page.get_by_role("slider", name="temperature").press("End")
    assert page.locator("#fig-place .explore-handle").count() == 1
    x, y = handle_at(page, 4)
    page.mouse.move(x, y)
    page.mouse.down()
    page.mouse.move(*handle_at(page, 2), steps=2)
    page.mouse.up()
    assert title(page, "fig-place") == "T=2 rise"


def test_a_finger_drags_a_handle_and_the_page_stands_still(open_page, page_file):
    page = open_page(page_file, width=390, height=600, touch=True)
    x, y = handle_at(page, 0)
    before = page.evaluate("scrollY")
    touch = page.context.new_cdp_session(page)

    def send(kind, *places):
        points = [{"x": x, "y": y} for x, y in places]
        touch.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})

    send("touchStart", (x, y))
    for share in np.linspace(0.1, 1, 10):
        there = handle_at(page, 4)
        send("touchMove", (x + share * (there[0] - x), y + share * (there[1] - y)))
    send("touchEnd")
    assert title(page, "fig-place") == "T=4 rise"
    assert page.evaluate("scrollY") == before
    reach = page.locator("#fig-place .explore-handle .reach").bounding_box()
    assert min(reach["width"], reach["height"]) >= 42
    assert page.complaints == []


def test_frames_come_from_a_script_beside_the_page(open_page, page_file):
    text = page_file.read_text("utf-8")
    frames = re.findall(r"<template>(.*?)</template>", text.split("</figure>")[0], re.S)
    name, beside = "paths.js", page_file.with_name("beside.html")
    script = f'(window.exploreFrames??={{}})["{name}"]={json.dumps(frames)}'
    page_file.with_name(name).write_text(script, "utf-8")
    first = re.sub(r"<template>.*?</template>", "", text.split("</figure>")[0], flags=re.S)
    first = first.replace("<figure", f'<figure data-src="{name}"', 1)
    beside.write_text("</figure>".join([first, *text.split("</figure>")[1:]]), "utf-8")
    page = open_page(beside)
    page.get_by_role("slider", name="batch size").press("End")
    page.wait_for_function("document.querySelector('#fig-paths').dataset.frame === '16'")
    assert title(page) == "B=128 seed=0"
    assert page.asked == [beside.as_uri(), beside.with_name(name).as_uri()]
    assert page.complaints == []


def test_a_frame_changes_within_50_ms(open_page, page_file):
    page = open_page(page_file)
    times = page.evaluate(
        """async () => {
            const slider = document.querySelector("#fig-paths input");
            const times = [];
            for (let i = 0; i < 20; i++) {
                await new Promise(requestAnimationFrame);
                const start = performance.now();
                slider.value = (i + 1) % 5;
                slider.dispatchEvent(new Event("input", {bubbles: true}));
                document.querySelector("#fig-paths svg").getBoundingClientRect();
                times.push(performance.now() - start);
            }
            return times;
        }"""
    )
    assert np.median(times) < 50, times


def test_without_script_there_is_the_first_frame_and_no_dead_control(open_page, page_file):
    page = open_page(page_file, script=False)
    assert page.get_by_role("img", name="A falling curve, batch size 1, 0.").is_visible()
    assert page.get_by_role("slider").count() == 0
    assert page.locator(".explore-controls").first.bounding_box() is None


def test_print_shows_the_frame_and_no_controls(open_page, page_file):
    page = open_page(page_file)
    page.emulate_media(media="print")
    assert page.locator("#fig-paths .explore-frame svg").is_visible()
    assert not page.locator("#fig-paths .explore-controls").is_visible()


def test_nothing_jumps(open_page, page_file):
    still = open_page(page_file)
    still.evaluate("document.querySelectorAll('.explore-controls').forEach(c => c.hidden = true)")
    place = "document.querySelector('#after').getBoundingClientRect().top"
    before = still.evaluate(place)
    page = open_page(page_file)
    assert page.evaluate(place) == before
    page.get_by_role("slider", name="batch size").press("End")
    assert page.evaluate(place) == before


@pytest.mark.parametrize("width", [390, 1280])
def test_nothing_is_wider_than_the_page(open_page, page_file, width):
    page = open_page(page_file, width=width)
    assert page.evaluate("document.documentElement.scrollWidth") == width
    for control in page.locator("input, button, select").all():
        box = control.bounding_box()
        assert box["x"] >= 0
        assert box["x"] + box["width"] <= width
        assert box["height"] >= 24


def test_under_a_finger_controls_are_44_pixels_high(open_page, page_file):
    page = open_page(page_file, width=390, touch=True)
    for control in page.locator("input, button, select").all():
        assert control.bounding_box()["height"] >= 44


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_ink_follows_the_page(open_page, page_file, theme):
    page = open_page(page_file)
    page.evaluate(f"document.documentElement.dataset.theme = '{theme}'")
    ink = page.evaluate("getComputedStyle(document.querySelector('#fig-paths svg text')).fill")
    assert ink == {"light": "rgb(34, 40, 50)", "dark": "rgb(206, 214, 221)"}[theme]


def test_focus_is_seen(open_page, page_file):
    page = open_page(page_file)
    page.keyboard.press("Tab")
    style = page.evaluate("getComputedStyle(document.activeElement).outline")
    assert "solid 3px" in style


@pytest.mark.parametrize(("theme", "width"), [("light", 1280), ("dark", 1280), ("light", 390)])
def test_axe_finds_nothing(open_page, page_file, theme, width):
    from axe_playwright_python.sync_playwright import Axe

    page = open_page(page_file, width=width)
    page.evaluate(f"document.documentElement.dataset.theme = '{theme}'")
    results = Axe().run(page)
    assert results.violations_count == 0, results.generate_report()


def test_the_page_asks_for_nothing(open_page, page_file):
    page = open_page(page_file)
    page.get_by_role("slider", name="batch size").press("End")
    assert page.asked == [page_file.as_uri()]
    assert page.complaints == []
