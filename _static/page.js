// The page around the text: colours, search, sidebars, menu, the way back to the top. It takes the place of the theme's
// scripts and of Bootstrap, which do the same with ten times the work at load.
"use strict";

(() => {
  const root = document.documentElement;
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const find = (selector) => document.querySelector(selector);
  const all = (selector) => document.querySelectorAll(selector);
  const store = (key, value) => { try { localStorage.setItem(key, value); } catch {} };

  // --- light, dark, or as the system says
  function paint(mode) {
    const theme = mode === "auto" ? (dark.matches ? "dark" : "light") : mode;
    Object.assign(root.dataset, { mode, theme });
    store("mode", mode);
    store("theme", theme);
  }
  function nextMode() {
    const modes = dark.matches ? ["auto", "light", "dark"] : ["auto", "dark", "light"];
    paint(modes[(modes.indexOf(root.dataset.mode) + 1) % 3]);
  }
  paint(["light", "dark"].includes(root.dataset.mode) ? root.dataset.mode : "auto");
  dark.addEventListener("change", () => paint(root.dataset.mode));

  // --- dialogs: the search, and the sidebars where the screen is too small for them
  function open(dialog) {
    dialog.showModal();
    dialog.addEventListener("click", (event) => {
      const box = dialog.getBoundingClientRect();
      const outside = event.clientX < box.left || event.clientX > box.right || event.clientY < box.top || event.clientY > box.bottom;
      if (event.target === dialog && outside) dialog.close();
    });
  }
  function search() {
    const dialog = find("#pst-search-dialog");
    const field = find(":not(#pst-search-dialog) > form.bd-search input");
    if (field) {
      field.focus();
      field.select();
    } else if (dialog.open) dialog.close();
    else open(dialog);
  }
  function sidebar(button, name, wide) {
    const [bar, dialog] = [find(`#pst-${name}-sidebar`), find(`#pst-${name}-sidebar-modal`)];
    if (!button || !bar || !dialog) return;
    button.addEventListener("click", () => {
      if (matchMedia(`(min-width: ${wide}px)`).matches) {
        bar.classList.toggle("pst-sidebar-hidden");
        return;
      }
      dialog.append(...bar.childNodes);
      dialog.className = bar.className;
      open(dialog);
    });
    dialog.addEventListener("close", () => {
      bar.append(...dialog.childNodes);
      dialog.className = "";
    });
    dialog.addEventListener("click", (event) => { if (event.target.closest("a")) dialog.close(); });
  }

  document.addEventListener("DOMContentLoaded", () => {
    for (const button of all(".theme-switch-button")) {
      button.title = "Color mode";
      button.addEventListener("click", nextMode);
    }
    for (const button of all(".search-button__button")) button.addEventListener("click", search);
    sidebar(find(".primary-toggle"), "primary", 992);
    sidebar(find(".secondary-toggle"), "secondary", 1200);

    const apple = /^(Mac|iP)/.test(navigator.platform);
    if (apple) for (const key of all(".kbd-shortcut__modifier")) if (key.textContent === "Ctrl") key.textContent = "⌘";
    addEventListener("keydown", (event) => {
      if (event.key.toLowerCase() === "k" && !event.shiftKey && !event.altKey && (apple ? event.metaKey : event.ctrlKey)) {
        event.preventDefault();
        search();
      }
    });

    // --- menus
    for (const button of all(".dropdown-toggle")) {
      const menu = button.nextElementSibling;
      const show = (open) => {
        menu.classList.toggle("show", open);
        button.setAttribute("aria-expanded", String(open));
      };
      button.addEventListener("click", () => show(!menu.classList.contains("show")));
      document.addEventListener("click", (event) => { if (!button.parentElement.contains(event.target)) show(false); });
      button.parentElement.addEventListener("keydown", (event) => {
        if (event.key !== "Escape" || !menu.classList.contains("show")) return;
        show(false);
        button.focus();
      });
    }

    // --- what depends on how far one has read
    const top = find("#pst-back-to-top");
    top.addEventListener("click", () => scrollTo({ top: 0 }));
    let before = 0;
    let waiting = false;
    addEventListener("scroll", () => {
      if (waiting) return;
      waiting = true;
      requestAnimationFrame(() => {
        waiting = false;
        document.body.classList.toggle("scrolled", scrollY > 0);
        if (Math.abs(scrollY - before) < 50 && scrollY > innerHeight) return; // the page itself moves a little as it is laid out
        top.style.display = scrollY > innerHeight && scrollY < before ? "block" : "none";
        before = scrollY;
      });
    }, { passive: true });
  });

  window.toggleFullScreen = () => {
    if (document.fullscreenElement) document.exitFullscreen();
    else root.requestFullscreen();
  };
})();
