// A preview of what a link leads to: on hover, on focus, and on the first tap (the second follows the link). Escape closes.
// A symbol in a formula of a chapter has one too: what the notation says of it, on hover and on a tap.
// Which links have one, and the texts from other pages, were put into the page when it was built (previews.py, symbols.py).
"use strict";

(() => {
  const PAUSE = 250, GRACE = 200; // ms: before it shows, and while the pointer moves onto it
  let box, texts, symbols, link = null, timer = null;

  const inside = (id) => JSON.parse(document.getElementById(id)?.textContent || "{}");

  // What a symbol may be known by: with its indices, with one of them, or alone, as in symbols.py.
  function keys(element) {
    const joints = { msub: "_", msup: "^", msubsup: "_^" }[element.localName] ?? "";
    const [first, ...indices] = joints ? element.children : [element];
    const trimmed = (e) => e.textContent.replace(/^[\u2061 ]+|[\u2061 ]+$/g, "");
    const upright = first.localName === "span" || first.getAttribute("mathvariant") === "normal";
    const letter = first.matches("mi, i.math, span.math") && !first.childElementCount;
    if (!letter || (upright && /^[\0-\x7f]*$/.test(trimmed(first)))) return [];
    return [...indices.map((index, i) => trimmed(first) + joints[i] + trimmed(index)), trimmed(first)];
  }

  const known = (element) => keys(element).find((key) => symbols[key]);

  // The symbol under the pointer, with its indices. The letter of an index has none, nor has the d of a differential.
  function symbolOf(target) {
    if (!target.closest("article :is(math, i.math, span.math)") || target.closest("a, button, summary, label")) return null;
    symbols ??= inside("symbols");
    const whole = target.closest("msub, msup, msubsup");
    if (whole && target !== whole.firstElementChild && target.parentElement === whole && whole.localName !== "msup") return null;
    if (target.textContent === "d" && target.nextElementSibling?.matches("mi, msub, msup, msubsup")) return null;
    const symbol = whole?.firstElementChild === target ? whole : target;
    return known(symbol) ? symbol : null;
  }

  const linkOf = (event) => event.target instanceof Element && (event.target.closest("a[data-preview]") ?? symbolOf(event.target));

  // What is to be shown: of a symbol, or of a link a clone from this page, else the text that came with it.
  function content(source) {
    const part = document.createElement("div");
    if (!source.matches("a")) {
      part.innerHTML = symbols[known(source)];
      return part;
    }
    const address = source.getAttribute("href");
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
      texts ??= inside("previews");
      if (!texts[address]) return null;
      part.innerHTML = texts[address];
    }
    return part;
  }

  function show(next, tapped = false) {
    clearTimeout(timer);
    if (link === next) return;
    hide();
    const part = content(next);
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
    if (tapped && next.matches("a")) box.append(Object.assign(document.createElement("p"), { className: "preview-more", textContent: "Tap again to go there." }));
    box.hidden = false;
    link = next;
    if (link.matches("a")) link.setAttribute("aria-describedby", "preview");
    else link.classList.add("symbol-shown");
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
    link.classList.remove("symbol-shown");
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
