// The contents list marks the section that one is reading: the innermost one across a line a fifth below the top of the window,
// whichever way one scrolls. At the end of a page that is the last one, or the one that a link led to.
"use strict";

(() => {
  const nav = document.getElementById("page-contents");
  if (!nav) return;
  const links = new Map(); // in reading order: section, its link
  for (const link of nav.querySelectorAll('a[href^="#"]')) {
    const section = document.getElementById(decodeURIComponent(link.hash.slice(1)));
    if (section) links.set(section, link);
  }
  const sections = [...links.keys()];
  const across = new Set();
  let atEnd = false, marked = null;

  function mark() {
    let section = sections.findLast((one) => across.has(one));
    if (atEnd) {
      const asked = location.hash && document.getElementById(decodeURIComponent(location.hash.slice(1)));
      const first = sections.indexOf(section);
      section = sections.slice(Math.max(first, 0)).find((one) => one === asked) || sections.at(-1);
    }
    const link = links.get(section) || null;
    if (link === marked) return;
    for (const e of nav.querySelectorAll(".active")) e.classList.remove("active");
    marked?.removeAttribute("aria-current");
    marked = link;
    if (!link) return;
    link.classList.add("active");
    link.setAttribute("aria-current", "true");
    for (let entry = link.closest(".toc-entry"); entry; entry = entry.parentElement.closest(".toc-entry")) entry.classList.add("active");
  }

  const line = new IntersectionObserver((changes) => {
    for (const { target, isIntersecting } of changes) across[isIntersecting ? "add" : "delete"](target);
    mark();
  }, { rootMargin: "-20% 0px -79% 0px" });
  for (const section of sections) line.observe(section);

  const end = document.querySelector(".prev-next-footer");
  if (end && sections.length) {
    new IntersectionObserver(([change]) => { atEnd = change.isIntersecting; mark(); }, { threshold: 1 }).observe(end);
  }
  addEventListener("hashchange", mark);
})();
