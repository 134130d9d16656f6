// "Which batch size, which rate?": the formulas of sgdlib.recommendation and sgdlib.capacity, in the page.
// A test compares them. What is typed stays in the address: "#advice?noise=400&workers=8".
"use strict";

(() => {
  const QUIET_MS = 400; // the result is announced when the reader pauses
  const BACKWARD = 2 / 3; // of the time of an example
  const form = document.getElementById("advice");
  if (!form) return;

  class Refusal extends Error {} // a sentence for the reader

  // The line through two measurements at two batch sizes.
  function line([b, low], [c, high]) {
    const slope = (high - low) / (c - b);
    return [low - slope * b, slope];
  }

  function noiseScale([small, atSmall], [big, atBig]) {
    const signal = (big * atBig - small * atSmall) / (big - small);
    const noise = (atSmall - atBig) / (1 / small - 1 / big);
    if (signal <= 0 || noise <= 0) throw new Refusal(`These two norms give ${signal <= 0 ? "a squared gradient" : "a noise"} that is not positive: average over more batches.`);
    return noise / signal;
  }

  function chooseBatch(times, noise, workers) {
    const [overhead, perExample] = line(...times);
    if (perExample <= 0) throw new Refusal("The larger batch takes no longer: measure the time of a larger one.");
    if (overhead <= 0) throw new Refusal("No overhead is left over, so that small batches cost nothing: measure the time of a smaller one.");
    const share = perExample / workers;
    const time = (b) => (1 + noise / b) * (overhead + share * b);
    const best = Math.sqrt((noise * overhead) / share);
    const least = time(best);
    const half = 1 + (0.1 * least) / (2 * share * best);
    const reach = half + Math.sqrt(half ** 2 - 1);
    const power = 2 ** Math.max(0, Math.floor(Math.log2(best / workers) + 0.5));
    return { overhead, perExample, even: overhead / perExample, best, low: best / reach, high: best * reach, four: time(4 * best) / least, batch: workers * power, share: power };
  }

  function chooseRate(rate, from, to, noise, optimizer, momentum, curvature) {
    const k = to / from;
    if (optimizer === "adam") return { k, rate: rate * Math.sqrt(k), limit: rate * Math.max(k, Math.sqrt(k)), by: "" };
    const exact = rate * (1 + noise / from);
    const wall = curvature === null ? Infinity : (2 * (1 + momentum)) / curvature;
    return { k, rate: rate * k, limit: Math.min(exact, wall), by: wall < exact ? "the stability limit" : "the rate of an exact gradient" };
  }

  function choosePieces(memory, limit, batch, gradient) {
    const [fixed, slope] = line(...memory);
    if (slope <= 0) throw new Refusal("The larger batch needs no more memory: measure both in one piece.");
    if (fixed + slope * batch <= limit) return { pieces: 1, micro: batch };
    const largest = Math.floor((limit - fixed - gradient) / slope);
    if (largest < 1) throw new Refusal("Not even one example fits into the memory that a step may use.");
    const pieces = Math.ceil(batch / largest);
    return { pieces, micro: Math.ceil(batch / pieces) };
  }

  function chooseTalk(gradient, bandwidth, perExample, batch, workers) {
    const seconds = (2 * (workers - 1) / workers) * gradient / bandwidth;
    const backward = BACKWARD * perExample;
    return { seconds, exposed: Math.max(0, seconds - backward * batch), hidden: seconds / backward };
  }

  // -- what is typed --

  const WHOLE = new Set(["smallTime", "bigTime", "smallNorm", "bigNorm", "rateBatch", "smallMemory", "bigMemory", "workers"]);
  const inputs = [...form.querySelectorAll("input, select")];
  const defaults = Object.fromEntries(inputs.map((input) => [input.name, input.value]));
  const label = (input) => form.querySelector(`label[for="${input.id}"]`).textContent;

  // The sentence about a field, or none.
  function wrong(name) {
    const input = form.elements[name];
    const text = input.value.trim();
    if (!text) return "optional" in input.dataset ? "" : "Please put in a number.";
    const value = Number(text);
    if (name === "momentum") return value >= 0 && value < 1 ? "" : `“${text}”: expected a number from 0 to below 1.`;
    if (WHOLE.has(name)) return Number.isInteger(value) && value >= 1 && value <= 2 ** 53 ? "" : `“${text}”: expected a whole number from 1.`;
    return Number.isFinite(value) && value > 0 ? "" : `“${text}”: expected a number above 0.`;
  }

  function mark(input, sentence) {
    const place = input.parentElement;
    let note = place.querySelector(".advice-wrong");
    if (!sentence) {
      note?.remove();
      input.removeAttribute("aria-invalid");
      input.removeAttribute("aria-describedby");
      return;
    }
    if (!note) {
      note = Object.assign(document.createElement("p"), { className: "advice-wrong", id: `${input.id}-wrong` });
      place.append(note);
    }
    note.textContent = sentence;
    input.setAttribute("aria-invalid", "true");
    input.setAttribute("aria-describedby", note.id);
  }

  function check() {
    const bad = new Set();
    for (const input of inputs) {
      if (input.tagName === "SELECT") continue;
      const sentence = input.closest("[hidden]") ? "" : wrong(input.name);
      mark(input, sentence);
      if (sentence) bad.add(input.name);
    }
    return bad;
  }

  const number = (name) => (form.elements[name].value.trim() ? Number(form.elements[name].value) : null);

  // Two measurements, the smaller batch first.
  function two(sizes, values, scale) {
    const pairs = sizes.map((name, i) => [number(name), number(values[i]) * scale]);
    if (pairs[0][0] === pairs[1][0]) throw new Refusal("The two batch sizes are the same: measure at two different ones.");
    return pairs.sort((a, b) => a[0] - b[0]);
  }

  // -- what is shown --

  const digits = (value) => (value >= 1e6 || value < 1e-3 ? value.toExponential(2) : Number(value.toPrecision(3)).toLocaleString("en", { maximumSignificantDigits: 3, useGrouping: false }));
  const whole = (value) => (value >= 1e9 ? value.toExponential(2) : value < 10 ? digits(value) : String(value < 1000 ? Math.round(value) : Number(value.toPrecision(4))));
  const some = (count, word) => `${count} ${word}${count === 1 ? "" : "s"}`;
  const out = (name) => document.getElementById(`advice-out-${name}`);

  function show(name, text, values = {}) {
    const place = out(name);
    place.textContent = text;
    for (const key of Object.keys(place.dataset)) delete place.dataset[key];
    Object.assign(place.dataset, values);
  }

  // Fill the lines `names` with what `compute` finds; if a field is wrong or a formula refuses, say so there.
  function fill(names, needs, bad, compute) {
    const missing = needs.filter((name) => bad.has(name));
    try {
      if (missing.length) throw new Refusal(`Needs: ${missing.map((name) => label(form.elements[name])).join(", ")}.`);
      return compute();
    } catch (error) {
      if (!(error instanceof Refusal)) throw error;
      names.forEach((name) => show(name, name === names[0] ? error.message : "—"));
      return null;
    }
  }

  function compute(bad) {
    const byNorms = form.elements.noiseBy.value === "norms";
    const noise = fill(["noise"], byNorms ? ["smallNorm", "normSmall", "bigNorm", "normBig"] : ["noise"], bad, () => {
      const value = byNorms ? noiseScale(...two(["smallNorm", "bigNorm"], ["normSmall", "normBig"], 1)) : number("noise");
      show("noise", `${whole(value)} examples`, { value });
      return value;
    });
    const workers = bad.has("workers") ? 1 : number("workers");
    const batchLines = ["even", "best", "band", "four", "batch"];
    const choice = fill(batchLines, ["smallTime", "timeSmall", "bigTime", "timeBig", "workers"], bad, () => {
      const times = two(["smallTime", "bigTime"], ["timeSmall", "timeBig"], 1e-3);
      if (noise === null) throw new Refusal("Needs the noise of the gradient.");
      const c = chooseBatch(times, noise, workers);
      show("even", `${digits(1e3 * c.overhead)} ms and ${digits(1e3 * c.perExample)} ms: ${some(whole(c.even), "example")} take as long as the overhead`, { overhead: c.overhead, perExample: c.perExample });
      show("best", `${whole(c.best)} examples`, { value: c.best });
      show("band", `${whole(c.low)} to ${whole(c.high)} examples`, { low: c.low, high: c.high });
      show("four", `${Math.round(100 * (c.four - 1))} % more time`, { value: c.four });
      show("batch", some(c.batch, "example") + (workers > 1 ? `, ${c.share} on each worker` : ""), { value: c.batch });
      return c;
    });
    const need = (what) => { if (what === null) throw new Refusal("Needs a batch size."); };
    const rate = fill(["rate", "limit"], ["rate", "rateBatch", "momentum", "curvature"], bad, () => {
      need(choice);
      const adam = form.elements.optimizer.value === "adam";
      const r = chooseRate(number("rate"), number("rateBatch"), choice.batch, noise, form.elements.optimizer.value, number("momentum"), number("curvature"));
      const past = r.rate > r.limit * (1 + 1e-12);
      show("rate", `${digits(r.rate)}: ${digits(r.k)} times the batch, ${adam ? `its root, ${digits(Math.sqrt(r.k))} times,` : `${digits(r.k)} times`} the rate${past ? "; that is above the limit: start from the limit, and go down" : ""}`, { value: r.rate });
      show("limit", `${digits(r.limit)}${r.by ? `, ${r.by}` : ", between the two rules"}`, { value: r.limit });
      return { ...r, past };
    });
    const millions = number("parameters"), bytes = Number(form.elements.bytes.value);
    const gradient = bad.has("parameters") ? null : millions * 1e6 * bytes;
    const blank = ["memorySmall", "memoryBig", "memoryLimit"].every((name) => number(name) === null);
    const pieces = blank ? (show("pieces", "no limit of memory was given"), null) : fill(["pieces"], ["smallMemory", "memorySmall", "bigMemory", "memoryBig", "memoryLimit", "parameters"], bad, () => {
      need(choice);
      const empty = ["memorySmall", "memoryBig", "memoryLimit"].filter((name) => number(name) === null);
      if (empty.length) throw new Refusal("Needs peak memory at two batch sizes, and what a step may use.");
      const p = choosePieces(two(["smallMemory", "bigMemory"], ["memorySmall", "memoryBig"], 1e9), 1e9 * number("memoryLimit"), choice.share, gradient);
      show("pieces", p.pieces === 1 ? "fits in one piece" : `${p.pieces} pieces of ${p.micro}${workers > 1 ? " on each worker" : ""}`, { pieces: p.pieces, micro: p.micro });
      return p;
    });
    fill(["talk"], ["workers", "parameters", "bandwidth"], bad, () => {
      if (workers === 1) return show("talk", "one worker has nobody to communicate with");
      need(choice);
      const once = pieces ? pieces.micro : choice.share; // the last piece alone covers the exchange
      const t = chooseTalk(gradient, 1e9 * number("bandwidth"), choice.perExample, once, workers);
      const covered = t.exposed === 0 ? "all is covered" : `${digits(1e3 * t.exposed)} of ${digits(1e3 * t.seconds)} ms a step are not covered`;
      show("talk", `from ${whole(t.hidden)} examples at once on a worker; at ${once}, ${covered}`, { hidden: t.hidden, exposed: t.exposed, seconds: t.seconds });
    });
    if (!choice) return bad.size ? "Some numbers are missing or wrong; the lines that need them say which." : `No batch size: ${out("even").textContent}`;
    const parts = [`Take ${some(choice.batch, "example")}${workers > 1 ? `, ${choice.share} on each of ${workers} workers` : ""}`];
    if (rate) parts.push(`at a rate of ${digits(rate.past ? rate.limit : rate.rate)} to start with`);
    if (pieces && pieces.pieces > 1) parts.push(`in ${pieces.pieces} pieces`);
    return `${parts.join(", ")}.`;
  }

  // -- the page --

  let waiting = null;
  const said = document.getElementById("advice-said");

  function draw(now) {
    for (const part of form.querySelectorAll(".advice-part")) part.hidden = part.dataset.part !== form.elements.noiseBy.value;
    const sentence = compute(check());
    clearTimeout(waiting);
    const announce = () => { said.textContent = sentence; };
    if (now) announce(); else waiting = setTimeout(() => { announce(); remember(); }, QUIET_MS);
  }

  // The address leads back to the form as it stands.
  function remember() {
    const changed = inputs.filter((input) => input.value !== defaults[input.name]);
    const state = new URLSearchParams(changed.map((input) => [input.name, input.value]));
    if (!changed.length && !location.hash.startsWith("#advice?")) return;
    const address = changed.length ? `#advice?${state}` : location.pathname + location.search;
    try {
      history.replaceState(history.state, "", address);
    } catch {} // some viewers of local files forbid it
  }

  function restore() {
    const [name, state] = location.hash.slice(1).split("?");
    if (name !== "advice" || state === undefined) return;
    const typed = new URLSearchParams(state);
    for (const input of inputs) {
      const value = typed.get(input.name) ?? defaults[input.name];
      const allowed = input.tagName !== "SELECT" || [...input.options].some((option) => option.value === value);
      if (allowed) input.value = value.slice(0, 40);
    }
  }

  form.reset(); // what a browser kept from the last visit is not the address
  form.addEventListener("input", () => draw(false));
  form.addEventListener("submit", (event) => event.preventDefault());
  form.addEventListener("reset", () => setTimeout(() => draw(false)));
  addEventListener("hashchange", () => { restore(); draw(true); });
  restore();
  draw(true);
})();
