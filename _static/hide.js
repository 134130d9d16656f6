// The switch above the contents: hide code, hide proofs. The choice is kept, and stands on <html data-hide="code proofs">
// before the page is painted (folds.py); here the folds follow it. Each can still be opened on its own.
"use strict";

(() => {
  const root = document.documentElement;
  const chosen = () => new Set((root.dataset.hide || "").split(" ").filter(Boolean));
  const foldsOf = (kind) => document.querySelectorAll(`details.fold[data-fold="${kind}"]`);
  const switches = document.querySelectorAll(".hide-switch input");

  for (const kind of chosen()) for (const fold of foldsOf(kind)) fold.open = false;
  for (const box of switches) box.checked = chosen().has(box.value);
  root.dataset.folded = ""; // from here on the folds say themselves whether they are open

  for (const box of switches) {
    box.addEventListener("change", () => {
      const kinds = chosen();
      if (box.checked) kinds.add(box.value); else kinds.delete(box.value);
      root.dataset.hide = [...kinds].join(" ");
      for (const fold of foldsOf(box.value)) fold.open = !box.checked;
      try { localStorage.setItem("hide", root.dataset.hide); } catch { /* the page alone remembers */ }
    });
  }
})();
