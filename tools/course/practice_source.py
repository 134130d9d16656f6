"""One source for each practice: the solved notebook. What is made of it for students and graders.

A solution stands between two comments in a cell that nbgrader knows as a solution; hidden checks
stand between two others in a cell that it grades.
"""

from __future__ import annotations

import copy
import json
import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PRACTICES = ROOT / "chapters/practice"
STUB = "raise NotImplementedError"
SOLUTION = re.compile(r"^([ \t]*)### BEGIN SOLUTION\n.*?### END SOLUTION", re.M | re.S)
HIDDEN = re.compile(r"^[ \t]*### BEGIN HIDDEN TESTS\n.*?### END HIDDEN TESTS\n?", re.M | re.S)
ROLE = re.compile(r"\{(?:doc|ref|term|numref|eq)\}`([^<`]*?)\s*(?:<[^`]*>)?`")


def practices():
    """Return the paths of all practices, in order."""
    return sorted(PRACTICES.glob("p*.ipynb"), key=lambda path: int(path.stem[1:].split("_")[0]))


def load(path):
    """Return a notebook as a dictionary."""
    return json.loads(Path(path).read_text(encoding="utf-8"))


def task(cell):
    """Return what nbgrader knows of a cell, or an empty dictionary."""
    return cell.get("metadata", {}).get("nbgrader") or {}


def source(cell):
    """Return a cell's text, which may be stored as a list of lines."""
    text = cell["source"]
    return text if isinstance(text, str) else "".join(text)


def without_solution(text):
    r"""Return a cell's code with a stub in place of the solution.

    >>> print(without_solution("f():\n  ### BEGIN SOLUTION\n  return 1\n  ### END SOLUTION"))
    f():
      raise NotImplementedError
    """
    return SOLUTION.sub(rf"\1{STUB}", text)


def solution_shown(text):
    """Return a cell's code without the markers around the solution."""
    return re.sub(r"^[ \t]*### (BEGIN|END) SOLUTION\n?", "", text, flags=re.M).rstrip()


def students_version(notebook):
    """Return a copy without solutions, hidden checks, outputs, and links that only pages have."""
    notebook = copy.deepcopy(notebook)
    for cell in notebook["cells"]:
        text = source(cell)
        if cell["cell_type"] == "markdown":
            text = ROLE.sub(r"*\1*", text)
        else:
            cell["outputs"], cell["execution_count"] = [], None
            known = task(cell)
            if known.get("solution"):
                text = without_solution(text)
            if known.get("grade"):
                text = HIDDEN.sub("", text).rstrip()
        cell["source"] = text
    return notebook


def points(notebook):
    """Return the points of each graded cell: {id: points}."""
    graded = (task(cell) for cell in notebook["cells"])
    return {known["grade_id"]: known["points"] for known in graded if known.get("grade")}
