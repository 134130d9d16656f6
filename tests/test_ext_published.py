"""With an address pages are canonical, listed and ready to be shared; none is made up."""

import re
from urllib.parse import urlsplit
from xml.etree import ElementTree

import pytest
from small_book import SmallBook
from sphinx.errors import ConfigError

SITE = "https://someone.example/some-book"
LOC = "{http://www.sitemaps.org/schemas/sitemap/0.9}loc"


def book(folder, **settings):
    """Return a book of two pages with the extension."""
    made = SmallBook(folder, "published", "descriptions", html_title="A Book", **settings)
    made.write(a="# One\n\nWhat the first page is about, in a sentence of its own.\n", b="# Two\n")
    return made


def listed(made):
    """Return the addresses on the site map."""
    root = ElementTree.parse(made.folder / "_build/html/sitemap.xml").getroot()
    return [element.text for element in root.iter(LOC)]


@pytest.fixture(params=["settings", "environment"])
def published(request, tmp_path):
    if request.param == "settings":
        made = book(tmp_path, html_baseurl=SITE)
        assert made.passes()
    else:
        made = book(tmp_path)
        assert made.build(BOOK_ADDRESS=f"{SITE}/") == 0, made.said
    return made


def test_a_published_page_says_where_it_is_and_how_it_is_shared(published):
    page = published.page("a")
    assert f'<link rel="canonical" href="{SITE}/a.html" />' in page
    tags = dict(re.findall(r'<meta property="og:([a-z:_]+)" content="([^"]*)"', page))
    assert tags["title"] == "One"
    assert tags["url"] == f"{SITE}/a.html"
    assert tags["site_name"] == "A Book"
    assert tags["description"] == "What the first page is about, in a sentence of its own."
    assert tags["image"].startswith(f"{SITE}/_static/")
    assert tags["image:alt"]
    assert 'name="twitter:card" content="summary_large_image"' in page


def test_the_site_map_is_complete_also_when_one_page_was_written_anew(published):
    pages = [f"{SITE}/{name}.html" for name in ("index", "a", "b")]
    assert listed(published) == pages
    published.write(b="# Two, changed\n")
    published.settings["html_baseurl"] = SITE
    assert published.passes()
    assert listed(published) == pages


def test_without_an_address_none_is_made_up(tmp_path):
    made = book(tmp_path)
    assert made.passes()
    assert not (tmp_path / "_build/html/sitemap.xml").exists()
    for trace in ("canonical", "og:", "twitter:"):
        assert trace not in made.page("a")


@pytest.mark.parametrize(("address", "root"), [(SITE, "/some-book/"), ("", "/")])
def test_the_page_for_what_is_not_there_works_at_any_depth(tmp_path, address, root):
    made = book(tmp_path, html_baseurl=address)
    assert made.passes()
    page = made.page("404")
    assert "There is no such page" in page
    found = re.findall(r'(?:href|src)="([^"#][^"]*)"', page)
    leads = [lead for lead in found if not urlsplit(lead).netloc]
    assert f"{root}a.html" in leads or f"{root}index.html" in leads
    assert [lead for lead in leads if not lead.startswith(root)] == []
    files = [lead.split("?")[0].removeprefix(root) or "index.html" for lead in leads]
    assert [f for f in files if not (tmp_path / "_build/html" / f).exists()] == []


@pytest.mark.parametrize("address", ["someone.example", "ftp://someone.example/", "/book/"])
def test_what_is_no_address_is_refused(tmp_path, address):
    with pytest.raises(ConfigError, match="expected an address like https://host/path"):
        book(tmp_path).build(BOOK_ADDRESS=address)
