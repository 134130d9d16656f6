"""Where the book is published, if it is: canonical addresses, social cards, a site map, a 404 page.

The address of the pages (``html: baseurl`` in ``_config.yml``) and that of the repository
(``repository: url``) may also come from the environment, ``BOOK_ADDRESS`` and ``BOOK_REPOSITORY``:
the workflow that publishes sets them, so whoever holds the repository has nothing to write down.
Without an address none is made up. Then there is nothing that would need one, and the 404 page
supposes that the book is at the root of its host.
"""

import os
from pathlib import Path
from urllib.parse import urlsplit
from xml.sax.saxutils import escape

from by_page import reading_order
from sphinx.errors import ConfigError

CARD = "_static/readme.png"
CARD_ALT = "A page of the book: a live figure with its sliders."
NOT_FOUND = """<section><h1>There is no such page</h1>
<p>The book has no page at this address. It may have moved: the contents are on the
<a href="{root}">first page</a>, and the <a href="{root}search.html">search</a> finds words in
every chapter.</p></section>"""


def address(variable, setting):
    """Return an address from the environment, else the one that is set; empty if there is none."""
    found = os.environ.get(variable) or setting or ""
    if found and (urlsplit(found).scheme not in ("http", "https") or not urlsplit(found).netloc):
        raise ConfigError(f"{variable}={found!r}: expected an address like https://host/path")
    return found.rstrip("/")


def write_sitemap(app, exception):
    """List every page of the book for search engines, in reading order."""
    if exception or app.builder.format != "html":
        return
    base, uri = app.config.html_baseurl, app.builder.get_target_uri
    lines = [f"<url><loc>{escape(base + uri(page))}</loc></url>" for page in reading_order(app.env)]
    text = [
        '<?xml version="1.0" encoding="utf-8"?>',
        '<urlset xmlns="http://www.sitemaps.org/schemas/sitemap/0.9">',
        *lines,
        "</urlset>\n",
    ]
    Path(app.outdir, "sitemap.xml").write_text("\n".join(text), encoding="utf-8")


def setup(app):
    """Settle the addresses, then load what needs them."""
    config = app.config
    if repository := address("BOOK_REPOSITORY", config.html_theme_options.get("repository_url")):
        config.html_theme_options = config.html_theme_options | {"repository_url": repository}
    site = address("BOOK_ADDRESS", config.html_baseurl)
    root = urlsplit(site).path + "/"
    config.html_baseurl = site and site + "/"

    config.notfound_urls_prefix = root
    config.notfound_context = {"title": "Not found", "body": NOT_FOUND.format(root=root)}
    app.setup_extension("notfound.extension")
    if site:
        config.ogp_site_url = config.html_baseurl
        config.ogp_site_name = config.html_title
        config.ogp_image, config.ogp_image_alt = f"{config.html_baseurl}{CARD}", CARD_ALT
        config.ogp_custom_meta_tags = ['<meta name="twitter:card" content="summary_large_image" />']
        app.setup_extension("sphinxext.opengraph")
        app.connect("build-finished", write_sitemap)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
