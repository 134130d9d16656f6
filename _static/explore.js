// Moves the figures that sgdlib.book.explore drew: native controls choose one of the frames in the page.
// A frame's number counts through the choices like the digits of a number, the last choice fastest.
// The frames stand in templates, or in a script of their own that is loaded when the figure comes near.
"use strict";

(() => {
  const STEP_MS = 700; // while playing
  const QUIET_MS = 500; // a frame is announced when the reader pauses
  const calm = window.matchMedia("(prefers-reduced-motion: reduce)");
  const arrived = (window.exploreFrames ??= {}); // what the scripts of frames bring, by their names

  // "#fig-rate?rate=1.95&rule=plain": the figure of that name, set to these values
  function asked() {
    const [name, state] = location.hash.slice(1).split("?");
    return state === undefined ? {} : { [decodeURIComponent(name)]: Object.fromEntries(new URLSearchParams(state)) };
  }

  function svg(text) {
    const template = document.createElement("template");
    template.innerHTML = text;
    return template.content.firstElementChild;
  }

  function start(figure) {
    const place = figure.querySelector(".explore-frame");
    const inputs = [...figure.querySelectorAll(".explore-input")];
    const values = inputs.map((input) => JSON.parse(input.dataset.values));
    const keys = inputs.map((input) => input.dataset.choice);
    let frames = [place.firstElementChild];
    for (const template of figure.querySelectorAll("template")) frames.push(template.content.firstElementChild);
    const said = figure.querySelector(".explore-said");
    const play = figure.querySelector(".explore-play");
    const pin = figure.querySelector(".explore-pin");
    const movers = inputs.filter((input) => input.tagName !== "BUTTON");
    let mover = movers[0];
    let timer = null;
    let announcement = null;
    let moved = false;

    function load() {
      const address = figure.dataset.src;
      if (!address || figure.dataset.loading) return;
      figure.dataset.loading = "yes";
      const script = document.createElement("script");
      script.src = address;
      script.onload = () => {
        frames = [frames[0], ...arrived[address.split("/").at(-1)]];
        figure.dataset.loading = "done";
        draw();
      };
      document.head.append(script);
    }

    const words = (i) => values[i][Number(inputs[i].value)];

    const chosen = () => inputs.reduce((number, input, i) => number * values[i].length + Number(input.value), 0);

    function draw() {
      const number = chosen();
      inputs.forEach((input, i) => {
        const at = Number(input.value);
        const output = input.parentElement.querySelector("output");
        if (input.type === "range") input.setAttribute("aria-valuetext", values[i][at]);
        if (output) output.textContent = input.tagName === "BUTTON" ? `draw ${at + 1} of ${values[i].length}` : values[i][at];
      });
      clearTimeout(announcement);
      if (frames[number] === undefined) return load();
      if (typeof frames[number] === "string") frames[number] = svg(frames[number]);
      if (place.firstElementChild !== frames[number]) place.firstElementChild.replaceWith(frames[number]);
      figure.dataset.frame = number;
      placeHandles(number);
      if (moved && timer === null) announcement = setTimeout(announce, QUIET_MS, frames[number]);
    }

    function announce(frame) {
      said.textContent = frame.getAttribute("aria-label");
      remember();
    }

    // The address leads back to this figure as it stands; the page's history keeps all of its figures.
    function remember() {
      if (!figure.id) return;
      const state = Object.fromEntries(keys.map((key, i) => [key, words(i)]));
      const figures = { ...history.state?.figures, [figure.id]: state };
      const address = `#${figure.id}?${new URLSearchParams(state)}`;
      try {
        history.replaceState({ ...history.state, figures }, "", address);
      } catch {} // some viewers of local files forbid it
    }

    function restore(state) {
      inputs.forEach((input, i) => {
        const at = values[i].indexOf(state[keys[i]]);
        if (at >= 0) input.value = at;
      });
      draw();
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
      const what = figure.querySelector(`label[for="${mover.id}"]`).textContent;
      play.textContent = timer !== null ? "Pause" : `${calm.matches ? "Next" : "Play"} ${what}`;
    }

    function onPlay() {
      if (timer !== null) return stop();
      moved = true;
      const more = advance();
      if (!calm.matches && more) {
        timer = setInterval(() => { if (advance()) draw(); else stop(); }, STEP_MS);
      }
      label();
      draw();
    }

    // Handles are drawn on the frame that is seen; data-handles says where each stands in every frame.
    const handles = JSON.parse(figure.dataset.handles || "{}");
    const handleOf = {};
    let held = null;

    function placeHandles(number) {
      for (const [key, places] of Object.entries(handles)) {
        const group = handleOf[key] ??= handle(key);
        const at = places[number];
        if (!at) group.remove();
        else {
          group.setAttribute("transform", `translate(${at})`);
          frames[number].append(group);
        }
      }
    }

    function handle(key) {
      const group = svg(`<svg><g class="explore-handle" data-moves="${key}"><circle class="reach"/><circle class="ring"/></g></svg>`);
      return group.firstElementChild;
    }

    // The frame that differs in the held choice alone and whose handle is nearest to the pointer.
    function drag(event) {
      const drawing = place.firstElementChild;
      const box = drawing.getBoundingClientRect();
      const scale = drawing.viewBox.baseVal.width / box.width;
      const [x, y] = [(event.clientX - box.left) * scale, (event.clientY - box.top) * scale];
      const i = keys.indexOf(held);
      const stride = values.slice(i + 1).reduce((product, some) => product * some.length, 1);
      const first = chosen() - stride * Number(inputs[i].value);
      const away = values[i].map((_, at) => {
        const there = handles[held][first + stride * at];
        return there ? Math.hypot(there[0] - x, there[1] - y) : Infinity;
      });
      const nearest = String(away.indexOf(Math.min(...away)));
      if (inputs[i].value === nearest) return;
      inputs[i].value = nearest;
      inputs[i].dispatchEvent(new Event("input"));
    }

    place.addEventListener("pointerdown", (event) => {
      const group = event.button === 0 && event.target.closest(".explore-handle");
      if (!group) return;
      event.preventDefault(); // selects no text
      held = group.dataset.moves;
      place.setPointerCapture(event.pointerId);
      figure.classList.add("explore-held");
    });
    place.addEventListener("pointermove", (event) => { if (held) drag(event); });
    for (const end of ["pointerup", "pointercancel"]) place.addEventListener(end, () => {
      held = null;
      figure.classList.remove("explore-held");
    });
    // a finger on a handle drags it, and does not scroll the page
    place.addEventListener("touchstart", (event) => { if (event.target.closest(".explore-handle")) event.preventDefault(); }, { passive: false });

    // What is pinned stays, pale and without its labels, behind what is chosen next.
    function onPin() {
      const there = place.querySelector(".explore-pinned");
      if (there) there.remove();
      else {
        const text = place.firstElementChild.outerHTML;
        const ids = new Set([...text.matchAll(/ id="([^"]+)"/g)].map((match) => match[1]));
        const copy = svg(text.replace(/( id="|#)([^")]+)/g, (all, before, id) => (ids.has(id) ? `${before}${id}-pinned` : all)));
        copy.setAttribute("class", "explore-pinned");
        for (const mark of copy.querySelectorAll(".explore-handle, .readout-mark")) mark.remove();
        for (const name of ["role", "aria-label", "data-axes", "tabindex"]) copy.removeAttribute(name);
        copy.setAttribute("aria-hidden", "true");
        place.append(copy);
      }
      pin.setAttribute("aria-pressed", String(!there));
      pin.textContent = there ? "Pin" : `Pinned: ${inputs.map((_, i) => words(i)).join(", ")}`;
    }

    inputs.forEach((input, i) => {
      if (input.tagName === "BUTTON") {
        input.addEventListener("click", () => {
          moved = true;
          input.value = (Number(input.value) + 1) % values[i].length;
          draw();
        });
      } else {
        input.addEventListener("input", () => {
          moved = true;
          mover = input;
          if (timer !== null) stop(); else { label(); draw(); }
        });
      }
    });
    if (play) play.addEventListener("click", onPlay);
    if (pin) pin.addEventListener("click", onPin);
    calm.addEventListener("change", () => { if (timer !== null) stop(); else label(); });
    for (const sign of ["pointerenter", "focusin"]) figure.addEventListener(sign, load, { once: true });
    label();
    const state = asked()[figure.id] ?? history.state?.figures?.[figure.id];
    if (state) restore(state); else draw();
    figure.querySelector(".explore-controls").hidden = false;
    addEventListener("hashchange", () => {
      const state = asked()[figure.id];
      if (!state) return;
      restore(state);
      figure.scrollIntoView();
    });
    return load;
  }

  function startAll() {
    const near = new IntersectionObserver((entries) => {
      for (const entry of entries) {
        if (!entry.isIntersecting) continue;
        near.unobserve(entry.target);
        loads.get(entry.target)();
      }
    }, { rootMargin: "50%" });
    const loads = new Map([...document.querySelectorAll("figure.explore")].map((figure) => [figure, start(figure)]));
    for (const figure of loads.keys()) if (figure.dataset.src) near.observe(figure);
    const [name] = Object.keys(asked());
    if (name) document.getElementById(name)?.scrollIntoView();
  }
  if (document.readyState === "loading") document.addEventListener("DOMContentLoaded", startAll);
  else startAll();
})();
