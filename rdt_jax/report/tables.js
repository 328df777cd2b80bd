/* Tables of runs, what is known of a run, and the files one may take along. */

const {
  data, charts, get, set, el, embed, isNew, tell, ink, number, shown, share, plural,
  linesOf, curvesView, pointsOf, shownSweep, onDraw,
} = window.report;
const part = (article, name) => article.querySelector(`[data-part="${name}"]`);
const AT_END = " at the end";
const MOST_ROWS = 200; // of a table of runs; the CSV has all

function runColumns(sweep) {
  return [
    ["run", (run) => sweep.cells[run.cell].label], ["seed", (run) => run.seed],
    ["state", (run) => (run.reason && run.reason !== run.state ? `${run.state}: ${run.reason.replaceAll("_", " ")}` : run.state)],
    ...sweep.phases.map((phase) => [phase.words, (run) => run.phases[phase.name] ?? null]),
    ...sweep.groups.map((group) => [`${group.words}${AT_END}`, (run) => run.final[group.id] ?? null]),
  ];
}

function drawRuns(sweep, article) {
  const [node, sort] = [part(article, "runs"), get("sort")];
  const words = get("filter").toLowerCase().split(",").map((word) => word.trim());
  if (!isNew(node, "runs", sort, words, get("run"))) return;
  const columns = runColumns(sweep);
  const lines = sweep.runs.map((run) => ({ run, texts: columns.map(([, value]) => value(run)) }))
    .filter(({ run, texts }) => words.every((word) => [run.id, run.name, run.message, `seed ${run.seed}`, ...texts].join(" ").toLowerCase().includes(word)));
  const by = columns.findIndex(([name]) => name === sort.replace(/^-/, ""));
  const order = sort.startsWith("-") ? -1 : 1;
  const before = (a, b) => (typeof a === "number" && typeof b === "number" ? a - b : shown(a).localeCompare(shown(b), "en", { numeric: true }));
  if (by >= 0) {
    lines.sort((a, b) => (a.texts[by] === null) - (b.texts[by] === null) || order * before(a.texts[by], b.texts[by]));
  }
  const heads = columns.map(([name], i) => el("th", {
    scope: "col", class: i > 2 ? "number" : null,
    "aria-sort": i !== by ? null : order > 0 ? "ascending" : "descending",
  }, el("button", { type: "button", onclick: () => set({ sort: sort === name ? `-${name}` : name }) },
    ...(name.endsWith(AT_END) ? [name.slice(0, -AT_END.length), el("small", {}, AT_END)] : [name]))));
  const rows = lines.slice(0, MOST_ROWS).map(({ run, texts }) => el("tr", { class: run.id === get("run") ? "is-chosen" : null },
    el("th", { scope: "row" }, el("button", { type: "button", class: "link", onclick: () => set({ run: run.id }) }, texts[0]), el("small", {}, run.id)),
    ...texts.slice(1).map((value, i) => el("td", { class: i > 1 ? "number" : null },
      i < 2 ? shown(value) : i < 2 + sweep.phases.length ? (value === null ? "–" : number(value)) : share(value)))));
  node.replaceChildren(el("thead", {}, el("tr", {}, ...heads)), el("tbody", {}, ...rows));
  const rest = lines.length > MOST_ROWS ? `; the first ${MOST_ROWS} are listed` : "";
  part(article, "runs-count").textContent = `${number(lines.length)} of ${plural(sweep.runs.length, "run")}${rest}`;
}

const facts = (entries) => el("dl", { class: "facts" }, ...entries.filter(([, value]) => shown(value) !== "")
  .map(([key, value]) => el("div", {}, el("dt", {}, key), el("dd", {}, typeof value === "object" ? JSON.stringify(value) : `${value}`))));
const block = (title, ...children) => el("div", {}, el("h5", {}, title), ...children);

function drawRun(sweep, article) {
  const node = part(article, "run");
  const run = sweep.runs.find((each) => each.id === get("run"));
  const isFirst = !node.drawn; // The page has just been opened.
  if (!isNew(node, "run", run?.id)) return;
  if (!run) return node.replaceChildren();
  const cost = run.cost ?? {};
  const told = (value) => (value === null ? "None" : value === "" ? "''" : value);
  const differences = Object.entries(run.difference).map(([key, value]) => [key, told(value)]);
  const timeline = el("div", { class: "chart" });
  const copied = (text) => () => navigator.clipboard?.writeText(text).then(() => tell("Copied."));
  node.replaceChildren(
    el("h4", {}, `Run ${run.id}: ${sweep.cells[run.cell].label}, seed ${shown(run.seed)}`),
    run.message ? el("p", { class: "problem" }, run.message) : "",
    ...run.warnings.map((text) => el("p", { class: "problem" }, text)),
    run.events.length ? timeline : el("p", { class: "caption" }, "No phase has begun."),
    el("div", { class: "columns" },
      block(`Config, where it differs from ${run.preset || "the defaults"}`, differences.length ? facts(differences) : el("p", {}, "nowhere")),
      block("State and phases", facts([["state", runColumns(sweep)[2][1](run)],
        ...sweep.phases.map((phase) => [phase.words, run.phases[phase.name] == null ? "not completed" : `${number(run.phases[phase.name])} updates`]),
        ...sweep.groups.map((group) => [`${group.words}${AT_END}`, share(run.final[group.id])])])),
      block("Cost", facts([["FLOPs", cost.flops?.toExponential(2)], ["time", cost.seconds && `${number(Math.round(cost.seconds))} s`],
        ["updates per second", cost.updates_per_second?.toPrecision(3)], ["kept parameters", (run.checkpoints ?? []).join(", ")]])),
      block("Environment", facts(Object.entries(run.environment ?? {}).map(([key, value]) =>
        [key, Array.isArray(value) ? value.join(", ") : typeof value === "object" && value ? Object.entries(value).map((e) => e.join(" ")).join(", ") : value])))),
    block("Commands", el("ul", { class: "commands" }, ...run.commands.map(({ does, text }) => el("li", {}, el("span", {}, does),
      el("div", {}, el("pre", {}, text), el("button", { type: "button", class: "small", onclick: copied(text) }, "copy")))))),
  );
  if (run.events.length) drawTimeline(sweep, run, timeline);
  if (!isFirst) node.scrollIntoView({ block: "nearest" });
}

