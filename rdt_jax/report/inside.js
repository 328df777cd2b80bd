/* The section "Inside the transition": which rows of which view, at which stage.

   An entry of a view is the array of one run at one stage: `values`, flat, over `axes`.
   Axes of PLACES are drawn; of each other one, and of the stages, one value is picked. */

const { charts, chosenCells, csv, el, embed, get, isNew, number, onDraw, plural, set } = window.report;
const PLACES = ["x", "y", "line", "dash", "column"];
const MOST_CELLS = 6; // that are shown beside each other

const written = (value) => (typeof value === "number" ? number(Number(value.toPrecision(4))) : "");
const partOf = (root, name) => root.querySelector(`[data-part="inside-${name}"]`);

/** What is shown: a view with its entries, or the answers or numbers of one run. */
function chosenView(sweep, root) {
  const { views, answers, numbers } = sweep.inside;
  const names = [...root.querySelectorAll("[data-inside=view] option")].map((option) => option.value);
  const name = names.includes(get("in.view")) ? get("in.view") : names[0];
  const tables = {
    answers: { entries: answers, title: "Ten questions", note: "The same questions of the table for all runs, with the probability of each answer." },
    numbers: { entries: numbers, title: "Numbers", note: "What each stored analysis comes to, at every stage." },
  };
  return { name, isTable: name in tables, ...(tables[name] ?? views.find((view) => view.name === name)) };
}

/** The entries of the cells that are chosen, as far as there are any; else of the first. */
function shownEntries(sweep, view) {
  const cellOf = (entry) => sweep.runs[entry.run].cell;
  const known = [...new Set(view.entries.map(cellOf))].sort((a, b) => a - b);
  const chosen = chosenCells(sweep).filter((cell) => known.includes(cell));
  const cells = (chosen.length ? chosen : known).slice(0, MOST_CELLS);
  const entries = view.entries.filter((entry) => cells.includes(cellOf(entry))).sort((a, b) => cellOf(a) - cellOf(b));
  return { entries, cells, left: (chosen.length ? chosen : known).length - cells.length, lacking: chosenCells(sweep).length - chosen.length };
}

/** What is left to pick: [{key, words, values: [[value, words]]}]. */
function picksOf(sweep, view, entries) {
  const unique = (values) => [...new Set(values)].sort((a, b) => a - b);
  const stages = unique(entries.map((entry) => entry.stage)).map((stage) => [String(stage), sweep.inside.stages[stage]]);
  const picks = view.name === "numbers" ? [] : [{ key: "stage", words: "stage", values: stages, last: true }];
  (view.axes ?? []).forEach((axis, place) => {
    if (PLACES.includes(axis)) return;
    const values = [...new Set(entries.flatMap((entry) => entry.axes[place]))];
    const isText = typeof values[0] === "string";
    const listed = isText ? values : values.sort((a, b) => a - b);
    picks.push({ key: axis, words: axis, isText, last: ["loop", "step"].includes(axis), values: listed.map((value) => [String(value), isText ? value : number(value)]) });
  });
  return picks.map((pick) => {
    const asked = get(`in.${pick.key}`);
    const known = pick.values.map(([value]) => value);
    return { ...pick, value: known.includes(asked) ? asked : pick.last ? known.at(-1) : known[0] };
  });
}

/** Shows a slider for each pick of several values, or a list where they are words. */
function drawPicks(root, picks) {
  const node = partOf(root, "picks");
  const several = picks.filter((pick) => pick.values.length > 1);
  if (isNew(node, "picks", several.map(({ key, values }) => [key, values]))) {
    node.replaceChildren(...several.map((pick) => el("label", { class: "slider" }, pick.words, pick.isText
      ? el("select", { "data-inside": pick.key }, ...pick.values.map(([value, words]) => el("option", { value }, words)))
      : el("input", { type: "range", min: 0, max: pick.values.length - 1, "data-inside": pick.key, "data-values": JSON.stringify(pick.values.map(([value]) => value)) }),
    pick.isText ? "" : el("output"))));
  }
  for (const pick of several) {
    const control = node.querySelector(`[data-inside="${pick.key}"]`);
    const place = pick.values.findIndex(([value]) => value === pick.value);
    control.value = pick.isText ? pick.value : place;
    if (pick.isText) continue;
    control.setAttribute("aria-valuetext", pick.values[place][1]);
    control.nextElementSibling.textContent = pick.values[place][1];
  }
}

