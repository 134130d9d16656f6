// The filter of the claims ledger and of the list of exercises: rows that have all the words stay, and the chapters that have such rows.
"use strict";

(() => {
  const field = document.querySelector(".ledger-filter input");
  const said = document.querySelector(".ledger-filter [role=status]");
  if (!field) return;
  const things = document.querySelector("table.claims-ledger") ? "claims" : "exercises";
  const parts = [...document.querySelectorAll("table.claims-ledger, table.exercise-list")].map((table) => ({
    section: table.closest("section"),
    rows: [...table.tBodies[0].rows].map((row) => ({ row, text: row.textContent.toLowerCase() })),
  }));
  const chapters = new Map(); // a chapter's line in the list above, by the part of the ledger that it leads to
  for (const link of document.querySelectorAll(`li a[href^="#${things}-of-"]`)) chapters.set(link.hash.slice(1), link.closest("li"));

  function filter() {
    const words = field.value.toLowerCase().split(/\s+/).filter(Boolean);
    let claims = 0, of = 0, places = 0;
    for (const { section, rows } of parts) {
      let hits = 0;
      for (const { row, text } of rows) {
        row.hidden = !words.every((word) => text.includes(word));
        hits += !row.hidden;
      }
      section.hidden = !hits;
      const line = chapters.get(section.id);
      if (!line) continue; // the coarse claims, which are listed above as well
      line.hidden = !hits;
      claims += hits;
      of += rows.length;
      places += hits > 0;
    }
    said.textContent = words.length ? `${claims} of ${of} ${things}, in ${places} ${places === 1 ? "chapter" : "chapters"}` : "";
  }

  field.addEventListener("input", filter);
  field.addEventListener("keydown", (event) => {
    if (event.key !== "Escape") return;
    field.value = "";
    filter();
  });
  if (field.value) filter(); // kept by the browser
})();
