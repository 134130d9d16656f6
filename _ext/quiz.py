"""The concept questions of all chapters on one page, to be used in class and to be printed.

They are what stands in a chapter's section "Questions to check yourself". The directive ``{quiz}``
shows them chapter by chapter; the answers stay folded, and what is folded is not printed.
"""

from by_page import keep, reading_order
from corrections import copied, resolved
from docutils import nodes
from sphinx.util.docutils import SphinxDirective
from sphinx.util.nodes import make_refnode

SECTION = "Questions to check yourself"


class quiz(nodes.General, nodes.Element):
    """Stands for the questions until every page has been read."""


class Quiz(SphinxDirective):
    """``{quiz}``: the questions of every chapter."""

    def run(self):
        """Leave a placeholder and remember the page."""
        self.env.quiz_pages[self.env.docname] = True
        return [quiz()]


def collect(app, doctree):
    """Keep the questions of one page."""
    app.env.questions.pop(app.env.docname, None)
    for section in doctree.findall(nodes.section):
        title = section.next_node(nodes.title)
        if title is not None and title.astext() == SECTION:
            text = copied(node for node in section.children if node is not title)
            app.env.questions[app.env.docname] = section["ids"][0], text


def updated(app, env):
    """Write the page anew in every build: any chapter's questions may have changed."""
    return sorted(env.quiz_pages)


def fill(app, doctree, docname):
    """Put the questions in place of each placeholder."""
    env = app.env
    for node in list(doctree.findall(quiz)):
        found = []
        for page in reading_order(env):
            if page not in env.questions:
                continue
            anchor, text = env.questions[page]
            chapter = nodes.Text(env.titles[page].astext())
            link = make_refnode(app.builder, docname, page, anchor, chapter)
            found.append(nodes.paragraph("", "", link, classes=["quiz-chapter"]))
            found += resolved(app, docname, page, text).children
        node.replace_self(found)


def setup(app):
    """Register the directive and the events."""
    keep(app, "questions")
    keep(app, "quiz_pages")
    app.add_node(quiz)
    app.add_directive("quiz", Quiz)
    app.connect("doctree-read", collect)
    app.connect("env-updated", updated)
    app.connect("doctree-resolved", fill)
    return {"version": "1", "env_version": 1, "parallel_read_safe": True}
