"""The tables of the Performance page, from what ``make bench`` wrote.

``{benchmark-results} replicas`` shows the results of one program, ``{benchmark-machine}`` says on
what and when all were measured. Both read the file named by the setting ``benchmark_results``, from
the book's root; a page is read again when the file changes. A file or a program that is missing is
a warning, and a warning fails the strict build.
"""

import json
from datetime import date
from pathlib import Path

from docutils import nodes
from sphinx.util import logging
from sphinx.util.docutils import SphinxDirective

logger = logging.getLogger(__name__)
HEADINGS = {"What": 26, "Against": 30, "Median": 18, "Quartiles": 14, "Goal": 7, "Reached": 5}
REACHED = {True: "yes", False: "no", None: ""}


class BenchmarkDirective(SphinxDirective):
    """Reads the results, and warns with the place where it cannot."""

    def run(self):
        """Show what is asked for, or nothing and a warning."""
        file = Path(self.env.srcdir, self.config.benchmark_results)
        self.env.note_dependency(str(file))
        try:
            return [self.show(json.loads(file.read_text(encoding="utf-8")))]
        except FileNotFoundError:
            problem = f"no file {self.config.benchmark_results}: run make bench"
        except (KeyError, TypeError, ValueError) as error:
            problem = f"{type(error).__name__}: {error}"
        logger.warning("benchmarks: %s", problem, location=self.get_location(), type="benchmarks")
        return []


class BenchmarkResults(BenchmarkDirective):
    """``{benchmark-results} NAME``: the table of one program."""

    required_arguments = 1

    def show(self, data):
        """Build the table."""
        name = self.arguments[0]
        program = {program["name"]: program for program in data["programs"]}.get(name)
        if program is None:
            raise ValueError(f"no results of {name!r}")
        group = nodes.tgroup("", cols=len(HEADINGS))
        group += [nodes.colspec(colwidth=width) for width in HEADINGS.values()]
        group += nodes.thead("", row(*HEADINGS))
        skips = ((s["name"], "", f"skipped: {s['why']}", "", "", "") for s in program["skipped"])
        lines = [*map(cells, program["results"]), *skips]
        group += nodes.tbody("", *(row(*line) for line in lines))
        return nodes.table("", group, classes=["benchmark-results"])


class BenchmarkMachine(BenchmarkDirective):
    """``{benchmark-machine}``: kind of processor, cores, versions, date and load."""

    def show(self, data):
        """Build the sentences."""
        day = date.fromisoformat(data["date"])
        versions = ", ".join(f"{name} {version}" for name, version in data["versions"].items())
        loads = [program["load"] for program in data["programs"]]
        minutes = data["seconds"] / 60
        return nodes.paragraph(
            text=f"Measured on {day.day} {day:%B %Y} on {data['cores']} cores of "
            f"“{data['processor']}” ({data['system']}) with {versions}. The load average was "
            f"{data['load_before']:.1f} before, and {min(loads):.1f} to {max(loads):.1f} while the "
            f"programs ran, which alone make one or two; all took {minutes:.0f} minutes."
        )


def cells(result):
    """Return the texts of one line."""
    low, high = result["quartiles"]
    goal = result["goal"]
    return (
        result["name"],
        result["peer"],
        f"{number(result['ratio'])} {result['units']}",
        f"{number(low)} to {number(high)}" if low != high else "",
        f"{'≤' if result['at_most'] else '≥'} {goal:g}" if goal is not None else "",
        REACHED[result["met"]],
    )


def number(value):
    """Show three digits, without an exponent where that is short.

    >>> number(203.61), number(17.04), number(0.0271), number(2.09e-7)
    ('204', '17.0', '0.0271', '2.1e-07')
    """
    if value >= 100:
        return f"{value:.0f}"
    return f"{value:#.3g}" if value >= 1e-3 else f"{value:.1e}"


def row(*texts):
    """One row of text."""
    return nodes.row("", *(nodes.entry("", nodes.paragraph(text=text)) for text in texts))


def setup(app):
    """Register the directives and the setting."""
    app.add_config_value("benchmark_results", "benchmarks/results.json", "env")
    app.add_directive("benchmark-results", BenchmarkResults)
    app.add_directive("benchmark-machine", BenchmarkMachine)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
