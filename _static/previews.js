// A preview of what a link leads to: on hover, on focus, and on the first tap (the second follows the link). Escape closes.
// Which links have one, and the texts from other pages, were put into the page when it was built (previews.py).
"use strict";

(() => {
  const PAUSE = 250, GRACE = 200; // ms: before it shows, and while the pointer moves onto it
  let box, texts, link = null, timer = null;

  const linkOf = (event) => event.target instanceof Element && event.target.closest("a[data-preview]");

  // What is to be shown: a clone from this page, else the text that came with it.
  function content(address) {
    const part = document.createElement("div");
    if (address.startsWith("#")) {
      const target = document.getElementById(decodeURIComponent(address.slice(1)));
      const source = target && (target.matches("dt") ? target.nextElementSibling : target);
      if (!source) return null;
      const copy = source.cloneNode(true);
      for (const e of copy.querySelectorAll(".headerlink, script, details, button, template")) e.remove();
      for (const e of [copy, ...copy.querySelectorAll("[id], [tabindex]")]) {
        e.removeAttribute("id");
        e.removeAttribute("tabindex");
      }
      for (const e of copy.querySelectorAll("a")) e.replaceWith(...e.childNodes); // a tooltip holds no links
      part.append(...(copy.matches(".math") ? [copy] : copy.childNodes));
    } else {
      texts ??= JSON.parse(document.getElementById("previews")?.textContent || "{}");
      if (!texts[address]) return null;
      part.innerHTML = texts[address];
    }
    return part;
  }

  function show(next, tapped = false) {
    clearTimeout(timer);
    if (link === next) return;
    hide();
    const part = content(next.getAttribute("href"));
    if (!part) return;
    if (!box) {
      box = document.createElement("div");
      box.id = "preview";
      box.setAttribute("role", "tooltip");
      box.addEventListener("pointerenter", () => clearTimeout(timer));
      box.addEventListener("pointerleave", () => hideSoon());
      const region = document.createElement("aside"); // what one reads belongs to a region of the page
      region.ariaLabel = "Preview";
      region.append(box);
      document.body.append(region);
    }
    box.replaceChildren(part);
    if (tapped) box.append(Object.assign(document.createElement("p"), { className: "preview-more", textContent: "Tap again to go there." }));
    box.hidden = false;
    link = next;
    link.setAttribute("aria-describedby", "preview");
    const place = link.getClientRects()[0], size = box.getBoundingClientRect();
    const left = Math.min(Math.max(8, place.left), document.documentElement.clientWidth - size.width - 8);
    const below = place.bottom + 6, above = place.top - size.height - 6;
    box.style.left = `${left + scrollX}px`;
    box.style.top = `${(below + size.height > innerHeight && above > 0 ? above : below) + scrollY}px`;
  }

  function hide() {
    clearTimeout(timer);
    if (!link) return;
    link.removeAttribute("aria-describedby");
    link = null;
    box.hidden = true;
  }

  function hideSoon() {
    clearTimeout(timer);
    timer = setTimeout(hide, GRACE);
  }

  document.addEventListener("pointerover", (event) => {
    const over = event.pointerType !== "touch" && linkOf(event);
    if (!over) return;
    clearTimeout(timer);
    if (over !== link) timer = setTimeout(show, PAUSE, over);
  });
  document.addEventListener("pointerout", (event) => {
    if (event.pointerType !== "touch" && linkOf(event)) hideSoon();
  });
  document.addEventListener("focusin", (event) => {
    const on = linkOf(event);
    if (on && on.matches(":focus-visible")) show(on);
  });
  document.addEventListener("focusout", (event) => { if (linkOf(event)) hideSoon(); });
  document.addEventListener("keydown", (event) => {
    if (event.key === "Escape" && link) {
      hide();
      event.stopPropagation();
    }
  }, true);
  document.addEventListener("click", (event) => {
    const on = linkOf(event);
    if (event.pointerType === "touch" && on && on !== link) {
      event.preventDefault();
      show(on, true);
    } else if (on || !box || !box.contains(event.target)) {
      hide();
    }
  });
})();
