/* What the theme leaves out for those who listen to a page or use its keyboard. */
document.addEventListener("DOMContentLoaded", () => {
  const all = (selector) => document.querySelectorAll(selector);
  // a name must contain the visible text: let the text be the name
  for (const e of all("button.search-button-field[aria-label], summary[aria-label]")) e.removeAttribute("aria-label");
  for (const e of all(".sidebar-primary-item .navbar-brand")) {
    e.parentElement.setAttribute("role", "navigation");
    e.parentElement.setAttribute("aria-label", "Home");
  }
  // what opens the pages below a page has no text
  for (const e of all(".bd-links summary")) {
    e.setAttribute("aria-label", `More of ${e.closest("li").querySelector("a").textContent.trim()}`);
  }
  for (const e of all(".citation-list, .citation-list .citation")) e.removeAttribute("role");
  // an empty corner of a table is no header; a header that is one formula has a name as well
  for (const e of all("th")) {
    if (!e.textContent.trim()) e.replaceWith(Object.assign(document.createElement("td"), { className: e.className }));
  }
  for (const e of all("th .math:only-child")) {
    const whole = e.matches("math") && e.closest("th").textContent.trim() === e.textContent.trim();
    if (whole) e.setAttribute("aria-label", e.textContent);
  }

  // what a link leads to may stand in a fold
  const unfold = () => {
    const there = location.hash && document.getElementById(decodeURIComponent(location.hash.slice(1)));
    const fold = there && there.closest("details:not([open]), .toggle-hidden");
    if (!fold) return;
    if (fold.matches("details")) fold.open = true;
    else fold.querySelector(".admonition-title").click();
    there.scrollIntoView();
  };
  unfold();
  addEventListener("hashchange", unfold);

  // A box that scrolls can be reached by the keyboard, and shows that it scrolls. What may scroll on a phone has its place in
  // the tab order from the build; near the reader, where the browser has laid it out, it is measured. To measure all at once
  // would lay out the whole page.
  const SCROLLS = "pre, .equation, .pst-scrollable-table-container, .cell_output > .output";
  const paper = matchMedia("print");
  const name = (e) => (e.matches(".equation") ? "equation" : e.matches(".output") ? "output" : "table");
  const reach = (e) => {
    e.tabIndex = 0;
    if (e.matches("pre")) return;
    e.setAttribute("role", "group");
    e.setAttribute("aria-label", name(e));
  };
  const near = new IntersectionObserver((entries) => {
    if (paper.matches) return;
    for (const { isIntersecting, target } of entries) {
      // what has gone out of the layout again since, by a jump of the page, has no widths: it comes back here with its section
      if (!isIntersecting || !target.checkVisibility({ contentVisibilityAuto: true })) continue;
      const high = !target.matches(".equation") && target.scrollHeight > target.clientHeight + 1;
      const scrolls = target.scrollWidth > target.clientWidth || high;
      target.classList.toggle("scrolls", scrolls);
      if (scrolls) reach(target);
      else if (target.hasAttribute("tabindex") && target !== document.activeElement) {
        for (const attribute of ["tabindex", "role", "aria-label"]) target.removeAttribute(attribute);
        target.dataset.reach = ""; // on a narrower screen it may scroll again
      }
    }
  }, { rootMargin: "25%" });
  const watch = () => {
    near.disconnect();
    for (const e of all("[data-reach]")) reach(e);
    for (const e of all(SCROLLS)) near.observe(e);
  };
  watch();
  // not only with the window: the column of the text changes its width too while the side bar comes or goes
  let soon, width;
  new ResizeObserver(([{ contentRect }]) => {
    if (contentRect.width === width) return;
    clearTimeout(soon);
    if (width !== undefined) soon = setTimeout(watch, 200);
    ({ width } = contentRect);
  }).observe(document.querySelector("article") ?? document.body);
  document.fonts.ready.then(watch);
  document.addEventListener("toggle", watch, true);
});
