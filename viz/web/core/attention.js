// The arithmetic of attention: rows, columns and the mean row, in times uniform. Nothing here touches the DOM.
//
// A layer here has the fields of layer.js. q and k are the Q and K of one step, one head after another: (heads, queryCount,
// headDim) and (heads, keyCount, headDim). The cells are a run of these. Keys that are not cells take their share of a row and
// are not shown. Rows lie on the grid of the keys, columns on that of the queries. `cells` is { tokens, weights }: a query's
// cells as indices, and weights that sum to 1. q and k may be as a file holds them: see compact.js.
//
// Where WebAssembly has SIMD, simd.js does the same work five to ten times as fast. This is what it must agree with, and what
// takes its place elsewhere.
//
// A worker runs the same functions from their source text (see `workerSource`), so they may use only one another and the
// four variables below.

import { compactSource, floatsOf } from "./compact.js";
import { simdSource, startSimd } from "./simd.js";

let simd = startSimd();
let scores = new Float32Array(0);
const FRACTIONS = fractions();
const POWERS = powers();

// exp(x) for x <= 0 is computed as 2^whole · 2^fraction, both looked up: three times as fast as Math.exp, within 1e-4 of it.
function fractions() {
  return Float32Array.from({ length: 4096 }, (_, i) => 2 ** (i / 4096));
}

function powers() {
  return Float32Array.from({ length: 128 }, (_, i) => 2 ** (i - 127));
}

function exponential(x) {
  const n = Math.max(-127 * 4096, x * Math.LOG2E * 4096 - 0.5) | 0;
  return FRACTIONS[n & 4095] * POWERS[(n >> 12) + 127];
}

// Writes the scaled products of one vector with all `count` vectors of a head to `scores`; returns the largest.
function score({ headDim, scale }, vectors, count, vector, head) {
  if (scores.length < count) scores = new Float32Array(count);
  let best = -Infinity;
  let at = head * count * headDim;
  for (let token = 0; token < count; token++) {
    let a = 0;
    let b = 0;
    let i = 0;
    for (; i + 3 < headDim; i += 4, at += 4) {
      a += vector[i] * vectors[at] + vector[i + 1] * vectors[at + 1];
      b += vector[i + 2] * vectors[at + 2] + vector[i + 3] * vectors[at + 3];
    }
    for (; i < headDim; i++, at++) a += vector[i] * vectors[at];
    const product = (a + b) * scale;
    scores[token] = product;
    if (product > best) best = product;
  }
  return best;
}

// One of the `count` vectors of a head.
function vectorOf({ headDim }, vectors, count, token, head) {
  const at = (head * count + token) * headDim;
  return vectors.subarray(at, at + headDim);
}

// Turns `scores` into exp(score - best); returns their sum.
function exponentiate(count, best) {
  let sum = 0;
  for (let i = 0; i < count; i++) sum += scores[i] = exponential(scores[i] - best);
  return sum;
}

// Adds `weight` times a cell's row to `out`: softmax(q·K) times the number of keys that are cells.
function addRow(layer, q, k, token, head, weight, out, at) {
  const { firstQuery, queryCount, firstKey, keyCount } = layer;
  const { tokens } = layer.keyGrid;
  const vector = vectorOf(layer, q, queryCount, firstQuery + token, head);
  const sum = exponentiate(keyCount, score(layer, k, keyCount, vector, head));
  const factor = (weight * tokens) / sum;
  for (let i = 0; i < tokens; i++) out[at + i] += scores[firstKey + i] * factor;
}

// Adds `weight` times a cell's column to `out`, A[:, j] times the same number. `logSums` comes from `normalise`.
function addColumn(layer, q, k, logSums, token, head, weight, out, at) {
  const { tokens, firstQuery, queryCount, firstKey, keyCount } = layer;
  score(layer, q, queryCount, vectorOf(layer, k, keyCount, firstKey + token, head), head);
  const first = head * tokens;
  const factor = weight * layer.keyGrid.tokens;
  for (let i = 0; i < tokens; i++) out[at + i] += exponential(scores[firstQuery + i] - logSums[first + i]) * factor;
}

