"""The normal form of a notebook: twice is once, a run changes nothing but results."""

import copy
import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from hypothesis import given
from hypothesis import strategies as st
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

TOOL = Path(__file__).resolve().parents[1] / "tools" / "normalize.py"
spec = importlib.util.spec_from_file_location("normalize", TOOL)
tool = importlib.util.module_from_spec(spec)
spec.loader.exec_module(tool)


def stream(text, name="stdout"):
    return new_output("stream", name=name, text=text)


def result(data, kind="execute_result", **more):
    return new_output(kind, data, **more)


def messy():
    """A notebook as Jupyter leaves it."""
    outputs = [
        stream("a = 1\n"),
        stream("careful\n", name="stderr"),
        result({"image/png": "AAAA", "text/plain": "<Figure>"}, "display_data"),
        result({"text/html": "<b>1.234</b>"}, "display_data"),
        stream("b = 2\n"),
        result(
            {
                "text/plain": "<Model at 0x7f3a2b1c9d10>",
                "application/vnd.jupyter.widget-view+json": {"model_id": "abc"},
            },
            execution_count=17,
            metadata={"needs_background": "light"},
        ),
    ]
    cells = [
        new_markdown_cell("# Title", metadata={"collapsed": False}),
        new_code_cell(
            "print(1)",
            outputs=outputs,
            execution_count=17,
            metadata={
                "tags": ["hide-input"],
                "mystnb": {"figure": {"name": "f"}},
                "execution": {"iopub.status.busy": "2024-01-01T00:00:00"},
                "scrolled": True,
            },
        ),
        new_code_cell("print(1)", execution_count=None),
    ]
    metadata = {"widgets": {"state": {}}, "language_info": {"name": "python", "version": "3.11.7"}}
    return new_notebook(cells=cells, metadata=metadata)


def test_what_is_kept_and_what_is_dropped():
    notebook = tool.normalize(messy())
    title, first, second = notebook.cells
    assert title.metadata == {}
    assert first.metadata == {"tags": ["hide-input"], "mystnb": {"figure": {"name": "f"}}}
    assert (first.execution_count, second.execution_count) == (1, 2)
    assert [output.output_type for output in first.outputs] == [
        "stream",
        "display_data",
        "execute_result",
    ]
    assert first.outputs[0].text == "a = 1\nb = 2\n"
    assert first.outputs[1].data == {"text/plain": "<Figure>"}
    assert first.outputs[2].data == {"text/plain": "<Model at 0x0>"}
    assert first.outputs[2].execution_count == 1
    assert notebook.metadata == tool.METADATA
    nbformat.validate(notebook)


def test_ids_follow_from_what_a_cell_says():
    def ids(notebook):
        return [cell.id for cell in tool.normalize(notebook).cells]

    notebook = messy()
    first = ids(notebook)
    assert len(set(first)) == 3
    notebook.cells.insert(0, new_markdown_cell("More"))
    assert ids(notebook)[1:] == first
    notebook.cells[1].source = "# Another title"
    assert ids(notebook)[1] != first[0]
    assert ids(notebook)[2:] == first[1:]


def test_it_leaves_its_argument_alone():
    notebook = messy()
    before = copy.deepcopy(notebook)
    tool.normalize(notebook)
    assert notebook == before


sources = st.text(st.characters(codec="utf-8", exclude_categories=("Cs", "Cc")), max_size=20)
outputs = st.one_of(
    st.builds(stream, sources, st.sampled_from(["stdout", "stderr"])),
    st.builds(
        result,
        st.dictionaries(st.sampled_from(["text/plain", "text/html", "image/png"]), sources),
        st.sampled_from(["display_data", "execute_result"]),
    ),
)
cells = st.one_of(
    st.builds(new_markdown_cell, sources),
    st.builds(new_code_cell, sources, outputs=st.lists(outputs, max_size=4)),
)


@given(st.lists(cells, max_size=5))
def test_twice_is_once(cells):
    text = tool.text_of(tool.normalize(new_notebook(cells=cells)))
    notebook = nbformat.reads(text, as_version=4)
    nbformat.validate(notebook)
    assert tool.text_of(tool.normalize(notebook)) == text
    assert text.endswith("}\n")
    assert json.loads(text)["nbformat_minor"] == 5


def test_an_expected_error_is_kept_without_its_traceback():
    error = new_output("error", ename="ValueError", evalue="at 0x7f3a2b1c9d10", traceback=["long"])
    (cell,) = tool.normalize(new_notebook(cells=[new_code_cell("f()", outputs=[error])])).cells
    assert (cell.outputs[0].evalue, cell.outputs[0].traceback) == ("at 0x0", [])


@pytest.fixture
def files(tmp_path):
    good, bad = tmp_path / "good.ipynb", tmp_path / "bad.ipynb"
    good.write_text(tool.text_of(tool.normalize(messy())), encoding="utf-8")
    nbformat.write(messy(), bad)
    return good, bad


def test_check_names_what_is_not_normal_and_changes_nothing(files, capsys):
    good, bad = files
    before = bad.read_bytes()
    assert tool.main(["--check", str(good)]) == 0
    assert tool.main(["--check", str(good), str(bad)]) == 1
    out = capsys.readouterr().out
    assert "bad.ipynb" in out
    assert "good.ipynb" not in out
    assert bad.read_bytes() == before
    assert tool.main([str(good), str(bad)]) == 0
    assert tool.main(["--check", str(bad)]) == 0


def test_execute_runs_where_the_notebook_is_and_the_same_again(tmp_path):
    (tmp_path / "near.txt").write_text("near")
    path = tmp_path / "a.ipynb"
    code = "import sys\nprint(open('near.txt').read())\nprint('careful', file=sys.stderr)\nobject()"
    nbformat.write(new_notebook(cells=[new_code_cell(code)]), path)
    assert tool.main(["--execute", str(path)]) == 0
    first = path.read_text()
    (cell,) = json.loads(first)["cells"]
    assert [output["output_type"] for output in cell["outputs"]] == ["stream", "execute_result"]
    assert cell["outputs"][0]["text"] == ["near\n"]
    assert tool.main(["--execute", str(path)]) == 0
    assert path.read_text() == first


def test_a_failing_cell_leaves_the_file_and_fails(tmp_path):
    path = tmp_path / "a.ipynb"
    nbformat.write(new_notebook(cells=[new_code_cell("1 / 0")]), path)
    before = path.read_bytes()
    run = subprocess.run(
        [sys.executable, TOOL, "--execute", path], capture_output=True, text=True, check=False
    )
    assert run.returncode == 1
    assert "ZeroDivisionError" in run.stderr
    assert path.read_bytes() == before


def test_every_notebook_of_the_book_is_in_normal_form(capsys):
    assert tool.main(["--check"]) == 0, capsys.readouterr().out
