"""What helps a reader on a page: previews, the switch, the marked contents, the ledger's filter."""

import pytest
from page_rules import violations
from page_visit import knows
from test_pages import BOOK, FOLDER, WITH_A_BOOK

pytestmark = WITH_A_BOOK
CHAPTER = FOLDER / "chapters/principles/04_learning_rate.html"
SCHEDULES = FOLDER / "chapters/principles/04b_schedules.html"
PHYSICS = FOLDER / "chapters/physics/19_temperature.html"
LEDGER = FOLDER / "chapters/back/claims.html"
CODE = 'details.fold[data-fold="code"]:not(.toggle-hidden *)'  # not in folded solutions
SHOWN = """(selector) => [...document.querySelectorAll(selector)]
    .filter((fold) => fold.querySelector(":scope > :not(summary)").checkVisibility()).length"""


@pytest.mark.parametrize(
    ("chapter", "kind"), [(CHAPTER, "#thm"), (CHAPTER, "bibliography"), (PHYSICS, "#equation")]
)
def test_a_preview_on_hover_and_escape(open_page, chapter, kind):
    page = open_page(chapter)
    link = page.locator(f'article p a[data-preview][href*="{kind}"]:visible').first
    link.hover()
    box = page.get_by_role("tooltip")
    box.wait_for()
    assert len(box.inner_text()) > 10
    assert link.get_attribute("aria-describedby") == box.get_attribute("id")
    assert page.complaints == []
    page.keyboard.press("Escape")
    assert box.is_hidden()
    assert link.get_attribute("aria-describedby") is None


def test_a_preview_by_the_keyboard(open_page):
    page = open_page(FOLDER / "chapters/back/glossary.html")
    links = page.locator("article dd a[data-preview]")
    links.nth(1).focus()
    page.keyboard.press("Shift+Tab")
    page.get_by_role("tooltip").wait_for()
    assert "pieces" in page.get_by_role("tooltip").inner_text()
    for theme in ("light", "dark"):  # on a small page: axe-core walks through all of it
        page.emulate_media(color_scheme=theme)
        page.wait_for_function(f"document.documentElement.dataset.theme === '{theme}'")
        assert violations(page, {"include": [["#preview"]]}) == []
    page.keyboard.press("Tab")
    assert links.nth(1).get_attribute("aria-describedby") == "preview"
    assert links.nth(0).get_attribute("aria-describedby") is None


def test_the_first_tap_shows_and_the_second_follows(browser):
    context = browser.new_context(viewport={"width": 390, "height": 800}, has_touch=True)
    page = context.new_page()
    page.goto(PHYSICS.as_uri())
    link = page.locator('article p a[data-preview][href^="#equation"]:visible').first
    link.scroll_into_view_if_needed()
    link.tap()
    box = page.get_by_role("tooltip")
    box.wait_for()
    assert "#" not in page.url
    edges = box.bounding_box()
    assert edges["x"] >= 0
    assert edges["x"] + edges["width"] <= 390
    link.tap()
    page.wait_for_url("**#equation*")
    context.close()


def symbol(page, letter, within="article div.math"):
    found = page.locator(f'{within} math mi:text-is("{letter}"):visible').first
    found.scroll_into_view_if_needed()
    return found


def test_a_symbol_in_a_formula_says_what_it_means(open_page):
    page = open_page(PHYSICS)
    symbol(page, "η").hover()
    box = page.get_by_role("tooltip")
    box.wait_for()
    assert "learning rate; in code lr" in box.inner_text()
    assert page.locator(".symbol-shown").text_content() == "η"
    page.locator('article div.math msub:has(> mi:text-is("θ")):visible > mi').first.hover()
    page.wait_for_function("document.querySelector('.symbol-shown')?.localName === 'msub'")
    assert "parameters" in box.inner_text()
    assert "minimizer" not in box.inner_text()
    page.keyboard.press("Escape")
    assert box.is_hidden()
    assert page.locator(".symbol-shown").count() == 0
    assert page.complaints == []  # axe-core asks for style sheets, which files may not
    for theme in ("light", "dark"):
        page.emulate_media(color_scheme=theme)
        symbol(page, "η").hover()
        box.wait_for()
        assert violations(page, {"include": [["#preview"], [".symbol-shown"]]}) == []


def test_a_chapter_says_first_what_it_means_by_a_symbol(open_page):
    page = open_page(FOLDER / "chapters/principles/05_convergence.html")
    symbol(page, "T").hover()
    box = page.get_by_role("tooltip")
    box.wait_for()
    own, elsewhere = box.locator("p").all_inner_texts()
    assert "number of steps" in own
    assert own.startswith("Here ")
    assert elsewhere.startswith("Elsewhere ")


def test_a_tap_on_a_symbol_shows_and_a_tap_beside_it_hides(browser):
    context = browser.new_context(viewport={"width": 390, "height": 800}, has_touch=True)
    page = context.new_page()
    page.goto(PHYSICS.as_uri())
    symbol(page, "η").tap()
    box = page.get_by_role("tooltip")
    box.wait_for()
    edges = box.bounding_box()
    assert edges["x"] >= 0
    assert edges["x"] + edges["width"] <= 390
    page.locator("article h1").tap()
    assert box.is_hidden()
    context.close()


