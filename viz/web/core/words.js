// Describes maps in words and numbers. Nothing here touches the DOM.

import { cellsOf, middleOf, tokenAt } from "./query.js";
import { formatSigned, formatTimes } from "./scale.js";

// Measures a map in times uniform; `middle` is the query's centre, in cells; `size` the picture's, in pixels.
//
// Returns { peak, low: indices of cells; total: mean of the map; entropy: in bits; effective: 2^entropy; distance: in picture
// pixels, weighted by the map; share: half the sum of magnitudes, 0..1 }. Entropy is meaningless for a column.
export function measureMap(map, layer, middle, size) {
  const { tokens, width } = layer;
  const cell = [size[0] / layer.height, size[1] / width];
  const measures = { peak: 0, low: 0, total: 0, entropy: 0, distance: 0, share: 0 };
  for (let i = 0; i < tokens; i++) {
    const weight = map[i] / tokens;
    measures.total += weight;
    measures.share += Math.abs(weight) / 2;
    if (weight > 0) measures.entropy -= weight * Math.log2(weight);
    const down = (Math.floor(i / width) - middle[0]) * cell[0];
    measures.distance += weight * Math.hypot(down, ((i % width) - middle[1]) * cell[1]);
    if (map[i] > map[measures.peak]) measures.peak = i;
    if (map[i] < map[measures.low]) measures.low = i;
  }
  measures.distance /= measures.total || 1;
  measures.effective = 2 ** measures.entropy;
  return measures;
}

export function formatTimestep(t) {
  return t === null ? "" : Number.isInteger(t) ? String(t) : t.toPrecision(3);
}

// A step's label on an axis: its timestep, or its index if there is none.
export const formatTick = (trace, step) => formatTimestep(trace.timesteps[step]) || String(trace.steps[step]);

export function formatStep(trace, step) {
  const timestep = formatTimestep(trace.timesteps[step]);
  return `step ${trace.steps[step]}${timestep ? `, t = ${timestep}` : ""}`;
}

export function formatPlace({ width }, token) {
  return `row ${Math.floor(token / width)}, column ${token % width}`;
}

export function formatHead(layer, head) {
  return head < 0 ? `mean of ${layer.heads} heads` : `head ${Math.min(head, layer.heads - 1)}`;
}

// A pin's name: its query on this layer's grid.
export function nameOf(query, layer) {
  if (query.kind === "pixel") return formatPlace(layer, tokenAt(layer, query.point));
  const { length } = cellsOf(query, layer).tokens;
  return `${query.kind === "box" ? "rectangle" : "region"}, ${length} cell${length > 1 ? "s" : ""}`;
}

export function shortNameOf(query, layer) {
  const cells = cellsOf(query, layer).tokens;
  if (query.kind !== "pixel") return `${cells.length} cell${cells.length > 1 ? "s" : ""}`;
  return `${Math.floor(cells[0] / layer.width)}, ${cells[0] % layer.width}`;
}

// "The cell at …" or "On average, the 12 cells in the region …", with layer and step.
function subjectOf(trace, state, query, layer, cells) {
  const grid = `${layer.height}×${layer.width} map, layer ${layer.label}, ${formatStep(trace, state.step)},`;
  if (query.kind === "pixel") return `The cell at ${formatPlace(layer, cells.tokens[0])} of the ${grid}`;
  const shape = `in the ${query.kind === "box" ? "rectangle" : "region"} on the ${grid}`;
  return isPlural(cells) ? `On average, the ${cells.tokens.length} cells ${shape}` : `The cell ${shape}`;
}

const isPlural = ({ tokens }) => tokens.length > 1;

// Describes the chosen map: { subject, where, parts, numbers }. `parts` complete the sentence, alternately plain and bold;
// `numbers` are [name, text]. Both are null if `map` is null, while it is being computed.
export function describeMap(trace, state, query, map) {
  const layer = trace.layers[state.layer];
  const cells = cellsOf(query, layer);
  const subject = subjectOf(trace, state, query, layer, cells);
  const where = `${layer.name}, ${formatHead(layer, state.head)}`;
  if (!map) return { subject, where, parts: null, numbers: null };
  const middle = middleOf(cells, layer);
  const measures = measureMap(map, layer, middle, trace.size);
  const offset = offsetOf(measures.peak, middle, layer);
  const kind = state.mode === "column" ? "column" : state.special ? "difference" : "row";
  const [describe, list] = {
    row: [describeRow, rowNumbers],
    column: [describeColumn, columnNumbers],
    difference: [describeDifference, differenceNumbers],
  }[kind];
  return { subject, where, parts: describe(map, layer, cells, measures), numbers: list(map, layer, measures, offset) };
}

