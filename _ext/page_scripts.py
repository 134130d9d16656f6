"""Scripts that only some pages need: the search page, the long lists, the page of advice.

What lies in ``_static`` is loaded by every page, what lies in ``_ext/scripts`` by those that name
it.
"""

from pathlib import Path

SCRIPTS = Path(__file__).resolve().parent / "scripts"


def offer(app):
    """Copy the scripts with the book's static files."""
    app.config.html_static_path.append(str(SCRIPTS))


def load(app, pagename, templatename, context, doctree):
    """Give the two long lists their filter, and *Which batch size, which rate?* its formulas."""
    lists = (getattr(app.env, name, ()) for name in ("ledger_pages", "exercise_list_pages"))
    if any(pagename in pages for pages in lists):
        app.add_js_file("ledger_filter.js")
    if pagename.rpartition("/")[2] == "which_batch_size":
        app.add_js_file("which_batch_size.js")


def setup(app):
    """Register the events."""
    app.connect("builder-inited", offer)
    app.connect("html-page-context", load)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
