/* What is chosen <-> the address, and which rows a chart gets. Vega draws.

   What is chosen lives in `state`, the parameters of the address behind `#`. A control
   with data-key="x" writes the key x; draw() shows what the state says. Words of the
   data are only ever set as text. A module: its names are its own, not the charts'. */

const data = JSON.parse(document.getElementById("data").textContent);
const charts = JSON.parse(document.getElementById("charts").textContent);
const MOST_CHOSEN = 4; // cells, before anything is chosen
const placeOf = () => document.getElementById(location.hash.slice(1)); // as #figures-2
let state = new URLSearchParams(placeOf() ? "" : location.hash.slice(1));
const onDraw = []; // functions of (sweep, article) of the other scripts

const get = (key, fallback = "") => state.get(key) ?? fallback;
const all = (key, fallback) =>
  state.has(key) ? state.getAll(key).filter((value) => value !== "") : fallback;

/** Changes what is chosen: a text, a list of texts, or null for the default. */
function set(patch) {
  for (const [key, value] of Object.entries(patch)) {
    state.delete(key);
    if (Array.isArray(value)) {
      for (const each of value.length ? value : [""]) state.append(key, each);
    } else if (value !== null) state.set(key, value);
  }
  history.replaceState(null, "", "#" + state);
  draw();
}

/** Makes an element; children are elements, or words, which stay words. */
function el(tag, props = {}, ...children) {
  const node = document.createElement(tag);
  for (const [key, value] of Object.entries(props)) {
    if (key.startsWith("on")) node.addEventListener(key.slice(2), value);
    else if (value !== null && value !== false) node.setAttribute(key, value);
  }
  node.append(...children.filter((child) => child !== null && child !== ""));
  return node;
}

const part = (article, name) => article.querySelector(`[data-part="${name}"]`);
const control = (article, key) => article.querySelector(`[data-key="${key}"]`);
const number = (value) => value.toLocaleString("en-US", { maximumFractionDigits: 20 });
const shown = (value) => (value === null || value === undefined ? "" : `${value}`);
// As Python writes it: of .125 and .625, which are halves, the even hundredth.
const share = (value) => (typeof value === "number" ? (value * 8 % 4 === 1 ? value - 1e-9 : value).toFixed(2) : "");
const ink = (color) => `var(--c${color.slice(1)})`;
const plural = (count, word) => `${number(count)} ${word}${count === 1 ? "" : "s"}`;

/** Shows a chart in `node`, one after the other, and returns its view (null: overtaken). */
function embed(node, spec, datasets) {
  const turn = (node.turn = (node.turn ?? 0) + 1);
  const show = async () => {
    if (turn !== node.turn) return null;
    node.result?.finalize();
    node.result = await vegaEmbed(node, { ...structuredClone(spec), datasets }, {
      renderer: "svg",
      ast: true, // expressions are interpreted: the page's policy forbids to compile them
      actions: false,
      defaultStyle: false,
      tooltip: { disableDefaultStyle: true },
    });
    return node.result.view;
  };
  return (node.queue = (node.queue ?? Promise.resolve()).then(show));
}

/** Round values of a logarithmic axis, as the figures choose them; the ends if too few. */
function ticksOf(low, high) {
  const decades = Math.log10(high / low);
  const steps = decades < 1.3 ? [1, 2, 5] : decades < 2.5 ? [1, 3] : [1];
  const powers = Array.from({ length: 16 }, (_, i) => 10 ** i);
  const ticks = powers.flatMap((power) => steps.map((step) => step * power)).filter((tick) => tick >= low && tick <= high);
  return ticks.length > 1 ? ticks : [...new Set([low, high])];
}

/** Whether something differs from the last call for `node`, which need not redraw. */
function isNew(node, name, ...values) {
  const text = JSON.stringify(values);
  const before = (node.drawn ??= {})[name];
  node.drawn[name] = text;
  return before !== text;
}

// What a sweep shows before anything is chosen.

function defaultsOf(sweep) {
  const keys = sweep.axes.map((axis) => axis.key);
  const fields = sweep.axes.reduce((product, axis) => product * axis.values.length, 1);
  const isGrid = keys.length > 1 && fields <= 2 * sweep.cells.length;
  const phase = sweep.phases.at(-1);
  const rows = get("rows", isGrid ? keys[0] : "list");
  return {
    color: phase ? `phase:${phase.name}` : `final:${sweep.groups[0]?.id}`,
    rows: isGrid ? keys[0] : "list",
    columns: keys.find((key) => key !== rows) ?? "",
    x: "log", y: "accuracy", by: "cell", loops: "0", // as curvesView
  };
}

