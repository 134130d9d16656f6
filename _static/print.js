/* A page can be printed at once, also the parts that were never on the screen (print.css says how they look). */
(() => {
  const all = (selector) => document.querySelectorAll(selector);

  // Formulas far from the screen have not asked for their fonts yet, and a printer does not wait: so they are asked for when there is time.
  const FONTS = { // a font: the classes of what is set in it
    "KaTeX_Main": "katex",
    "italic KaTeX_Math": "mathnormal",
    "bold italic KaTeX_Math": "boldsymbol",
    "bold KaTeX_Main": "mathbf textbf",
    "italic KaTeX_Main": "mathit textit",
    "KaTeX_AMS": "amsrm mathbb textbb",
    "KaTeX_Caligraphic": "mathcal",
    "KaTeX_Script": "mathscr textscr",
    "KaTeX_Fraktur": "mathfrak textfrak",
    "KaTeX_SansSerif": "mathsf textsf",
    "KaTeX_Typewriter": "mathtt texttt",
    "KaTeX_Size1": "small-op size1 mult",
    "KaTeX_Size2": "large-op size2",
    "KaTeX_Size3": "size3",
    "KaTeX_Size4": "size4 mult",
  };
  const ask = () => {
    for (const [font, users] of Object.entries(FONTS)) {
      const used = users.split(" ").some((name) => document.getElementsByClassName(name)[0]);
      if (used) document.fonts.load(font.replace("KaTeX", "1em KaTeX"), "∑()x");
    }
  };
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
