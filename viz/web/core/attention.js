// The arithmetic of attention: rows, columns and the mean row, in times uniform. Nothing here touches the DOM.
//
// A layer here is { tokens, heads, headDim, scale, extra }. q and k are the Q and K of one step, one head after another:
// (heads, tokens, headDim). The first `extra` keys of every head are not cells: they take their share of a row and are not
// shown. `cells` is { tokens, weights }: a query's cells as indices, and weights that sum to 1.
//
// A worker runs the same functions from their source text (see `workerSource`), so they may use only one another and the
// three variables below.

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

// Adds `weight` times a cell's row to `out`: softmax(q·K)·N.
function addRow(layer, q, k, token, head, weight, out, at) {
  const { tokens, extra } = layer;
  const keys = tokens + extra;
  const sum = exponentiate(keys, score(layer, k, keys, vectorOf(layer, q, tokens, token, head), head));
  const factor = (weight * tokens) / sum;
  for (let i = 0; i < tokens; i++) out[at + i] += scores[extra + i] * factor;
}

// Adds `weight` times a cell's column to `out`: A[:, j]·N. `logSums` comes from `normalise`.
function addColumn(layer, q, k, logSums, token, head, weight, out, at) {
  const { tokens, extra } = layer;
  score(layer, q, tokens, vectorOf(layer, k, tokens + extra, extra + token, head), head);
  const first = head * tokens;
  const factor = weight * tokens;
  for (let i = 0; i < tokens; i++) out[at + i] += exponential(scores[i] - logSums[first + i]) * factor;
}

// Writes the map of some cells to `out`: of one head, or the mean of all if `head` is -1. It sums rows if `logSums` is null,
// else columns.
export function answer(layer, q, k, cells, logSums, head, out, at = 0) {
  const first = head < 0 ? 0 : head;
  const last = head < 0 ? layer.heads : head + 1;
  out.fill(0, at, at + layer.tokens);
  for (let h = first; h < last; h++) {
    for (let i = 0; i < cells.tokens.length; i++) {
      const weight = cells.weights[i] / (last - first);
      if (logSums) addColumn(layer, q, k, logSums, cells.tokens[i], h, weight, out, at);
      else addRow(layer, q, k, cells.tokens[i], h, weight, out, at);
    }
  }
  return out;
}

// The maps of all heads: (heads, tokens).
export function answerAllHeads(layer, q, k, cells, logSums) {
  const out = new Float32Array(layer.heads * layer.tokens);
  for (let head = 0; head < layer.heads; head++) answer(layer, q, k, cells, logSums, head, out, head * layer.tokens);
  return out;
}

// What columns and the mean row need from every row, each (heads, tokens): log Σ exp, the logarithm of a row's divisor, and
// the mean of all rows in times uniform.
function normalise(layer, q, k) {
  const { tokens, heads, extra } = layer;
  const keys = tokens + extra;
  const logSums = new Float32Array(heads * tokens);
  const means = new Float32Array(heads * tokens);
  for (let head = 0, at = 0; head < heads; head++, at += tokens) {
    for (let token = 0; token < tokens; token++) {
      const best = score(layer, k, keys, vectorOf(layer, q, tokens, token, head), head);
      const sum = exponentiate(keys, best);
      logSums[at + token] = best + Math.log(sum);
      for (let i = 0; i < tokens; i++) means[at + i] += scores[extra + i] / sum;
    }
  }
  return { logSums, means };
}

// A worker's task: computes the maps of a query's cells or, without cells, what `normalise` returns.
export function compute({ layer, q, k, cells, logSums }) {
  return cells ? answerAllHeads(layer, q, k, cells, logSums) : normalise(layer, q, k);
}

// The source text of the worker's script, so that an HTML file opened from disk needs no second file.
export function workerSource() {
  const functions = [fractions, powers, exponential, score, vectorOf, exponentiate, addRow, addColumn];
  return [
    "let scores = new Float32Array(0);",
    ...[...functions, answer, answerAllHeads, normalise, compute].map(String),
    "const FRACTIONS = fractions();",
    "const POWERS = powers();",
    "onmessage = ({ data }) => postMessage(compute(data));",
  ].join("\n");
}
