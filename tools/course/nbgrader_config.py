"""The course for nbgrader: what its commands do in this folder."""

import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))

import guard  # noqa: E402

guard.HIDDEN = (HERE / "hidden.txt").read_text(encoding="utf-8").splitlines()

c = get_config()  # noqa: F821
c.CourseDirectory.course_id = "mini-batch-sgd"
c.CourseDirectory.root = str(HERE)
c.ClearSolutions.code_stub = {"python": "raise NotImplementedError"}
c.LockCells.lock_readonly_cells = True
c.Autograde.autograde_preprocessors = [
    guard.GuardedExecute,
    "nbgrader.preprocessors.IgnorePattern",
    "nbconvert.preprocessors.ClearMetadataPreprocessor",
    "nbgrader.preprocessors.LimitOutput",
    "nbgrader.preprocessors.SaveAutoGrades",
    "nbgrader.preprocessors.CheckCellMetadata",
]