function chosenCells(sweep) {
  const cells = sweep.cells.map((_, index) => index);
  const isBeside = (index) => sweep.cells[index].values.every((value, axis) => axis === 0 || value === sweep.cells[0].values[axis]);
  const beside = cells.filter(isBeside);
  const before = (beside.length > 1 ? beside : cells).slice(0, MOST_CHOSEN).map(String);
  return all("cell", before).map(Number).filter((index) => sweep.cells[index]);
}

function toggle(sweep, index) {
  const chosen = chosenCells(sweep);
  const without = chosen.filter((each) => each !== index);
  const isAdded = without.length === chosen.length;
  const after = isAdded ? [...chosen, index].sort((a, b) => a - b) : without;
  tell(`${sweep.cells[index].label} ${isAdded ? "chosen" : "no longer chosen"}; ` +
    `${plural(after.length, "cell")} chosen.`);
  set({ cell: after.map(String) });
}

function tell(text) {
  document.getElementById("told").textContent = text;
}

// The phase diagram.

/** Where cells stand: {fields, rows, columns}, as the axes chosen for them say. */
function layoutOf(sweep) {
  const defaults = defaultsOf(sweep);
  const place = (key) => sweep.axes.findIndex((axis) => axis.key === key);
  const rows = place(get("rows", defaults.rows));
  let columns = place(get("columns", defaults.columns));
  if (sweep.axes.length === 1) columns = 0;
  else if (rows < 0) columns = -1;
  else if (columns === rows || columns < 0) columns = sweep.axes.findIndex((_, i) => i !== rows);
  const isList = rows < 0 && columns < 0;
  const rest = [...sweep.axes.keys()].filter((i) => !isList && i !== rows && i !== columns);
  const at = (i) => Number(get(`at.${sweep.axes[i].key}`, "0"));
  const fields = [...sweep.cells.entries()]
    .filter(([, cell]) => rest.every((i) => cell.values[i] === at(i)))
    .map(([index, cell]) => ({
      index,
      row: isList ? cell.label : rows < 0 ? "" : sweep.axes[rows].values[cell.values[rows]],
      column: columns < 0 ? "" : sweep.axes[columns].values[cell.values[columns]],
    }));
  return { fields, isList, rest, rows: sweep.axes[rows], columns: sweep.axes[columns] };
}

function fieldOf(sweep, color, { index, row, column }, isList) {
  const cell = sweep.cells[index];
  const [kind, name] = [color.slice(0, 5), color.slice(6)];
  const found = (kind === "phase" ? cell.phases : cell.final)[name];
  const state = [plural(cell.runs.length, sweep.repeats ?? "run"),
    cell.unfinished && `${cell.unfinished} unfinished`, cell.failed && `${cell.failed} failed`];
  const field = { cell: index, row, column, label: cell.label, value: 1, kind: "open",
    text: "", count: "", spread: "", state: state.filter(Boolean).join(", ") };
  if (found) {
    const isKnown = kind === "phase" ? !found.beyond : typeof found.median === "number";
    const count = kind === "phase" ? `${found.reached}/${found.runs}` : "";
    const spread = kind === "phase" ? found.spread : `${share(found.low)} to ${share(found.high)}`;
    Object.assign(field, { text: found.text, count, spread: spread || (found.runs > 1 ? "none arrived" : "one value") });
    if (isKnown) Object.assign(field, { kind: "known", value: kind === "phase" ? Math.max(1, found.median) : found.median });
  }
  const words = kind === "phase" ? `${sweep.phases.find((p) => p.name === name)?.words} at ` : "";
  field.spoken = `${cell.label}: ${words}${field.text || "nothing known"} ${field.count}${found?.spread ? `, ${found.spread}` : ""}`;
  field.hint = { cell: cell.label, median: field.text, spread: field.spread, reached: field.count, runs: field.state };
  if (isList && field.count) Object.assign(field, { text: `${field.text}   ${field.count}`, count: "" });
  return field;
}

