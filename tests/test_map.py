"""The map on the first page says what each chapter says of itself: which chapters it builds on.

A chapter may have a second page, `04b_name.ipynb`: it stands below the first in the table and in
the sidebar. A link to either page is one to the chapter.
"""

import ast
import json
import re
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parent.parent
INDEX = (ROOT / "index.md").read_text()
ROW = re.compile(r"^\| (\d+) \{doc\}`[^<`]*<(chapters/\w+/\w+)>` \|[^|]*\|([^|]*)\|$", re.M)
TABLE = {
    int(n): (page, {int(k) for k in re.findall(r"\d+", on)}) for n, page, on in ROW.findall(INDEX)
}
SECOND = re.compile(r"^\| (\d+)b \{doc\}`([^<`]*) <(chapters/\w+/\w+)>` \|[^|]*\|([^|]*)\|$", re.M)
SECOND_PAGES = {
    int(n): (title, page, {int(k) for k in re.findall(r"\d+", on)})
    for n, title, page, on in SECOND.findall(INDEX)
}
FIGURE = ast.literal_eval(re.search(r"^needs = (\{.*\})$", INDEX, re.M)[1])


def said_by_chapter(page):
    """Return the numbers of the chapters that a chapter's prerequisites link to."""
    cells = json.loads((ROOT / f"{page}.ipynb").read_text())["cells"]
    text = "\n\n".join("".join(cell["source"]) for cell in cells[:6])
    prerequisites = text.partition("**Prerequisites**")[2].partition("\n\n")[0]
    return {int(number) for number in re.findall(r"<(?:\.\./\w+/)?(\d\d)b?_\w+>", prerequisites)}


def closure(needs):
    """Return, for each chapter, all chapters before it."""
    before = {}
    for chapter in sorted(needs):
        direct = needs[chapter]
        before[chapter] = set(direct).union(*(before.get(other, set()) for other in direct))
    return before


def test_every_chapter_is_in_the_table():
    chapters = {path.stem for path in ROOT.glob("chapters/*/[0-9][0-9]_*.ipynb")}
    assert {page.rpartition("/")[2] for page, _ in TABLE.values()} == chapters


def test_every_second_page_is_in_the_table_below_its_chapter():
    pages = {path.stem for path in ROOT.glob("chapters/*/[0-9][0-9]b_*.ipynb")}
    assert {page.rpartition("/")[2] for _, page, _ in SECOND_PAGES.values()} == pages
    rows = re.findall(r"^\| (\d+b?) \{doc\}", INDEX, re.M)
    for number, (title, page, builds_on) in SECOND_PAGES.items():
        assert page.rpartition("/")[2].startswith(f"{number:02}b_")
        assert rows[rows.index(f"{number}b") - 1] == str(number)
        assert builds_on == said_by_chapter(page)
        assert number in builds_on
        first = json.loads((ROOT / f"{page}.ipynb").read_text())["cells"][0]["source"]
        assert "".join(first).startswith(f"# {title}\n")


def test_the_sidebar_has_second_pages_below_their_chapters():
    parts = yaml.safe_load((ROOT / "_toc.yml").read_text())["parts"]
    below = {
        chapter["file"]: [(page["file"], page["title"]) for page in chapter["sections"]]
        for part in parts
        for chapter in part["chapters"]
        if "sections" in chapter
    }
    assert below == {
        TABLE[number][0]: [(page, f"{number}b · {title}")]
        for number, (title, page, _) in SECOND_PAGES.items()
    }


@pytest.mark.parametrize("number", TABLE)
def test_the_table_says_what_the_chapter_says(number):
    page, builds_on = TABLE[number]
    assert page.rpartition("/")[2].startswith(f"{number:02}_")
    assert builds_on == said_by_chapter(page)


def test_the_arrows_lead_where_the_table_says():
    table = closure({number: builds_on for number, (_, builds_on) in TABLE.items()})
    assert closure({1: [], **FIGURE}) == table


def test_the_sidebar_gives_number_and_title():
    entries = re.findall(r'file: (\S+)\n +title: "(\d+) · (.+)"', (ROOT / "_toc.yml").read_text())
    assert {int(number): page for page, number, _ in entries} == {
        number: page for number, (page, _) in TABLE.items()
    }
    for page, _, title in entries:
        first = json.loads((ROOT / f"{page}.ipynb").read_text())["cells"][0]["source"]
        assert "".join(first).startswith(f"# {title}\n")
