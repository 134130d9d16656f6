"""What is asked of a page in the browser: functions in its own language."""

UNFOLD = """() => {
    document.querySelectorAll("details").forEach((box) => { box.open = true; });
    document.querySelectorAll(".toggle-hidden > .admonition-title").forEach((e) => e.click());
}"""

# An icon in a button needs no name: the button has one, which axe-core looks at.
NAMELESS = """() => {
    const images = [...document.querySelectorAll("img, svg")].filter((image) => {
        if (image.closest("[aria-hidden=true], math")) return false;
        if (image.tagName === "IMG") return !image.alt.trim();
        if (image.closest("button, summary") || image.parentElement.closest("svg")) return false;
        const role = image.getAttribute("role");
        return !["img", "application"].includes(role) || !image.getAttribute("aria-label")?.trim();
    });
    return images.map((image) => image.outerHTML.slice(0, 150));
}"""

# As when the reader comes near.
LOAD_FRAMES = """async () => {
    const waiting = (figure) => figure.dataset.src && figure.dataset.loading !== "done";
    const figures = [...document.querySelectorAll("figure.explore")];
    for (const figure of figures) figure.dispatchEvent(new PointerEvent("pointerenter"));
    while (figures.some(waiting)) await new Promise((resolve) => setTimeout(resolve, 20));
}"""

# Labels of figures that are less than 9 px high on this screen.
SMALL_LABELS = """() => {
    const found = [];
    for (const drawing of document.querySelectorAll("figure.own svg[role=img]")) {
        const {width} = drawing.getBoundingClientRect();
        if (!width || drawing.closest("[hidden]")) continue;
        const scale = width / drawing.viewBox.baseVal.width;
        const texts = [...drawing.querySelectorAll("text, tspan")];
        const labels = texts.filter((e) => !e.querySelector("tspan"));
        const sizes = labels.map((e) => parseFloat(getComputedStyle(e).fontSize) * scale);
        const least = Math.min(...sizes);
        const figure = drawing.closest("figure");
        const name = figure.id || drawing.getAttribute("aria-label").slice(0, 60);
        if (least < 8.95) found.push(`${name}: ${least.toFixed(1)} px`);
    }
    return found;
}"""

# An element that scrolls is a box: what is in it may be wider. Text for the ear only is no matter.
WIDE = """() => {
    const found = [];
    const look = (element) => {
        const {display, visibility, overflowX} = getComputedStyle(element);
        if (display === "none" || visibility === "hidden") return;
        const {right, width} = element.getBoundingClientRect();
        if (width > 1 && right > innerWidth + 1) {
            found.push(`${Math.round(right)} px: ${element.outerHTML.slice(0, 150)}`);
        } else if (!/auto|scroll/.test(overflowX) && width !== 1 && element.tagName !== "svg") {
            [...element.children].forEach(look);
        }
    };
    look(document.body);
    const width = document.scrollingElement.scrollWidth;
    return width > innerWidth ? [`the page is ${width} px wide`, ...found] : found;
}"""

# What touches a formula in a line, a bracket or a comma, stands in the same line.
TORN = r"""() => {
    const found = [], formula = (text) => text.parentElement.closest("math");
    const all = document.head.appendChild(document.createElement("style"));
    all.textContent = "* { content-visibility: visible !important }";
    const box = (node, from, to) => {
        const range = document.createRange();
        range.setStart(node, from);
        range.setEnd(node, to);
        return range.getBoundingClientRect();
    };
    for (const math of document.querySelectorAll("article math:not([display])")) {
        const {top, bottom, left, right, height} = math.getBoundingClientRect();
        if (!height) continue;
        const block = math.closest("p, li, td, th, dd, figcaption, h1, h2, h3, article");
        const texts = document.createTreeWalker(block, NodeFilter.SHOW_TEXT);
        texts.currentNode = math;
        const before = texts.previousNode();
        texts.currentNode = math;
        let after = texts.nextNode();
        while (after && math.contains(after)) after = texts.nextNode();
        for (const [text, place] of [[before, before?.length - 1], [after, 0]]) {
            const letter = text && !formula(text) ? text.data[place] : " ";
            if (!letter?.trim()) continue;
            const beside = box(text, place, place + 1);
            const gap = text === after ? beside.left - right : left - beside.right;
            if (beside.height && (beside.top > bottom - 2 || beside.bottom < top + 2 || gap > 40)) {
                const where = block.textContent.slice(0, 60);
                found.push(`${letter} is torn from ${math.textContent} in ${where}`);
            }
        }
    }
    all.remove();
    return found;
}"""

