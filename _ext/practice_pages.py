"""The pages of the practices: the task, the checks one sees, and the solution on a click.

The notebook of a practice is the solved one. In the page a solution's cell shows what students
start from, and the solution folded below it, without the grader's markers; the cells that grade are
left out. The download is the students' version.
"""

import json
import sys
from pathlib import Path

from docutils import nodes
from sphinx.transforms.post_transforms import SphinxPostTransform

sys.path.append(str(Path(__file__).resolve().parents[1] / "tools/course"))
import practice_source
from quiet_cells import html, with_text

SUMMARY = '<details class="checks solution-code"><summary>A solution</summary>'


class PracticeCells(SphinxPostTransform):
    """Shows each cell of a practice as a student meets it; before cells are folded."""

    default_priority = 190
    formats = ("html",)

    def run(self, **kwargs):
        """Look at each cell."""
        for cell in list(self.document.findall(nodes.container)):
            known = cell.get("cell_metadata", {}).get("nbgrader", {})
            if known.get("grade"):
                cell.parent.remove(cell)
            elif known.get("solution"):
                self.fold(cell)

    def fold(self, cell):
        """Show the stub, and the solution on a click."""
        source = next(p for p in cell.children if p.get("nb_element") == "cell_code_source")
        text = source.next_node(nodes.literal_block).astext()
        solution = with_text(source, practice_source.solution_shown(text))
        stub = with_text(source, practice_source.without_solution(text))
        source.replace_self([stub, html(SUMMARY), solution, html("</details>")])


def write_downloads(app, exception):
    """Put the students' version behind the download button."""
    if exception or app.builder.format != "html":
        return
    for path in practice_source.practices():
        download = Path(app.outdir, "_sources/chapters/practice", path.name)
        if download.exists():
            notebook = practice_source.students_version(practice_source.load(download))
            text = json.dumps(notebook, indent=1, ensure_ascii=False) + "\n"
            download.write_text(text, encoding="utf-8")


def setup(app):
    """Register the transform and, after the start of each download is written, the event."""
    app.add_post_transform(PracticeCells)
    app.connect("build-finished", write_downloads, priority=600)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
