"""Launch and repository buttons appear when the repository has an address in ``_config.yml``."""


def choose(app, config):
    """Drop what needs an address where there is none: the theme cannot do without one."""
    options = config.html_theme_options
    has_address = bool(options.get("repository_url"))
    options["use_repository_button"] = has_address
    if not has_address:
        options.pop("repository_url", None)
        options.pop("launch_buttons", None)


def setup(app):
    """Register the event."""
    app.connect("config-inited", choose)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
