// The first figure of the book: two runs of gradient descent down one bowl, computed here, from where the reader drops them.
// The examples, the rate and the batch sizes stand in the figure; the runs are those of sgdlib.minibatch_sgd with
// sampling="subset": each step moves by the rate times the mean gradient of B different examples.
"use strict";

(() => {
  const SIDE = 2.6; // of the plane that is shown
  const SECONDS = 5; // of a race
  const calm = window.matchMedia("(prefers-reduced-motion: reduce)");
  const make = (name, attributes, parent) => {
    const element = document.createElementNS("http://www.w3.org/2000/svg", name);
    for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
    parent.append(element);
    return element;
  };

  function problem({ X, y }) {
    const n = y.length;
    const residual = ([a, b], i) => X[i][0] * a + X[i][1] * b - y[i];
    const loss = (at) => y.reduce((sum, _, i) => sum + residual(at, i) ** 2, 0) / (2 * n);
    const gradient = (at, batch) => {
      const sum = [0, 0];
      for (const i of batch) {
        const r = residual(at, i);
        sum[0] += r * X[i][0];
        sum[1] += r * X[i][1];
      }
      return sum.map((v) => v / batch.length);
    };
    return { n, loss, gradient, all: y.map((_, i) => i) };
  }

  // B different examples: the first B of a shuffle
  function subset(order, B) {
    for (let i = 0; i < B; i++) {
      const j = i + Math.floor(Math.random() * (order.length - i));
      [order[i], order[j]] = [order[j], order[i]];
    }
    return order.slice(0, B);
  }

  function run(bowl, start, rate, B, steps) {
    const path = [start];
    const order = [...bowl.all];
    for (let t = 0; t < steps; t++) {
      const at = path[t];
      const g = bowl.gradient(at, B === bowl.n ? bowl.all : subset(order, B));
      path.push(at.map((v, k) => v - rate * g[k]));
    }
    return path;
  }

  function start(figure) {
    const data = JSON.parse(figure.querySelector("script").textContent);
    const bowl = problem(data);
    const lowest = bowl.loss(data.best);
    const excess = (at) => Math.max(bowl.loss(at) - lowest, 1e-7);
    const still = figure.querySelector(".race-still");
    const box = document.createElement("div");
    box.className = "race-box";
    box.innerHTML = `
      <svg class="race-plane" viewBox="0 0 360 360" tabindex="0" role="application" aria-roledescription="plane of two parameters"></svg>
      <div class="race-side">
        <table class="race-table"><thead><tr><td></td><th scope="col">steps</th><th scope="col">examples read</th><th scope="col">loss above the lowest</th></tr></thead>
        <tbody><tr class="race-full"><th scope="row">all ${bowl.n}</th><td></td><td></td><td></td></tr>
        <tr class="race-few"><th scope="row"></th><td></td><td></td><td></td></tr></tbody></table>
        <div class="race-controls explore">
          <label>a few: <select class="race-size">${data.sizes.map((B) => `<option ${B === 4 ? "selected" : ""}>${B}</option>`).join("")}</select></label>
          <label>both are given the same number of <select class="race-clock"><option value="steps">steps</option><option value="examples">examples</option></select></label>
          <button type="button" class="race-go">Drop again</button>
        </div>
        <p class="race-said" role="status"></p>
      </div>`;
    still.hidden = true;
    still.after(box);
    const plane = box.querySelector(".race-plane");
    const [size, clock] = [box.querySelector(".race-size"), box.querySelector(".race-clock")];
    const rows = [".race-full", ".race-few"].map((name) => box.querySelector(name));
    const said = box.querySelector(".race-said");
    const xy = ([a, b]) => [((a + SIDE) / (2 * SIDE)) * 360, ((SIDE - b) / (2 * SIDE)) * 360];

    for (const [radius, angle] of data.contours) {
      const [cx, cy] = xy(data.best);
      const [rx, ry] = radius.map((r) => (r / (2 * SIDE)) * 360);
      make("ellipse", { cx, cy, rx, ry, class: "race-contour", transform: `rotate(${-angle} ${cx} ${cy})` }, plane);
    }
    const lines = ["race-full", "race-few"].map((name) => make("polyline", { class: `race-line ${name}` }, plane));
    const dots = ["race-full", "race-few"].map((name) => make("circle", { r: 6, class: `race-dot ${name}` }, plane));
    const flag = make("rect", { width: 11, height: 11, class: "race-start" }, plane);
    let from = data.start;
    let frame = null;

    function place() {
      const [x, y] = xy(from);
      flag.setAttribute("x", x - 5.5);
      flag.setAttribute("y", y - 5.5);
      const at = from.map((v) => v.toFixed(1).replace("-", "−")).join(", ");
      plane.setAttribute("aria-label", `Two runs start at (${at}). Arrow keys move the start.`);
    }

    function show(paths, made, batch) {
      paths.forEach((path, k) => {
        const t = Math.min(made[k], path.length - 1);
        const thin = Math.ceil(t / 600); // a long path needs no more points than the eye sees
        const points = path.slice(0, t + 1).filter((_, i) => i < 300 || i % thin === 0 || i === t);
        lines[k].setAttribute("points", points.map((at) => xy(at).map((v) => v.toFixed(1)).join()).join(" "));
        const [cx, cy] = xy(path[t]);
        dots[k].setAttribute("cx", cx);
        dots[k].setAttribute("cy", cy);
        const cells = rows[k].querySelectorAll("td");
        cells[0].textContent = t;
        cells[1].textContent = (t * batch[k]).toLocaleString("en");
        cells[2].textContent = excess(path[t]).toPrecision(2);
      });
    }

    function race() {
      cancelAnimationFrame(frame);
      place();
      const B = Number(size.value);
      const most = data.steps;
      const counts = clock.value === "steps" ? [most, most] : [most, Math.round((most * bowl.n) / B)];
      const paths = counts.map((count, k) => run(bowl, from, data.rate, k ? B : bowl.n, count));
      const batch = [bowl.n, B];
      rows[1].querySelector("th").textContent = `${B} at a time`;
      said.textContent = "";
      const begin = performance.now();
      const tick = (now) => {
        const share = calm.matches ? 1 : Math.min(Math.max(now - begin, 0) / (1000 * SECONDS), 1); // the first frame may be older than its race
        show(paths, counts.map((count) => Math.round(count * share ** 1.6)), batch);
        if (share < 1) frame = requestAnimationFrame(tick);
        else {
          const ends = paths.map((path) => excess(path.at(-1)).toPrecision(2));
          said.textContent = `At the end: all ${bowl.n}: ${ends[0]}, ${B} at a time: ${ends[1]} above the lowest loss.`;
          figure.dataset.done = "yes";
        }
      };
      delete figure.dataset.done;
      if (calm.matches) tick(0); else frame = requestAnimationFrame(tick);
    }

    function drop(event) {
      const frame = plane.getBoundingClientRect();
      const inside = (v) => Math.max(-SIDE, Math.min(SIDE, v));
      from = [inside(((event.clientX - frame.left) / frame.width) * 2 * SIDE - SIDE), inside(SIDE - ((event.clientY - frame.top) / frame.height) * 2 * SIDE)];
      race();
    }

    let held = false;
    plane.addEventListener("pointerdown", (event) => {
      held = true;
      plane.setPointerCapture(event.pointerId);
      drop(event);
    });
    plane.addEventListener("pointermove", (event) => { if (held) drop(event); });
    for (const sign of ["pointerup", "pointercancel"]) plane.addEventListener(sign, () => { held = false; });
    plane.addEventListener("keydown", (event) => {
      const move = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1] }[event.key];
      if (!move) return;
      event.preventDefault();
      from = from.map((v, k) => Math.max(-SIDE, Math.min(SIDE, v + 0.2 * move[k])));
      race();
    });
    for (const control of [size, clock]) control.addEventListener("change", race);
    box.querySelector(".race-go").addEventListener("click", race);
    race();
  }

  for (const figure of document.querySelectorAll("figure.race")) start(figure);
})();
