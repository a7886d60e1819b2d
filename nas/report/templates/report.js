// The report's script. REPORT holds the table of trials; every text of a study is set as text.
const OPTIONS = { responsive: true, displaylogo: false, modeBarButtonsToRemove: ["select2d", "lasso2d", "autoScale2d"] };
const NARROW = window.innerWidth < 640;
const PAGE = 25;  // rows of the table
const STEPS = 1000;  // of a slider

const byId = (id) => document.getElementById(id);
function element(tag, properties = {}, ...children) {
  const made = Object.assign(document.createElement(tag), properties);
  made.append(...children);
  return made;
}

// What the reader has chosen; it survives a reload in the history's entry, also from file://.
const state = {
  which: "", least: 0, most: STEPS, accuracy: 0, sort: 2, down: false, page: 0,
  compared: [], paused: false, hidden: {}, zoomed: {}, opened: [], top: 0, ...history.state,
};
function change(values) {
  Object.assign(state, values);
  update();
  save();
}
function save() {
  state.top = window.scrollY;
  state.opened = [...document.querySelectorAll("details")].map((one) => one.open);
  for (const box of document.querySelectorAll(".plot")) {
    if (box.data) state.hidden[box.id] = box.data.filter((t) => t.visible === "legendonly").map((t) => t.name);
  }
  history.replaceState(state, "");
}

// Figures: drawn when they come near the screen, so that a large report opens at once.
const originals = {};  // traces as they came, before they are filtered
let kept = null;  // numbers of the trials within the sliders; null: all
function show(id) {
  const box = byId(id);
  if (!box || box.dataset.shown) return;
  box.dataset.shown = "yes";
  const { data, layout } = PLOTS[id];
  originals[id] = data;
  if (NARROW) {  // a phone: smaller letters, no toolbar over the legend
    layout.font.size = 11;
    layout.margin.l = 44;
    layout.margin.r = 8;
    layout.hoverlabel.font.size = 11;
  }
  for (const trace of data) if (state.hidden[id]?.includes(trace.name)) trace.visible = "legendonly";
  layout.uirevision = "kept";
  const displayModeBar = !NARROW && (id.startsWith("front") || id === "curves");
  Plotly.newPlot(box, data.map(filtered), layout, { ...OPTIONS, displayModeBar }).then(() => {
    if (state.zoomed[id]) Plotly.relayout(box, state.zoomed[id]);
    box.on("plotly_relayout", (event) => {
      const ranges = Object.entries(event).filter(([name]) => name.includes(".range"));
      if (ranges.length) state.zoomed[id] = Object.fromEntries(ranges);
    });
    box.on("plotly_doubleclick", () => setTimeout(() => delete state.zoomed[id]));
    box.on("plotly_click", (event) => {
      const row = TRIALS.rows.find((one) => one.number === event.points[0].customdata);
      const drawing = row && byId("arch-" + row.id);
      if (!drawing) return;
      drawing.closest("details")?.setAttribute("open", "");
      location.hash = drawing.id;
    });
  });
}
function filtered(trace) {
  if (!kept || !trace.customdata || trace.type === "heatmap") return trace;
  const keep = (values) => values?.filter((_, i) => kept.has(trace.customdata[i]));
  const all = (values, names) => ({ ...values, ...Object.fromEntries(names.map((name) => [name, keep(values[name])])) });
  const bars = trace.error_y?.array && { error_y: all(trace.error_y, ["array", "arrayminus"]) };
  return { ...all(trace, ["x", "y", "text", "customdata"]), ...bars };
}

const percent = (share) => (100 * share).toFixed(2) + " %";
const chance = (share) => (100 * share).toFixed(0) + " %";
const range = ([low, high]) => `${(100 * low).toFixed(1)} to ${(100 * high).toFixed(1)}`;

