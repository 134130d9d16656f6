"""A downloaded notebook begins by getting the library; the book's own notebook does not change."""

import sys

import nbformat
import pytest
from IPython.core.inputtransformer2 import TransformerManager
from small_book import ROOT, SmallBook, code, markdown

sys.path.append(str(ROOT / "_ext"))
import notebook_start

REPOSITORY = "https://github.com/someone/some-book"


def test_the_download_begins_with_the_cells(tmp_path):
    made = SmallBook(tmp_path, "notebook_start", html_sourcelink_suffix="", html_title="A Book")
    made.write(a=[markdown("# One"), code("print(6 * 7)")], b="# Two\n")
    before = (tmp_path / "a.ipynb").read_text()
    for _ in range(2):  # the second build writes no page
        assert made.passes()
        notebook = nbformat.read(tmp_path / "_build/html/_sources/a.ipynb", as_version=4)
        nbformat.validate(notebook)
        text, get, *others = notebook.cells
        assert [cell.source for cell in others] == ["# One", "print(6 * 7)"]
        assert "A Book" in text.source
        assert '%pip install --quiet "{BOOK}[deep,book]"' in get.source
    assert (tmp_path / "a.ipynb").read_text() == before
    assert (tmp_path / "_build/html/_sources/b.md").read_text() == "# Two\n"


@pytest.mark.parametrize("installed", [True, False])
@pytest.mark.parametrize(
    ("repository", "source"),
    [(REPOSITORY, f"sgdlib[deep,book] @ git+{REPOSITORY}@draft"), ("", "{BOOK}[deep,book]")],
)
def test_it_installs_what_is_missing_and_nothing_else(monkeypatch, repository, source, installed):
    asked = []

    class Shell:
        def run_line_magic(self, *words):
            asked.append(words)

    monkeypatch.setattr("importlib.util.find_spec", lambda name: object() if installed else None)
    _, get = notebook_start.cells("A Book", repository, "draft")
    exec(TransformerManager().transform_cell(get["source"]), {"get_ipython": Shell})
    assert asked == ([] if installed else [("pip", f'install --quiet "{source}"')])
