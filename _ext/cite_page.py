"""Each chapter ends with the BibTeX entry that cites it, made from ``CITATION.cff``."""

import re
from functools import cache
from pathlib import Path

import yaml

# The name of a chapter begins with its number: 04_name; 04b_name is its second page.
CHAPTER = re.compile(r"(?:.*/)?0*(\d+[a-z]?)_\w+")
FOLD = '<details class="cite-page"><summary>Cite this page</summary>{}</details>'


@cache
def citation(path):
    """Read the citation file."""
    return yaml.safe_load(Path(path).read_text(encoding="utf-8"))


def tex(text):
    r"""Return a text as TeX.

    >>> print(tex("Memory & 50 %"))
    Memory \& 50 \%
    """
    return re.sub(r"([&%$#_{}])", r"\\\1", text)


def name(author):
    """Return an author's name as BibTeX has it; that of a group in braces, so that it is one.

    >>> name({"given-names": "Ada", "family-names": "King"}), name({"name": "the contributors"})
    ('King, Ada', '{the contributors}')
    """
    if "family-names" in author:
        names = [author["family-names"], author.get("given-names", "")]
        return tex(", ".join(filter(None, names)))
    return "{" + tex(author["name"]) + "}"


def entry(cited, number, title, url=""):
    """Return the BibTeX entry of a chapter."""
    year = str(cited["date-released"])[:4]
    fields = {
        "author": " and ".join(map(name, cited["authors"])),
        "title": "{" + tex(title) + "}",
        "booktitle": "{" + tex(cited["title"]) + "}",
        "chapter": number,
        "year": year,
        "note": f"Version {cited['version']}",
        "url": url,
    }
    key = re.sub(r"\W", "", cited["title"].split(":")[0]).lower() + f"{year}chapter{number}"
    lines = [f"  {field:9} = {{{value}}}," for field, value in fields.items() if value]
    return "\n".join([f"@incollection{{{key},", *lines, "}"])


def cite(app, pagename, templatename, context, doctree):
    """Put the entry below a chapter. It is no part of its text, so no search finds it."""
    found = CHAPTER.fullmatch(pagename)
    if doctree is None or not found:
        return
    cited = citation(str(Path(app.srcdir, "CITATION.cff")))
    title = app.env.titles[pagename].astext()
    text = entry(cited, found[1], title, context.get("pageurl") or "")
    code = app.builder.highlighter.highlight_block(text, "bibtex")
    block = f'<div class="highlight-bibtex notranslate">{code}</div>'
    context["body"] += FOLD.format(block)


def setup(app):
    """Register the event."""
    app.connect("html-page-context", cite)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
