// Queries: a pixel, a rectangle, a painted region, or a word, as views and links hold them in JSON:
//
//   { kind: "pixel", point: [row, column] }                 points are [row, column] in 0..1 of the picture
//   { kind: "box", from: [row, column], to: [row, column] }
//   { kind: "region", grid: [h, w], mask: base64url of h·w bits, row by row, highest bit first }
//   { kind: "word", text, nth, of, encoder }                see captions.js; the last three may be left out
//
// A query is never changed, only replaced, so that results can be cached with it.

export const MAX_PINS = 4;
export const DIFFERENCE = "difference"; // in place of a branch: the last of two minus the first
const MAX_MASK = 256; // pixels per side
const MAX_WORD = 100; // characters
const WORD_KINDS = ["word", "start", "end", "padding", "image prompt", "objects", "number"];

// Returns the query; throws an Error to show to the user if it is not valid.
export function checkQuery(query) {
  const isPoint = (value) => Array.isArray(value) && value.length === 2 && value.every((v) => v >= 0 && v <= 1);
  const { kind, point, from, to, grid, mask } = query || {};
  if (kind === "pixel" && isPoint(point)) return query;
  if (kind === "box" && isPoint(from) && isPoint(to) && from[0] < to[0] && from[1] < to[1]) return query;
  if (kind === "region" && Array.isArray(grid) && grid.length === 2 && typeof mask === "string") {
    const fits = grid.every((n) => Number.isInteger(n) && n > 0 && n <= MAX_MASK);
    if (fits && decodeMask(query).includes(1)) return query;
  }
  if (kind === "word" && isWordOfView(query)) return query;
  throw new Error("This view contains a query that is neither a word nor a pixel, a rectangle or a region of the picture.");
}

function isWordOfView({ text, nth = 0, of = "word", encoder = 0 }) {
  const counts = [nth, encoder].every((number) => Number.isInteger(number) && number >= 0);
  return typeof text === "string" && text.length > 0 && text.length <= MAX_WORD && counts && WORD_KINDS.includes(of);
}

export const isWordQuery = ({ kind }) => kind === "word";

// The query of a view: the active pin, or the pixel under the pointer.
export const queryOf = ({ pins, active, point }) => (active >= 0 && pins?.[active]) || { kind: "pixel", point };

// Whether a map is a row or a column. What pixels spend on a word, and where it is used, is its column; what it looks at, its row.
export function modeOf(query, { mode, reading }) {
  if (!isWordQuery(query)) return mode;
  return reading === "looks" ? "row" : "column";
}

// Which layers can answer a query: those whose keys hold "pixels" or "words", or in which words look, too: "asking".
export const needOf = (query, { reading }) => (!isWordQuery(query) ? "pixels" : reading === "looks" ? "asking" : "words");

// The rows of a query's atlas: the layers that can answer it. If none can, as in a recording without words, they are those for
// pixels, without maps.
export function layersFor(trace, query, view) {
  const able = { pixels: trace.layers, words: trace.wordLayers, asking: trace.askingLayers }[needOf(query, view)];
  return able.length ? able : trace.layers;
}

const partners = new WeakMap(); // {layer: {need: layer}}

// The layer in which a query is asked while `layer` is chosen: that one if it can answer; otherwise its partner in the same
// block, a layer of the same grid, or the last.
export function layerFor(trace, layer, query, view) {
  const need = needOf(query, view);
  if (!partners.has(layer)) partners.set(layer, {});
  const known = partners.get(layer);
  if (need in known) return known[need];
  const candidates = layersFor(trace, query, view);
  const block = ({ name }) => name.replace(/\battn\d+\b/, "attn");
  const isAlike = ({ height, width }) => height === layer.height && width === layer.width;
  const byDistance = [...candidates].sort((a, b) => Math.abs(a.index - layer.index) - Math.abs(b.index - layer.index));
  known[need] =
    candidates.find((other) => other === layer) ??
    candidates.find((other) => block(other) === block(layer)) ??
    byDistance.find(isAlike) ??
    candidates[candidates.length - 1];
  return known[need];
}

const masks = new WeakMap(); // {query: its mask}

// The mask of a region: one byte per pixel, 0 or 1.
export function decodeMask(query) {
  if (masks.has(query)) return masks.get(query);
  const [height, width] = query.grid;
  const mask = new Uint8Array(height * width);
  let bytes = "";
  try {
    bytes = atob(query.mask.replaceAll("-", "+").replaceAll("_", "/"));
  } catch {
    return mask; // not base64: an empty mask, which checkQuery rejects
  }
  if (bytes.length !== Math.ceil(mask.length / 8)) return mask;
  for (let i = 0; i < mask.length; i++) mask[i] = (bytes.charCodeAt(i >> 3) >> (7 - (i & 7))) & 1;
  masks.set(query, mask);
  return mask;
}

