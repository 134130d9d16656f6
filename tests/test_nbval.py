"""nbval, as the chapters are run: what a notebook prints is compared, to the last digit."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

ROOT = Path(__file__).resolve().parents[1]

NUMBERS = ["print('mean', 0.125)", "round(1 / 3, 4)", "object()"]
CHAPTER = [
    "import sys\n"
    "import time\n"
    "import matplotlib.pyplot as plt\n"
    "from IPython.display import HTML\n"
    "from sgdlib.book import begin, claim, explore, quote, show\n"
    "begin()",
    "claim('x is two', measured=2 + time.time() % 0.1, expected=2, stderr=0.1)",
    "quote('ratio', 0.25 + time.time() % 0.01, stderr=0.01)",
    "HTML(f'took {time.time()} s')",
    "fig, ax = plt.subplots()\n"
    "ax.plot([time.time() % 7, 0])\n"
    "show(fig, alt='A line that differs in each run.')",
    "explore(lambda b: plt.figure(), alt='Nothing at all is drawn.', b=[1, 2])",
    "print(time.time(), file=sys.stderr)",
]
# what is changed in the stored notebook, from, to, and the cell that must notice
CHANGES = {
    "printed": (NUMBERS, '"mean 0.125\\n"', '"mean 0.126\\n"', 0),
    "result": (NUMBERS, '"0.3333"', '"0.3334"', 1),
    "silent": (NUMBERS, '"round(1 / 3, 4)"', '"x = round(1 / 3, 4)"', 1),
    "alt": (CHAPTER, '"[figure: A line', '"[figure: A curve', 4),
    "claim": (CHAPTER, "2 + time.time()", "3 + time.time()", 1),
    "quoted": (CHAPTER, "0.25 + time.time()", "0.45 + time.time()", 2),
    "typed": (CHAPTER, "{run}`0.3 <ratio>`", "{run}`0.4 <ratio>`", 2),
    "no_number": (CHAPTER, "2 + time.time() % 0.1", "float('nan')", 1),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Notebooks executed and normalised, and spoilt copies, beside the chapters' conftest."""
    folder = tmp_path_factory.mktemp("book") / "chapters"
    folder.mkdir()
    shutil.copy(ROOT / "chapters" / "conftest.py", folder)
    shutil.copytree(ROOT / "_ext", folder.parent / "_ext")
    for name, sources in (("numbers", NUMBERS), ("chapter", CHAPTER)):
        cells = [new_code_cell(source) for source in sources]
        cells.append(new_markdown_cell("The ratio is {run}`0.3 <ratio>`, in Jupyter too."))
        nbformat.write(new_notebook(cells=cells), folder / f"{name}.ipynb")
    paths = sorted(folder.glob("*.ipynb"))
    tool = ROOT / "tools" / "normalize.py"
    subprocess.run([sys.executable, tool, "--execute", *paths], check=True)
    for name, (sources, old, new, _) in CHANGES.items():
        stored = folder / ("numbers.ipynb" if sources is NUMBERS else "chapter.ipynb")
        text = stored.read_text()
        assert old in text
        (folder / f"{name}.ipynb").write_text(text.replace(old, new, 1))
    return folder


@pytest.fixture(scope="module")
def report(folder):
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--color=no"]
    command += ["--nbval", "--nbval-current-env", "-rf", folder]
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout


def failed(report):
    return re.findall(r"^FAILED (?:.*/)?(\w+)\.ipynb::Cell (\d+)", report, re.M)


def test_what_was_stored_passes_again(report):
    assert {name for name, _ in failed(report)} == set(CHANGES), report


@pytest.mark.parametrize("name", CHANGES)
def test_one_change_fails_in_its_cell_and_nowhere_else(report, name):
    assert [int(cell) for file, cell in failed(report) if file == name] == [CHANGES[name][-1]]


def test_a_wrong_claim_says_what_was_measured(report):
    assert re.search(r"x is two: measured 3\S*, expected 2, within 4 standard errors of", report)


def test_a_number_outside_its_error_says_both(report):
    assert re.search(r"the prose says 0\.3, the run says 0\.45\d* \+- 0\.04", report)
    assert re.search(r"the prose says 0\.4, the run says 0\.25\d* \+- 0\.04", report)


def test_a_claim_of_a_number_that_is_none_fails(report):
    assert "measured=nan: expected a finite number" in report


def test_the_seconds_of_every_notebook_are_shown(report):
    rows = re.findall(r"^ +\d+\.\d  (?:.*/)?(\w+)\.ipynb$", report, re.M)
    assert set(rows) == {"numbers", "chapter", *CHANGES}
