"""The workflow that publishes asks for what is there: targets, files, variables."""

import os
import re
import shutil
import subprocess

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
    notebooks = WORKFLOW["jobs"]["notebooks"]
    assert notebooks["permissions"] == {"contents": "write"}
    assert notebooks["needs"] == ["test", "publish"]


def test_the_branch_of_the_downloads_is_the_one_that_colab_opens(tmp_path):
    """Its step is run with a repository on this machine in place of the forge's."""
    (step,) = [s for s in WORKFLOW["jobs"]["notebooks"]["steps"] if "run" in s]
    address = '"${GITHUB_SERVER_URL/:\\/\\//://x-access-token:$TOKEN@}/$GITHUB_REPOSITORY"'
    assert address in step["run"]
    subprocess.run(["git", "init", "--quiet", "--bare", tmp_path / "forge"], check=True)
    work = tmp_path / "work"
    for text in ("first", "second"):  # a branch that is there is replaced
        (work / "chapters").mkdir(parents=True)
        (work / "chapters/a.ipynb").write_text(text)
        command = step["run"].replace(address, str(tmp_path / "forge"))
        names = {"GITHUB_ACTOR": "someone", "GITHUB_SERVER_URL": "https://forge", "GITHUB_SHA": "1"}
        subprocess.run(["bash", "-ec", command], cwd=work, env=os.environ | names, check=True)
        shutil.rmtree(work)
    show = ["git", "-C", tmp_path / "forge", "show", f"{launch_branch()}:chapters/a.ipynb"]
    assert subprocess.run(show, capture_output=True, text=True, check=True).stdout == "second"


def launch_branch():
    text = (ROOT / "_ext/launch_buttons.py").read_text(encoding="utf-8")
    return re.search(r'^DOWNLOADS = "(\w+)"', text, re.M)[1]


def test_it_names_no_one():
    assert re.findall(r"github\.com/|github\.io", TEXT) == []
