"""What every page must keep: each rule is a function that says what is wrong with an open page."""

import json
import math
import re
import statistics

import nbformat
import page_scripts as scripts
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import TimeoutError as Timeout

KILOBYTES, KILOBYTES_WITH_FRAMES = 300, 800  # gzip, with all that a page loads
ELEMENTS = 12_000  # of a page as it is loaded: a phone lays out and styles each of them
ELEMENTS_OF = {"chapters/back/api": 16_000}  # looked up, not read
DESK, PHONE = 1280, 390  # pixels
LAUNCHERS = ("mybinder.org", "colab.research.google.com")
WAIT = 120_000  # ms; what has not come by then hangs
COLOUR_RULES = ["color-contrast", "link-in-text-block"]


def other_hosts(page, address):
    """Nothing is asked of another host."""
    own = (address, "data:", "blob:")
    return [f"asks {url}" for url in page.asked if not url.startswith(own)]


def accessible(page):
    """What axe-core finds in an open page, in light and in dark, at 390 and at 1280 px.

    The themes differ in their colours only, so in the dark one the rules about colours are enough.
    The page is simplified for good: open it again for anything else.
    """
    for theme in ("dark", "light"):
        show(page, theme, PHONE)
        page.evaluate(scripts.SAMPLE)
    page.evaluate(scripts.SIMPLIFY)
    for theme, width in [("light", PHONE), ("dark", PHONE), ("dark", DESK), ("light", DESK)]:
        show(page, theme, width)
        page.evaluate(scripts.SAMPLE)
        page.evaluate(scripts.REST)
        sample = {"include": [["[data-sample]"]]}
        found = violations(page, sample, {"runOnly": COLOUR_RULES})
        if theme == "light":
            others = {rule: {"enabled": False} for rule in COLOUR_RULES}
            found += violations(page, None, {"rules": others})
        yield from (f"{theme}, {width} px: {violation}" for violation in found)


def show(page, theme, width):
    """Show a page in a theme, at a width, by what the system says."""
    page.set_viewport_size({"width": width, "height": 900})
    page.emulate_media(color_scheme=theme)
    page.wait_for_function(f"document.documentElement.dataset.theme === '{theme}'")


def violations(page, context=None, options=None):
    """What axe-core finds, an item for each element."""
    found = Axe().run(page, context, {"resultTypes": ["violations"], **(options or {})})
    return [
        f"{violation['id']}: {node['html'][:150]}"
        for violation in found.response["violations"]
        for node in violation["nodes"]
    ]


def heavy(without_frames, with_frames):
    """At most 300 kB without the frames of live figures, and 800 kB with them."""
    if without_frames > KILOBYTES:
        yield f"{without_frames:.0f} kB without frames, at most {KILOBYTES} are allowed"
    if with_frames > KILOBYTES_WITH_FRAMES:
        yield f"{with_frames:.0f} kB with frames, at most {KILOBYTES_WITH_FRAMES} are allowed"


def large(elements, name):
    """At most 12,000 elements as the page is loaded; some more in the one that is looked up."""
    limit = ELEMENTS_OF.get(name, ELEMENTS)
    if elements > limit:
        yield f"{elements} elements, at most {limit} are allowed"


def search(page, word, name):
    """The search field of a page leads to a list with the page that has the word."""
    field = page.locator("input[name=q]:visible")
    try:
        if not field.count():  # the search page shows its own, the others a button
            page.locator(".search-button__button:visible").first.click(timeout=WAIT)
        field.fill(word, timeout=WAIT)
        field.press("Enter")
        page.locator(f'#search-results li a[href*="{name}.html"]').first.wait_for(timeout=WAIT)
    except Timeout:
        return [f"searching for {word!r} does not find {name}"]
    return []


def notebook(page):
    """The button above a chapter saves its notebook, and that is one."""
    link = page.locator('.dropdown-download-buttons a[href$=".ipynb"]')
    if link.count() != 1:
        return [f"{link.count()} buttons to download the notebook"]
    page.locator(".dropdown-download-buttons > button").click()
    with page.expect_download() as download:
        link.click()
    return invalid(download.value.path().read_text(encoding="utf-8"))


def invalid(text):
    """Say why a text is no notebook."""
    try:
        content = json.loads(text)
        nbformat.validate(content)
    except (json.JSONDecodeError, nbformat.ValidationError) as error:
        return [f"the notebook is not valid: {str(error)[:150]}"]
    return [] if content["cells"] else ["the notebook has no cells"]


