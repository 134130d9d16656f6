// Moves the figures that sgdlib.book.explore drew: native controls choose one of the frames in the page.
// A frame's number counts through the choices like the digits of a number, the last choice fastest.
"use strict";

(() => {
  const STEP_MS = 700; // while playing
  const QUIET_MS = 500; // a frame is announced when the reader pauses
  const calm = window.matchMedia("(prefers-reduced-motion: reduce)");

  function start(figure) {
    const place = figure.querySelector(".explore-frame");
    const inputs = [...figure.querySelectorAll(".explore-input")];
    const values = inputs.map((input) => JSON.parse(input.dataset.values));
    const frames = [place.firstElementChild];
    for (const template of figure.querySelectorAll("template")) frames.push(template.content.firstElementChild);
    const said = figure.querySelector(".explore-said");
    const play = figure.querySelector(".explore-play");
    const movers = inputs.filter((input) => input.tagName !== "BUTTON");
    let mover = movers[0];
    let timer = null;
    let announcement = null;

    function draw() {
      let number = 0;
      inputs.forEach((input, i) => {
        const at = Number(input.value);
        const output = input.parentElement.querySelector("output");
        number = number * values[i].length + at;
        if (input.type === "range") input.setAttribute("aria-valuetext", values[i][at]);
        if (output) output.textContent = input.tagName === "BUTTON" ? `draw ${at + 1} of ${values[i].length}` : values[i][at];
      });
      if (place.firstElementChild !== frames[number]) place.replaceChildren(frames[number]);
      figure.dataset.frame = number;
      clearTimeout(announcement);
      if (timer === null) announcement = setTimeout(announce, QUIET_MS, frames[number]);
    }

    function announce(frame) {
      said.textContent = frame.getAttribute("aria-label");
    }

    // The mover goes one value on; false at its end.
    function advance() {
      const next = Number(mover.value) + 1;
      const count = values[inputs.indexOf(mover)].length;
      mover.value = next % count;
      return next < count - 1;
    }

    function stop() {
      clearInterval(timer);
      timer = null;
      label();
      draw();
    }

    function label() {
      if (!play) return;
      play.textContent = calm.matches ? "Next" : timer === null ? "Play" : "Pause";
    }

    function onPlay() {
      if (timer !== null) return stop();
      const more = advance();
      if (!calm.matches && more) {
        timer = setInterval(() => { if (advance()) draw(); else stop(); }, STEP_MS);
      }
      label();
      draw();
    }

    inputs.forEach((input, i) => {
      if (input.tagName === "BUTTON") {
        input.addEventListener("click", () => {
          input.value = (Number(input.value) + 1) % values[i].length;
          draw();
        });
      } else {
        input.addEventListener("input", () => {
          mover = input;
          if (timer !== null) stop(); else draw();
        });
      }
    });
    if (play) play.addEventListener("click", onPlay);
    calm.addEventListener("change", () => { if (timer !== null) stop(); else label(); });
    label();
    draw();
    clearTimeout(announcement); // nothing has changed yet
    figure.querySelector(".explore-controls").hidden = false;
  }

  const startAll = () => document.querySelectorAll("figure.explore").forEach(start);
  if (document.readyState === "loading") document.addEventListener("DOMContentLoaded", startAll);
  else startAll();
})();
