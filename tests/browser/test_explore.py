"""A live figure in a bare page: keyboard, mouse, play, calm readers, small screens, no script."""

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
        ]
    path = tmp_path_factory.mktemp("page") / "page.html"
    body = "".join(figure._repr_mimebundle_()["text/html"] for figure in figures)
    css, js = ((STATIC / f"explore.{kind}").read_text() for kind in ("css", "js"))
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


def test_play_runs_to_the_end_and_can_be_paused(open_page, page_file):
    page = open_page(page_file)
    page.clock.install()
    page.reload()
    page.locator("#fig-paths .explore-play").click()
    play = page.locator("#fig-paths .explore-play")
    assert (title(page), play.text_content()) == ("B=2 seed=0", "Pause")
    page.clock.run_for(800)
    assert title(page) == "B=8 seed=0"
    play.click()
    page.clock.run_for(3000)
    assert (title(page), play.text_content()) == ("B=8 seed=0", "Play")
    play.click()
    page.clock.run_for(5000)
    assert (title(page), play.text_content()) == ("B=128 seed=0", "Play")
    play.click()
    assert title(page) == "B=1 seed=0"
    page.get_by_role("slider", name="batch size").press("End")
    page.clock.run_for(3000)
    assert (title(page), play.text_content()) == ("B=128 seed=0", "Play")


def test_play_moves_what_was_moved_last(open_page, page_file):
    page = open_page(page_file)
    page.get_by_role("combobox", name="rule").select_option("drop")
    page.locator("#fig-rule .explore-play").click()
    assert title(page, "fig-rule") == "lr=0.1 keep"


def test_for_calm_readers_play_is_one_step(open_page, page_file):
    page = open_page(page_file, calm=True)
    page.clock.install()
    page.reload()
    play = page.locator("#fig-paths .explore-play")
    for value in (2, 8, 32, 128, 1):
        assert play.text_content() == "Next"
        play.click()
        page.clock.run_for(5000)
        assert title(page) == f"B={value} seed=0"


def test_the_new_frame_is_announced_once_the_reader_rests(open_page, page_file):
    page = open_page(page_file)
    said = page.locator("#fig-paths").get_by_role("status").last
    assert said.text_content() == ""
    slider = page.get_by_role("slider", name="batch size")
    for _ in range(3):
        slider.press("ArrowRight")
    assert said.text_content() == ""
    page.wait_for_timeout(700)
    assert said.text_content() == "A falling curve, batch size 32, 0."
    name = page.locator("#fig-paths .explore-frame svg").get_attribute("aria-label")
    assert name == "A falling curve, batch size 32, 0."


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
