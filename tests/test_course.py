"""The course: made, handed in, graded by nbgrader, also where a submission does its worst."""

import csv
import json
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

import pytest
from practice_runner import ROOT, practice_source

sys.path.append(str(ROOT / "tools/course"))
import grade as grading
import guard
import make as making

FIRST = practice_source.practices()[0]
TOTAL = sum(practice_source.points(practice_source.load(FIRST)).values())
HEAD = "def updates(n, batch_size, epochs):\n"
ADA = ("Ada-Lovelace", FIRST.stem)
RIGHT = "    return -(-n // batch_size) * epochs\n"

# what stands in the cell of the first task, and whether its two points are kept
HOSTILE = {
    "loops": (HEAD + "    while True:\n        pass\n", False),
    "loops-on": (
        HEAD + "    while True:\n        try:\n            while True: pass\n"
        "        except BaseException: pass\n",
        False,
    ),
    "raises": (HEAD + "    raise RuntimeError('no')\n", False),
    "syntax": ("def updates(n, batch_size, epochs)\n    return 1\n", False),
    "exits": (HEAD + "    import os\n    os._exit(1)\n", False),
    "prints": (HEAD + "    print('x' * 1_000_000)\n" + RIGHT, True),
    "memory": (HEAD + "    x = []\n    while True: x.append(np.ones(10**7))\n", False),
    "writes": (
        HEAD + "    with open('big', 'wb') as f:\n"
        "        for _ in range(200): f.write(bytes(1 << 20))\n" + RIGHT,
        False,
    ),
    "reads": (HEAD + "    open({source!r}).read()\n" + RIGHT, False),
    "network": (
        HEAD
        + "    import socket\n    socket.create_connection(('127.0.0.1', {port}), 2)\n"
        + RIGHT,
        False,
    ),
}


@pytest.fixture(scope="module")
def course(tmp_path_factory):
    return making.make(tmp_path_factory.mktemp("a course"))


def solved(course):
    """Return the students' notebook with all answers filled in."""
    notebook = practice_source.load(course / "students" / FIRST.name)
    found = {
        practice_source.task(cell)["grade_id"]: practice_source.source(cell)
        for cell in practice_source.load(FIRST)["cells"]
        if practice_source.task(cell).get("solution")
    }
    for cell in notebook["cells"]:
        if practice_source.task(cell).get("solution"):
            answer = found[practice_source.task(cell)["grade_id"]]
            cell["source"] = practice_source.solution_shown(answer)
    return notebook


def cell_of(notebook, name):
    return next(c for c in notebook["cells"] if practice_source.task(c).get("grade_id") == name)


def put(folder, name, notebook):
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(notebook if isinstance(notebook, str) else json.dumps(notebook))


def test_students_get_no_solution_and_no_hidden_check(course):
    for path in practice_source.practices():
        text = (course / "students" / path.name).read_text()
        for word in ("BEGIN SOLUTION", "HIDDEN TESTS", "{doc}", "{ref}"):
            assert word not in text
        assert practice_source.STUB in text
        assert "get-sgdlib" in text
        ours = practice_source.students_version(practice_source.load(path))
        theirs = practice_source.load(course / "students" / path.name)["cells"][2:]
        assert [practice_source.source(c).strip() for c in ours["cells"]] == [
            practice_source.source(c).strip() for c in theirs
        ]
    with zipfile.ZipFile(course / "practices.zip") as file:
        assert len(file.namelist()) == len(practice_source.practices())


