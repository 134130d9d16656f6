"""What readers look for, and where the book has them; from files, without a server.

`EXPECTED` says which places come first, as `chapter` or `page#section`.
"""

import pytest
from test_pages import BOOK, FOLDER, WITH_A_BOOK

pytestmark = WITH_A_BOOK
LATE = (
    *("claims", "api", "bibliography", "corrections", "performance", "glossary"),
    *("quiz", "exercises"),
)
EXPECTED = [
    ("learning rate warmup", {"04", "08"}, "What warmup is for"),
    ("linear scaling rule", {"08"}, "Linear scaling"),
    ("noise scale", {"notation"}, "Four things called"),
    ("simulated annealing", {"21"}, "Simulated annealing"),
    ("epoch vs iteration", {"01"}, "Counting"),
    ("learning rate finder", {"04"}, "the range test"),
    ("overfitting", {"06"}, "When to stop"),
    ("gradient accumulation", {"12"}, "accumulation"),
    ("momentum", {"06", "04"}, "omentum"),
    ("adam vs sgd", {"06"}, "Is it the optimizer"),
    ("weight decay", {"06"}, "AdamW"),
    ("saddle point", {"09"}, "Saddle points"),
    ("bfloat16", {"13"}, "Fewer bits"),
    ("critical batch size", {"07"}, "batch size"),
    ("temperature", {"19"}, "Temperature"),
    ("Kramers", {"20"}, "Kramers"),
    ("batch normalization", {"12"}, "batch normalization"),
    ("shuffle buffer", {"11"}, "A shuffle buffer"),
    ("ddp", {"14"}, "Data parallel training"),
    ("stale gradients", {"15"}, "Workers and a server"),
    ("lars lamb", {"16"}, "What is added at large batch"),
    ("control variate", {"17"}, "Variance reduction"),
    ("collocation points", {"18"}, "Physics-informed networks"),
    ("sgld", {"22"}, "Langevin"),
    ("genetic drift", {"23"}, "Genetic drift"),
    ("formula sheet", {"cheat_sheet"}, "Cheat sheet"),
]


@pytest.fixture(scope="module")
def results(opening):
    with opening() as open_page:
        page = open_page(FOLDER / "search.html")
        yield lambda query: page.evaluate("query => SectionSearch.find(query)", query)
        assert page.complaints == []


def short(address):
    """Call a page by its number or its name."""
    name = address.rpartition("/")[2].removesuffix(".html")
    return name[:2] if name[:2].isdigit() else name


@pytest.mark.parametrize(("query", "places", "heading"), EXPECTED, ids=[q for q, *_ in EXPECTED])
def test_what_comes_first(results, query, places, heading):
    found = results(query)
    first = [short(result["address"]) for result in found]
    assert set(first[: len(places)]) <= places
    assert places <= set(first[:4])
    assert heading in " › ".join([found[0]["title"], *found[0]["trail"]])
    late = [name in LATE for name in first]
    assert late == sorted(late), "what is looked up comes after what is read"


def test_results_lead_to_places_that_are_there(results):
    anchors = [(r["address"].removesuffix(".html"), r["anchor"]) for r in results("rate")]
    assert len(anchors) > 20
    assert [a for a in anchors if a[1] and BOOK.page(a[0]).ids[a[1]] != 1] == []


def test_a_name_of_the_library_comes_first(results):
    assert results("minibatch_sgd")[0]["anchor"] == "sgdlib.descent.minibatch_sgd"


def test_the_beginning_of_a_word_and_no_word(results):
    assert short(results("Kram")[0]["address"]) == "20"
    assert results("qqqq") == []
    assert results("the") == []


def test_a_search_from_files_shows_links_and_says_how_many(open_page):
    page = open_page(FOLDER / "search.html")
    page.goto((FOLDER / "search.html").as_uri() + "?q=saddle+point")
    page.locator("#search-results .search-summary", has_text="found").wait_for()
    first = page.locator("#search-results li a").first
    assert first.inner_text() == "9 · Saddle points"
    first.click()
    page.wait_for_url("**/09_saddles.html*")
    assert page.complaints == []