async function drawDiagram(sweep, article) {
  const node = part(article, "diagram");
  const layout = layoutOf(sweep);
  const color = get("color", defaultsOf(sweep).color);
  const room = Math.round(article.clientWidth / 20) * 20;
  article.querySelectorAll("[data-if^='at:']").forEach((label) => {
    label.hidden = !layout.rest.some((i) => label.dataset.if === `at:${sweep.axes[i].key}`);
  });
  const columnsControl = article.querySelector("[data-if=grid]");
  if (columnsControl) columnsControl.hidden = layout.isList;
  if (isNew(node, "diagram", layout, color, room)) {
    const fields = layout.fields.map((field) => fieldOf(sweep, color, field, layout.isList));
    const spec = structuredClone(charts[color.startsWith("phase") ? "diagram_steps" : "diagram_share"]);
    const wide = new Set(fields.map((field) => field.column)).size || 1;
    const labels = Math.max(0, ...fields.map((field) => field.row.length)) * 7 + 50;
    const step = layout.isList ? 130 : Math.min(124, Math.max(58, Math.floor((room - labels) / wide)));
    spec.description = `phase diagram: ${control(article, "color").selectedOptions[0]?.textContent}, by cell`;
    spec.width = { step };
    spec.height = { step: layout.isList || fields.every((f) => !f.count) ? 32 : 52 };
    const values = fields.filter((f) => f.kind === "known").map((f) => f.value);
    for (const layer of spec.layer) {
      Object.assign(layer.encoding.x, { title: layout.columns?.title ?? null, sort: layout.columns?.values ?? [""] });
      Object.assign(layer.encoding.y, { title: layout.rows?.title ?? null, sort: layout.rows?.values ?? fields.map((field) => field.row) });
      // Beside a list, long labels may run on: the fields stay in sight on a narrow page.
      if (layout.isList) layer.encoding.y.axis = { orient: "right", labelLimit: 0 };
      if (layer.mark.type === "text" && spec.height.step < 40) layer.mark.dy = 0;
    }
    const scaled = spec.layer[0].encoding.color.condition;
    scaled.scale.domain = color.startsWith("final") ? [0, 1] : [Math.min(...values) / 1.2, Math.max(...values) * 1.2];
    if (scaled.scale.type === "log") scaled.legend.values = ticksOf(Math.min(...values), Math.max(...values));
    if (!values.length) Object.assign(scaled, { legend: null, scale: { ...scaled.scale, domain: [1, 10] } });
    const view = await embed(node, spec, { cells: fields });
    if (!view) return;
    view.addEventListener("click", (_, item) => {
      if (item?.datum?.cell !== undefined) toggle(sweep, item.datum.cell);
    });
    makeKeys(node, sweep);
  }
  await node.queue;
  const chosen = chosenCells(sweep);
  await node.result?.view.signal("chosen", chosen).runAsync();
  for (const path of fieldsIn(node)) {
    path.setAttribute("aria-pressed", chosen.includes(path.__data__.datum.cell));
  }
}

const fieldsIn = (node) => [...node.querySelectorAll("g.mark-rect.role-mark path")];

/** Lets the arrow keys go from field to field, and Enter and Space choose one. */
function makeKeys(node, sweep) {
  const paths = fieldsIn(node);
  paths.forEach((path, index) => {
    path.setAttribute("tabindex", index ? -1 : 0);
    path.setAttribute("role", "button");
  });
  const moves = { ArrowRight: [1, 0], ArrowLeft: [-1, 0], ArrowDown: [0, 1], ArrowUp: [0, -1] };
  node.onkeydown = (event) => {
    const path = event.target.closest("path[role=button]");
    if (!path) return;
    const here = path.__data__;
    if (event.key === "Enter" || event.key === " ") toggle(sweep, here.datum.cell);
    else if (moves[event.key]) {
      const [x, y] = moves[event.key];
      const ahead = (each) => x * (each.x - here.x) + y * (each.y - here.y);
      const aside = (each) => Math.abs(y * (each.x - here.x)) + Math.abs(x * (each.y - here.y));
      const next = fieldsIn(node).filter((each) => ahead(each.__data__) > 1 && aside(each.__data__) < 1)
        .sort((a, b) => ahead(a.__data__) - ahead(b.__data__))[0];
      if (next) {
        path.setAttribute("tabindex", -1);
        next.setAttribute("tabindex", 0);
        next.focus();
      }
    } else return;
    event.preventDefault();
  };
}

// The curves.

const evaluatedLoops = (sweep) => {
  const counts = sweep.runs.flatMap((run) =>
    Object.values(run.curves.accuracy_by_loops ?? {}).flatMap((by) => Object.keys(by)));
  return [...new Set(counts)].sort((a, b) => a - b);
};

