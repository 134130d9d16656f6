"""Launch and repository buttons appear when the repository has an address in ``_config.yml``.

Binder installs the repository. Colab does not, so it opens the downloads, which begin with a cell
that gets ``sgdlib``: they lie in a branch of their own, that the workflow writes.
"""

DOWNLOADS = "notebooks"  # the branch


def choose(app, config):
    """Drop what needs an address where there is none: the theme cannot do without one."""
    options = config.html_theme_options
    has_address = bool(options.get("repository_url"))
    options["use_repository_button"] = has_address
    if not has_address:
        options.pop("repository_url", None)
        options.pop("launch_buttons", None)


def lead_to_downloads(app, pagename, templatename, context, doctree):
    """Let the buttons for Colab open the branch of the downloads."""
    branch = app.config.html_theme_options.get("repository_branch") or "main"
    for group in context.get("header_buttons", []):
        for button in group.get("buttons", []):
            if button.get("text") == "Colab":
                old, new = f"/blob/{branch}/", f"/blob/{DOWNLOADS}/"
                button["url"] = button["url"].replace(old, new, 1)


def setup(app):
    """Register the events; the theme adds its buttons at priority 501."""
    app.connect("config-inited", choose)
    app.connect("html-page-context", lead_to_downloads, priority=502)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
