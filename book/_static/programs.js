/* The page "Read the programs". Data come as scripts, written by flexlib/book/explorer.py, since a page opened from
   disk may not fetch. The view is in the address: #benchmark/task/arm.seed/arm.seed/arm.seed */
"use strict";

const form = document.getElementById("programs");
const field = form.elements;
const DEFAULTS = [["base", "lora"], ["lora", "fourier-released"], ["fourier-released", "fourier-permuted"]];
let benchmarks = [];
let data = null; // of the benchmark that is shown
const unpacked = {};

async function unpack(text) {
  const bytes = Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
  return new Response(new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"))).json();
}

function flexBenchmarks(entries) {
  benchmarks = entries;
}

function flexPrograms(name, text) {
  unpacked[name] = unpack(text);
}

/* --- choices ------------------------------------------------------------------------------------ */

function fill(select, options, chosen) {
  select.replaceChildren(...options.map(([value, text]) => new Option(text, value)));
  if (options.some(([value]) => String(value) === String(chosen))) select.value = chosen;
}

const families = () => [...new Map(benchmarks.map((b) => [`${b.profile}/${b.family}`, `${b.family} (${b.profile})`]))];
const ofFamily = () => benchmarks.filter((b) => `${b.profile}/${b.family}` === field.family.value);
const current = () => benchmarks.find((b) => b.file === field.language.value);

function runOf(slot) {
  const arm = field[`arm${slot}`].value, seed = field[`seed${slot}`].value;
  return data.runs.find((r) => r.arm === arm && String(r.seed) === seed);
}

function fillSeeds(slot, wanted) {
  const arm = field[`arm${slot}`].value;
  const seeds = data.runs.filter((r) => r.arm === arm).map((r) => r.seed);
  const select = field[`seed${slot}`];
  fill(select, seeds.map((s) => [s, s]), wanted ?? select.value);
  select.disabled = seeds.length < 2;
}

/* The same problem in another language: by the number in its name. */
function sameTask(id) {
  const number = /\d+/.exec(id ?? "")?.[0];
  const at = data.tasks.findIndex((t) => t.id === id);
  return at >= 0 ? at : Math.max(0, data.tasks.findIndex((t) => /\d+/.exec(t.id)?.[0] === number));
}

async function choose(file, taskId, runs) {
  const entry = benchmarks.find((b) => b.file === file) ?? benchmarks[0];
  fill(field.family, families(), `${entry.profile}/${entry.family}`);
  fill(field.language, ofFamily().map((b) => [b.file, b.title]), entry.file);
  form.setAttribute("aria-busy", "true");
  await load(`_data/programs/${entry.file}.js`);
  data = await unpacked[entry.file];
  form.removeAttribute("aria-busy");
  fill(field.task, data.tasks.map((t, i) => [i, t.id]), sameTask(taskId));
  const arms = [...new Set(data.runs.map((r) => r.arm))];
  DEFAULTS.forEach((preferred, slot) => {
    const [arm, seed] = runs[slot] ?? [preferred.find((a) => arms.includes(a)) ?? "", undefined];
    fill(field[`arm${slot}`], [...(slot ? [["", "none"]] : []), ...arms.map((a) => [a, a])], arm);
    fillSeeds(slot, seed);
  });
  show();
}

/* --- programs ----------------------------------------------------------------------------------- */

/* The highlighted text line by line; a span that goes over lines is closed and opened again. */
function highlightedLines(text, language) {
  const html = Prism.highlight(text, Prism.languages[language] ?? Prism.languages.clike, language);
  let open = [];
  return html.split("\n").map((line) => {
    const before = open.join("");
    for (const [tag] of line.matchAll(/<\/?span[^>]*>/g)) {
      if (tag.startsWith("</")) open.pop();
      else open.push(tag);
    }
    return before + line + "</span>".repeat(open.length);
  });
}

/* Which lines of a are not in b, by the longest common subsequence. */
function lacking(a, b) {
  const length = Array.from({ length: a.length + 1 }, () => new Uint16Array(b.length + 1));
  for (let i = a.length - 1; i >= 0; i--)
    for (let j = b.length - 1; j >= 0; j--)
      length[i][j] = a[i] === b[j] ? length[i + 1][j + 1] + 1 : Math.max(length[i + 1][j], length[i][j + 1]);
  const own = new Set();
  for (let i = 0, j = 0; i < a.length;) {
    if (j < b.length && a[i] === b[j]) i++, j++;
    else if (j < b.length && length[i][j + 1] >= length[i + 1][j]) j++;
    else own.add(i++);
  }
  return own;
}

const linesOf = (text) => text.replace(/\s+$/, "").split("\n").map((line) => line.replace(/\s+$/, ""));

function answer(run, task) {
  const found = run.answers[task];
  if (!found) return null;
  const [program, verdict, detail] = found;
  return { text: data.tasks[task].programs[program], verdict: data.verdicts[verdict], detail: data.details[detail] };
}

function section(run, given, marked, language) {
  const box = element("section", { className: "answer", "aria-label": `${run.arm}, seed ${run.seed}` });
  const heading = element("h2", {}, `${run.arm}, seed ${run.seed}`);
  if (!given) {
    box.append(heading, element("p", {}, "This run has no program for the task."));
    return box;
  }
  const verdict = given.verdict.replaceAll("_", " ");
  const badge = element("span", { className: `verdict verdict-${verdict === "pass" ? "pass" : "fail"}` }, verdict);
  const lines = highlightedLines(linesOf(given.text).join("\n"), language);
  const code = element("code");
  lines.forEach((html, i) => {
    const line = element(marked.has(i) ? "mark" : "span", { className: "line" });
    line.innerHTML = html || " ";
    code.append(line, "\n");
  });
  const program = element("pre", { tabIndex: 0, "aria-label": `Program of ${run.arm}, seed ${run.seed}` }, code);
  box.append(heading, element("p", { className: "judged" }, badge), program);
  if (given.detail) box.append(element("p", { className: "detail" }, given.detail));
  return box;
}

function show() {
  const task = Number(field.task.value), { language, notice, licence } = current();
  const runs = [0, 1, 2].map(runOf).filter(Boolean);
  const given = runs.map((run) => answer(run, task));
  const lines = given.map((a) => (a ? linesOf(a.text) : []));
  const marked = lines.map((own, i) => {
    const all = new Set();
    lines.forEach((other, j) => {
      if (i !== j && given[i] && given[j]) lacking(own, other).forEach((n) => all.add(n));
    });
    return all;
  });
  const prompt = form.querySelector(".prompt");
  const text = data.tasks[task].prompt;
  prompt.hidden = text === null;
  if (text !== null) prompt.querySelector("code").innerHTML = highlightedLines(text.trimEnd(), language).join("\n");
  form.querySelector(".answers").replaceChildren(...runs.map((run, i) => section(run, given[i], marked[i], language)));
  form.querySelector(".notice").textContent = notice;
  const fold = form.querySelector(".licence");
  fold.hidden = !licence;
  fold.querySelector("pre").textContent = licence;
  const same = new Set(given.filter(Boolean).map((a) => a.text.trim())).size === 1 && given.length > 1;
  form.querySelector(".status").textContent = `Task ${task + 1} of ${data.tasks.length}: ` +
    runs.map((run, i) => `${run.arm} ${given[i]?.verdict.replaceAll("_", " ") ?? "no program"}`).join(", ") +
    (same ? ". The programs are equal." : ".");
  const chosen = runs.map((r) => `${encodeURIComponent(r.arm)}.${r.seed}`).join("/");
  const hash = `#${field.language.value}/${encodeURIComponent(data.tasks[task].id)}/${chosen}`;
  form.querySelector("a[name=link]").href = hash;
  if (location.hash !== hash) history.replaceState(null, "", hash);
}

function disagrees(task) {
  const verdicts = [0, 1, 2].map(runOf).filter(Boolean).map((run) => answer(run, task)?.verdict);
  return new Set(verdicts.filter(Boolean)).size > 1;
}

function goTo(task) {
  field.task.value = (task + data.tasks.length) % data.tasks.length;
  show();
}

/* --- wiring ------------------------------------------------------------------------------------- */

function fromAddress() {
  const [file, task, ...runs] = location.hash.slice(1).split("/").map(decodeURIComponent);
  return choose(file, task, runs.filter(Boolean).map((run) => {
    const dot = run.lastIndexOf(".");
    return [run.slice(0, dot), run.slice(dot + 1)];
  }));
}

const chosenRuns = () => [0, 1, 2].map((slot) => [field[`arm${slot}`].value, field[`seed${slot}`].value]);

form.addEventListener("change", ({ target }) => {
  const task = data.tasks[field.task.value].id;
  if (target.name === "family") return choose(ofFamily()[0].file, task, chosenRuns());
  if (target.name === "language") return choose(target.value, task, chosenRuns());
  if (target.name.startsWith("arm")) fillSeeds(Number(target.name.at(-1)));
  show();
});
form.addEventListener("submit", (event) => event.preventDefault());
field.previous.addEventListener("click", () => goTo(Number(field.task.value) - 1));
field.next.addEventListener("click", () => goTo(Number(field.task.value) + 1));
field.random.addEventListener("click", () => goTo(Math.floor(Math.random() * data.tasks.length)));
field.disagreement.addEventListener("click", () => {
  const start = Number(field.task.value), count = data.tasks.length;
  for (let step = 1; step < count; step++)
    if (disagrees((start + step) % count)) return goTo(start + step);
  form.querySelector(".status").textContent = "The chosen runs have the same verdict on every other task.";
});
addEventListener("hashchange", fromAddress);

(async () => {
  await Promise.all([load("_static/vendor/prism.min.js"), load("_data/programs/index.js")]);
  if (!benchmarks.length) return;
  form.hidden = false;
  await fromAddress();
})();