/** What the controls of the curves say. */
function curvesView(sweep) {
  const parts = all("split", sweep.groups.filter((g) => !g.id.includes("[")).map((g) => g.id));
  const choices = { x: ["log", "linear"], y: ["accuracy", "loss"], by: ["cell", "split"] };
  const chosen = ([key, values]) => [key, values.find((value) => value === get(key)) ?? values[0]];
  const view = Object.fromEntries(Object.entries(choices).map(chosen));
  const loops = view.y === "accuracy" ? get("loops", "0") : "0";
  return { ...view, loops, groups: sweep.groups.filter((g) => parts.includes(g.id)), cells: chosenCells(sweep) };
}

function valuesOf(run, group, view) {
  if (view.y === "loss") return run.curves.loss[group.id];
  if (view.loops !== "0") return run.curves.accuracy_by_loops?.[group.id]?.[view.loops];
  return run.curves.accuracy[group.id];
}

/** The lines that are shown: {cell, run, group, panel, series, style, values, isBold}. */
function linesOf(sweep, view) {
  return view.cells.flatMap((index) => view.groups.flatMap((group) => {
    const cell = sweep.cells[index];
    return cell.runs.map((place) => {
      const [run, byCell] = [sweep.runs[place], view.by === "cell"];
      return {
        cell, run, group, panel: byCell ? index : group.id, series: byCell ? group.words : cell.label,
        style: byCell ? group : sweep.styles[index], values: valuesOf(run, group, view),
        isBold: place === (cell.median_run ?? cell.runs[0]),
      };
    }).filter((line) => line.values);
  }));
}

const pointsOf = (line, view) =>
  line.run.steps.map((step, i) => ({ step, value: line.values[i] }))
    .filter((point) => point.value !== null && (point.step > 0 || view.x === "linear"));

/** The rows of one panel, by data set. */
function panelRows(sweep, view, lines) {
  const rows = { lines: [], marks: [], levels: [], steps: [] };
  const byStep = new Map();
  const drawn = [...lines].sort((a, b) => a.isBold - b.isBold); // Bold over thin.
  for (const line of drawn) {
    const style = { color: ink(line.style.color), run: line.run.id, series: line.series };
    const spoken = `${line.series}, ${line.run.name}`;
    const look = { dash: charts.dashes[line.style.dash], width: line.isBold ? 2.2 : 1, opacity: line.isBold ? 1 : 0.55 };
    for (const point of pointsOf(line, view)) {
      rows.lines.push({ ...point, ...style, ...look, spoken });
      if (!line.isBold) continue;
      if (!byStep.has(point.step)) byStep.set(point.step, { step: point.step, hint: { updates: number(point.step) } });
      byStep.get(point.step).hint[line.series] = point.value.toPrecision(3);
    }
    if (view.loops !== "0") continue; // Events are told at the loops of training.
    for (const event of line.run.events) {
      const phase = sweep.phases.find((each) => each.name === event.phase);
      const value = line.values[line.run.steps.indexOf(event.step)];
      if (phase?.split !== line.group.id || typeof value !== "number") continue;
      if (event.kind !== "completed" && !line.isBold) continue;
      if (event.step === 0 && view.x === "log") continue;
      const fill = event.kind === "completed" ? style.color : "var(--paper)";
      rows.marks.push({ step: event.step, value, ...style, fill, spoken: `${event.name} at ${event.step}, ${spoken}` });
    }
  }
  rows.steps = [...byStep.values()].sort((a, b) => a.step - b.step);
  const about = sweep.phases.filter((phase) => view.y === "accuracy" && lines.some((l) => l.group.id === phase.split));
  for (const phase of about) {
    const color = view.by === "cell" ? sweep.groups.find((g) => g.id === phase.split).color : null;
    for (const level of phase.threshold.split(" or ")) {
      rows.levels.push({ value: Number(level), color: color ? ink(color) : "var(--faint)" });
    }
  }
  return rows;
}

