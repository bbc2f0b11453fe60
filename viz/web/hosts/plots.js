// The plots under the viewer: they follow the pin, not the mouse; the step on screen is a line that moves with it.
//
// Runs where Gradio gives `element, trigger, props, watch`. Figures are Plotly's JSON, made by viz/plots.py.

const body = element.querySelector(".pg-plots");
const part = (name) => body.querySelector(`.pg-${name}`);
let root = null; // the viewer's
let asked = ""; // what the figures were asked for,
let trace = null; // and of which trace
let question = null; // the next one, while another is being answered: Gradio would answer the older one twice
let answering = 0; // the number of the question that is being answered; 0 for none
let count = 0;
let timer = null;
let plotly = null; // a promise: loaded when there is something to plot

const node = (tag, className, text, parent) => {
  const made = document.createElement(tag);
  made.className = className;
  if (text !== undefined) made.textContent = text;
  parent.append(made);
  return made;
};

function load(url) {
  plotly ||= new Promise((done, fail) => {
    const script = document.createElement("script");
    Object.assign(script, { src: url, onload: () => done(window.Plotly), onerror: () => fail(new Error("Plotly did not load.")) });
    document.head.append(script);
  });
  return plotly;
}

// -- asking ----------------------------------------------------------------------------------------------------------

const choice = { lines: "layers", region: -1, outside: false };

function regionsOf({ pins, active }) {
  const whole = pins.map((pin, i) => i).filter((i) => pins[i].kind !== "pixel");
  return [...whole.filter((i) => i !== active), ...whole.filter((i) => i === active)]; // another one says more
}

function follow() {
  const view = root.viewer.viewNow();
  const pinned = view.active >= 0;
  part("unpinned").hidden = pinned;
  part("pinned").hidden = !pinned;
  if (!pinned) return;
  const regions = regionsOf(view);
  if (!regions.includes(choice.region)) choice.region = regions.length ? regions[0] : -1;
  showChoices(regions);
  moveStep(view);
  const { pins, active, mode, layer, head } = view;
  const wanted = { pins, active, mode, special: mode === "row" && view.special, head, ...choice };
  if (choice.lines === "heads") [wanted.layer, wanted.head] = [layer, -1];
  const key = JSON.stringify(wanted);
  clearTimeout(timer);
  timer = setTimeout(() => showMap(), 60);
  if (key === asked && root.viewer.trace === trace) return;
  [asked, trace] = [key, root.viewer.trace];
  question = { view, ...choice };
  ask();
}

function ask() {
  if (answering || !question) return;
  answering = ++count;
  trigger("pinned", { ...question, number: count });
  question = null;
  const mine = count;
  setTimeout(() => mine === answering && settle(mine), 30_000); // an answer that was lost
}

function settle(number) {
  if (number !== answering) return;
  answering = 0;
  ask();
}

function showChoices(regions) {
  for (const button of body.querySelectorAll("[data-lines]")) {
    button.setAttribute("aria-pressed", String(button.dataset.lines === choice.lines));
  }
  const select = part("regions");
  const options = regions.flatMap((i) => [
    [`${i} in`, `weight inside pin ${i + 1}`],
    [`${i} out`, `weight outside pin ${i + 1}`],
  ]);
  select.hidden = !options.length;
  select.replaceChildren();
  for (const [value, text] of options) Object.assign(node("option", "", text, select), { value });
  select.value = `${choice.region} ${choice.outside ? "out" : "in"}`;
  part("regionless").hidden = options.length > 0;
}

// -- drawing ---------------------------------------------------------------------------------------------------------

const color = (name) => getComputedStyle(body).getPropertyValue(name).trim();

function dressed(layout, place) {
  const narrow = isNarrow(place);
  const ticks = layout.xaxis.tickvals && narrow ? thinned(layout.xaxis) : {};
  const axis = { gridcolor: color("--pg-line"), linecolor: color("--pg-line"), zerolinecolor: color("--pg-line") };
  return {
    ...layout,
    font: { ...layout.font, color: color("--pg-ink") },
    xaxis: { ...layout.xaxis, ...axis, ...ticks },
    legend: { ...layout.legend, ...(narrow ? { orientation: "h", y: -0.34, yanchor: "top" } : {}) },
    yaxis: { ...layout.yaxis, ...axis },
    hoverlabel: { bgcolor: color("--pg-surface"), font: { color: color("--pg-ink") }, bordercolor: color("--pg-line") },
    paper_bgcolor: color("--pg-surface"),
    plot_bgcolor: color("--pg-surface"),
  };
}

const isNarrow = (place) => place.clientWidth < 480;

// The figures that are drawn, once more for their room and the page's colours.
function redress() {
  for (const { key, figure } of (props.value && props.value.figures) || []) {
    const place = figures().find(({ dataset }) => dataset.key === key);
    const shapes = key === "map" ? [] : lineAt(root.viewer.viewNow().step);
    if (place) window.Plotly.relayout(place, { ...dressed(figure.layout, place), shapes });
  }
}

// Every third mark, where there is no room for all.
const thinned = ({ tickvals, ticktext }) => ({
  tickvals: tickvals.filter((_, i) => i % 3 === 0),
  ticktext: ticktext.filter((_, i) => i % 3 === 0),
});

const lineAt = (step) => [
  { type: "line", xref: "x", yref: "paper", x0: step, x1: step, y0: 0, y1: 1, line: { color: color("--pg-accent"), width: 2 } },
];

const figures = () => Array.from(body.querySelectorAll(".pg-figure")).filter((figure) => figure.data);

function moveStep({ step }) {
  for (const figure of figures()) if (figure.dataset.key !== "map") window.Plotly.relayout(figure, { shapes: lineAt(step) });
}