export function encodeMask(mask, grid) {
  const bytes = new Uint8Array(Math.ceil(mask.length / 8));
  mask.forEach((on, i) => (bytes[i >> 3] |= (on ? 1 : 0) << (7 - (i & 7))));
  const text = btoa(String.fromCharCode(...bytes)).replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", "");
  return { kind: "region", grid, mask: text };
}

export function boxBetween(a, b) {
  const from = [Math.min(a[0], b[0]), Math.min(a[1], b[1])];
  return { kind: "box", from, to: [Math.max(a[0], b[0]), Math.max(a[1], b[1])] };
}

export function tokenAt({ height, width }, [down, across]) {
  const row = Math.min(height - 1, Math.floor(down * height));
  return row * width + Math.min(width - 1, Math.floor(across * width));
}

// Divides 0..1 into `cells` equal parts; returns the share of each part that lies between `from` and `to`.
export function overlaps(cells, from, to) {
  const share = (i) => Math.max(0, Math.min(to * cells, i + 1) - Math.max(from * cells, i));
  return Float64Array.from({ length: cells }, (_, i) => share(i));
}

// The share of each cell of a grid that a rectangle or region covers: h·w numbers in 0..1.
export function coverage(query, { height, width }) {
  const covered = new Float64Array(height * width);
  const add = (down, across) => {
    down.forEach((a, y) => a && across.forEach((b, x) => (covered[y * width + x] += a * b)));
  };
  if (query.kind === "box") {
    add(overlaps(height, query.from[0], query.to[0]), overlaps(width, query.from[1], query.to[1]));
    return covered;
  }
  const [rows, columns] = query.grid;
  const mask = decodeMask(query);
  const across = Array.from({ length: columns }, (_, x) => overlaps(width, x / columns, (x + 1) / columns));
  for (let y = 0; y < rows; y++) {
    const down = overlaps(height, y / rows, (y + 1) / rows);
    const strip = new Float64Array(width);
    for (let x = 0; x < columns; x++) if (mask[y * columns + x]) across[x].forEach((b, i) => (strip[i] += b));
    add(down, strip);
  }
  return covered;
}

// The grid on which a query chooses cells: that of the layer's queries for rows, of its keys for columns.
export const queryGrid = (layer, mode) => (mode === "column" ? layer.keyGrid : layer);

// The grid of a layer's maps: that of its keys for rows, of its queries for columns.
export const mapGrid = (layer, mode) => (mode === "column" ? layer : layer.keyGrid);

const cellsByQuery = new WeakMap(); // {query: {"height width": cells}}

// The cells on a grid of a query of the picture: { tokens, weights }; weights are proportional to the covered area and sum to 1.
export function cellsOf(query, grid) {
  if (query.kind === "pixel") return { tokens: [tokenAt(grid, query.point)], weights: [1] };
  if (!cellsByQuery.has(query)) cellsByQuery.set(query, new Map());
  const byGrid = cellsByQuery.get(query);
  const key = `${grid.height} ${grid.width}`;
  if (!byGrid.has(key)) {
    const covered = coverage(query, grid);
    const total = covered.reduce((a, b) => a + b, 0);
    const tokens = [...covered.keys()].filter((i) => covered[i] > 1e-9);
    byGrid.set(key, { tokens, weights: tokens.map((i) => covered[i] / total) });
  }
  return byGrid.get(key);
}

// The centre of a query's cells: [row, column] in cells of their grid.
export function middleOf({ tokens, weights }, { width }) {
  const sum = (coordinate) => tokens.reduce((total, token, i) => total + weights[i] * coordinate(token), 0);
  return [sum((token) => Math.floor(token / width)), sum((token) => token % width)];
}

// Moves a query by (down, right) cells of a grid, keeping it inside the picture.
export function shiftQuery(query, down, right, { height, width }) {
  const inside = (value, by, cells) => (Math.min(cells - 1, Math.max(0, Math.floor(value * cells) + by)) + 0.5) / cells;
  if (query.kind === "pixel") {
    return { kind: "pixel", point: [inside(query.point[0], down, height), inside(query.point[1], right, width)] };
  }
  if (query.kind === "box") {
    const by = (from, to, step) => Math.min(1 - to, Math.max(-from, step));
    const shift = [by(query.from[0], query.to[0], down / height), by(query.from[1], query.to[1], right / width)];
    return { kind: "box", from: query.from.map((v, i) => v + shift[i]), to: query.to.map((v, i) => v + shift[i]) };
  }
  return shiftMask(query, Math.round((down * query.grid[0]) / height), Math.round((right * query.grid[1]) / width));
}

function shiftMask(query, down, right) {
  const [height, width] = query.grid;
  const mask = decodeMask(query);
  const shifted = new Uint8Array(mask.length);
  for (let i = 0; i < mask.length; i++) {
    const [y, x] = [Math.floor(i / width) + down, (i % width) + right];
    if (mask[i] && (y < 0 || y >= height || x < 0 || x >= width)) return query; // part of it would leave the picture
    if (mask[i]) shifted[y * width + x] = 1;
  }
  return encodeMask(shifted, query.grid);
}
