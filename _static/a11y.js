/* What the theme leaves out for those who listen to a page or use its keyboard. */
document.addEventListener("DOMContentLoaded", () => {
  const all = (selector) => document.querySelectorAll(selector);
  // a name must contain the visible text: let the text be the name
  for (const e of all("button.search-button-field[aria-label], summary[aria-label]")) e.removeAttribute("aria-label");
  for (const e of all(".sidebar-primary-item .navbar-brand")) {
    e.parentElement.setAttribute("role", "navigation");
    e.parentElement.setAttribute("aria-label", "Home");
  }
  for (const e of all(".citation-list, .citation-list .citation")) e.removeAttribute("role");
  // an empty corner of a table is no header; a header that is one formula has a name as well
  for (const e of all("th")) {
    if (!e.textContent.trim()) e.replaceWith(Object.assign(document.createElement("td"), { className: e.className }));
  }
  for (const e of all("th .math:only-child")) {
    const math = e.querySelector("math");
    if (e.closest("th").textContent.trim() === e.textContent.trim()) math.setAttribute("aria-label", math.textContent);
  }

  // what a link leads to may stand in a fold
  const unfold = () => {
    const there = location.hash && document.getElementById(decodeURIComponent(location.hash.slice(1)));
    const fold = there && there.closest("details:not([open])");
    if (!fold) return;
    fold.open = true;
    there.scrollIntoView();
  };
  unfold();
  addEventListener("hashchange", unfold);

  // search results quote a formula once, not twice (it is in the page for the eye and for the ear),
  // and find the place of a name with dots in it
  if (typeof Search !== "undefined") {
    const text = Search.htmlToText;
    Search.htmlToText = (html, anchor) => text(
      html.replace(/<math[\s>].*?<\/math>/gs, ""),
      anchor && "#" + CSS.escape(anchor.slice(1)),
    );
  }

  // a box that scrolls can be reached by the keyboard
  const reach = () => {
    for (const e of all(".equation, .pst-scrollable-table-container")) {
      if (e.scrollWidth > e.clientWidth) {
        e.tabIndex = 0;
        e.setAttribute("role", "group");
        e.setAttribute("aria-label", e.matches(".equation") ? "equation" : "table");
      } else {
        e.removeAttribute("tabindex");
      }
    }
  };
  reach();
  addEventListener("resize", reach);
  document.fonts.ready.then(reach);
  // what is far from the screen has no width yet (book.css): it is measured, by the theme too, when it comes near
  let soon;
  document.addEventListener("contentvisibilityautostatechange", (event) => {
    if (event.skipped) return;
    clearTimeout(soon);
    soon = setTimeout(() => dispatchEvent(new Event("resize")), 100);
  });
});
