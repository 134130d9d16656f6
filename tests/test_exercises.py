"""Every exercise has a hint before its solution, and both stay closed until they are asked for."""

import re

import nbformat
import pytest
from small_book import ROOT

CHAPTERS = sorted((ROOT / "chapters").glob("*/[0-9]*.ipynb"))
FENCE = re.compile(r"^```\{(exercise|exercise-start|hint|solution|solution-start)\}(.*)$", re.M)


def directives(path):
    """Return kind, argument and options of what belongs to exercises, in the page's order."""
    cells = nbformat.read(path, as_version=4).cells
    text = "\n\n".join(cell.source for cell in cells if cell.cell_type == "markdown")
    for match in FENCE.finditer(text):
        options = re.match(r"(?:\n:.*)*", text[match.end() :])[0]
        yield match[1].removesuffix("-start"), match[2].strip(), options, text[match.end() :]


@pytest.mark.parametrize("path", CHAPTERS, ids=lambda path: path.stem)
def test_exercise_hint_solution(path):
    found = list(directives(path))
    kinds = [kind for kind, *_ in found]
    assert kinds == ["exercise", "hint", "solution"] * (len(kinds) // 3)
    assert kinds
    for (_, _, label, _), _, (_, solved, *_) in zip(*[iter(found)] * 3, strict=True):
        assert label.strip() == f":label: {solved}"
    assert [
        rest[:60]
        for kind, _, options, rest in found
        if kind != "exercise" and ":class: dropdown" not in options
    ] == []


@pytest.mark.parametrize("path", CHAPTERS, ids=lambda path: path.stem)
def test_a_hint_is_short(path):
    for kind, _, options, rest in directives(path):
        if kind == "hint":
            body = rest[len(options) :].split("```")[0]
            assert 5 <= len(body.split()) <= 80, body