// The table of trials.
const { rows, main } = TRIALS;
const cost = (row) => row.costs[main]?.[0];
const priced = rows.filter((row) => cost(row) > 0).sort((a, b) => cost(a) - cost(b));
const known = rows.map((row) => row.accuracy).filter((value) => value !== undefined);
const worst = Math.min(1, ...known), best = Math.max(0, ...known);
const COLUMNS = [
  { label: "compare" },
  { label: "network", key: (row) => row.id },
  ...TRIALS.costs.map((label, i) => ({ label, number: true, wide: i !== main, key: (row) => row.costs[i]?.[0] ?? Infinity })),
  { label: TRIALS.accuracy, number: true, wide: true, key: (row) => row.accuracy ?? -1 },
  { label: "estimate", number: true, key: (row) => row.estimate ?? row.accuracy ?? -1 },
  { label: "on the front", number: true, wide: true, key: (row) => row.onFront ?? -1 },
  { label: "epochs", number: true, wide: true, key: (row) => row.epochs ?? 0 },
  { label: "trial", number: true, wide: true, key: (row) => row.number },
  { label: "state", wide: true, key: (row) => row.state },
  { label: "" },
];
const FALLING = [TRIALS.accuracy, "estimate", "on the front"];  // sorted from the highest at first
const WHICH = {
  "the front": (row) => row.retrain,
  "trained to the end": (row) => row.state === "finished",
  "all trials": () => true,
};

function limits() {  // the sliders' values: costs on a log scale, accuracy from worst to best
  if (!priced.length) return null;
  const low = cost(priced[0]), high = cost(priced[priced.length - 1]);
  const at = (step) => low * (high / low) ** (step / STEPS);
  const [from, to] = [at(Math.min(state.least, state.most)), at(Math.max(state.least, state.most))];
  const accuracy = worst + (best - worst) * state.accuracy / STEPS;
  return { from: from * (1 - 1e-9), to: to * (1 + 1e-9), accuracy: accuracy - 1e-9 };  // rounding
}
function update() {
  const at = limits();
  const all = !at || (state.least === 0 && state.most === STEPS && state.accuracy === 0);
  const affordable = (row) => cost(row) >= at.from && cost(row) <= at.to;
  const within = (row) => all || (affordable(row) && (!state.accuracy || row.accuracy >= at.accuracy));
  if (at) {
    const inside = priced.filter(affordable);
    byId("costs").textContent = inside.length
      ? `${inside[0].costs[main][1]} to ${inside[inside.length - 1].costs[main][1]}` : "none";
    byId("least-accuracy").textContent = state.accuracy ? `at least ${percent(at.accuracy)}` : "any";
  }
  kept = all ? null : new Set(rows.filter(within).map((row) => row.number));
  for (const id of Object.keys(originals)) {
    const box = byId(id);
    if (id.startsWith("front") && box.data) {
      const visible = Object.fromEntries(box.data.map((trace) => [trace.name, trace.visible]));
      const traces = originals[id].map((trace) => ({ ...filtered(trace), visible: visible[trace.name] }));
      Plotly.react(box, traces, box.layout);
    }
  }
  const key = COLUMNS[state.sort].key, sign = state.down ? -1 : 1;
  const chosen = rows.filter((row) => within(row) && WHICH[state.which](row)).sort((a, b) => {
    const [x, y] = [key(a), key(b)];
    return sign * ((x > y) - (x < y)) || a.number - b.number;
  });
  state.page = Math.max(0, Math.min(state.page, Math.ceil(chosen.length / PAGE) - 1));
  const first = state.page * PAGE, page = chosen.slice(first, first + PAGE);
  byId("trials").tBodies[0].replaceChildren(...page.map(tableRow));
  byId("trials").tHead.rows[0].replaceChildren(...COLUMNS.map(heading));
  byId("shown").textContent = chosen.length
    ? `networks ${first + 1} to ${first + page.length} of ${chosen.length}` : "no network is within these limits";
  byId("previous").disabled = first === 0;
  byId("next").disabled = first + PAGE >= chosen.length;
  byId("pages").classList.toggle("single", chosen.length <= PAGE);
  compare();
}
function heading(column, position) {
  const cell = element("th", { className: look(column) });
  const sorted = position === state.sort, down = sorted ? !state.down : FALLING.includes(column.label);
  cell.ariaSort = sorted ? (state.down ? "descending" : "ascending") : "none";
  const text = column.label + (sorted ? (state.down ? "\u00a0▼" : "\u00a0▲") : "");
  if (!column.key) cell.append(element("span", { className: "wide" }, text));
  else cell.append(element("button", { onclick: () => change({ sort: position, page: 0, down }) }, text));
  return cell;
}
const look = (column) => [column.number && "n", column.wide && "wide"].filter(Boolean).join(" ");
function tableRow(row) {
  const box = element("input", {
    type: "checkbox", checked: state.compared.includes(row.number), ariaLabel: `compare ${row.id}`,
    onchange: () => {
      const others = state.compared.filter((number) => number !== row.number);
      change({ compared: box.checked ? [...others, row.number].slice(-2) : others });
    },
  });
  const name = element("code", {}, row.id);
  const network = row.retrain ? element("a", { href: "#arch-" + row.id }, name) : name;
  const copy = row.retrain ? element("button", { className: "copy", title: row.retrain }, "copy retrain") : "";
  if (copy) copy.dataset.copy = row.retrain;
  const cells = [
    element("label", { className: "touch" }, box),
    element("span", {}, network, row.knee ? element("b", { className: "badge" }, "knee") : "",
      element("small", { className: "narrow-only" }, row.state)),
    ...row.costs.map((one) => one?.[1] ?? ""),
    row.accuracy === undefined ? "" : percent(row.accuracy),
    estimated(row),
    row.onFront === undefined ? "" : chance(row.onFront),
    row.epochs ?? "", row.number, row.state, copy,
  ];
  return element("tr", { className: row.knee ? "knee" : "" },
    ...cells.map((content, i) => element("td", { className: look(COLUMNS[i]) }, content)));
}

