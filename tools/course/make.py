"""Make the course: what students get, what an instructor keeps, and a course that nbgrader grades.

    python tools/course/make.py [FOLDER]        by default _build/course

In the folder:

- `students/`, the practices without solutions; `practices.zip`, the same for a learning platform;
- `instructor/`, the practices solved, and `points.csv`;
- `nbgrader/`, a course: sources, what was released, a database of tasks and points.

What has been submitted and graded in an older course of that folder stays.
"""

from __future__ import annotations

import csv
import json
import os
import shutil
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import practice_source

HERE = Path(__file__).resolve().parent
sys.path.append(str(practice_source.ROOT / "_ext"))
from notebook_start import cells as first_cells  # noqa: E402

TITLE = "Mini-Batch SGD: Principles, Practice, Physics"
OURS = ("guard.py", "nbgrader_config.py")
# nbgrader calls a program that is installed beside this Python
os.environ["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])


def write(path, notebook):
    """Write a notebook."""
    path.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps(notebook, indent=1, ensure_ascii=False) + "\n"
    path.write_text(text, encoding="utf-8")


def with_start(notebook):
    """Put the cells in front that get sgdlib where it is missing."""
    address = os.environ.get("BOOK_REPOSITORY", "")
    notebook["cells"][:0] = first_cells(TITLE, address, os.environ.get("BOOK_BRANCH", "main"))
    return notebook


def without_links(notebook):
    """Replace links that only the book's pages have by their words."""
    for cell in notebook["cells"]:
        if cell["cell_type"] == "markdown":
            cell["source"] = practice_source.ROLE.sub(r"*\1*", practice_source.source(cell))
    return notebook


def nbgrader(course, *arguments):
    """Run an nbgrader command in the course; return whether it succeeded, and what it said."""
    command = [sys.executable, "-m", "nbgrader", *arguments]
    env = os.environ | {"PYTHONUTF8": "1"}
    found = subprocess.run(
        command, cwd=course, capture_output=True, text=True, env=env, check=False, errors="replace"
    )
    return found.returncode == 0, found.stderr + found.stdout


def make(folder):
    """Make the course in a folder; return its path."""
    folder = Path(folder).resolve()
    course, students, teacher = (folder / name for name in ("nbgrader", "students", "instructor"))
    for old in (students, teacher, course / "source", course / "release"):
        shutil.rmtree(old, ignore_errors=True)
    course.mkdir(parents=True, exist_ok=True)
    for name in OURS:
        shutil.copy(HERE / name, course / name)
    root = practice_source.ROOT  # what no submission may see: the course, the solutions, the tests
    hidden = [
        folder,
        practice_source.PRACTICES,
        root / "_build/html",
        root / "tests",
        root / ".git",
    ]
    text = "\n".join(map(str, hidden)) + "\n"
    (course / "hidden.txt").write_text(text, encoding="utf-8")
    rows = []
    for path in practice_source.practices():
        name, notebook = path.stem, practice_source.load(path)
        rows += [(name, *item) for item in practice_source.points(notebook).items()]
        write(teacher / path.name, without_links(practice_source.load(path)))
        write(course / "source" / name / path.name, with_start(without_links(notebook)))
        good, said = nbgrader(course, "generate_assignment", name, "--create", "--force")
        if not good:
            sys.exit(f"{path}: nbgrader could not make the assignment\n{said}")
        students.mkdir(exist_ok=True)
        shutil.copy(course / "release" / name / path.name, students / path.name)
        print(f"{name:24s} {sum(row[2] for row in rows if row[0] == name):4.0f} points", flush=True)
    with zipfile.ZipFile(folder / "practices.zip", "w", zipfile.ZIP_DEFLATED) as file:
        for path in sorted(students.glob("*.ipynb")):
            file.write(path, path.name)
    with open(teacher / "points.csv", "w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("practice", "task", "points"), *rows])
    return folder


def main():
    """Make the course where the command line says."""
    start = time.perf_counter()
    folder = make(sys.argv[1] if len(sys.argv) > 1 else practice_source.ROOT / "_build/course")
    print(f"The course is in {folder}, made in {time.perf_counter() - start:.0f} s.")
    if not os.environ.get("BOOK_REPOSITORY"):
        print("BOOK_REPOSITORY is not set: students need sgdlib, or a copy of the book.")
    print("Give students/ or practices.zip to the class; grade what comes back by")
    print("    make grade DOWNLOADS=folder")


if __name__ == "__main__":
    main()
