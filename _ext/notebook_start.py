"""A downloaded notebook begins with a cell that gets ``sgdlib`` where it is missing.

The book's own notebooks need none, since its environment has the library. The copy behind the
download button goes to Colab or to a laptop without it.
"""

import json
from pathlib import Path

TEXT = """*This notebook is a chapter of “{title}”.* It needs the book's library, `sgdlib`. The next
cell installs it where it is missing, as on Colab or a laptop{where}."""
CODE = """import importlib.util

{before}if importlib.util.find_spec("sgdlib") is None:
    %pip install --quiet "{source}\""""


def cells(title, repository, branch):
    """Return the cells: what is needed, and how to get it."""
    if repository:
        where, before = "", ""
        source = f"sgdlib[deep,book] @ git+{repository}@{branch}"
    else:
        where = ", from a copy of the book: write down where it is"
        before = 'BOOK = "."  # the book (with pyproject.toml), or its sgdlib-....whl\n'
        source = "{BOOK}[deep,book]"
    text = TEXT.format(title=title, where=where)
    code = CODE.format(before=before, source=source)
    run = {"cell_type": "code", "execution_count": None, "outputs": []}
    return [
        {"cell_type": "markdown", "id": "get-sgdlib-text", "metadata": {}, "source": text},
        {**run, "id": "get-sgdlib", "metadata": {}, "source": code},
    ]


def write(app, exception):
    """Write the downloads of all notebooks, from the sources."""
    if exception or app.builder.format != "html":
        return
    options = app.config.html_theme_options
    repository, branch = options.get("repository_url"), options.get("repository_branch") or "main"
    first = cells(app.config.html_title, repository, branch)
    for name in app.env.found_docs:
        source = Path(app.env.doc2path(name))
        download = Path(app.outdir, "_sources", f"{name}.ipynb")
        if source.suffix == ".ipynb" and download.exists():
            notebook = json.loads(source.read_text(encoding="utf-8"))
            notebook["cells"][:0] = first
            text = json.dumps(notebook, indent=1, ensure_ascii=False) + "\n"
            download.write_text(text, encoding="utf-8")


def setup(app):
    """Register the event."""
    app.connect("build-finished", write)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