function estimated(row) {  // a narrow page has no column for the measurement
  if (row.accuracy === undefined) return "";
  const measured = ["measured", percent(row.accuracy)].map((text) => element("small", { className: "narrow-only" }, text));
  return element("span", {}, row.estimate === undefined ? "" : percent(row.estimate),
    row.interval ? element("small", {}, range(row.interval)) : "", ...measured);
}

// Two networks side by side; what differs is marked.
function compare() {
  const pair = state.compared.map((number) => rows.find((row) => row.number === number)).filter(Boolean);
  const place = byId("comparison");
  byId("comparison-hint").hidden = pair.length === 2;
  if (pair.length < 2) return place.replaceChildren();
  const [a, b] = pair;
  const lines = [];
  const add = (label, texts, drawings = ["", ""], note = "") => lines.push(
    element("tr", { className: texts[0] === texts[1] ? "" : "differs" }, element("th", {}, label),
      ...texts.map((text, i) => element("td", {}, drawings[i], element("span", {}, text),
        i && note ? element("small", {}, note) : ""))));
  const gap = (key) => {
    const points = 100 * (b[key] - a[key]);
    return points ? `${points > 0 ? "+" : "−"}${Math.abs(points).toFixed(2)} points` : "";
  };
  const within = (row) => (row.interval ? ` (${range(row.interval)})` : "");
  add(TRIALS.accuracy, pair.map((row) => (row.accuracy === undefined ? "–" : percent(row.accuracy))), undefined, gap("accuracy"));
  if (pair.some((row) => row.interval || row.estimate)) {
    add("estimate", pair.map((row) => (row.estimate === undefined ? "–" : percent(row.estimate)) + within(row)), undefined, gap("estimate"));
    add("on the front", pair.map((row) => (row.onFront === undefined ? "–" : chance(row.onFront))));
  }
  TRIALS.costs.forEach((label, i) => {
    const [x, y] = pair.map((row) => row.costs[i]);
    add(label, [x?.[1] ?? "–", y?.[1] ?? "–"], undefined, x && y && x[0] !== y[0] ? `${(y[0] / x[0]).toFixed(2)} times` : "");
  });
  add("epochs", pair.map((row) => String(row.epochs ?? "–")));
  add("state", pair.map((row) => row.state));
  const archs = pair.map((row) => row.arch ?? []);
  const widest = Math.max(1, ...archs.flatMap(([stem, ...stages]) => [stem ?? 0, ...stages.map((s) => s[1])]));
  add("stem", archs.map((arch) => arch.length ? `${arch[0]} channels` : "–"));
  for (let i = 1; i < Math.max(archs[0].length, archs[1].length); i++) {
    const stages = archs.map((arch) => arch[i]);
    add(`stage ${i}`, stages.map(stageText), stages.map((stage) => (stage ? drawStage(stage, widest) : "")));
  }
  const head = element("tr", {}, element("th"), ...pair.map((row) => element("th", {}, element("code", {}, row.id), ` trial ${row.number}`)));
  place.replaceChildren(element("h3", {}, "Side by side"),
    element("table", { className: "side" }, element("thead", {}, head), element("tbody", {}, ...lines)));
}
function stageText(stage) {
  if (!stage) return "–";
  const [repeats, width, stride, expansion, p, hidden] = stage;
  return `${repeats} × ${width} channels${stride > 1 ? ` /${stride}` : ""}, `
    + `${expansion === "dct" ? "DCT" : expansion}, p ${p}${hidden === null ? "" : `, ${hidden} hidden`}`;
}
function drawStage([repeats, width, , expansion], widest) {  // a bar for each block, as in the drawings
  const drawing = element("div", { className: "blocks", ariaHidden: "true" });
  const style = `height:${Math.max(6, 40 * Math.sqrt(width / widest))}px`;
  for (let i = 0; i < repeats; i++) drawing.append(element("i", { className: expansion, style }));
  return drawing;
}