def launch_buttons(html, configured):
    """Binder and Colab have a button where the repository has an address, and only there."""
    hosts = re.findall(r"href=\"https?://([^/\"]+)", html)
    there = [host for host in LAUNCHERS if host in hosts]
    return [] if there == (list(LAUNCHERS) if configured else []) else [f"buttons for {there}"]


def moves(page):
    """Every control of every live figure changes its frame, by keyboard and by mouse."""
    for figure in page.locator("figure.explore").all():
        for control in figure.locator(".explore-input").all():
            values = json.loads(control.get_attribute("data-values"))
            position = control.evaluate(scripts.POSITION)["at"]
            for gesture, do, goal in gestures(control, len(values)):
                before = position
                do()
                now = control.evaluate(scripts.POSITION)
                position, shown = now["at"], now["shown"]
                if position != goal or now["new"] != (position != before):
                    frame = "another frame" if now["new"] else "the same frame"
                    yield f"{label(figure)}, {gesture}: at {position} of {goal}, {frame}"
                elif shown not in (None, values[goal], f"draw {goal + 1} of {len(values)}"):
                    yield f"{label(figure)}, {gesture}: shows {shown!r}"


def drags(page):
    """Every handle of every live figure can be dragged to where other frames have it."""
    for figure in page.locator("figure.explore[data-handles]").all():
        for choice, places in json.loads(figure.get_attribute("data-handles")).items():
            ring = figure.locator(f'.explore-handle[data-moves="{choice}"] .ring')
            if not ring.count():
                yield f"{label(figure)}: no ring for {choice}"
                continue
            ring.scroll_into_view_if_needed()
            frames = figure.evaluate(scripts.FRAMES_OF_CHOICE, choice)
            here, box = frames["here"], figure.locator(".explore-frame svg").first.bounding_box()
            there = {i: places[i] for i in frames["all"] if places[i]}
            x, y = places[here]
            goal = max(there, key=lambda i: math.hypot(there[i][0] - x, there[i][1] - y))
            scale = box["width"] / frames["width"]
            for step, (u, v) in enumerate((places[here], places[goal])):
                page.mouse.move(box["x"] + u * scale, box["y"] + v * scale, steps=1 + 3 * step)
                page.mouse.down() if step == 0 else page.mouse.up()
            shown = places[figure.evaluate(scripts.FRAMES_OF_CHOICE, choice)["here"]]
            if goal == here or shown != places[goal]:
                yield f"{label(figure)}: dragged to frame {goal}, {choice} is at {shown}"


def gestures(control, count):
    """Yield what a reader can do with a control, and the position where that leads."""
    last, kind = count - 1, control.evaluate("control => control.tagName")
    if kind == "BUTTON":
        yield "Enter", lambda: control.press("Enter"), 1
        yield "Space", lambda: control.press("Space"), 2 % count
        yield "a click", lambda: control.click(), 3 % count
        return
    more, less = ("ArrowRight", "ArrowLeft") if kind == "INPUT" else ("ArrowDown", "ArrowUp")
    for key, goal in [("End", last), (less, last - 1), ("Home", 0), (more, 1)]:
        yield key, lambda key=key: control.press(key), goal
    if kind == "SELECT":
        yield "the menu", lambda: control.select_option(index=last), last
    else:
        box = control.bounding_box()
        right = {"x": box["width"] - 2, "y": box["height"] / 2}
        yield "a click at the left end", lambda: control.click(position={**right, "x": 2}), 0
        yield "a click at the right end", lambda: control.click(position=right), last


def label(figure):
    """What a live figure is called in a message."""
    return figure.get_attribute("id") or "a figure without a name"


def frame_times(page):
    """Return the median time in ms that each live figure takes to show another frame."""
    figures = page.locator("figure.explore").all()
    return {label(figure): statistics.median(figure.evaluate(scripts.TIMES)) for figure in figures}


def still(page, how):
    """Every live figure shows a frame, and none of its controls, which would do nothing."""
    for figure in page.locator("figure.explore").all():
        box = figure.locator(".explore-frame svg").first.bounding_box()
        if not box or box["width"] < 100 or box["height"] < 50:
            yield f"{label(figure)}: no frame is seen {how}"
        if figure.locator(".explore-controls").is_visible():
            yield f"{label(figure)}: dead controls are seen {how}"
