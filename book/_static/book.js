/* What every page of the book can do beyond HTML: tables that sort, folds that open where a link leads
   into them, words that explain themselves, figures that answer. Without scripts all of it is still there to
   read. Nothing is fetched before a reader asks for it. */
"use strict";

const root = new URL("../", document.currentScript.src);

/* --- folds ------------------------------------------------------------------------------------ */

function openTarget() {
  const target = location.hash.length > 1 && document.getElementById(decodeURIComponent(location.hash.slice(1)));
  if (!target) return;
  let folded = false;
  for (let fold = target.closest("details"); fold; fold = fold.parentElement.closest("details")) {
    folded ||= !fold.open;
    fold.open = true;
  }
  if (folded) target.scrollIntoView();
}

/* --- tables ----------------------------------------------------------------------------------- */

const leadingNumber = /^[+\u2212-]?\d[\d,]*(?:\.\d+)?(?:e[+-]?\d+)?/;

function key(cell) {
  const text = cell ? cell.textContent.trim() : "";
  const number = leadingNumber.exec(text);
  return [number ? Number(number[0].replace(/,/g, "").replace("\u2212", "-")) : NaN, text];
}

function compare([a, textA], [b, textB]) {
  const missing = Number.isNaN(a) - Number.isNaN(b);
  return Number.isNaN(a) && Number.isNaN(b) ? textA.localeCompare(textB) : missing || a - b;
}

function makeSortable(table) {
  const head = table.tHead?.rows[0], body = table.tBodies[0];
  if (!head || !body || body.rows.length < 4) return;
  [...head.cells].forEach((cell, column) => {
    if (!cell.textContent.trim()) return;
    const button = document.createElement("button");
    button.type = "button";
    button.append(...cell.childNodes);
    cell.append(button);
    button.addEventListener("click", () => {
      const down = cell.getAttribute("aria-sort") === "ascending";
      for (const other of head.cells) other.removeAttribute("aria-sort");
      cell.setAttribute("aria-sort", down ? "descending" : "ascending");
      const rows = [...body.rows].map((row) => [key(row.cells[column]), row]);
      rows.sort(([a], [b]) => (down ? compare(b, a) : compare(a, b)));
      body.append(...rows.map(([, row]) => row));
    });
  });
  table.classList.add("sortable");
}

/* A box that scrolls can be reached, and scrolled, by keyboard. */
function makeReachable() {
  for (const box of document.querySelectorAll(
    ".pst-scrollable-table-container, .bd-article pre, .bd-article div.math, .bd-article mjx-container")) {
    if (box.scrollWidth > box.clientWidth + 1) box.tabIndex = 0;
    else if (box.tabIndex === 0 && !box.matches("mjx-container")) box.removeAttribute("tabindex");
  }
}

/* --- figures that answer ---------------------------------------------------------------------- */

const charts = {}, loading = {};

function flexChart(name, specification) {
  charts[name] = specification;
}

function load(path) {
  loading[path] ??= new Promise((resolve, reject) => {
    const script = document.createElement("script");
    script.src = new URL(path, root);
    script.onload = resolve;
    script.onerror = () => reject(new Error(`cannot load ${path}`));
    document.head.append(script);
  });
  return loading[path];
}

async function loadVega() {
  for (const name of ["vega", "vega-lite", "vega-embed"]) await load(`_static/vendor/${name}.min.js`);
}

function element(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name in made) made[name] = value;
    else made.setAttribute(name, value);
  }
  made.append(...children);
  return made;
}

// The outlines of matplotlib's markers.
const OUTLINES = {
  o: "circle()",
  "^": "polygon(50% 0, 100% 100%, 0 100%)",
  v: "polygon(0 0, 100% 0, 50% 100%)",
  D: "polygon(50% 0, 100% 50%, 50% 100%, 0 50%)",
  P: "polygon(35% 0, 65% 0, 65% 35%, 100% 35%, 100% 65%, 65% 65%, 65% 100%, 35% 100%, 35% 65%, 0 65%, 0 35%, 35% 35%)",
  X: "polygon(20% 0, 50% 30%, 80% 0, 100% 20%, 70% 50%, 100% 80%, 80% 100%, 50% 70%, 20% 100%, 0 80%, 30% 50%, 0 20%)",
};