def test_nothing_a_submission_does_stops_the_others(course, tmp_path):
    """Each loses the points of the task in which it misbehaves, and those only."""
    with open(course / "nbgrader/nbgrader_config.py", "a") as file:
        file.write("\nguard.CELL_SECONDS = 20\nguard.ANSWER_SECONDS = 3\n")
    source = str(course / "nbgrader/source" / FIRST.stem / FIRST.name)
    expected = {}
    for student, (answer, kept) in HOSTILE.items():
        notebook = solved(course)
        answer = answer.replace("{source!r}", repr(source)).replace("{port}", "9")
        cell_of(notebook, "updates")["source"] = answer
        put(tmp_path, f"{student}/{FIRST.name}", notebook)
        expected[student] = TOTAL if kept else TOTAL - 2
    if not guard.ISOLATED:  # then it can read, and gets its points
        expected["reads"] = TOTAL
    put(tmp_path, f"right_{FIRST.name}", solved(course))
    put(tmp_path, f"stub_{FIRST.name}", practice_source.load(course / "students" / FIRST.name))
    put(tmp_path, f"broken_{FIRST.name}", '{"cells": 3')
    expected |= {"right": TOTAL, "stub": 0, "broken": 0}

    deleted = solved(course)
    deleted["cells"].remove(cell_of(deleted, "updates"))
    deleted["cells"].remove(cell_of(deleted, "train-graded"))
    put(tmp_path, f"deleted/{FIRST.name}", deleted)
    renamed = solved(course)
    cell_of(renamed, "updates")["metadata"] = {}
    cell_of(renamed, "epoch-batches")["metadata"]["nbgrader"]["grade_id"] = "mine"
    cell_of(renamed, "epoch-batches-graded")["source"] = "pass"
    cell_of(renamed, "train-graded")["metadata"]["nbgrader"]["points"] = 100
    helper = {"cell_type": "code", "metadata": {}, "source": "helper = 3", "outputs": []}
    renamed["cells"].insert(3, helper | {"execution_count": None})
    cell_of(renamed, "epoch-loss")["source"] += "\nassert helper == 3"
    put(tmp_path, f"renamed/{FIRST.name}", renamed)
    expected |= {"deleted": TOTAL - 2, "renamed": TOTAL}

    rows = grading.grade(tmp_path, course / "nbgrader")
    column = rows[0].index(FIRST.stem)
    assert {row[0]: row[column] for row in rows[2:]} == expected
    assert "unreadable" in dict((row[0], row[-1]) for row in rows)["broken"]
    table = list(csv.reader((course / "nbgrader/marks.csv").read_text("utf-8-sig").splitlines()))
    assert [str(v) for v in rows[3]] == table[3]
    feedback = course / "nbgrader/feedback/prints" / FIRST.stem / f"{FIRST.stem}.html"
    assert feedback.stat().st_size < 600_000


def test_a_grader_that_cannot_run_the_solution_says_so(course, tmp_path):
    path = course / "nbgrader/source" / FIRST.stem / FIRST.name
    whole = path.read_text()
    put(tmp_path, f"right_{FIRST.name}", solved(course))
    path.write_text(whole.replace("import numpy as np", "import no_such_library"))
    try:
        with pytest.raises(SystemExit, match=r"the solution itself gets 0 of 10 points"):
            grading.grade(tmp_path, course / "nbgrader")
    finally:
        path.write_text(whole)


@pytest.mark.parametrize(
    ("name", "owner"),
    [
        (f"ada/{FIRST.name}", ("ada", FIRST.stem)),
        (f"ada_{FIRST.name}", ("ada", FIRST.stem)),
        (f"{FIRST.stem} (2)/{FIRST.name}", None),
        (f"Ada Lovelace_17_assignsubmission_file_/{FIRST.name}", ADA),
        (f"Ada Lovelace_17_assignsubmission_file_{FIRST.stem}(1).ipynb", ADA),
        ("../../etc/passwd.ipynb", None),
        (f"x/../..-{FIRST.name}", None),
        ("notes.ipynb", None),
        (f"ada_lovelace_{FIRST.name}", ("ada_lovelace", FIRST.stem)),
        (f"ada_lovelace/{FIRST.name}", ("ada_lovelace", FIRST.stem)),
        (f"ada/Copy of {FIRST.name}", ("ada", FIRST.stem)),
        (f"Jo\u0308rg_{FIRST.name}", ("J\u00f6rg", FIRST.stem)),
        (f"{FIRST.stem}/{FIRST.name}", None),
    ],
)  # fmt: skip
def test_whose_a_download_is(name, owner):
    found = grading.whose(name, [FIRST.stem])
    assert found == owner or (owner is None and (found is None or "/" not in found[0]))