// The chosen map changes with layer, step and head; its numbers are the viewer's own.
async function showMap() {
  const figure = figures().find(({ dataset }) => dataset.key === "map");
  const { viewer } = root;
  const view = viewer.viewNow();
  if (!figure || view.active < 0) return;
  const layer = viewer.trace.layers.find(({ name }) => name === view.layer);
  const there = await viewer.order([layer], [viewer.trace.steps.indexOf(view.step)]).then(() => true, () => false);
  if (!there || JSON.stringify(viewer.viewNow()) !== JSON.stringify(view)) return; // what is chosen now comes after
  const numbers = viewer.mapOf(layer, viewer.trace.steps.indexOf(view.step), view.head);
  const rowOf = (y) => Array.from(numbers.subarray(y * layer.width, (y + 1) * layer.width));
  const { sequential, diverging } = props.value;
  const special = view.special && view.mode === "row";
  const [zmid, zmin, colors] = special ? [0, null, diverging] : [null, 0, sequential];
  const z = Array.from({ length: layer.height }, (_, y) => rowOf(y));
  window.Plotly.restyle(figure, { z: [z], zmid: [zmid], zmin: [zmin], colorscale: [colors] });
}

async function draw() {
  const value = props.value;
  if (!value) return;
  part("note").textContent = value.note;
  if (!value.figures.length) return;
  const Plotly = await load(value.plotly.url);
  const places = value.figures.map(({ key }) => figureNode(key)); // all of them first: they share the width
  const kept = value.figures.map(({ key }) => key);
  for (const figure of body.querySelectorAll(".pg-figure")) figure.parentNode.hidden = !kept.includes(figure.dataset.key);
  for (const [i, { key, figure }] of value.figures.entries()) {
    const place = places[i];
    const layout = dressed(figure.layout, place);
    if (key !== "map") layout.shapes = lineAt(root.viewer.viewNow().step);
    await Plotly.react(place, figure.data, layout, { responsive: true, displaylogo: false, displayModeBar: false });
    if (!place.wired) place.on("plotly_click", ({ points }) => key !== "map" && root.viewer.view({ step: points[0].x }));
    place.wired = true;
  }
  showMap();
}

const KEYS = ["entropy", "received", "distance", "weight", "map"]; // in the order shown

function figureNode(key) {
  const found = body.querySelector(`.pg-figure[data-key="${key}"]`);
  if (found) return found;
  const holder = node("figure", "pg-plot", undefined, part("grid"));
  const later = KEYS.slice(KEYS.indexOf(key) + 1);
  const next = Array.from(body.querySelectorAll(".pg-figure")).find(({ dataset }) => later.includes(dataset.key));
  if (next) next.parentNode.before(holder);
  const place = node("div", "pg-figure", undefined, holder);
  place.dataset.key = key;
  const buttons = node("div", "pg-plot-buttons", undefined, holder);
  for (const kind of ["PNG", "SVG", "CSV"]) {
    const button = node("button", "pg-toggle", kind, buttons);
    button.type = "button";
    button.setAttribute("aria-label", `${key}, ${kind}`);
    button.addEventListener("click", () => take(place, key, kind.toLowerCase()));
  }
  return place;
}

// -- taking away -----------------------------------------------------------------------------------------------------

function take(place, key, kind) {
  const filename = `pixelgaze-${key}`;
  if (kind !== "csv") {
    return window.Plotly.downloadImage(place, { format: kind, filename, width: 900, height: 560, scale: kind === "png" ? 2 : 1 });
  }
  const address = URL.createObjectURL(new Blob([csvOf(place.data)], { type: "text/csv" }));
  const link = document.createElement("a");
  Object.assign(link, { href: address, download: `${filename}.csv` });
  link.click();
  setTimeout(() => URL.revokeObjectURL(address), 60_000);
}

// A cell that a spreadsheet might take for a formula begins with an apostrophe.
const cell = (value) => {
  if (typeof value === "number") return String(value);
  const text = /^[=+\-@\t\r]/.test(value) ? `'${value}` : String(value);
  return `"${text.replaceAll('"', '""')}"`;
};

function csvOf(data) {
  const lines =
    data[0].type === "heatmap"
      ? data[0].z.map((row) => Array.from(row))
      : [["step", ...data.map(({ meta }) => meta)], ...data[0].x.map((x, i) => [x, ...data.map(({ y }) => y[i])])];
  return lines.map((line) => line.map(cell).join(",")).join("\r\n") + "\r\n";
}

// -- wiring ----------------------------------------------------------------------------------------------------------

async function start() {
  while (!(root = document.querySelector("#viewer .pixelgaze"))?.viewer?.trace) {
    if (!element.isConnected) return;
    await new Promise((done) => setTimeout(done, 150));
  }
  for (const button of body.querySelectorAll("[data-lines]")) {
    button.addEventListener("click", () => ((choice.lines = button.dataset.lines), follow()));
  }
  part("regions").addEventListener("change", ({ target }) => {
    const [index, side] = target.value.split(" ");
    [choice.region, choice.outside] = [Number(index), side === "out"];
    follow();
  });
  root.viewer.onchange(follow);
  watch("value", () => {
    if (props.value) settle(props.value.number);
    draw();
  });
  new MutationObserver(redress).observe(document.body, { attributeFilter: ["class"] }); // light and dark
  let narrow = isNarrow(part("grid"));
  new ResizeObserver(() => {
    if (narrow === isNarrow(part("grid"))) return;
    narrow = !narrow;
    redress();
  }).observe(part("grid"));
  follow();
}

start();
