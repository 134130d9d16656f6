"""The bibliography parses, every entry is cited, and what identifies a work has its form."""

import re
from pathlib import Path

from pybtex.database import parse_file

ROOT = Path(__file__).resolve().parents[1]
ENTRIES = parse_file(ROOT / "references.bib").entries
PAGES = [ROOT / "index.md", *ROOT.glob("chapters/**/*.md"), *ROOT.glob("chapters/**/*.ipynb")]
CITED = re.compile(r"\{cite(?::\w+)?\}`([^`]+)`")
DOI = re.compile(r"10\.\d{4,9}/\S+")
ARXIV = re.compile(r"\d{4}\.\d{4,5}|[a-z-]+(\.[A-Z]{2})?/\d{7}")


def cited():
    """Return the keys that pages cite."""
    texts = (path.read_text(encoding="utf-8") for path in PAGES)
    return {key.strip() for text in texts for m in CITED.findall(text) for key in m.split(",")}


def test_every_entry_is_cited_and_every_citation_has_an_entry():
    assert sorted(set(ENTRIES) ^ cited()) == []


def test_what_identifies_a_work_has_its_form():
    wrong = []
    for key, entry in ENTRIES.items():
        fields = entry.fields
        doi, number = fields.get("doi"), fields.get("eprint")
        wrong += [key] * bool(doi and not DOI.fullmatch(doi))
        wrong += [key] * bool(number and not ARXIV.fullmatch(number))
        wrong += [key] * bool(number and fields.get("archiveprefix") != "arXiv")
        wrong += [key] * (not fields.get("title") or not fields.get("year"))
    assert wrong == []