// The offset of the peak from the query, in cells: rows down, columns to the right.
function offsetOf(peak, middle, { width }) {
  const signed = (cells) => {
    const n = Number(cells.toFixed(1));
    return `${n > 0 ? "+" : n < 0 ? "−" : ""}${Math.abs(n)}`;
  };
  return `${signed(Math.floor(peak / width) - middle[0])}, ${signed((peak % width) - middle[1])}`;
}

function rowNumbers(map, layer, measures, offset) {
  const outside = `${Math.round(100 * (1 - measures.total))}%`;
  const others = layer.extra > 1 ? "keys that are not cells" : "key that is not a cell";
  return [
    ...(layer.extra ? [[`on ${layer.extra} ${others}`, outside]] : []),
    ["peak, times uniform", formatTimes(map[measures.peak])],
    ["entropy", `${measures.entropy.toFixed(1)} bits`],
    ["effective number of keys", `${Math.round(measures.effective)} of ${layer.tokens}`],
    ["mean distance", `${measures.distance.toFixed(1)} px`],
    ["peak offset: Δrow, Δcolumn", offset],
  ];
}

function columnNumbers(map, layer, measures, offset) {
  return [
    ["peak, times uniform", formatTimes(map[measures.peak])],
    ["received, × an average cell", formatTimes(measures.total)],
    ["mean distance, weighted", `${measures.distance.toFixed(1)} px`],
    ["peak offset: Δrow, Δcolumn", offset],
  ];
}

function differenceNumbers(map, layer, measures, offset) {
  return [
    ["largest excess over the average", formatSigned(map[measures.peak])],
    ["largest deficit", formatSigned(map[measures.low])],
    ["attention moved elsewhere", `${Math.round(100 * measures.share)}%`],
    ["peak offset: Δrow, Δcolumn", offset],
  ];
}

// The rest of the sentence, in parts: plain, bold, plain, …
function describeRow(map, layer, cells, { peak }) {
  const { near, away } = surroundings(map, layer, cells);
  const [look, self] = isPlural(cells) ? ["look", "themselves and their neighbours"] : ["looks", "itself and its neighbours"];
  const most = `${formatTimes(map[peak])} chance`;
  if (map[peak] < 2) return [`${look} almost evenly everywhere (`, `${most} at most`, ")."];
  if (!near[peak]) return [`${look} mostly at ${formatPlace(layer, peak)}, `, most, "."];
  if (away < 0 || map[away] < 2) return [`${look} mostly at ${self}, `, most, "."];
  const far = `${formatTimes(map[away])} chance`;
  return [`${look} mostly at ${self} and, farther away, at ${formatPlace(layer, away)}, `, far, "."];
}

function describeColumn(map, layer, cells, { peak, total }) {
  const { near, away } = surroundings(map, layer, cells);
  const [are, they, self] = isPlural(cells)
    ? ["are", "they receive", "themselves and their neighbours"]
    : ["is", "it receives", "itself and its neighbours"];
  const rest = [`; in total ${they} `, `${formatTimes(total)} as much attention as an average cell`, "."];
  const most = `${formatTimes(map[peak])} chance`;
  if (map[peak] < 2) return [`${are} hardly looked at by any cell (`, `${most} at most`, `)${rest[0]}`, ...rest.slice(1)];
  if (!near[peak]) return [`${are} looked at most by ${formatPlace(layer, peak)}, `, most, ...rest];
  if (away < 0 || map[away] < 2) return [`${are} looked at most by ${self}, `, most, ...rest];
  const far = `${formatTimes(map[away])} chance`;
  return [`${are} looked at most by ${self} and, farther away, by ${formatPlace(layer, away)}, `, far, ...rest];
}

function describeDifference(map, layer, cells, { peak, low }) {
  const [more, less] = [peak, low].map((token) => formatPlace(layer, token));
  return [
    `${isPlural(cells) ? "look" : "looks"} more than others at ${more}, `,
    `${formatSigned(map[peak])} chance`,
    `, and less at ${less}, `,
    `${formatSigned(map[low])}`,
    ". “Others” means the average over all cells.",
  ];
}

// Which cells are the query's or next to one of them, and the index of the largest value elsewhere (-1 for none).
function surroundings(map, { height, width, tokens }, cells) {
  const near = new Uint8Array(tokens);
  for (const token of cells.tokens) {
    const [row, column] = [Math.floor(token / width), token % width];
    for (let y = Math.max(0, row - 1); y <= Math.min(height - 1, row + 1); y++) {
      near.fill(1, y * width + Math.max(0, column - 1), y * width + Math.min(width, column + 2));
    }
  }
  let away = -1;
  for (let i = 0; i < tokens; i++) if (!near[i] && (away < 0 || map[i] > map[away])) away = i;
  return { near, away };
}
