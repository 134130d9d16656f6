"""What extensions find page by page, kept in Sphinx's environment.

So what is made of it is right after an incremental build, and after one with parallel readers.
"""


def keep(app, name):
    """Give the environment a dictionary ``name``: what was found, by the page where it stands."""

    def start(app, env, docnames):
        """Make room for what will be found."""
        if not hasattr(env, name):
            setattr(env, name, {})

    def purge(app, env, docname):
        """Forget a page that is read again or has left the book."""
        getattr(env, name, {}).pop(docname, None)

    def merge(app, env, docnames, other):
        """Take over what a parallel reader found."""
        theirs = getattr(other, name)
        getattr(env, name).update({page: theirs[page] for page in docnames if page in theirs})

    app.connect("env-before-read-docs", start)
    app.connect("env-purge-doc", purge)
    app.connect("env-merge-info", merge)


def reading_order(env):
    """Return every page in the order of the table of contents."""
    order = []

    def walk(name):
        if name not in order:
            order.append(name)
            for child in env.toctree_includes.get(name, []):
                walk(child)

    walk(env.config.root_doc)
    return order + sorted(env.found_docs - set(order))
