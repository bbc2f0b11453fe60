// Describes maps in words and numbers. Nothing here touches the DOM.

import { nameOfWord } from "./captions.js";
import { DIFFERENCE, cellsOf, isWordQuery, mapGrid, middleOf, queryGrid, tokenAt } from "./query.js";
import { formatSigned, formatTimes } from "./scale.js";

// Measures a map in times uniform; `middle` is the query's centre, in cells of the map's grid; `size` the picture's, in pixels.
//
// Returns { peak, low: indices of cells; total: mean of the map; entropy: in bits; effective: 2^entropy; distance: in picture
// pixels, weighted by the map; share: half the sum of magnitudes, 0..1 }. Entropy is meaningless for a column.
export function measureMap(map, { tokens, height, width }, middle, size) {
  const cell = [size[0] / height, size[1] / width];
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
  const call = trace.calls?.get(step); // [i, n]: the i-th of n calls at one timestep
  return `step ${trace.steps[step]}${timestep ? `, t = ${timestep}` : ""}${call ? `, call ${call[0]} of ${call[1]}` : ""}`;
}

export function formatPlace({ width }, token) {
  return `row ${Math.floor(token / width)}, column ${token % width}`;
}

export function formatHead(layer, head) {
  return head < 0 ? `mean of ${layer.heads} heads` : `head ${Math.min(head, layer.heads - 1)}`;
}

export const formatGrid = ({ height, width }) => `${height}×${width}`;

const isSame = (grid, other) => grid.height === other.height && grid.width === other.width;

// How many of each kind: "77 words", "4 registers".
function formatKinds(kinds) {
  const names = {
    words: "word",
    registers: "register",
    "image prompt": "token of an image prompt",
    objects: "object",
    frames: "frame",
    unknown: "key of an unknown kind",
  };
  const plural = (name) => name.replace(/^\w+/, (word) => `${word}s`);
  return Object.entries(kinds).map(([kind, count]) => `${count} ${count > 1 ? plural(names[kind]) : names[kind]}`);
}

// "a, b and c"
export const joinWords = (texts) => (texts.length > 1 ? `${texts.slice(0, -1).join(", ")} and ${texts[texts.length - 1]}` : texts.join(""));

// What a layer's keys are: "self-attention · 32×32", "looks at 32×32 cells and 4 registers", "cross-attention · 32×32 cells look at
// 24 words".
export function formatKeys(layer) {
  const others = formatKinds(layer.otherKeys);
  if (!layer.keyGrid) return `cross-attention · ${formatGrid(layer)} cells look at ${joinWords(others)}`;
  const coarser = isSame(layer, layer.keyGrid) ? "" : " of a coarser map";
  if (!others.length && !coarser) return `self-attention · ${formatGrid(layer)}`;
  return `looks at ${joinWords([`${formatGrid(layer.keyGrid)} cells${coarser}`, ...others])}`;
}

// The same for a narrow column: "32×32", "32×32 → 16×16", "32×32 + 4"; "32×32 → words".
export function formatGrids(layer) {
  if (!layer.keyGrid) return `${formatGrid(layer)} → ${Object.keys(layer.otherKeys)[0]}`;
  const others = Object.values(layer.otherKeys).reduce((a, b) => a + b, 0);
  const coarser = isSame(layer, layer.keyGrid) ? "" : ` → ${formatGrid(layer.keyGrid)}`;
  return `${formatGrid(layer)}${coarser}${others ? ` + ${others}` : ""}`;
}

// The gaps of a layer, a line for each reason: "no map at steps 3 to 5 and 9: it did not run".
export function formatGaps(trace, layer) {
  const reasons = new Map();
  for (const [step, reason] of layer.gaps) reasons.set(reason, [...(reasons.get(reason) ?? []), trace.steps[step]]);
  return [...reasons].map(([reason, steps]) => `no map at ${formatSteps(steps)}: ${reason}`);
}

