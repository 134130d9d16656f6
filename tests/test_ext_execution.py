"""Chapters are executed against the library as it is now, two at a time."""

import re
import sys

import pytest
from small_book import ROOT, SmallBook, code, markdown

sys.path.append(str(ROOT / "_ext"))
from execution import key


def test_key_follows_every_file_of_the_library_and_the_pins(tmp_path):
    library = tmp_path / "lib"
    (library / "inner/__pycache__").mkdir(parents=True)
    inputs = ["lib", "requirements.txt"]
    keys = [key(tmp_path, inputs)]
    for name, text in [
        ("lib/a.py", "x = 1"),
        ("lib/a.py", "x = 2"),
        ("lib/inner/b.py", "x = 2"),
        ("lib/inner/c.py", ""),
        ("lib/data.dat", "1 2 3"),
        ("requirements.txt", "numpy==2.0"),
        ("requirements.txt", "numpy==2.1"),
    ]:
        (tmp_path / name).write_text(text)
        keys.append(key(tmp_path, inputs))
    assert len(set(keys)) == len(keys)
    (library / "inner/__pycache__/b.pyc").write_text("compiled")
    (tmp_path / "README.md").write_text("prose")
    assert key(tmp_path, inputs) == keys[-1]
    (library / "a.py").rename(library / "inner/a.py")
    assert key(tmp_path, inputs) != keys[-1]


@pytest.fixture
def book(tmp_path, monkeypatch):
    """Two pages that show what a small library of their own computes."""
    (tmp_path / "lib").mkdir()
    (tmp_path / "lib/tinylib.py").write_text("def variance(b):\n    return 1 / b\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "lib"))
    book = SmallBook(
        tmp_path,
        "execution",
        "page_checks",
        execution_key=["lib"],
        nb_execution_mode="cache",
        nb_execution_timeout=60,
    )
    meet = (  # each chapter waits for the other: alone it would not finish
        "import pathlib, time\n"
        "pathlib.Path('{0}.runs').touch()\n"
        "while not pathlib.Path('{1}.runs').exists(): time.sleep(0.01)"
    )
    show = "import tinylib\nprint('variance', tinylib.variance(4))"
    book.write(
        a=[markdown("# One"), code(meet.format("a", "b")), code(show)],
        b=[markdown("# Two"), code(meet.format("b", "a")), code(show + "\n")],
    )
    return book


def executed(book):
    return sorted(re.findall(r"^executing (\w+)\.(?:ipynb|md)", book.said, re.M))


def test_a_change_in_the_library_changes_the_pages(book):
    assert book.passes()
    assert executed(book) == ["a", "b"]  # at once: see `meet`
    assert "Executing notebook" not in book.said  # and not a second time
    assert all("variance 0.25" in book.page(name) for name in "ab")
    caches = list((book.folder / "_build/.jupyter_cache").iterdir())

    assert book.passes()
    assert executed(book) == []

    (book.folder / "lib/tinylib.py").write_text("def variance(b):\n    return 2 / b\n")
    assert book.passes()
    assert executed(book) == ["a", "b"]
    assert all("variance 0.5" in book.page(name) for name in "ab")
    assert "variance 0.25" not in book.page("a") + book.page("b")
    left = list((book.folder / "_build/.jupyter_cache").iterdir())
    assert len(left) == 1
    assert left != caches


def test_a_change_in_the_prose_executes_nothing(book):
    for name in "ab":
        (book.folder / f"{name}.ipynb").unlink()
    cells = [markdown("# Other words"), code("import tinylib\nprint(tinylib.variance(4))")]
    book.write(c=cells)
    assert book.passes()
    assert executed(book) == ["c"]
    book.write(c=[markdown("# Better words"), *cells[1:]])
    assert book.passes()
    assert executed(book) == []
    assert "Better words" in book.page("c")


def test_the_seconds_of_what_was_executed_are_shown_slowest_first(book):
    slow = code("import time\ntime.sleep(1)\n" + "import tinylib")
    book.write(c=[markdown("# Three"), slow])
    assert book.passes()
    rows = re.findall(r"^ +(\d+\.\d)  (\w\.ipynb)$", book.said, re.M)
    assert sorted(name for _, name in rows) == ["a.ipynb", "b.ipynb", "c.ipynb"]
    seconds = [float(s) for s, _ in rows]
    assert seconds == sorted(seconds, reverse=True)
    assert dict((name, float(s)) for s, name in rows)["c.ipynb"] >= 1
    assert book.passes()
    assert "seconds of each chapter" not in book.said


def test_a_failing_cell_fails_again_and_again(tmp_path):
    book = SmallBook(
        tmp_path,
        "execution",
        "page_checks",
        nb_execution_mode="cache",
        nb_execution_show_tb=True,
    )
    book.write(a=[markdown("# One"), code("assert 1 == 2, 'a wrong claim'")])
    assert book.fails("a.ipynb", "Executing notebook failed", "AssertionError: a wrong claim")
