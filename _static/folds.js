// Code that is folded away stands in the page as plain text; when its fold opens, its coloured copy takes its place.
"use strict";

document.addEventListener("toggle", (event) => {
  for (const copy of event.target.open ? event.target.querySelectorAll("template.code") : []) {
    copy.closest(".highlight").querySelector("pre").replaceChildren(copy.content);
    copy.remove();
  }
}, true);
