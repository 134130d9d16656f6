"""All exercises of the book on one page: how each begins, its kind, and about how long it takes.

An exercise says its kind first, in bold: ``**(derive)**``, ``**(code)**``, ``**(experiment)**``, or
two of them. One that does not is a warning, and a warning fails the strict build. Minutes are not
measured but estimated from the kind (``MINUTES``; two kinds add up). The directive
``{exercise-list}`` shows them chapter by chapter, each linked to its place, and after them the
practices. They are kept in Sphinx's environment by page, so that incremental builds are right.
"""

import re

from by_page import keep, reading_order
from claims_ledger import FILTER, row, table
from corrections import copied, resolved
from docutils import nodes
from sphinx.util import logging
from sphinx.util.docutils import SphinxDirective
from sphinx.util.nodes import make_refnode

logger = logging.getLogger(__name__)
MINUTES = {"derive": 20, "code": 25, "experiment": 30, "a project": 240}
KIND = re.compile(r"\(([a-z, ]+)\)")
SENTENCE = re.compile(r"(?<=[.?!:])\s")
PRACTICE = re.compile(r"(^|/)practice/p\d")
HEADINGS = {"Exercise": 70, "Kind": 18, "Minutes": 12}


class exercise_list(nodes.General, nodes.Element):
    """Stands for the tables until every page has been read."""


class ExerciseList(SphinxDirective):
    """``{exercise-list}``: all exercises, a table for each chapter."""

    def run(self):
        """Leave a placeholder and remember the page."""
        self.env.exercise_list_pages[self.env.docname] = True
        return [exercise_list()]


def collect(app, doctree):
    """Keep the exercises of one page: by anchor, the kinds and the first sentence."""
    found = {}
    for box in doctree.findall(lambda node: type(node).__name__ == "exercise_enumerable_node"):
        paragraph = box.next_node(nodes.paragraph)
        kinds = kinds_of(paragraph)
        if not kinds:
            message = "exercise %s: expected its kind first, as **(derive)**, not %.30r"
            text = "" if paragraph is None else paragraph.astext()
            logger.warning(message, box["ids"][0], text, location=box, type="exercises")
            continue
        found[box["ids"][0]] = kinds, copied(first_sentence(paragraph))
    app.env.exercises[app.env.docname] = found


def kinds_of(paragraph):
    """Return what an exercise asks for, as its first words say; nothing where they do not."""
    first = next(iter(said(paragraph)), None)
    match = isinstance(first, nodes.strong) and KIND.fullmatch(first.astext())
    kinds = re.split(r", | and ", match[1]) if match else []
    return kinds if all(kind in MINUTES for kind in kinds) else []


def first_sentence(paragraph):
    """Return the nodes of the first sentence after the kind."""
    sentence = nodes.inline()
    for node in said(paragraph)[1:]:
        text = node.astext() if isinstance(node, nodes.Text) else ""
        text = text if sentence.children else text.lstrip()
        end = SENTENCE.search(text)
        sentence += nodes.Text(text[: end.start()] if end else text) if text else node.deepcopy()
        if end:
            break
    return [sentence]


def said(paragraph):
    """Return what is to be read of a paragraph, if there is one: pieces of text may be empty."""
    return [node for node in paragraph.children if node.astext()] if paragraph is not None else []


def minutes(kinds):
    """Estimate how long an exercise takes; what belongs to a project takes as long as that.

    >>> minutes(["derive"]), minutes(["derive", "code"]), minutes(["experiment", "a project"])
    (20, 45, 240)
    """
    return MINUTES["a project"] if "a project" in kinds else sum(MINUTES[kind] for kind in kinds)


def updated(app, env):
    """Write the list anew in every build: any chapter's exercises may have changed."""
    return sorted(env.exercise_list_pages)


def fill(app, doctree, docname):
    """Put the list of chapters and their tables in place of each placeholder."""
    env = app.env
    for node in list(doctree.findall(exercise_list)):
        order = reading_order(env)
        pages = [page for page in order if env.exercises.get(page)]
        everything = [kinds for page in pages for kinds, _ in env.exercises[page].values()]
        hours = sum(map(minutes, everything)) / 60
        text = f"{len(everything)} exercises, some {hours:.0f} hours. By chapter:"
        chapters = nodes.bullet_list()
        for page in pages:
            link = nodes.reference("", "", name(env, page), internal=True, refid=section_id(page))
            count = nodes.Text(f": {len(env.exercises[page])}")
            chapters += nodes.list_item("", nodes.paragraph("", "", link, count))
        field = FILTER.replace("claims", "exercises")
        parts = [section(app, docname, page) for page in pages]
        parts += practices(app, docname, [page for page in order if PRACTICE.search(page)])
        start = nodes.paragraph("", text)
        node.replace_self([nodes.raw("", field, format="html"), start, chapters, *parts])


def name(env, page):
    """Return a page's title."""
    return nodes.Text(env.titles[page].astext())


def section_id(page):
    """Return the anchor of a chapter's part of the list."""
    return "exercises-of-" + nodes.make_id(page)


def section(app, docname, page):
    """Build a chapter's part: its title, which links to it, and the table of its exercises."""
    title = nodes.title("", "", make_refnode(app.builder, docname, page, "", name(app.env, page)))
    numbers = app.env.toc_fignumbers.get(page, {}).get("exercise", {})
    rows = []
    for anchor, (kinds, sentence) in app.env.exercises[page].items():
        number = ".".join(map(str, numbers.get(anchor, ())))
        link = make_refnode(app.builder, docname, page, anchor, nodes.Text(f"Exercise {number}"))
        cells = row(link, ", ".join(kinds), str(minutes(kinds)))
        cells.next_node(nodes.paragraph).extend(
            [nodes.Text(" "), *resolved(app, docname, page, sentence).children]
        )
        rows.append(cells)
    exercises = table(HEADINGS, rows)
    exercises["classes"] = ["exercise-list"]
    return nodes.section("", title, exercises, ids=[section_id(page)])


def practices(app, docname, pages):
    """Build the list of the practices, or nothing where there are none."""
    if not pages:
        return []
    items = nodes.bullet_list()
    for page in pages:
        link = make_refnode(app.builder, docname, page, "", name(app.env, page))
        items += nodes.list_item("", nodes.paragraph("", "", link))
    return [nodes.section("", nodes.title("", "Practices"), items, ids=["practices"])]


def setup(app):
    """Register the directive and the events."""
    keep(app, "exercises")
    keep(app, "exercise_list_pages")
    app.add_node(exercise_list)
    app.add_directive("exercise-list", ExerciseList)
    app.connect("doctree-read", collect)
    app.connect("env-updated", updated)
    app.connect("doctree-resolved", fill)
    return {"version": "1", "env_version": 1, "parallel_read_safe": True}