// Writes the map of some cells to `out`: of one head, or the mean of all if `head` is -1. It sums rows if `logSums` is null,
// else columns.
export function answer(layer, q, k, cells, logSums, head, out, at = 0) {
  if (simd?.fits(layer)) return simd.answer(layer, q, k, cells, logSums, head, out, at);
  const [queries, keys] = [floatsOf(q, layer), floatsOf(k, layer)];
  const first = head < 0 ? 0 : head;
  const last = head < 0 ? layer.heads : head + 1;
  out.fill(0, at, at + mapCells(layer, logSums));
  for (let h = first; h < last; h++) {
    for (let i = 0; i < cells.tokens.length; i++) {
      const weight = cells.weights[i] / (last - first);
      if (logSums) addColumn(layer, queries, keys, logSums, cells.tokens[i], h, weight, out, at);
      else addRow(layer, queries, keys, cells.tokens[i], h, weight, out, at);
    }
  }
  return out;
}

// How many cells a map has.
function mapCells(layer, logSums) {
  return logSums ? layer.tokens : layer.keyGrid.tokens;
}

// The maps of all heads: (heads, cells).
export function answerAllHeads(layer, q, k, cells, logSums) {
  const count = mapCells(layer, logSums);
  const out = new Float32Array(layer.heads * count);
  for (let head = 0; head < layer.heads; head++) answer(layer, q, k, cells, logSums, head, out, head * count);
  return out;
}

// What columns and the mean row need from every row: log Σ exp, the logarithm of a row's divisor, (heads, tokens); and the
// mean of all rows in times uniform, (heads, cells of the keys), or null unless `withMeans`.
function normalise(layer, q, k, withMeans) {
  if (simd?.fits(layer)) return simd.normalise(layer, q, k, withMeans);
  const { tokens, heads, firstQuery, queryCount, firstKey, keyCount } = layer;
  const [queries, keys] = [floatsOf(q, layer), floatsOf(k, layer)];
  const cells = layer.keyGrid.tokens;
  const logSums = new Float32Array(heads * tokens);
  const means = withMeans ? new Float32Array(heads * cells) : null;
  for (let head = 0; head < heads; head++) {
    for (let token = 0; token < tokens; token++) {
      const best = score(layer, keys, keyCount, vectorOf(layer, queries, queryCount, firstQuery + token, head), head);
      const sum = exponentiate(keyCount, best);
      logSums[head * tokens + token] = best + Math.log(sum);
      if (!means) continue;
      const factor = cells / (tokens * sum);
      for (let i = 0; i < cells; i++) means[head * cells + i] += scores[firstKey + i] * factor;
    }
  }
  return { logSums, means };
}

// A worker's task: computes the maps of a query's cells or, without cells, what `normalise` returns.
export function compute({ layer, q, k, cells, logSums, withMeans = true }) {
  return cells ? answerAllHeads(layer, q, k, cells, logSums) : normalise(layer, q, k, withMeans);
}

// The source text of the worker's script, so that an HTML file opened from disk needs no second file.
export function workerSource() {
  const functions = [fractions, powers, exponential, score, vectorOf, exponentiate, addRow, addColumn];
  return [
    compactSource(),
    simdSource(),
    "let simd = startSimd();",
    "let scores = new Float32Array(0);",
    ...[...functions, mapCells, answer, answerAllHeads, normalise, compute].map(String),
    "const FRACTIONS = fractions();",
    "const POWERS = powers();",
    "onmessage = ({ data }) => { simd?.clear(); postMessage(compute(data)); };", // each task brings numbers of its own
  ].join("\n");
}

// Whether to use WebAssembly where it is available, for tests and measurements. Returns whether it is used now.
export function useSimd(on) {
  simd = on ? startSimd() : null;
  return simd !== null;
}