def test_hidden_code_stays_hidden_on_the_next_page(open_page):
    page = open_page(CHAPTER)
    count = page.evaluate(SHOWN, CODE)
    assert count == page.locator(CODE).count() > 10
    assert page.locator(f"{CODE} > summary").first.is_hidden()
    box = page.get_by_role("checkbox", name="Hide code")
    box.focus()
    page.keyboard.press("Space")
    assert page.evaluate(SHOWN, CODE) == 0
    summary = page.locator(f"{CODE} > summary").first
    summary.evaluate("summary => summary.scrollIntoView()")  # it has no box before it comes near
    summary.wait_for()
    next_page = (CHAPTER.parent / "05_convergence.html").as_uri()
    assert knows(page, next_page, "document.querySelector('.hide-switch input').checked")
    assert page.get_by_role("checkbox", name="Hide code").is_checked()
    assert page.evaluate(SHOWN, CODE) == 0
    page.locator(f"{CODE} > summary").first.click()
    assert page.evaluate(SHOWN, CODE) == 1
    page.get_by_role("checkbox", name="Hide code").uncheck()
    assert page.evaluate(SHOWN, CODE) == page.locator(CODE).count()


def test_what_is_hidden_is_not_painted_before_the_script_runs(open_page):
    page = open_page(CHAPTER)
    page.add_init_script("localStorage.setItem('hide', 'code proofs')")
    page.route("**/hide.js*", lambda route: route.abort())
    page.reload()
    assert page.evaluate(SHOWN, "details.fold") == 0
    early = whole_height(page)
    page.unroute("**/hide.js*")
    page.reload()
    assert page.evaluate(SHOWN, "details.fold") == 0
    assert abs(whole_height(page) - early) < 0.02 * early


def whole_height(page):
    """Return the height of a page of which everything is laid out, near the reader or not."""
    page.add_style_tag(content="* { content-visibility: visible !important }")
    page.evaluate("document.fonts.ready")
    return page.evaluate("document.body.scrollHeight")


def test_the_contents_mark_what_is_read_down_and_up(open_page):
    page = open_page(SCHEDULES)
    marked = page.locator("#page-contents [aria-current]")
    heading = 'document.querySelector("#schedules > h2").getBoundingClientRect().top'
    page.evaluate(f"scrollBy(0, {heading} - 100)")
    marked.filter(has_text="Schedules").wait_for()
    page.evaluate(f"scrollBy(0, {heading} - 100)")  # what came near has its height by now
    # upwards: no heading comes into view, only the end of the section before
    page.evaluate("scrollBy(0, -250)")
    marked.filter(has_text="Why the rate has to fall").wait_for()
    assert marked.count() == 1
    page.evaluate("scrollTo(0, document.body.scrollHeight)")
    page.wait_for_function(
        """() => document.querySelector("#page-contents [aria-current]")
            === [...document.querySelectorAll("#page-contents a")].at(-1)
            || void scrollTo(0, document.body.scrollHeight)"""
    )


def test_the_ledger_can_be_filtered(open_page):
    page = open_page(LEDGER)
    field = page.get_by_label("Show claims with")
    rows = page.locator("table.claims-ledger tbody tr:visible")
    everything = rows.count()
    field.press_sequentially("momentum RATE")
    said = page.locator(".ledger-filter [role=status]")
    assert "claims, in" in said.inner_text()
    texts = [text.lower() for text in rows.all_inner_texts()]
    assert 0 < len(texts) < everything
    assert all("momentum" in text and "rate" in text for text in texts)
    for section in page.locator('section[id^="claims-of"]:visible').all():
        assert section.locator("tbody tr:visible").count() > 0
    assert violations(page, {"include": [["article"]]}) == []
    field.press("Escape")
    assert rows.count() == everything
    assert said.inner_text() == ""


@pytest.mark.parametrize(
    ("ledger", "links", "place"),
    [
        ("claims", 'table.claims-ledger a[href*="#claim-"]', "span:target + .output .claim"),
        ("corrections", 'article li a[href*="#trap-"]', ".admonition:target"),
    ],
)
def test_a_claim_and_a_trap_lead_to_their_place_highlighted(open_page, ledger, links, place):
    page = open_page(FOLDER / f"chapters/back/{ledger}.html")
    links = page.locator(links)
    for number in (0, links.count() // 2, links.count() - 1):
        address = links.nth(number).get_attribute("href")
        path, anchor = address.split("#")
        page.goto((LEDGER.parent / path).resolve().as_uri() + "#" + anchor)
        target = page.locator(place)
        assert target.count() == 1
        assert target.is_visible()
        page.wait_for_function(
            """(place) => {
                const {top, bottom} = document.querySelector(place).getBoundingClientRect();
                return bottom > 0 && top < innerHeight;
            }""",
            arg=place,
        )
        style = target.evaluate("element => getComputedStyle(element).outlineStyle")
        assert style == "solid"
        page.goto((FOLDER / f"chapters/back/{ledger}.html").as_uri())


def test_every_term_of_the_glossary_leads_to_a_chapter():
    page = BOOK.page("chapters/back/glossary")
    terms = [name for name in page.ids if name.startswith("term-")]
    text = BOOK.file("chapters/back/glossary").read_text(encoding="utf-8")
    assert len(terms) >= 40
    for term in terms:
        entry = text.partition(f'id="{term}"')[2].partition("</dd>")[0]
        assert 'href="../p' in entry or 'href="../applications/' in entry, term
