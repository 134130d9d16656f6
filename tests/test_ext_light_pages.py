"""The book's own settings on three small pages: light, complete, and from one host."""

import gzip
import io
import re
import subprocess
import sys

import nbformat
import pytest
import yaml
from fontTools.ttLib import TTFont
from small_book import COLOUR, PYTHON, ROOT, code, markdown, unpublished

sys.path.append(str(ROOT / "_ext"))
import light_pages

TEX = r"$$ \hat g_B = \frac1B \sum_{i \in \mathcal{B}} \nabla \ell_i(\theta), \quad \mathbb{E} $$"


def make(folder, environment=None, **changes):
    """Build a small book with the book's settings and extensions; return what was said."""
    settings = yaml.safe_load((ROOT / "_config.yml").read_text()) | changes
    (folder / "_config.yml").write_text(yaml.safe_dump(settings))
    for name in ("_ext", "_assets", "_static", "references.bib"):
        (folder / name).symlink_to(ROOT / name)
    toc = {"format": "jb-book", "root": "index", "chapters": [{"file": "a"}]}
    (folder / "_toc.yml").write_text(yaml.safe_dump(toc))
    (folder / "index.md").write_text("# Start\n\nSee {doc}`a`.\n")
    cells = [markdown(f"# One\n\n{TEX}\n\nText."), code("print(6 * 7)")]
    notebook = {"cells": cells, "metadata": PYTHON, "nbformat": 4, "nbformat_minor": 5}
    (folder / "a.ipynb").write_text(nbformat.writes(nbformat.from_dict(notebook)))
    command = [sys.executable, "-c", "from jupyter_book.cli.main import main; main()"]
    done = subprocess.run(
        [*command, "build", ".", "-W", "-n", "--keep-going"],
        cwd=folder,
        env=unpublished(PYTHONWARNINGS="ignore", **(environment or {})),
        capture_output=True,
        text=True,
        check=False,
    )
    said = COLOUR.sub("", done.stdout + done.stderr)
    assert done.returncode == 0, said
    return said


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    folder = tmp_path_factory.mktemp("book")
    make(folder)
    return folder / "_build/html"


@pytest.fixture(scope="module", params=["index", "a", "genindex"])
def page(request, built):
    return (built / f"{request.param}.html").read_text()


def loaded(page):
    """Return the addresses of what a page loads."""
    scripts = re.findall(r"<script[^>]* src=\"([^\"]+)\"", page)
    links = re.findall(r"<link(?=[^>]*rel=\"(?:style|pre|icon))[^>]*href=\"([^\"]+)\"", page)
    return [*scripts, *links, *re.findall(r"<img[^>]* src=\"([^\"]+)\"", page)]


def test_nothing_comes_from_another_host(page, built):
    assert loaded(page)
    for address in loaded(page):
        assert "//" not in address
        assert (built / address.split("?")[0]).exists(), address
    sheet = (built / "_static/pages.css").read_text()
    assert [a for a in re.findall(r"url\(([^)]*)", sheet) if "//" in a and "data:" not in a] == []


def test_one_style_sheet_with_all_in_it(page, built):
    sheets = re.findall(r"<link[^>]*rel=\"stylesheet\"[^>]*>", page)
    assert len(sheets) == 1
    assert re.search(r"pages\.css\?v=\w+", sheets[0])
    sheet = (built / "_static/pages.css").read_text()
    for rule in (".bd-sidebar", "Formulas", "div.math", ".highlight", ".cell_output", ".proof"):
        assert rule in sheet
    assert "@import" not in sheet


def test_scripts_wait_and_none_is_useless(page):
    for script in re.findall(r"<script[^>]* src=[^>]*>", page):
        assert "defer" in script
    for name in ("fontawesome.js", "thebe", "mathjax", "require", "widgets", "searchtools"):
        assert name not in " ".join(loaded(page)).lower()


