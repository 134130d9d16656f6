"""What every page must keep, as functions that say what is wrong with an open page."""

import json
import re
import statistics

import nbformat
from axe_playwright_python.sync_playwright import Axe

KILOBYTES, KILOBYTES_WITH_FRAMES = 400, 900  # gzip, with all that the page loads
FRAME_MILLISECONDS = 50
PHONE, DESK = 390, 1280  # pixels

NAMELESS = """() => [...document.querySelectorAll("img, svg")].filter((image) => {
    if (image.closest("[aria-hidden=true], math") || image.parentElement.closest("svg")) return false;
    const label = image.getAttribute("aria-label") || image.getAttribute("alt");
    if (image.tagName !== "IMG" && image.getAttribute("role") !== "img") return true;
    return !(label || "").trim();
}).concat([...document.querySelectorAll(".explore template")].filter(
    (template) => !template.content.querySelector("svg[role=img][aria-label]")
)).map((image) => image.outerHTML.slice(0, 150))"""

# An element that scrolls is a box: what is in it may be wider. So is one that nobody sees.
WIDE = """() => {
    const found = [];
    const look = (element) => {
        const box = element.getBoundingClientRect(), style = getComputedStyle(element);
        if (style.display === "none" || style.visibility === "hidden") return;
        if (box.width > 1 && box.right > innerWidth + 1) {
            found.push(`${Math.round(box.right)} px: ${element.outerHTML.slice(0, 150)}`);
        } else if (!/auto|scroll/.test(style.overflowX) && !(box.width <= 1 && style.overflowX === "hidden")
                   && element.tagName !== "svg") {
            [...element.children].forEach(look);
        }
    };
    look(document.body);
    const width = document.scrollingElement.scrollWidth;
    return width > innerWidth ? [`the page is ${width} px wide`, ...found] : found;
}"""

UNFOLD = """() => {
    document.querySelectorAll("details").forEach((box) => { box.open = true; });
    document.querySelectorAll(".toggle.toggle-hidden > .toggle-button, .toggle-hidden > .toggle-button")
        .forEach((button) => button.click());
    return document.querySelectorAll(".toggle-hidden").length;
}"""

# How long each control of a figure takes from one value to the next, layout included.
TIMES = """async (figure) => {
    const times = [];
    for (let i = 0; i < 8; i++) {
        for (const input of figure.querySelectorAll(".explore-input")) {
            const count = JSON.parse(input.dataset.values).length;
            await new Promise(requestAnimationFrame);
            const start = performance.now();
            if (input.tagName === "BUTTON") {
                input.click();
            } else {
                input.value = (Number(input.value) + 1) % count;
                input.dispatchEvent(new Event("input", {bubbles: true}));
            }
            document.documentElement.getBoundingClientRect();
            figure.querySelector("svg")?.getBoundingClientRect();
            times.push(performance.now() - start);
        }
    }
    return times;
}"""


def hosts(page, address):
    """No request to another host."""
    own = (address, "data:", "blob:")
    return [f"asks {url}" for url in page.asked if not url.startswith(own)]


def accessible(page, theme, width):
    """What axe-core finds in a theme, at a width."""
    page.set_viewport_size({"width": width, "height": 900})
    page.emulate_media(color_scheme=theme)
    page.wait_for_function(f"document.documentElement.dataset.theme === '{theme}'")
    found = Axe().run(page).response["violations"]
    return [
        f"{theme}, {width} px: {violation['help']}: {node['html'][:150]}"
        for violation in found
        for node in violation["nodes"]
    ]


def weight(without_frames, with_frames):
    """At most 400 kB without the frames of live figures, 900 kB with them."""
    if without_frames > KILOBYTES:
        yield f"{without_frames:.0f} kB without frames, at most {KILOBYTES} are allowed"
    if with_frames > KILOBYTES_WITH_FRAMES:
        yield f"{with_frames:.0f} kB with frames, at most {KILOBYTES_WITH_FRAMES} are allowed"


def found_by_search(page, word, name, seconds=15):
    """The search field of a page leads to a list with a page that has the word."""
    page.locator(".search-button__button:visible").first.click()
    page.locator("input[name=q]:visible").first.fill(word)
    page.keyboard.press("Enter")
    page.wait_for_url("**/search.html?q=*")
    result = page.locator(f'#search-results a[href*="{name}.html"]').first
    try:
        result.wait_for(timeout=1000 * seconds)
    except TimeoutError:
        return [f"the search for {word!r} does not find {name}"]
    return []


def downloads(page, ending):
    """The page's source can be saved with the button above it, and a notebook is a notebook."""
    link = page.locator(f'.bd-header-article a[href$="{ending}"]')
    if link.count() != 1:
        return [f"{link.count()} links to download the {ending}"]
    page.locator(".dropdown-download-buttons > button").click()
    with page.expect_download() as download:
        link.click()
    text = download.value.path().read_text(encoding="utf-8")
    if ending == ".ipynb":
        return invalid(text)
    return [] if text.strip() else ["what is downloaded is empty"]


def invalid(text):
    """Say why a text is no notebook."""
    try:
        notebook = json.loads(text)
        nbformat.validate(notebook)
    except (json.JSONDecodeError, nbformat.ValidationError) as error:
        return [f"the notebook is not valid: {str(error)[:150]}"]
    return [] if notebook["cells"] else ["the notebook has no cells"]


def launch_buttons(html, configured):
    """Buttons for Binder and Colab where the repository has an address, and only there."""
    hosts = ("mybinder.org", "colab.research.google.com")
    leads = re.findall(r"href=\"https?://([^/\"]+)", html)
    there = [host for host in hosts if host in leads]
    return [] if there == (list(hosts) if configured else []) else [f"launch buttons: {there}"]


class LiveFigure:
    """A figure that `explore` drew, in an open page."""

    def __init__(self, figure):
        self.figure = figure
        self.name = figure.get_attribute("id") or figure.locator("svg").first.get_attribute(
            "aria-label"
        )
        self.controls = figure.locator(".explore-input").all()

    def frame(self):
        return self.figure.locator(".explore-frame").inner_html()

    def problems(self, page):
        """Move each control by keyboard and mouse; measure."""
        for control in self.controls:
            values = json.loads(control.get_attribute("data-values"))
            tag = control.evaluate("e => e.tagName")
            move = {"INPUT": self._slide, "SELECT": self._select, "BUTTON": self._press}[tag]
            for what, at, shown, changed in move(page, control, values):
                if int(control.input_value() if tag != "BUTTON" else control.get_attribute("value")) != at:
                    yield what


def still(page, how):
    """Every live figure shows a frame, and none of its controls."""
    for figure in page.locator("figure.explore").all():
        name = figure.get_attribute("id")
        box = figure.locator(".explore-frame svg").first.bounding_box()
        if not box or box["width"] < 100 or box["height"] < 50:
            yield f"{name}: no frame is seen {how}"
        if figure.locator(".explore-controls").is_visible():
            yield f"{name}: controls that do nothing are seen {how}"
