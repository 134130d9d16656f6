"""What nbval compares in a chapter: what it prints, and nothing that differs between two machines.

Run them with `pytest --nbval --nbval-current-env chapters`.
"""

import os
import time

import pytest

# redrawn by every run, so not stored in the normalised notebooks
DRAWN = ("text/html", "text/latex", "image/svg+xml", "application/javascript")
# numbers for the prose, compared by the build to the digits that are typed there
QUOTED = ("application/papermill.record/text/plain",)
CHAPTER_SECONDS = float(os.environ.get("CHAPTER_SECONDS", 45))

spent = pytest.StashKey[float]()


def pytest_collectstart(collector):
    """Tell nbval what to leave out."""
    if type(collector).__name__ == "IPyNbFile":
        collector.skip_compare += (*DRAWN, *QUOTED, "stderr")
        collector.sanitize_patterns[r"\b0x[0-9a-f]+\b"] = "0x0"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item):
    """Fail the cell in which a notebook has run longer than a chapter may."""
    start = time.perf_counter()
    result = yield
    total = item.parent.stash.get(spent, 0.0) + time.perf_counter() - start
    item.parent.stash[spent] = total
    if item.path.suffix == ".ipynb" and total > CHAPTER_SECONDS:
        pytest.fail(
            f"{item.path.name} ran {total:.0f} s so far; a chapter has {CHAPTER_SECONDS:.0f} s",
            pytrace=False,
        )
    return result