function drawTimeline(sweep, run, node) {
  const last = run.steps.at(-1) ?? 1;
  const bars = [];
  const marks = run.events.map((event) => {
    const phase = sweep.phases.find((each) => each.name === event.phase);
    const group = sweep.groups.find((each) => each.id === phase?.split);
    const color = group ? ink(group.color) : "var(--ink)";
    const row = phase?.words ?? event.phase ?? event.name;
    if (event.kind === "onset") {
      const end = run.events.find((other) => other.phase === event.phase && other.kind === "completed" && other.step >= event.step);
      bars.push({ phase: row, step: event.step, until: end?.step ?? last, color, dash: end ? [1, 0] : [4, 3] });
    }
    return { phase: row, step: event.step, hint: { event: event.name, at: `${number(event.step)} updates` }, color,
      fill: event.kind === "completed" ? color : "var(--paper)", spoken: `${event.name} at ${event.step}` };
  });
  const spec = structuredClone(charts.timeline);
  spec.height = 30 * new Set(marks.map((mark) => mark.phase)).size;
  spec.description = `events of run ${run.id}: ${marks.map((mark) => mark.spoken).join("; ")}`;
  for (const layer of spec.layer) layer.encoding.x.scale = { domain: [0, last], nice: false };
  embed(node, spec, { bars, marks });
}

// CSV.

/** Hands a table to the reader as a file. */
function csv(name, header, rows) {
  const quoted = (value) => (/[",\r\n]/.test(shown(value)) ? `"${shown(value).replaceAll('"', '""')}"` : shown(value));
  const text = [header, ...rows].map((row) => row.map(quoted).join(",")).join("\r\n") + "\r\n";
  const link = el("a", { href: URL.createObjectURL(new Blob([text], { type: "text/csv" })), download: `${name}.csv` });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
}

const axisValues = (sweep, cell) => sweep.axes.map((axis, i) => axis.values[cell.values[i]]);
const tables = {
  cells: (sweep) => [
    [...sweep.axes.map((axis) => axis.key), "runs", "unfinished", "failed",
      ...sweep.phases.flatMap(({ name }) => ["median", "text", "reached", "low", "high"].map((key) => `${name} ${key}`)),
      ...sweep.groups.flatMap(({ id }) => ["median", "low", "high"].map((key) => `${id} ${key}`))],
    sweep.cells.map((cell) => [...axisValues(sweep, cell), cell.runs.length, cell.unfinished, cell.failed,
      ...sweep.phases.flatMap(({ name }) => ["median", "text", "reached", "low", "high"].map((key) => cell.phases[name]?.[key])),
      ...sweep.groups.flatMap(({ id }) => ["median", "low", "high"].map((key) => cell.final[id]?.[key]))])],
  runs: (sweep) => [
    ["run_id", "name", ...sweep.axes.map((axis) => axis.key), "seed", "state", "reason", "message", "preset", "difference",
      ...sweep.phases.map((phase) => phase.name), ...sweep.groups.map((group) => group.id), "flops", "seconds", "updates_per_second"],
    sweep.runs.map((run) => [run.id, run.name, ...axisValues(sweep, sweep.cells[run.cell]), run.seed, run.state, run.reason, run.message,
      run.preset, JSON.stringify(run.difference), ...sweep.phases.map((phase) => run.phases[phase.name]),
      ...sweep.groups.map((group) => run.final[group.id]), run.cost?.flops, run.cost?.seconds, run.cost?.updates_per_second])],
  curves: (sweep) => {
    const view = curvesView(sweep);
    return [["run_id", "cell", "seed", "split", "quantity", "loops", "step", "value"],
      linesOf(sweep, view).flatMap((line) => pointsOf(line, { x: "linear" }).map((point) => [line.run.id, line.cell.label, line.run.seed,
        line.group.id, view.y, view.loops === "0" ? line.run.loops : view.loops, point.step, point.value]))];
  },
  claims: () => [
    ["sweep", "study", "verdict", "text", "expected", "measured", "source", "judged_by"],
    data.sweeps.flatMap((sweep) => sweep.claims.map((claim) => [sweep.name, claim.study, claim.verdict, claim.text, claim.expected,
      claim.measured, claim.source, claim.judged_by]))],
  provenance: () => [["sweep", "key", "value"],
    data.sweeps.flatMap((sweep) => Object.entries(sweep.provenance).map(([key, value]) => [sweep.name, key, JSON.stringify(value)]))],
};


document.addEventListener("click", ({ target }) => {
  const name = target.dataset?.csv;
  if (!name) return;
  const sweep = shownSweep();
  csv(["claims", "provenance"].includes(name) ? name : `${sweep.name}-${name}`, ...tables[name](sweep));
});
onDraw((sweep, article) => {
  drawRuns(sweep, article);
  drawRun(sweep, article);
});
window.report.csv = csv; // For inside.js.
