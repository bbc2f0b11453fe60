// Draws figures with Plotly, whose script is loaded when there is something to plot. Figures are Plotly's JSON, made by
// viz/plots.py. `plots` comes from plots.js: { body, props, viewer, part }.

import { h, makeButton } from "../dom.js";
import { csvOf } from "../export/csv.js";
import { download } from "../export/files.js";
import { queryGrid, queryOf } from "../core/query.js";
import { scaleOf } from "../core/scale.js";
import { formatHead, formatStep, nameOf } from "../core/words.js";

const ORDER = ["entropy", "received", "distance", "weight", "map"]; // of the figures on the page

let plotly = null; // a promise of the library

function loadPlotly(url) {
  plotly ||= new Promise((done, fail) => {
    const script = document.createElement("script");
    Object.assign(script, { src: url, onload: () => done(window.Plotly), onerror: () => fail(new Error("Plotly did not load.")) });
    document.head.append(script);
  });
  return plotly;
}

export async function drawFigures(plots) {
  const { body, props, viewer, part } = plots;
  const { value } = props;
  if (!value) return;
  part("note").textContent = value.note;
  if (!value.figures.length) return;
  const Plotly = await loadPlotly(value.plotly.url);
  const nodes = value.figures.map(({ key }) => figureNode(plots, key)); // all before the first is drawn: they share the width
  const keys = value.figures.map(({ key }) => key);
  for (const node of body.querySelectorAll(".pg-figure")) node.parentNode.hidden = !keys.includes(node.dataset.key);
  for (const [i, { key, figure }] of value.figures.entries()) {
    const node = nodes[i];
    const layout = styledLayout(plots, figure.layout, node);
    if (key !== "map") layout.shapes = lineAt(plots, viewer.viewNow().step);
    await Plotly.react(node, figure.data, layout, { responsive: true, displaylogo: false, displayModeBar: false });
    if (!node.wired) node.on("plotly_click", ({ points }) => key !== "map" && viewer.view({ step: points[0].x }));
    node.wired = true;
  }
  showMap(plots);
}

// Adapts the drawn figures to their width and the page's colours.
export function restyleFigures(plots) {
  for (const { key, figure } of plots.props.value?.figures ?? []) {
    const node = drawnFigures(plots).find(({ dataset }) => dataset.key === key);
    const shapes = key === "map" ? [] : lineAt(plots, plots.viewer.viewNow().step);
    if (node) window.Plotly.relayout(node, { ...styledLayout(plots, figure.layout, node), shapes });
  }
}

export function watchWidth(plots) {
  const grid = plots.part("grid");
  let narrow = isNarrow(grid);
  new ResizeObserver(() => {
    if (narrow === isNarrow(grid)) return;
    narrow = !narrow;
    restyleFigures(plots);
  }).observe(grid);
}

export function moveStep(plots, { step }) {
  for (const node of drawnFigures(plots)) {
    if (node.dataset.key !== "map") window.Plotly.relayout(node, { shapes: lineAt(plots, step) });
  }
}

// Updates the figure of the chosen map with the viewer's own numbers.
export async function showMap(plots) {
  const node = drawnFigures(plots).find(({ dataset }) => dataset.key === "map");
  const { viewer, props } = plots;
  const view = viewer.viewNow();
  if (!node || view.active < 0) return;
  const query = queryOf(view);
  const layer = viewer.layerOf(query);
  const step = viewer.trace.steps.indexOf(view.step);
  const isKnown = await viewer.order([layer], [step], [query]).then(() => true, () => false);
  if (!isKnown || JSON.stringify(viewer.viewNow()) !== JSON.stringify(view)) return; // the new view causes a call of its own
  const map = viewer.mapOf(layer, step, view.head, query);
  const { height, width } = viewer.gridOf(layer, query);
  const rowOf = (y) => (map ? Array.from(map.subarray(y * width, (y + 1) * width)) : Array(width).fill(null)); // at a gap
  const z = Array.from({ length: height }, (_, y) => rowOf(y));
  const { sequential, diverging } = props.value;
  const [zmid, zmin, colorscale] = scaleOf(view).special ? [0, null, diverging] : [null, 0, sequential];
  window.Plotly.restyle(node, { z: [z], zmid: [zmid], zmin: [zmin], colorscale: [colorscale] });
  window.Plotly.relayout(node, { "title.subtitle.text": subtitleOf(viewer, view, query, layer, step) });
}