# Of texts that look alike (colour, size, ground) three are enough to measure the contrast.
SAMPLE = """() => {
    const grounds = new Map([[document, ""]]), seen = {};
    const ground = (element) => {
        if (!grounds.has(element)) {
            const {backgroundColor, opacity, filter} = getComputedStyle(element);
            const own = [backgroundColor, opacity, filter].join();
            const clear = own === "rgba(0, 0, 0, 0),1,none";
            grounds.set(element, ground(element.parentNode) + (clear ? "" : own));
        }
        return grounds.get(element);
    };
    const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
    while (texts.nextNode()) {
        const element = texts.currentNode.parentElement;
        if (!texts.currentNode.data.trim() || element.closest("svg, .math")) continue;
        if (!element.checkVisibility({visibilityProperty: true})) continue;
        const {color, fontSize, fontWeight, textDecorationLine} = getComputedStyle(element);
        const look = [color, fontSize, fontWeight, textDecorationLine, ground(element)];
        look.push(element.tagName === "A");
        seen[look] = (seen[look] || 0) + 1;
        if (seen[look] <= 3) element.dataset.sample = "";
    }
}"""

# axe-core looks at every element, many times. What is drawn inside of images and formulas, and
# the words of code beyond the sample, tell it nothing: boxes of the same size do, much faster.
SIMPLIFY = """() => {
    for (const formula of document.querySelectorAll("math")) {
        const {width, height} = formula.getBoundingClientRect();
        const box = document.createElement("span");
        box.textContent = "x";
        box.style.cssText = `display: inline-block; width: ${width}px; height: ${height}px`;
        formula.replaceWith(box);
    }
    for (const image of document.querySelectorAll("svg[role=img]")) image.replaceChildren();
    for (const word of document.querySelectorAll("pre span:not([data-sample])")) {
        word.replaceWith(...word.childNodes);
    }
    document.body.normalize();
}"""

# What moves has to come to rest, and the theme gives the boxes that scroll their place in the tab
# order 300 ms after a change.
REST = """async () => {
    await new Promise((resolve) => setTimeout(resolve, 400));
    await Promise.allSettled(document.getAnimations().map((animation) => animation.finished));
}"""

# Where a control stands, what it shows, and whether the frame is another one than last time.
POSITION = """(control) => {
    const figure = control.closest("figure");
    const frame = figure.querySelector(".explore-frame").firstElementChild;
    const isNew = figure.frameBefore !== frame;
    figure.frameBefore = frame;
    const output = control.parentElement.querySelector("output");
    return {at: Number(control.value), shown: output ? output.textContent : null, new: isNew};
}"""

# The frames that differ from the one that is seen in one choice alone, and the drawing's own width.
FRAMES_OF_CHOICE = """(figure, choice) => {
    const inputs = [...figure.querySelectorAll(".explore-input")];
    const counts = inputs.map((input) => JSON.parse(input.dataset.values).length);
    const i = inputs.findIndex((input) => input.dataset.choice === choice);
    const stride = counts.slice(i + 1).reduce((product, count) => product * count, 1);
    const here = Number(figure.dataset.frame);
    const first = here - stride * (Math.floor(here / stride) % counts[i]);
    const drawing = figure.querySelector(".explore-frame svg");
    const all = Array.from({length: counts[i]}, (_, k) => first + stride * k);
    return {here, all, width: drawing.viewBox.baseVal.width};
}"""

# How long a figure takes from one value of a control to the next, layout included.
TIMES = """async (figure) => {
    const times = [];
    for (let i = 0; i < 6; i++) {
        for (const input of figure.querySelectorAll(".explore-input")) {
            await new Promise(requestAnimationFrame);
            const start = performance.now();
            if (input.tagName === "BUTTON") {
                input.click();
            } else {
                input.value = (Number(input.value) + 1) % JSON.parse(input.dataset.values).length;
                input.dispatchEvent(new Event("input", {bubbles: true}));
            }
            document.body.getBoundingClientRect();
            figure.querySelector("svg").getBoundingClientRect();
            times.push(performance.now() - start);
        }
    }
    return times;
}"""