def test_every_address_in_the_style_sheet_exists(built):
    sheet = (built / "_static/pages.css").read_text()
    addresses = re.findall(r"url\([\"']?(?!data:|#)([^)\"']+)", sheet)
    assert addresses
    missing = [a for a in addresses if not (built / "_static" / a.split("?")[0]).exists()]
    assert missing == []


def test_the_icons_of_the_theme_are_in_its_font(built):
    page = (built / "a.html").read_text()
    sheet = (built / "_static/pages.css").read_text()
    names = set(re.findall(r"\bfa-(?!solid|regular|brands|lg)[a-z-]+", page))
    assert {"fa-download", "fa-magnifying-glass"} <= names
    for name in names:
        assert f".{name}:before" in sheet
    assert ".fa-hippo:before" not in sheet
    assert "Font Awesome" in sheet
    assert sheet.count("data:font/woff2") >= 3


def test_titles_name_the_page_and_the_book_once(built):
    for name, title in [("index", "Start"), ("a", "One &#8212; Mini-Batch SGD: Principles, .*")]:
        assert re.search(f"<title>{title}</title>", (built / f"{name}.html").read_text())


def test_a_page_is_light(built):
    page = (built / "a.html").read_text()
    files = [built / "a.html", *(built / a.split("?")[0] for a in loaded(page))]
    kilobytes = sum(len(gzip.compress(path.read_bytes())) for path in files) / 1000
    assert kilobytes < 250


def test_the_notebook_can_be_downloaded(built):
    page = (built / "a.html").read_text()
    assert 'href="_sources/a.ipynb"' in page
    notebook = nbformat.read(built / "_sources/a.ipynb", as_version=4)
    assert notebook.cells[-1].source == "print(6 * 7)"


@pytest.mark.parametrize("place", ["settings", "environment"])
def test_launch_buttons_appear_with_an_address_and_not_before(built, tmp_path, place):
    before = (built / "a.html").read_text()
    assert "mybinder" not in before
    assert "colab" not in before
    assert "executablebooks" not in before
    url = "https://github.com/someone/some-book"
    set_there = {"url": url if place == "settings" else "", "branch": "main"}
    environment = {"BOOK_REPOSITORY": url} if place == "environment" else None
    off = {"execute_notebooks": "off"}
    make(tmp_path, environment, repository=set_there, execute=off)
    after = (tmp_path / "_build/html/a.html").read_text()
    assert "https://mybinder.org/v2/gh/someone/some-book/main?urlpath=lab/tree/a.ipynb" in after
    colab = "https://colab.research.google.com/github/someone/some-book/blob"
    assert f"{colab}/notebooks/a.ipynb" in after  # there the notebooks get sgdlib themselves
    assert 'href="https://github.com/someone/some-book"' in after
    assert [a for a in loaded(after) if "//" in a] == []
    download = (tmp_path / "_build/html/_sources/a.ipynb").read_text()
    assert f"sgdlib[deep,book] @ git+{url}@main" in download


def test_the_font_of_formulas_has_brackets_that_grow_and_no_form_much_wider_than_the_first():
    data = light_pages.cut(light_pages.MATH_FONT, set("x(√′"), formulas=True)
    font = TTFont(io.BytesIO(data))
    codes, widths = font.getBestCmap(), font["hmtx"]
    assert set(map(ord, "x(√′")) <= set(codes)
    variants = font["MATH"].table.MathVariants
    forms = dict(
        zip(variants.VertGlyphCoverage.glyphs, variants.VertGlyphConstruction, strict=True)
    )
    for char, room in (("(", 1.25), ("√", 1)):
        first = codes[ord(char)]
        names = [form.VariantGlyph for form in forms[first].MathGlyphVariantRecord]
        names += [part.glyph for part in forms[first].GlyphAssembly.PartRecords]
        assert len(names) > 4
        assert max(widths[name][0] for name in names) <= round(room * widths[first][0])
    whole = TTFont(light_pages.MATH_FONT)
    prime = whole.getBestCmap()[ord("′")]
    assert widths[codes[ord("′")]][0] > whole["hmtx"][prime][0]  # the form for a superscript
    assert len(data) < 20_000
