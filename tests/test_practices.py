"""Each practice: its solution has all points, its stub none, and answers get what they deserve."""

import importlib.util
import re
from collections import defaultdict
from pathlib import Path

import pytest
from practice_runner import ROOT, practice_source, run

PATHS = practice_source.practices()
ANSWERS = Path(__file__).parent / "practices"


def answers(path):
    """Return the module of right and wrong answers to a practice."""
    spec = importlib.util.spec_from_file_location(path.stem, ANSWERS / f"{path.stem}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def cases(kind):
    """Return a parameter for each answer of a kind."""
    return [
        pytest.param(path, task, answer, id=f"{path.stem}-{task}-{number}")
        for path in PATHS
        for task, given in getattr(answers(path), kind).items()
        for number, answer in enumerate(given)
    ]


def most(path):
    return practice_source.points(practice_source.load(path))


@pytest.mark.parametrize("path", PATHS, ids=lambda path: path.stem)
def test_the_solution_has_all_points_and_the_stub_none(path):
    points, _ = run(path)
    assert points == most(path)
    tasks = [
        practice_source.task(cell)["grade_id"]
        for cell in practice_source.load(path)["cells"]
        if practice_source.task(cell).get("solution")
    ]
    assert 3 <= len(tasks) <= 5
    assert list(points) == [f"{task}-graded" for task in tasks]
    points, _ = run(path, dict.fromkeys(tasks))
    assert set(points.values()) == {0.0}
    module = answers(path)
    assert set(module.WRONG) == set(module.RIGHT) == set(tasks)
    assert all(len(wrong) >= 3 for wrong in module.WRONG.values())


def test_hints_lead_to_sections_that_exist():
    headings = defaultdict(list)
    for path in ROOT.glob("chapters/*/[0-9][0-9]*_*.ipynb"):
        cells = practice_source.load(path)["cells"]
        text = "\n".join(practice_source.source(c) for c in cells if c["cell_type"] == "markdown")
        headings[path.stem.partition("_")[0].lstrip("0")] += re.findall(r"^##+ (.+)$", text, re.M)
    for path in PATHS:
        text = "\n".join(practice_source.source(c) for c in practice_source.load(path)["cells"])
        places = re.findall(r'see="chapter (\d+b?), ([^"]+)"', text)
        assert len(places) == text.count("see=")
        for chapter, section in places:
            assert section in headings[chapter], (path.stem, chapter, section)


@pytest.mark.parametrize("path", PATHS, ids=lambda path: path.stem)
def test_every_student_number_is_fair(path):
    for seed in range(20):
        assert run(path, seed=seed)[0] == most(path), seed


@pytest.mark.parametrize(("path", "task", "answer"), cases("RIGHT"))
def test_other_right_answers_keep_their_points(path, task, answer):
    points, said = run(path, {task: answer})
    assert points == most(path), said[task]


@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # wrong answers overflow
@pytest.mark.parametrize(("path", "task", "answer"), cases("WRONG"))
def test_wrong_answers_lose_the_points_of_their_task_alone(path, task, answer):
    code, hint = answer
    points, said = run(path, {task: code})
    assert points == most(path) | {f"{task}-graded": 0.0}
    assert any(hint in text for texts in said[task].values() for text in texts), said[task]