function drawCurves(sweep, article) {
  const [node, view] = [part(article, "curves"), curvesView(sweep)];
  drawChosen(sweep, article, view);
  if (!isNew(node, "curves", view)) return;
  const lines = linesOf(sweep, view);
  const panels = !view.groups.length ? [] : view.by === "cell" ? view.cells : view.groups.map((group) => group.id);
  const points = lines.flatMap((line) => pointsOf(line, view));
  const steps = points.map((point) => point.step);
  const [first, last] = steps.reduce(([low, high], step) => [Math.min(low, step), Math.max(high, step)], [Infinity, 1]);
  const highest = points.reduce((high, point) => Math.max(high, point.value), 0);
  node.classList.toggle("one", panels.length === 1);
  node.replaceChildren(...panels.map((panel) => {
    const here = lines.filter((line) => line.panel === panel);
    const chart = el("div", { class: "chart" });
    const title = view.by === "cell" ? sweep.cells[panel].label : sweep.groups.find((g) => g.id === panel).words;
    const figure = el("figure", {}, el("figcaption", {}, title, view.by === "cell" ? runLinks(sweep, panel) : ""), chart);
    if (!here.some((line) => pointsOf(line, view).length)) {
      chart.append(el("p", { class: "caption" }, "not evaluated yet, or not at these loops"));
      return figure;
    }
    const spec = structuredClone(charts[view.y]);
    spec.description = `${view.y} against updates: ${title}`;
    const scale = { type: view.x, domain: [view.x === "log" ? first : 0, last], nice: false };
    for (const layer of spec.layer) {
      if (layer.encoding.x) {
        layer.encoding.x.scale = scale;
        if (view.x === "log") layer.encoding.x.axis.values = ticksOf(first, last);
      }
      if (layer.encoding.y && view.y === "loss") layer.encoding.y.scale.domain = [0, highest];
    }
    embed(chart, spec, panelRows(sweep, view, here));
    return figure;
  }));
  if (!panels.length) node.append(el("p", {}, view.groups.length ? "No cell is chosen: click some above." : "No split is chosen."));
  part(article, "curves-caption").textContent = captionOf(sweep, view);
}

function captionOf(sweep, view) {
  const most = Math.max(0, ...view.cells.map((index) => sweep.cells[index].runs.length));
  const loops = view.loops === "0" ? "at the training loop count R" : `at ${plural(Number(view.loops), "loop")}`;
  const bold = most > 1 ? " Bold: the run of the median rank by updates to the last phase; thin: the others." : "";
  const marks = view.y === "accuracy" && view.loops === "0"
    ? " ○ onset, ● completed; dashed across: the threshold of a phase." : view.y === "loss" ? " ○ onset, ● completed." : "";
  return `${view.y} against optimizer updates${view.x === "log" ? " (step 0 is not shown)" : ""}, ${loops}.${bold}${marks}`;
}

function runLinks(sweep, index) {
  const runs = sweep.cells[index].runs.slice(0, 12).map((place) => sweep.runs[place]);
  const links = runs.flatMap((run) => [" ", el("button", { type: "button", onclick: () => set({ run: run.id }) }, shown(run.seed))]);
  return el("span", {}, "seed", ...links);
}

/** A short line in a style, such as the page's template draws before a split. */
function swatch({ color, dash }) {
  const line = document.querySelector("svg.line").cloneNode(true);
  line.firstElementChild.setAttribute("stroke", ink(color));
  line.firstElementChild.setAttribute("stroke-dasharray", charts.dashes[dash].join(" "));
  return line;
}

function drawChosen(sweep, article, view) {
  const list = part(article, "chosen");
  const chips = view.cells.map((index) => el("li", {}, view.by === "cell" ? "" : swatch(sweep.styles[index]), sweep.cells[index].label,
    el("button", { type: "button", "aria-label": `remove ${sweep.cells[index].label}`, onclick: () => toggle(sweep, index) }, "×")));
  const clear = el("li", { class: "tool" }, el("button", { type: "button", onclick: () => set({ cell: [] }) }, "clear"));
  const every = el("li", { class: "tool" }, el("button", { type: "button", onclick: () => set({ cell: sweep.cells.map((_, i) => `${i}`) }) }, "all cells"));
  list.replaceChildren(...chips, chips.length ? clear : "", sweep.cells.length <= 24 ? every : "");
}

// The page as a whole.

function drawClaims() {
  const claims = [...document.querySelectorAll(".claims > li")];
  const wanted = (item) => ["study", "verdict"].every((key) => !get(key) || item.dataset[key] === get(key));
  claims.forEach((item) => (item.hidden = !wanted(item)));
  const count = document.querySelector("[data-part=claims-count]");
  if (count) count.textContent = `${claims.filter(wanted).length} of ${plural(claims.length, "claim")}`;
}

