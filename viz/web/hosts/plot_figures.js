// Draws the figures of the plots with Plotly, whose script is loaded when there is something to plot. Figures are Plotly's
// JSON, made by viz/plots.py. `plots` is what hosts/plots.js shares: { body, props, viewer, part }.

import { h, makeButton } from "../dom.js";
import { csvOf } from "../export/csv.js";
import { download } from "../export/files.js";

const ORDER = ["entropy", "received", "distance", "weight", "map"]; // of the figures on the page

let plotly = null; // a promise of Plotly

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
  const places = value.figures.map(({ key }) => figureNode(plots, key)); // all of them first: they share the width
  const keys = value.figures.map(({ key }) => key);
  for (const place of body.querySelectorAll(".pg-figure")) place.parentNode.hidden = !keys.includes(place.dataset.key);
  for (const [i, { key, figure }] of value.figures.entries()) {
    const place = places[i];
    const layout = styledLayout(plots, figure.layout, place);
    if (key !== "map") layout.shapes = lineAt(plots, viewer.viewNow().step);
    await Plotly.react(place, figure.data, layout, { responsive: true, displaylogo: false, displayModeBar: false });
    if (!place.wired) place.on("plotly_click", ({ points }) => key !== "map" && viewer.view({ step: points[0].x }));
    place.wired = true;
  }
  showMap(plots);
}

// The figures that are drawn, once more for their width and the page's colours.
export function restyleFigures(plots) {
  for (const { key, figure } of plots.props.value?.figures ?? []) {
    const place = drawnFigures(plots).find(({ dataset }) => dataset.key === key);
    const shapes = key === "map" ? [] : lineAt(plots, plots.viewer.viewNow().step);
    if (place) window.Plotly.relayout(place, { ...styledLayout(plots, figure.layout, place), shapes });
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
  for (const place of drawnFigures(plots)) {
    if (place.dataset.key !== "map") window.Plotly.relayout(place, { shapes: lineAt(plots, step) });
  }
}

// The chosen map changes with layer, step and head; its numbers are the viewer's own.
export async function showMap(plots) {
  const place = drawnFigures(plots).find(({ dataset }) => dataset.key === "map");
  const { viewer, props } = plots;
  const view = viewer.viewNow();
  if (!place || view.active < 0) return;
  const layer = viewer.trace.layers.find(({ name }) => name === view.layer);
  const step = viewer.trace.steps.indexOf(view.step);
  const known = await viewer.order([layer], [step]).then(() => true, () => false);
  if (!known || JSON.stringify(viewer.viewNow()) !== JSON.stringify(view)) return; // the view changed: its own call follows
  const map = viewer.mapOf(layer, step, view.head);
  const z = Array.from({ length: layer.height }, (_, y) => Array.from(map.subarray(y * layer.width, (y + 1) * layer.width)));
  const { sequential, diverging } = props.value;
  const [zmid, zmin, colorscale] = view.special && view.mode === "row" ? [0, null, diverging] : [null, 0, sequential];
  window.Plotly.restyle(place, { z: [z], zmid: [zmid], zmin: [zmin], colorscale: [colorscale] });
}

const drawnFigures = ({ body }) => Array.from(body.querySelectorAll(".pg-figure")).filter((place) => place.data);
const isNarrow = (place) => place.clientWidth < 480;
const colorOf = ({ body }, name) => getComputedStyle(body).getPropertyValue(name).trim();

function lineAt(plots, step) {
  const line = { color: colorOf(plots, "--pg-accent"), width: 2 };
  return [{ type: "line", xref: "x", yref: "paper", x0: step, x1: step, y0: 0, y1: 1, line }];
}

// A figure's layout in the page's colours, with fewer marks and the legend below where there is little room.
function styledLayout(plots, layout, place) {
  const [line, ink, surface] = ["--pg-line", "--pg-ink", "--pg-surface"].map((name) => colorOf(plots, name));
  const narrow = isNarrow(place);
  const ticks = layout.xaxis.tickvals && narrow ? everyThird(layout.xaxis) : {};
  const axis = { gridcolor: line, linecolor: line, zerolinecolor: line };
  return {
    ...layout,
    font: { ...layout.font, color: ink },
    xaxis: { ...layout.xaxis, ...axis, ...ticks },
    legend: { ...layout.legend, ...(narrow ? { orientation: "h", y: -0.34, yanchor: "top" } : {}) },
    yaxis: { ...layout.yaxis, ...axis },
    hoverlabel: { bgcolor: surface, font: { color: ink }, bordercolor: line },
    paper_bgcolor: surface,
    plot_bgcolor: surface,
  };
}

const everyThird = ({ tickvals, ticktext }) => ({
  tickvals: tickvals.filter((_, i) => i % 3 === 0),
  ticktext: ticktext.filter((_, i) => i % 3 === 0),
});

// The place of a figure, with buttons to save it; made when it is first needed.
function figureNode({ body, part }, key) {
  const existing = body.querySelector(`.pg-figure[data-key="${key}"]`);
  if (existing) return existing;
  const place = h("div", { class: "pg-figure" });
  place.dataset.key = key;
  const buttons = ["PNG", "SVG", "CSV"].map((kind) => {
    const onclick = () => saveFigure(place, key, kind.toLowerCase());
    return makeButton(kind, { class: "pg-toggle", "aria-label": `${key}, ${kind}`, onclick });
  });
  const holder = h("figure", { class: "pg-plot" }, place, h("div", { class: "pg-plot-buttons" }, ...buttons));
  const later = ORDER.slice(ORDER.indexOf(key) + 1);
  const next = Array.from(body.querySelectorAll(".pg-figure")).find(({ dataset }) => later.includes(dataset.key));
  if (next) next.parentNode.before(holder);
  else part("grid").append(holder);
  return place;
}

function saveFigure(place, key, kind) {
  const filename = `pixelgaze-${key}`;
  if (kind === "csv") return download(`${filename}.csv`, "text/csv", csvOf(place.data));
  const scale = kind === "png" ? 2 : 1;
  return window.Plotly.downloadImage(place, { format: kind, filename, width: 900, height: 560, scale });
}