def test_zip_files_are_opened(course, tmp_path):
    with zipfile.ZipFile(tmp_path / "ada.zip", "w") as file:
        file.writestr(f"deep/{FIRST.name}", json.dumps(solved(course)))
        file.writestr("readme.txt", "hello")
        file.writestr(".ipynb_checkpoints/p1_batches-checkpoint.ipynb", "{}")
    (tmp_path / "bad.zip").write_bytes(b"no zip")
    with zipfile.ZipFile(tmp_path / "Course-1.zip", "w") as file:
        for student in ("Ada_4711_assignsubmission_file", "Bob_4712_assignsubmission_file"):
            file.writestr(f"{student}/{FIRST.name}", "{}")
    found = {
        name: grading.whose(name, [FIRST.stem]) for _, name, d in grading.downloads(tmp_path) if d
    }
    assert found == {
        f"ada/{FIRST.name}": ("ada", FIRST.stem),
        f"Course-1/Ada_4711_assignsubmission_file/{FIRST.name}": ("Ada", FIRST.stem),
        f"Course-1/Bob_4712_assignsubmission_file/{FIRST.name}": ("Bob", FIRST.stem),
    }
    assert {name for _, name, d in grading.downloads(tmp_path) if d is None} == {
        "ada/readme.txt", "bad.zip",
    }  # fmt: skip


def test_of_several_files_the_newest_that_can_be_read_counts(course, tmp_path):
    put(tmp_path, f"ada_{FIRST.name}", practice_source.load(course / "students" / FIRST.name))
    put(tmp_path, f"ada_{FIRST.stem} (1).ipynb", solved(course))
    put(tmp_path, f"ada_{FIRST.stem} (2).ipynb", "{")
    for age, name in enumerate((f"{FIRST.stem} (2)", f"{FIRST.stem} (1)", FIRST.stem)):
        os.utime(tmp_path / f"ada_{name}.ipynb", (1e9 - age, 1e9 - age))
    notes = grading.collect(tmp_path, course / "nbgrader")
    assert notes == {("ada", FIRST.stem): f"3 files, graded: ada_{FIRST.stem} (1).ipynb"}
    text = (course / "nbgrader/submitted/ada" / FIRST.stem / FIRST.name).read_text()
    assert "-(-n // batch_size)" in text
    shutil.rmtree(course / "nbgrader/submitted/ada")


def test_downloads_are_hidden_but_nothing_that_runs(tmp_path):
    for folder in (tmp_path / "in", Path.home(), Path("/"), Path(tempfile.gettempdir())):
        (tmp_path / "hidden.txt").write_text("a\n")
        for _ in range(2):
            grading.hide(folder.resolve(), tmp_path)
        hidden = (tmp_path / "hidden.txt").read_text().splitlines()
        assert hidden == (["a", str(folder)] if folder == tmp_path / "in" else ["a"])


def test_what_is_missing_is_named(tmp_path):
    program = ROOT / "tools/course/grade.py"
    for arguments, words in (
        ([], "which folder"),
        ([tmp_path / "none"], "expected the folder of the downloads"),
        ([tmp_path, tmp_path], "make course"),
    ):
        run = subprocess.run(
            [sys.executable, program, *arguments], capture_output=True, text=True, check=False
        )
        assert run.returncode == 1
        assert words in run.stderr
        assert "Traceback" not in run.stderr


def test_the_folder_is_where_the_makefile_says():
    text = Path(ROOT / "Makefile").read_text()
    assert "tools/course/make.py" in text
    assert "tools/course/grade.py" in text