function drawAge() {
  const minutes = Math.floor((Date.now() - new Date(data.made)) / 60000);
  const [count, unit] = minutes < 120 ? [minutes, "minute"] : minutes < 2880 ? [Math.floor(minutes / 60), "hour"] : [Math.floor(minutes / 1440), "day"];
  document.getElementById("age").textContent = minutes < 1 ? " (just now)" : ` (${plural(count, unit)} ago)`;
}

const shownSweep = () => data.sweeps.find((sweep) => sweep.id === get("sweep")) ?? data.sweeps[0];

/** Gives the controls below `root` the values that are chosen. */
function showChoices(root, sweep) {
  const defaults = sweep ? defaultsOf(sweep) : {};
  for (const each of root.querySelectorAll("[data-key]")) {
    const value = get(each.dataset.key, defaults[each.dataset.key] ?? (each.dataset.key.startsWith("at.") ? "0" : ""));
    if (each.type === "checkbox") each.checked = value === each.value;
    else if (each.type === "range") {
      const counts = ["0", ...evaluatedLoops(sweep)];
      each.closest("label").hidden = counts.length < 3 || get("y") === "loss";
      Object.assign(each, { max: counts.length - 1, value: Math.max(0, counts.indexOf(value)) });
      const text = value === "0" ? "R, as trained" : plural(Number(value), "loop");
      each.setAttribute("aria-valuetext", text);
      each.nextElementSibling.textContent = text;
    } else if (each.value !== value) each.value = value;
  }
  const parts = sweep ? curvesView(sweep).groups.map((group) => group.id) : [];
  for (const box of root.querySelectorAll("[data-list=split]")) box.checked = parts.includes(box.value);
}

function draw() {
  const sweep = shownSweep();
  for (const article of document.querySelectorAll("article.sweep")) article.hidden = article.dataset.sweep !== sweep?.id;
  for (const link of document.querySelectorAll("a[data-sweep]")) {
    if (link.dataset.sweep === sweep?.id) link.setAttribute("aria-current", "true");
    else link.removeAttribute("aria-current");
  }
  document.querySelectorAll("#claims, header").forEach((root) => showChoices(root, null));
  const article = sweep?.runs.length ? document.querySelector("article.sweep:not([hidden])") : null;
  drawClaims();
  if (!article) return;
  showChoices(article, sweep);
  drawDiagram(sweep, article);
  drawCurves(sweep, article);
  onDraw.forEach((draws) => draws(sweep, article));
}

document.addEventListener("input", ({ target }) => {
  const { key, list } = target.dataset;
  if (list) {
    const boxes = [...target.closest("fieldset").querySelectorAll(`[data-list=${list}]:checked`)];
    set({ [list]: boxes.map((box) => box.value) });
  } else if (key) {
    const value = target.type === "checkbox" ? (target.checked ? target.value : null)
      : target.type === "range" ? ["0", ...evaluatedLoops(shownSweep())][target.value] : target.value;
    set({ [key]: value });
  }
});
/** Goes to a place, in a sweep that may not be shown; the address keeps what is chosen. */
function goTo(place) {
  const article = place.closest("article.sweep[hidden]");
  if (article) {
    const kept = [...state].filter(([key]) => ["study", "verdict", "hold"].includes(key));
    state = new URLSearchParams([["sweep", article.dataset.sweep], ...kept]);
  }
  set({});
  place.scrollIntoView();
}

window.addEventListener("hashchange", () => {
  const place = placeOf();
  if (place) return goTo(place);
  const before = shownSweep();
  state = new URLSearchParams(location.hash.slice(1));
  draw();
  if (shownSweep() !== before) document.querySelector("article.sweep:not([hidden])").scrollIntoView();
});
window.addEventListener("resize", () => requestAnimationFrame(draw));
window.addEventListener("beforeprint", () => document.querySelectorAll("details").forEach((each) => (each.open = true)));
document.querySelectorAll("details[data-shut]").forEach((each) => (each.open = false));
window.report = {
  data, charts, get, all, set, el, embed, isNew, tell, ink, number, shown, share, plural,
  chosenCells, shownSweep, curvesView, linesOf, pointsOf,
  onDraw: (draws) => { onDraw.push(draws); draw(); },
};
draw();
if (placeOf()) goTo(placeOf());
drawAge();
setInterval(drawAge, 20000);
if (data.refresh) setInterval(() => get("hold") || location.reload(), data.refresh * 1000);
