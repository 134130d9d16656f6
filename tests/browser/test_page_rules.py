"""Each rule for pages finds what it is there to find, on a page that breaks them all."""

import json
import random

import page_rules as rules
import pytest
from built_book import Book
from page_visit import served, visit

FIGURE = """<figure data-src="_static/frames/{name}.js" data-loading="done" class="own explore"
data-handles='{{"rate": [[1, 1], [8, 3], [4, 2]]}}' data-frame="0" id="{name}">
<div class="explore-frame">
<svg role="img" aria-label="First." viewBox="0 0 9 4" width="200"><path d="M0 0"/>{ring}<text
style="font-size: .2px">small</text></svg></div>
<div class="explore-controls"><span><label for="{name}-choice0">rate</label> <input type="range"
id="{name}-choice0" class="explore-input" data-choice="rate" data-values='["1", "2", "3"]'
min="0" max="2" value="0">
</span></div></figure>"""
RING = '<g class="explore-handle" data-moves="rate"><circle class="ring" r="1"/></g>'
NAMED = '<svg role="img" aria-label="Second."><use href="#no-such-glyph"/></svg>'
SCRIPT = """
const dark = matchMedia("(prefers-color-scheme: dark)");
const theme = () => { document.documentElement.dataset.theme = dark.matches ? "dark" : "light"; };
dark.addEventListener("change", theme);
theme();
const slow = document.querySelector("#fig-slow");
slow.querySelector("input").addEventListener("input", () => {
  slow.querySelector("svg").replaceWith(slow.querySelector("svg").cloneNode(true));
});
console.error("something went wrong");
"""
PAGE = """<!doctype html><html lang="en"><head><meta charset="utf-8"><title>Broken</title>
<style>
.pale {{ color: #ccc; background: #fff }}
html[data-theme="dark"] .dim {{ color: #444; background: #222 }}
#fig-dead svg {{ width: 20px }}
@media print {{ #fig-slow .explore-frame {{ display: none }} }}
@media (max-width: 500px) {{ .wide {{ width: 600px }} }}
</style><script src="_static/frames/fig-dead.js"></script><script src="http://elsewhere.invalid/counter.js"></script></head><body><main>
<h1>Broken</h1><p class="pale">Pale in both themes.</p><p class="dim">Dim in the dark.</p>
<p class="wide">Wider than a phone.</p><img src="dot.svg"><svg viewBox="0 0 1 1"></svg>
<p><a href="nowhere.html">No file</a> <a href="#nowhere">no anchor</a> <a href="#twice">two</a>
<i id="twice"></i><i id="twice"></i> <a href="https://mybinder.org/v2/gh/a/b">Launch</a></p>
<form action="search.html"><input name="q" aria-label="Search"></form>
<div class="dropdown-download-buttons"><button>Download</button>
<a href="_sources/index.ipynb" download>.ipynb</a></div>{figures}{noise}</main>
<script>{script}</script></body></html>"""


@pytest.fixture(scope="module")
def found(tmp_path_factory, opening):
    folder = tmp_path_factory.mktemp("broken")
    letters = random.Random(0)
    frame = NAMED + f"<!--{letters.randbytes(480_000).hex()}-->"
    frames = {"fig-dead": [frame], "fig-slow": ["<svg></svg>"]}
    (folder / "_static/frames").mkdir(parents=True)
    for name, texts in frames.items():
        script = f'(window.exploreFrames??={{}})["{name}.js"]={json.dumps(texts)}'
        (folder / f"_static/frames/{name}.js").write_text(script)
    figures = "".join(
        FIGURE.format(name=name, ring=ring) for name, ring in zip(frames, (RING, ""), strict=True)
    )
    noise = f"<!--{letters.randbytes(400_000).hex()}-->"
    page = PAGE.format(figures=figures, noise=noise, script=SCRIPT)
    (folder / "index.html").write_text(page)
    (folder / "search.html").write_text("<title>Search</title>Nothing found.")
    (folder / "dot.svg").write_text('<svg xmlns="http://www.w3.org/2000/svg"/>')
    (folder / "_sources").mkdir()
    (folder / "_sources/index.ipynb").write_text("{")
    with (
        pytest.MonkeyPatch.context() as patch,
        served(folder) as address,
        opening() as open_page,
    ):
        patch.setattr(rules, "WAIT", 1000)
        patch.setattr(rules, "ELEMENTS", 10)
        return visit(open_page, address, Book(folder), "index", ("gradient", "index"))[0]