// "step 3", "steps 3 to 5 and 9"; `steps` in order.
function formatSteps(steps) {
  const runs = [];
  for (const step of steps) {
    const last = runs[runs.length - 1];
    if (last && last[1] === step - 1) last[1] = step;
    else runs.push([step, step]);
  }
  const texts = runs.flatMap(([from, to]) => (to - from > 1 ? [`${from} to ${to}`] : from === to ? [from] : [from, to]));
  return `${steps.length > 1 ? "steps" : "step"} ${joinWords(texts)}`;
}

// A pin's name: its query on a grid.
export function nameOf(query, grid) {
  if (isWordQuery(query)) return nameOfWord(query);
  if (query.kind === "pixel") return formatPlace(grid, tokenAt(grid, query.point));
  const { length } = cellsOf(query, grid).tokens;
  return `${query.kind === "box" ? "rectangle" : "region"}, ${length} cell${length > 1 ? "s" : ""}`;
}

export function shortNameOf(query, grid) {
  if (isWordQuery(query)) return query.text;
  const cells = cellsOf(query, grid).tokens;
  if (query.kind !== "pixel") return `${cells.length} cell${cells.length > 1 ? "s" : ""}`;
  return `${Math.floor(cells[0] / grid.width)}, ${cells[0] % grid.width}`;
}

// "The cell at …" or "On average, the 12 cells in the region …", with layer and step.
function subjectOf(trace, state, query, layer, cells) {
  const grid = queryGrid(layer, state.mode);
  const map = `${formatGrid(grid)} map, layer ${layer.label}, ${formatStep(trace, state.step)},`;
  if (query.kind === "pixel") return `The cell at ${formatPlace(grid, cells.tokens[0])} of the ${map}`;
  const shape = `in the ${query.kind === "box" ? "rectangle" : "region"} on the ${map}`;
  return isPlural(cells) ? `On average, the ${cells.tokens.length} cells ${shape}` : `The cell ${shape}`;
}

const isPlural = ({ tokens }) => tokens.length > 1;

// Describes the map of a query of the picture: { subject, where, parts, numbers }. `parts` complete the sentence, alternately plain
// and bold; `numbers` are [name, text]. Both are null if `map` is null, while it is being computed. At a `gap`, `parts` say why.
export function describeMap(trace, state, query, layer, map, gap = layer.gaps.get(state.step)) {
  const cells = cellsOf(query, queryGrid(layer, state.mode));
  const subject = subjectOf(trace, state, query, layer, cells);
  const where = `${layer.name}, ${formatKeys(layer)}, ${formatHead(layer, state.head)}`;
  if (gap) return { subject, where, parts: [`${isPlural(cells) ? "have" : "has"} no map: `, gap, "."], numbers: [] };
  if (!map) return { subject, where, parts: null, numbers: null };
  const [source, grid] = [queryGrid(layer, state.mode), mapGrid(layer, state.mode)];
  const middle = moveTo(middleOf(cells, source), source, grid);
  const measures = measureMap(map, grid, middle, trace.size);
  const offset = offsetOf(measures.peak, middle, grid);
  const kind = kindOf(state);
  const [describe, list] = {
    row: [describeRow, rowNumbers],
    column: [describeColumn, columnNumbers],
    difference: [describeDifference, differenceNumbers],
    branches: [describeBranches(trace.branches, state.mode), branchNumbers],
  }[kind];
  const parts = describe(map, { grid, cells: cellsOf(query, grid), isPlural: isPlural(cells), placeOf: placesOn(grid, source) }, measures);
  return { subject, where, parts, numbers: list(map, layer, measures, offset) };
}

function kindOf({ branch, mode, special }) {
  if (branch === DIFFERENCE) return "branches";
  return mode === "column" ? "column" : special ? "difference" : "row";
}

// A place in cells of one grid, in cells of another.
function moveTo(place, from, to) {
  if (isSame(from, to)) return place;
  return [((place[0] + 0.5) * to.height) / from.height - 0.5, ((place[1] + 0.5) * to.width) / from.width - 0.5];
}