// What the chosen map is of, for Plotly, which reads tags in its texts.
function subtitleOf({ trace }, view, query, layer, step) {
  const name = nameOf(query, layer.keyGrid ? queryGrid(layer, view.mode) : layer);
  const text = `Pin ${view.active + 1}, ${name}; ${layer.label}, ${formatHead(layer, view.head)}, ${formatStep(trace, step)}`;
  return text.slice(0, 120).replaceAll("&", "&amp;").replaceAll("<", "&lt;");
}

const drawnFigures = ({ body }) => Array.from(body.querySelectorAll(".pg-figure")).filter((node) => node.data);
const isNarrow = (node) => node.clientWidth < 480;
const colorOf = ({ body }, name) => getComputedStyle(body).getPropertyValue(name).trim();

function lineAt(plots, step) {
  const line = { color: colorOf(plots, "--pg-selection"), width: 2 };
  return [{ type: "line", xref: "x", yref: "paper", x0: step, x1: step, y0: 0, y1: 1, line }];
}

// A figure's layout in the page's colours; if it is narrow, with fewer ticks and the legend below.
function styledLayout(plots, layout, node) {
  const [line, ink, surface] = ["--pg-line", "--pg-ink", "--pg-surface"].map((name) => colorOf(plots, name));
  const narrow = isNarrow(node);
  const ticks = layout.xaxis.tickvals && narrow ? everyThird(layout.xaxis) : {};
  const axis = { gridcolor: line, linecolor: line, zerolinecolor: line };
  return {
    ...layout,
    font: { ...layout.font, color: ink },
    xaxis: { ...layout.xaxis, ...axis, ...ticks },
    legend: { ...layout.legend, ...(narrow ? { orientation: "h", y: -0.34, yanchor: "top" } : {}) },
    ...(layout.annotations ? namesOf(layout, narrow) : {}),
    yaxis: { ...layout.yaxis, ...axis },
    hoverlabel: { bgcolor: surface, font: { color: ink }, bordercolor: line },
    paper_bgcolor: surface,
    plot_bgcolor: surface,
  };
}

// Lines have their names at their ends, or where it is narrow, in a legend.
function namesOf({ annotations, margin }, narrow) {
  return narrow ? { annotations: [], showlegend: true, margin: { ...margin, r: 12 } } : { annotations, showlegend: false, margin };
}

const everyThird = ({ tickvals, ticktext }) => ({
  tickvals: tickvals.filter((_, i) => i % 3 === 0),
  ticktext: ticktext.filter((_, i) => i % 3 === 0),
});

// The node of a figure, with buttons to save it; created when first needed.
function figureNode({ body, part }, key) {
  const existing = body.querySelector(`.pg-figure[data-key="${key}"]`);
  if (existing) return existing;
  const node = h("div", { class: "pg-figure" });
  node.dataset.key = key;
  const buttons = ["PNG", "SVG", "CSV"].map((kind) => {
    const onclick = () => saveFigure(node, key, kind.toLowerCase());
    return makeButton(kind, { class: "pg-toggle", "aria-label": `${key}, ${kind}`, onclick });
  });
  const holder = h("figure", { class: "pg-plot" }, node, h("div", { class: "pg-plot-buttons" }, ...buttons));
  const later = ORDER.slice(ORDER.indexOf(key) + 1);
  const next = Array.from(body.querySelectorAll(".pg-figure")).find(({ dataset }) => later.includes(dataset.key));
  if (next) next.parentNode.before(holder);
  else part("grid").append(holder);
  return node;
}

function saveFigure(node, key, kind) {
  const { data, layout } = node;
  const about = Object.entries(layout.meta?.about ?? {}).filter(([name]) => name !== "layer");
  const words = about.map(([, text]) => text.toLowerCase().match(/[a-z0-9]+/g)?.join("-") ?? "");
  const filename = ["pixelgaze", key, ...words].join("-").slice(0, 100);
  if (kind === "csv") return download(`${filename}.csv`, "text/csv", csvOf(data, layout.meta));
  const scale = kind === "png" ? 2 : 1;
  const figure = { data, layout: { ...layout, shapes: [] } }; // without the line at the step on screen
  return window.Plotly.downloadImage(figure, { format: kind, filename, width: 900, height: 560, scale });
}