@pytest.mark.parametrize(
    ("rule", "problem"),
    [
        ("other hosts", "asks http://elsewhere.invalid/counter.js"),
        ("console", "something went wrong"),
        ("console", "Failed to load resource"),
        ("axe", 'light, 390 px: color-contrast: <p class="pale"'),
        ("axe", 'light, 1280 px: image-alt: <img src="dot.svg">'),
        ("axe", 'dark, 390 px: color-contrast: <p class="dim"'),
        ("axe", 'dark, 1280 px: color-contrast: <p class="dim"'),
        ("width", "the page is"),
        ("width", '<p class="wide">'),
        ("alt text", '<img src="dot.svg">'),
        ("alt text", '<svg viewBox="0 0 1 1">'),
        ("alt text", "<svg></svg>"),
        ("labels", "fig-slow: 4.4 px"),
        ("links", "nowhere.html: there is no such file"),
        ("links", "#nowhere: the anchor is there 0 times"),
        ("links", "#twice: the anchor is there 2 times"),
        ("links", "frame 0 refers to #no-such-glyph, which is in it 0 times"),
        ("weight", "kB without frames, at most 300 are allowed"),
        ("weight", "kB with frames, at most 800 are allowed"),
        ("elements", "elements, at most 10 are allowed"),
        ("search", "searching for 'gradient' does not find index"),
        ("notebook", "the notebook is not valid"),
        ("launch buttons", "mybinder.org"),
        ("live figures", "fig-dead, End: at 2 of 2, the same frame"),
        ("live figures", "fig-dead, a click at the right end: at 2 of 2, the same frame"),
        ("live figures", "fig-dead: dragged to frame 1, rate is at [1, 1]"),
        ("live figures", "fig-slow: no ring for rate"),
        ("still figures", "fig-dead: no frame is seen in print"),
        ("still figures", "fig-slow: no frame is seen in print"),
        ("still figures", "fig-dead: no frame is seen without script"),
        ("still figures", "fig-slow: dead controls are seen without script"),
    ],
)
def test_what_is_broken_is_found(found, rule, problem):
    assert problem in "\n".join(found[rule])


def test_what_is_not_broken_is_not_found(found):
    assert not any("dim" in problem for problem in found["axe"] if problem.startswith("light"))
    assert not any("fig-slow, " in problem for problem in found["live figures"])
    assert not any("fig-slow: no frame is seen without" in p for p in found["still figures"])
    assert not any("search.html" in problem for problem in found["links"])


def test_crawling_follows_links_inside_the_book(tmp_path):
    link = '<a href="{}">there</a>'.format
    (tmp_path / "part").mkdir()
    (tmp_path / "index.html").write_text(
        link("part/a.html#b") + link("https://elsewhere.invalid/x.html")
    )
    (tmp_path / "part/a.html").write_text(link("../index.html") + link("b.html") + link("no.html"))
    (tmp_path / "part/b.html").write_text('<p>Nothing, <span id="b">but</span> words: words.</p>')
    (tmp_path / "part/nobody.html").write_text("")
    book = Book(tmp_path)
    assert book.crawl() == ["index", "part/a", "part/b"]
    assert list(book.links("index")) == ["part/a.html#b: the anchor is there 0 times"]
    assert list(book.links("part/a")) == ["no.html: there is no such file"]
    (tmp_path / "_sources/part").mkdir(parents=True)
    (tmp_path / "_sources/part/b.md").write_text("")
    assert book.telling_word("part/b", ["part/a", "part/b"]) == ("words", "part/b")


@pytest.mark.parametrize("text", ["", "{", '{"cells": []}', "<html>"])
def test_what_is_no_notebook(text):
    assert rules.invalid(text)


@pytest.mark.parametrize(("configured", "problems"), [(True, 0), (False, 1)])
def test_launch_buttons_go_with_the_address(configured, problems):
    html = "".join(f'<a href="https://{host}/x">' for host in rules.LAUNCHERS)
    assert len(rules.launch_buttons(html, configured)) == problems
    assert len(rules.launch_buttons("", configured)) == 1 - problems
