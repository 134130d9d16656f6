/* A page can be printed at once, also the parts that were never on the screen (print.css says how they look). */
(() => {
  const all = (selector) => document.querySelectorAll(selector);

  // Formulas far from the screen have not asked for their font yet, and a printer does not wait: so it is asked for when there is time.
  const ask = () => document.fonts.load("1em Formulas", "x");
  addEventListener("load", () => (window.requestIdleCallback || setTimeout)(ask));

  // A formula wider than the printed column becomes as much smaller. Widths are in em: on paper the letters have another size.
  const COLUMN = 46; // em: 176 mm at 10.5 points, and a little to spare
  addEventListener("beforeprint", () => {
    document.documentElement.classList.add("is-printed");
    const article = document.querySelector("article");
    const sizes = [...all("article .equation")].map((box) => {
      const em = parseFloat(getComputedStyle(box).fontSize);
      const indent = article.clientWidth - box.parentElement.clientWidth;
      return [box, box.scrollWidth / em, COLUMN - indent / em];
    });
    for (const [box, width, column] of sizes) if (width > column) box.style.fontSize = `${column / width}em`;
  });
  addEventListener("afterprint", () => {
    document.documentElement.classList.remove("is-printed");
    for (const box of all(".equation[style]")) box.style.fontSize = "";
  });
})();