// A function that names a cell of a map: with the map's grid if that is not the query's.
function placesOn(grid, source) {
  const suffix = isSame(grid, source) ? "" : ` of the ${formatGrid(grid)} map`;
  return (token) => formatPlace(grid, token) + suffix;
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
  const others = joinWords(formatKinds(layer.otherKeys));
  return [
    ...(others ? [[`on ${others}`, outside]] : []),
    ["peak, times uniform", formatTimes(map[measures.peak])],
    ["entropy", `${measures.entropy.toFixed(1)} bits`],
    ["effective number of keys", `${Math.round(measures.effective)} of ${layer.keyGrid.tokens}`],
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

function branchNumbers(map, layer, measures, offset) {
  return [
    ["largest gain", formatSigned(map[measures.peak])],
    ["largest loss", formatSigned(map[measures.low])],
    ["peak offset: Δrow, Δcolumn", offset],
  ];
}

// The rest of the sentence, in parts: plain, bold, plain, … `place` has the map's grid, the query's cells on it, whether the
// sentence is about several cells, and how to name a cell.
function describeRow(map, place, { peak }) {
  const { near, away } = surroundings(map, place);
  const [look, self] = place.isPlural ? ["look", "themselves and their neighbours"] : ["looks", "itself and its neighbours"];
  const most = `${formatTimes(map[peak])} chance`;
  if (map[peak] < 2) return [`${look} almost evenly everywhere (`, `${most} at most`, ")."];
  if (!near[peak]) return [`${look} mostly at ${place.placeOf(peak)}, `, most, "."];
  if (away < 0 || map[away] < 2) return [`${look} mostly at ${self}, `, most, "."];
  const far = `${formatTimes(map[away])} chance`;
  return [`${look} mostly at ${self} and, farther away, at ${place.placeOf(away)}, `, far, "."];
}

function describeColumn(map, place, { peak, total }) {
  const { near, away } = surroundings(map, place);
  const [are, they, self] = place.isPlural
    ? ["are", "they receive", "themselves and their neighbours"]
    : ["is", "it receives", "itself and its neighbours"];
  const rest = [`; in total ${they} `, `${formatTimes(total)} as much attention as an average cell`, "."];
  const most = `${formatTimes(map[peak])} chance`;
  if (map[peak] < 2) return [`${are} hardly looked at by any cell (`, `${most} at most`, `)${rest[0]}`, ...rest.slice(1)];
  if (!near[peak]) return [`${are} looked at most by ${place.placeOf(peak)}, `, most, ...rest];
  if (away < 0 || map[away] < 2) return [`${are} looked at most by ${self}, `, most, ...rest];
  const far = `${formatTimes(map[away])} chance`;
  return [`${are} looked at most by ${self} and, farther away, by ${place.placeOf(away)}, `, far, ...rest];
}

function describeDifference(map, { isPlural: several, placeOf }, { peak, low }) {
  const [more, less] = [peak, low].map(placeOf);
  return [
    `${several ? "look" : "looks"} more than others at ${more}, `,
    `${formatSigned(map[peak])} chance`,
    `, and less at ${less}, `,
    `${formatSigned(map[low])}`,
    ". “Others” means the average over all cells.",
  ];
}

const describeBranches = ([first, last], mode) =>
  function describe(map, { isPlural: several, placeOf }, { peak, low }) {
    const [more, less] = [peak, low].map(placeOf);
    const [looks, at] = mode === "column" ? [several ? "are looked at" : "is looked at", "by"] : [several ? "look" : "looks", "at"];
    return [
      `${looks} more in the ${last} branch than in the ${first} one ${at} ${more}, `,
      formatSigned(map[peak]),
      `, and less ${at} ${less}, ${formatSigned(map[low])}.`,
    ];
  };

// Which cells are the query's or next to one of them, and the index of the largest value elsewhere (-1 for none).
function surroundings(map, { grid: { height, width, tokens }, cells }) {
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
