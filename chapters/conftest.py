"""What nbval compares in a chapter: what it prints, and nothing that differs between two machines.

Run them with `pytest --nbval --nbval-current-env chapters`. The numbers that a run leaves for the
prose are compared with what is typed there, as the build does with its own run; at the end the
seconds of each notebook are shown. Nothing fails by its time.
"""

import re
import sys
from collections import Counter
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).resolve().parents[1] / "_ext"))
from run_numbers import ROLE, shown

# redrawn by every run, so not stored in the normalized notebooks
DRAWN = ("text/html", "text/latex", "image/svg+xml", "application/javascript")
# numbers for the prose
QUOTED = "application/papermill.record/text/plain"
IN_PROSE = re.compile(r"\{run\}`([^`]+)`")

typed = pytest.StashKey[dict]()


def pytest_collectstart(collector):
    """Tell nbval what to leave out, and note what is typed in the prose."""
    if type(collector).__name__ == "IPyNbFile":
        collector.skip_compare += (*DRAWN, QUOTED, "stderr")
        collector.sanitize_patterns[r"\b0x[0-9a-f]+\b"] = "0x0"


def numbers_in_prose(notebook):
    """Collect what is typed for each name: {name: [typed, ...]}."""
    found = {}
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            for text in IN_PROSE.findall(cell.source):
                if parts := ROLE.fullmatch(text):
                    found.setdefault(parts["name"], []).append(parts["typed"])
    return found


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item):
    """Compare the numbers that a cell has left for the prose with what is typed there."""
    result = yield
    outputs = getattr(item, "test_outputs", None) or []
    if typed not in item.parent.stash and outputs:
        item.parent.stash[typed] = numbers_in_prose(item.parent.nb)
    for output in outputs:
        if QUOTED in output.get("data", {}):
            name = output["metadata"]["scrapbook"]["name"]
            for text in item.parent.stash[typed].get(name, []):
                try:
                    shown(text, output["data"][QUOTED])
                except ValueError as error:
                    pytest.fail(f"run {text} <{name}>: {error}", pytrace=False)
    return result


def pytest_terminal_summary(terminalreporter):
    """Show how long each notebook took, the slowest first."""
    seconds = Counter()
    for reports in terminalreporter.stats.values():
        for report in reports:
            if ".ipynb::" in getattr(report, "nodeid", "") and hasattr(
                report, "duration"
            ):
                seconds[report.nodeid.partition("::")[0]] += report.duration
    if seconds:
        terminalreporter.section("seconds of each notebook")
    for name, duration in seconds.most_common():
        terminalreporter.write_line(f"{duration:7.1f}  {name}")