/** Lists the runs of the entries; charts may also show the medians over all of them. */
function drawRuns(sweep, root, view, entries) {
  const runs = [...new Set(entries.map((entry) => entry.run))];
  const names = runs.map((run) => [String(run), `${sweep.cells[sweep.runs[run].cell].label}, seed ${sweep.runs[run].seed} (${sweep.runs[run].id})`]);
  const options = view.isTable ? names : [["", "all runs: medians, lowest to highest"], ...names];
  const control = root.querySelector("[data-inside=run]");
  const known = options.map(([value]) => value);
  const run = known.includes(get("in.run")) ? get("in.run") : view.isTable ? known.at(-1) : known[0];
  if (isNew(control, "runs", options)) {
    control.replaceChildren(...options.map(([value, words]) => el("option", { value }, words)));
  }
  control.value = run;
  return run;
}

/** The array of an entry as rows: one of each axis, the value or null, and its place. */
function* rowsOf(view, entry) {
  const sizes = entry.axes.map((axis) => axis.length);
  for (const [index, value] of entry.values.entries()) {
    let rest = index;
    const row = { value };
    for (let axis = sizes.length - 1; axis >= 0; axis--) {
      const place = rest % sizes[axis];
      rest = (rest - place) / sizes[axis];
      row[view.axes[axis]] = entry.axes[axis][place];
      if (axis === sizes.length - 1) row.place = entry.places?.[place];
    }
    yield row;
  }
}

function drawChart(sweep, root, view, entries, picks) {
  const node = partOf(root, "chart");
  const room = Math.round(root.clientWidth / 20) * 20;
  if (!isNew(node, "chart", view.name, entries.map(({ run, stage }) => [run, stage]), picks.map((pick) => pick.value), room)) return;
  const axes = picks.filter((pick) => pick.key !== "stage");
  const spec = structuredClone(charts[`inside.${view.name}`]);
  const isLog = spec.spec?.layer[0].encoding.x.scale?.type === "log"; // Without step 0.
  const runsOf = (cell) => new Set(entries.filter((entry) => sweep.runs[entry.run].cell === cell).map((entry) => entry.run)).size;
  const rows = entries.flatMap((entry) => {
    const { cell } = sweep.runs[entry.run];
    const label = { cell: `${sweep.cells[cell].label}, n = ${runsOf(cell)}` };
    const isShown = (row) => axes.every(({ key, value }) => String(row[key]) === value);
    const shown = [...rowsOf(view, entry)].filter(isShown).map((row) => ({ ...row, ...label }));
    if (!spec.columns) return shown; // Maps need a row for each field, also an empty one.
    const known = shown.filter((row) => row.value !== null && (row.x > 0 || !isLog));
    // A panel without ends has one that is not seen, or its scale would know no number.
    const ends = entry.ends?.length === 0 ? [known[0]?.x] : entry.ends ?? [];
    ends.forEach((end, place) => known[place] && Object.assign(known[place], { end, seen: entry.ends.length ? 1 : 0 }));
    return known;
  });
  if (spec.columns && !rows.some((row) => "end" in row)) spec.spec.layer = spec.spec.layer.filter(({ mark }) => mark.type !== "rule");
  const unique = (name) => [...new Set(rows.map((row) => row[name]))];
  if (spec.columns) {
    spec.facet.sort = unique("cell");
    spec.columns = Math.max(1, Math.min(spec.facet.sort.length, Math.floor(room / 260)));
    spec.spec.width = Math.min(320, Math.floor(room / spec.columns) - 70);
  } else {
    spec.facet.row.sort = unique("cell");
    spec.facet.column.sort = unique("column");
  }
  spec.description = `${view.title}, ${picks.map((pick) => `${pick.words} ${pick.values.find(([value]) => value === pick.value)[1]}`).join(", ")}`;
  embed(node, spec, { rows });
}

function answersTable(sweep, entry) {
  const loops = entry.answer[0].map((_, loop) => loop + 1);
  const { loops: trained } = sweep.runs[entry.run];
  const right = (loop) => entry.right.filter((row) => row[loop - 1]).length;
  const heading = (loop) => el("th", { scope: "col" }, `after ${plural(loop, "loop")}`, el("small", {}, `${right(loop)} of ${entry.right.length} right${loop === trained ? "; R, as trained" : ""}`));
  const cell = (row, loop) => {
    const isRight = entry.right[row][loop - 1];
    return el("td", { class: isRight ? "right" : "wrong" }, `${isRight ? "✓" : "✗"} `, el("span", { class: "unseen" }, isRight ? "right: " : "wrong: "),
      entry.answer[row][loop - 1] || "nothing", el("small", {}, ` ${(entry.probability[row][loop - 1] ?? 0).toFixed(2)}`));
  };
  return el("table", {},
    el("thead", {}, el("tr", {}, ...["question", "part", "right answer"].map((words) => el("th", { scope: "col" }, words)), ...loops.map(heading))),
    el("tbody", {}, ...entry.question.map((question, row) => el("tr", {}, el("th", { scope: "row" }, question),
      el("td", {}, entry.split[row]), el("td", {}, entry.target[row]), ...loops.map((loop) => cell(row, loop))))));
}

