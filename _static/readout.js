// Reads values off a figure: under the mouse or finger, or with the arrow keys. Where its axes are and what they
// measure stands in the drawing (data-axes: left, top, right, bottom, then low, high, logarithmic, label for x and y).
"use strict";

(() => {
  const STEPS = 50; // arrow presses from one end of an axis to the other

  const digits = (value) => {
    const size = Math.abs(value);
    return (size !== 0 && (size < 1e-3 || size >= 1e5) ? value.toExponential(1) : Number(value.toPrecision(3)).toString()).replace("-", "−");
  };

  const at = (axis, share) => {
    const [low, high, log] = axis;
    return log ? low * (high / low) ** share : low + (high - low) * share;
  };

  function mark(drawing) {
    const shown = drawing.querySelector(".readout-mark");
    if (shown) return shown;
    const path = document.createElementNS("http://www.w3.org/2000/svg", "path");
    path.setAttribute("class", "readout-mark");
    drawing.append(path);
    return path;
  }

  // Show the values at a point of the drawing, inside the given axes.
  function show(figure, drawing, place, x, y) {
    const [left, top, right, bottom, first, second] = place;
    mark(drawing).setAttribute("d", `M${left} ${y}H${right}M${x} ${top}V${bottom}`);
    const parts = [];
    if (first) parts.push(`${first[3] || "x"}: ${digits(at(first, (x - left) / (right - left)))}`);
    if (second) parts.push(`${second[3] || "y"}: ${digits(at(second, (bottom - y) / (bottom - top)))}`);
    let box = figure.querySelector(".readout");
    if (!box) {
      box = Object.assign(document.createElement("p"), { className: "readout" });
      box.setAttribute("role", "status");
      figure.querySelector("figcaption, .explore-controls")?.before(box) ?? figure.append(box);
    }
    box.textContent = parts.join(" · ");
  }

  function hide(figure) {
    figure.querySelector(".readout-mark")?.remove();
    const box = figure.querySelector(".readout");
    if (box) box.textContent = "";
  }

  const drawingOf = (target) => target.closest?.("figure.own svg[data-axes]");

  document.addEventListener("pointermove", (event) => {
    const drawing = drawingOf(event.target);
    if (!drawing) return;
    const figure = drawing.closest("figure");
    const frame = drawing.getBoundingClientRect();
    const scale = drawing.viewBox.baseVal.width / frame.width;
    const [x, y] = [(event.clientX - frame.left) * scale, (event.clientY - frame.top) * scale];
    const place = JSON.parse(drawing.dataset.axes).find(([l, t, r, b]) => x >= l && x <= r && y >= t && y <= b);
    if (place) show(figure, drawing, place, x, y); else hide(figure);
  });
  document.addEventListener("pointerout", (event) => {
    const drawing = drawingOf(event.target);
    if (drawing && !drawing.contains(event.relatedTarget)) hide(drawing.closest("figure"));
  });

  // By keyboard: the place is kept with the figure, so that it outlives a change of the frame.
  const places = new WeakMap();
  document.addEventListener("keydown", (event) => {
    const drawing = drawingOf(event.target);
    if (!drawing) return;
    const figure = drawing.closest("figure");
    const axes = JSON.parse(drawing.dataset.axes);
    const here = places.get(figure) ?? { i: 0, x: STEPS / 2, y: STEPS / 2 };
    const move = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1] }[event.key];
    if (event.key === "Escape") return hide(figure);
    if (event.key === "Enter") here.i += 1;
    else if (!move) return;
    else [here.x, here.y] = [here.x + move[0], here.y + move[1]].map((v) => Math.min(STEPS, Math.max(0, v)));
    event.preventDefault();
    places.set(figure, here);
    const place = axes[here.i % axes.length];
    const [left, top, right, bottom] = place;
    show(figure, drawing, place, left + ((right - left) * here.x) / STEPS, bottom - ((bottom - top) * here.y) / STEPS);
  });
  document.addEventListener("focusout", (event) => {
    const drawing = drawingOf(event.target);
    if (drawing) hide(drawing.closest("figure"));
  });
})();
