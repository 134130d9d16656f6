"""Run a practice with other answers to its tasks, and count points as nbgrader does."""

import contextlib
import io
import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.append(str(ROOT / "tools/course"))
import practice_source  # noqa: E402


def run(path, answers=(), seed=None):
    """Return ({graded cell: points}, {task: what its checks said}) of one run.

    `answers` replaces the solution of a task by other code; the value None is the students' stub.
    What the cells between a task and the next say, ticks, hints and errors, belongs to the task.
    """
    answers, space = dict(answers), {"__name__": "__main__"}
    points, said, task = {}, {}, ""
    for cell in practice_source.load(path)["cells"]:
        if cell["cell_type"] != "code":
            continue
        text, known = practice_source.source(cell), practice_source.task(cell)
        if known.get("solution"):
            task = known["grade_id"]
            given = answers.get(task, text)
            text = practice_source.without_solution(text) if given is None else given
        elif seed is not None:
            text = re.sub(r"^SEED = \d+", f"SEED = {seed}", text, flags=re.M)
        out = io.StringIO()
        try:
            with contextlib.redirect_stdout(out):
                exec(compile(text, f"{Path(path).name}:{task}", "exec"), space)
            good = True
        except Exception as error:
            good, out = False, io.StringIO(f"{type(error).__name__}: {error}")
        if known.get("grade"):
            points[known["grade_id"]] = known["points"] if good else 0.0
        kind = "graded" if known.get("grade") else "seen"
        said.setdefault(task, {}).setdefault(kind, []).append(out.getvalue())
    return points, said