function numbersTable(sweep, entries) {
  const stages = [...new Set(entries.map((entry) => entry.stage))].sort((a, b) => a - b);
  const quantities = [...new Set(entries.flatMap((entry) => Object.keys(entry.numbers).map((name) => JSON.stringify([entry.what, name]))))].map(JSON.parse);
  const at = (stage, what, name) => entries.find((entry) => entry.stage === stage && entry.what === what && name in entry.numbers)?.numbers[name];
  return el("table", {},
    el("thead", {}, el("tr", {}, ...["analysis", "quantity"].map((words) => el("th", { scope: "col" }, words)),
      ...stages.map((stage) => el("th", { scope: "col", class: "number" }, sweep.inside.stages[stage])))),
    el("tbody", {}, ...quantities.map(([what, name]) => el("tr", {}, el("td", {}, what), el("th", { scope: "row" }, name),
      ...stages.map((stage) => el("td", { class: "number" }, written(at(stage, what, name))))))));
}

/** The header and the rows of what a view holds of the entries, for a file. */
function tableOf(sweep, view, entries) {
  const head = ["run_id", "cell", "seed", "stage", "step"];
  const where = ({ run, stage, step }) => [sweep.runs[run].id, sweep.cells[sweep.runs[run].cell].label, sweep.runs[run].seed, sweep.inside.stages[stage], step];
  if (view.name === "answers") {
    return [[...head, "question", "part", "target", "loops", "answer", "right", "probability"],
      entries.flatMap((entry) => entry.question.flatMap((question, row) => entry.answer[row].map((answer, loop) =>
        [...where(entry), question, entry.split[row], entry.target[row], loop + 1, answer, entry.right[row][loop], entry.probability[row][loop]])))];
  }
  if (view.name === "numbers") {
    return [[...head, "analysis", "quantity", "value"],
      entries.flatMap((entry) => Object.entries(entry.numbers).map(([name, value]) => [...where(entry), entry.what, name, value]))];
  }
  return [[...head, ...view.axes, "place", "value"],
    entries.flatMap((entry) => [...rowsOf(view, entry)].filter((row) => row.value !== null).map((row) => [...where(entry), ...view.axes.map((axis) => row[axis]), row.place, row.value]))];
}

function drawInside(sweep, article) {
  const root = article.querySelector(".inside:has([data-inside])");
  if (!root) return;
  const view = chosenView(sweep, root);
  const { entries, cells, left, lacking } = shownEntries(sweep, view);
  root.querySelector("[data-inside=view]").value = view.name;
  const run = drawRuns(sweep, root, view, entries);
  const ofRun = run === "" ? entries : entries.filter((entry) => String(entry.run) === run);
  const picks = picksOf(sweep, view, ofRun);
  drawPicks(root, picks);
  const stage = picks.find((pick) => pick.key === "stage")?.value;
  const shown = stage === undefined ? ofRun : ofRun.filter((entry) => String(entry.stage) === stage);
  const steps = [...new Set(shown.map((entry) => entry.step))].filter((step) => step !== null).sort((a, b) => a - b);
  const when = [...new Set([steps[0], steps.at(-1)])].filter(Number.isFinite).map(number).join(" to ");
  partOf(root, "note").textContent = [view.note,
    stage !== undefined && when && `${sweep.inside.stages[stage]}: after ${when} updates, ${plural(new Set(shown.map((entry) => entry.run)).size, "run")}.`,
    left > 0 && `${cells.length} of ${cells.length + left} cells; choose others in the phase diagram.`,
    lacking > 0 && `${plural(lacking, "chosen cell")} without this analysis.`].filter(Boolean).join(" ");
  partOf(root, "chart").hidden = view.isTable;
  partOf(root, "table").hidden = !view.isTable;
  if (!view.isTable) drawChart(sweep, root, view, shown, picks);
  else if (isNew(partOf(root, "table"), "table", view.name, run, stage)) {
    partOf(root, "table").replaceChildren(view.name === "answers" ? answersTable(sweep, shown[0]) : numbersTable(sweep, shown));
  }
  partOf(root, "csv").onclick = () => csv(`${sweep.name}-${view.name}`, ...tableOf(sweep, view, entries));
}

document.addEventListener("input", ({ target }) => {
  const { inside, values } = target.dataset;
  if (inside) set({ [`in.${inside}`]: values ? JSON.parse(values)[target.value] : target.value });
});
onDraw(drawInside);