function switches(series, view) {
  const off = new Set();
  const boxes = series.map(({ name, color, marker }) => {
    const box = element("input", { type: "checkbox", checked: true });
    box.addEventListener("change", () => {
      if (box.checked) off.delete(name);
      else off.add(name);
      view.signal("off", [...off]).runAsync();
    });
    const swatch = element("span", { className: "swatch" });
    swatch.style.background = color;
    swatch.style.clipPath = OUTLINES[marker] ?? "none";
    return element("label", {}, box, swatch, name);
  });
  return element("fieldset", {}, element("legend", {}, "Show"), ...boxes);
}

function slider({ label, values, says }, view) {
  const input = element("input", { type: "range", min: 0, max: values.length - 1, step: 1, value: 0 });
  const output = element("output", { role: "status" });
  const tell = () => {
    const value = values[input.value];
    view.signal("at", value).runAsync();
    input.setAttribute("aria-valuetext", String(value));
    output.replaceChildren(
      element("b", {}, `${label} = ${value}`),
      ...says[input.value].map((text) => element("div", {}, text)));
  };
  input.addEventListener("input", tell);
  tell();
  return element("div", { className: "slider" }, element("label", {}, `${label} `, input), output);
}

function atWidth(specification, width) {
  if (Array.isArray(specification)) return specification.map((part) => atWidth(part, width));
  if (typeof specification !== "object" || specification === null) return specification;
  return Object.fromEntries(Object.entries(specification).map(([name, value]) =>
    name === "width" && value === "container" ? [name, width]
      : name === "values" ? [name, value] : [name, atWidth(value, width)]));
}

async function enliven(links, figure, button) {
  if (figure.classList.contains("lively")) return;
  figure.classList.add("lively");
  button.disabled = true;
  try {
    await Promise.all([loadVega(), load(links.dataset.chart)]);
    const picture = figure.querySelector("img");
    const name = links.dataset.chart.replace(/^_data\/(.*)\.js$/, "$1");
    const place = element("div", { className: "drawn" });
    const chart = element("div", { className: "chart", role: "group", "aria-label": picture.alt }, place);
    picture.after(chart);
    const width = Math.max(280, picture.clientWidth);
    const specification = atWidth(charts[name], width);
    specification.autosize = { type: "fit-x", contains: "padding" };
    if (specification.vconcat) delete specification.autosize;
    const options = { mode: "vega-lite", renderer: "svg", actions: false };
    const { view } = await vegaEmbed(place, specification, options);
    const { series = [], slider: range } = specification.usermeta ?? {};
    if (series.length > 1) chart.prepend(switches(series, view));
    if (range) chart.append(slider(range, view));
    figure.classList.add("enlivened");
    button.textContent = "Show the picture";
    button.addEventListener("click", () => {
      const drawn = figure.classList.toggle("enlivened");
      button.textContent = drawn ? "Show the picture" : "Explore the figure";
    });
  } catch (error) {
    console.warn(error); // the picture stays
    figure.classList.remove("lively");
  }
  button.disabled = false;
}

function makeLively(links) {
  const figure = links.previousElementSibling;
  if (!figure?.querySelector("img")) return;
  const button = element("button", { type: "button" }, "Explore the figure");
  links.append(" ", button);
  const start = () => enliven(links, figure, button);
  button.addEventListener("click", start, { once: true });
  figure.querySelector("img").addEventListener("pointerenter", (event) => {
    if (event.pointerType === "mouse") start();
  });
}

/* --- words that explain themselves ------------------------------------------------------------ */

function makeTermsDismissible() {
  document.addEventListener("keydown", ({ key }) => {
    if (key !== "Escape") return;
    for (const term of document.querySelectorAll(".term:hover, .term:focus-within")) {
      term.classList.add("dismissed");
      const back = () => term.classList.remove("dismissed");
      term.addEventListener("pointerleave", back, { once: true });
      term.addEventListener("focusout", back, { once: true });
    }
  });
}

document.addEventListener("DOMContentLoaded", () => {
  document.querySelectorAll(".bd-article table.table").forEach(makeSortable);
  document.querySelectorAll(".figure-links[data-chart]").forEach(makeLively);
  makeTermsDismissible();
  openTarget();
});
addEventListener("load", makeReachable);
addEventListener("resize", makeReachable);
addEventListener("hashchange", openTarget);