// Copying, also where the clipboard is refused: then the command is there to be selected.
document.addEventListener("click", async ({ target }) => {
  const text = target.dataset?.copy;
  if (!text) return;
  let copied = true;
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    const box = element("textarea", { value: text, readOnly: true, className: "by-hand", rows: 3 });
    target.after(box);
    box.select();
    copied = document.execCommand("copy");
    if (copied) box.remove();
  }
  target.textContent = copied ? "copied" : "copy it by hand:";
});

if (byId("trials")) {
  const options = Object.keys(WHICH).filter((name) => rows.some(WHICH[name]));
  byId("which").replaceChildren(...options.map((name) => element("option", {}, name)));
  if (!options.includes(state.which)) state.which = options[0];
  let later;
  for (const name of ["which", "least", "most", "accuracy"]) {
    const input = Object.assign(byId(name), { value: state[name] });
    const slider = input.type === "range";
    input.addEventListener(slider ? "input" : "change", () => {
      const value = slider ? Number(input.value) : input.value;
      Object.assign(state, { [name]: value, page: 0 });
      clearTimeout(later);
      later = setTimeout(change, 60);
    });
  }
  for (const [id, step] of [["previous", -1], ["next", 1]]) {
    byId(id).addEventListener("click", () => change({ page: state.page + step }));
  }
  update();
}

const watch = new IntersectionObserver((entries) => {
  for (const entry of entries) if (entry.isIntersecting) show(entry.target.id);
}, { rootMargin: "600px" });
for (const id of Object.keys(PLOTS)) {
  byId(id).style.minHeight = PLOTS[id].layout.height + "px";
  watch.observe(byId(id));
}
window.addEventListener("beforeprint", () => Object.keys(PLOTS).forEach(show));

// While the search runs the page reloads itself, less often the longer nothing has ended.
document.querySelectorAll("details").forEach((one, i) => { one.open = state.opened[i] ?? one.open; });
if (history.scrollRestoration === "manual") window.scrollTo({ top: state.top, behavior: "instant" });
history.scrollRestoration = "auto";
if (byId("running")) {
  const written = new Date(document.lastModified);
  byId("written").textContent = written.toLocaleTimeString();
  byId("paused").checked = state.paused;
  byId("paused").addEventListener("change", (event) => { state.paused = event.target.checked; save(); });
  let pressed = false;
  for (const kind of ["pointerdown", "pointerup"]) {
    window.addEventListener(kind, () => { pressed = kind === "pointerdown"; });
  }
  const again = () => {
    const age = (Date.now() - written) / 1000;
    setTimeout(() => {
      if (state.paused || pressed || document.hidden) return again();
      save();
      history.scrollRestoration = "manual";
      location.reload();
    }, 1000 * Math.min(300, Math.max(RELOAD, age / 4)));
  };
  again();
}
