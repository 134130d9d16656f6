"""Write notebooks in their normal form: what a run prints, nothing that differs between two runs.

    python tools/normalize.py                       every notebook of the book
    python tools/normalize.py --execute a.ipynb     run it first
    python tools/normalize.py --check               name those that are not in normal form, exit 1

Kept: sources, tags, printed text, the text form of results. Dropped: images, HTML, widgets,
warnings, times. Code cells are numbered 1, 2, ...; ids follow from what a cell says. Two runs of a
notebook then differ in nothing but a result that changed, which is what nbval and a reader of the
diff look for.
"""

from __future__ import annotations

import argparse
import hashlib
import re
import sys
from collections import Counter
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError
from nbformat import NotebookNode

ROOT = Path(__file__).resolve().parent.parent
HUNG_CELL_SECONDS = 900
ADDRESS = re.compile(r"\b0x[0-9a-f]{6,}\b")
KEPT_METADATA = ("mystnb", "nbgrader", "tags")
METADATA = {
    "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
    "language_info": {"name": "python"},
}


def plain(text: str) -> str:
    """Return `text` without memory addresses."""
    return ADDRESS.sub("0x0", text)


def normalize(notebook: NotebookNode) -> NotebookNode:
    """Return a copy of `notebook` in normal form."""
    notebook = nbformat.from_dict(notebook)
    seen: Counter[str] = Counter()
    cells, count = [], 0
    for cell in notebook.cells:
        key = hashlib.sha256(f"{cell.cell_type}\n{cell.source}".encode()).hexdigest()[:8]
        seen[key] += 1
        new = NotebookNode(
            cell_type=cell.cell_type,
            id=key if seen[key] == 1 else f"{key}-{seen[key]}",
            metadata={k: cell.metadata[k] for k in KEPT_METADATA if cell.metadata.get(k)},
            source=cell.source,
        )
        if "attachments" in cell:
            new.attachments = cell.attachments
        if cell.cell_type == "code":
            count += 1
            new.execution_count = count
            new.outputs = list(_outputs(cell.get("outputs", []), count))
        cells.append(new)
    return nbformat.from_dict(
        {"cells": cells, "metadata": METADATA, "nbformat": 4, "nbformat_minor": 5}
    )


def _outputs(outputs: list[NotebookNode], count: int):
    """Yield the text of each output; what was printed in pieces becomes one."""
    printed = None
    for output in outputs:
        kind = output.output_type
        if kind == "stream":
            if output.name != "stdout":
                continue
            if printed is None:
                printed = {"output_type": "stream", "name": "stdout", "text": ""}
                yield printed
            printed["text"] += plain(output.text)
        elif kind == "error":
            yield {**output, "evalue": plain(output.evalue), "traceback": []}
        elif "text/plain" in output.data:
            new = {
                "output_type": kind,
                "data": {"text/plain": plain(output.data["text/plain"])},
                "metadata": {},
            }
            yield {**new, "execution_count": count} if kind == "execute_result" else new


def text_of(notebook: NotebookNode) -> str:
    """Return the notebook as the text of its file."""
    return nbformat.writes(notebook, indent=1, sort_keys=True, ensure_ascii=False).rstrip() + "\n"


def execute(notebook: NotebookNode, folder: Path) -> None:
    """Run all cells in `folder` with the kernel of this environment."""
    NotebookClient(
        notebook,
        kernel_name="python3",
        timeout=HUNG_CELL_SECONDS,
        resources={"metadata": {"path": str(folder)}},
    ).execute()


def main(arguments: list[str] | None = None) -> int:
    """Normalise the notebooks named, or all; return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("notebooks", nargs="*", type=Path)
    parser.add_argument("--execute", action="store_true", help="run each notebook first")
    parser.add_argument("--check", action="store_true", help="change nothing; exit 1 if not normal")
    options = parser.parse_args(arguments)
    if options.check and options.execute:
        parser.error("--check changes nothing, so it does not run notebooks")
    book = [*ROOT.glob("*.ipynb"), *(ROOT / "chapters").rglob("*.ipynb")]
    paths = options.notebooks or sorted(p for p in book if ".ipynb_checkpoints" not in p.parts)
    failed = False
    for path in paths:
        before = path.read_text(encoding="utf-8")
        notebook = nbformat.reads(before, as_version=4)
        if options.execute:
            try:
                execute(notebook, path.resolve().parent)
            except (CellExecutionError, CellTimeoutError, DeadKernelError) as error:
                print(f"{path}: {error}", file=sys.stderr)
                failed = True
                continue
        after = text_of(normalize(notebook))
        if after != before:
            if options.check:
                print(f"{path}: not in normal form; run tools/normalize.py {path}")
                failed = True
            else:
                path.write_text(after, encoding="utf-8")
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
