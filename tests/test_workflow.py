"""The workflow that publishes asks for what is there: targets, files, variables."""

import re

import pytest
import yaml
from small_book import ROOT

TEXT = (ROOT / ".github/workflows/book.yml").read_text(encoding="utf-8")
WORKFLOW = yaml.safe_load(TEXT)
STEPS = [step for job in WORKFLOW["jobs"].values() for step in job["steps"]]
COMMANDS = "\n".join(step["run"] for step in STEPS if "run" in step)


def test_what_it_runs_exists():
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = re.findall(r"\bmake (\w+)", COMMANDS)
    assert targets
    assert [name for name in targets if not re.search(rf"^{name}:", makefile, re.M)] == []
    files = re.findall(r"\S+\.py\b", COMMANDS)
    assert files
    assert [name for name in files if not (ROOT / name).is_file()] == []


@pytest.mark.parametrize("variable", ["BOOK_ADDRESS", "BOOK_REPOSITORY"])
def test_it_says_where_the_book_will_be(variable):
    (step,) = [step for step in STEPS if "make test" in step.get("run", "")]
    assert variable in step["env"]
    assert f'"{variable}"' in (ROOT / "_ext/published.py").read_text(encoding="utf-8")


def test_only_what_publishes_may_write():
    assert WORKFLOW["permissions"] == {"contents": "read"}
    test, publish = WORKFLOW["jobs"]["test"], WORKFLOW["jobs"]["publish"]
    assert "write" not in test["permissions"].values()
    assert publish["permissions"] == {"pages": "write", "id-token": "write"}
    assert publish["needs"] == "test"


def test_it_names_no_one():
    assert re.findall(r"github\.com/|github\.io", TEXT) == []
