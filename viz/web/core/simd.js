// The arithmetic of attention.js in WebAssembly, four numbers at a time (attention.wat). Nothing here touches the DOM.
//
//   const simd = startSimd()       // null where WebAssembly or its SIMD is missing, or forbidden by the page's policy
//   simd.answer(…)                 // takes what `answer` of attention.js takes, and writes the same numbers
//   simd.normalise(layer, q, k)    // likewise
//   simd.fits(layer)               // false for a layer too large for either
//
// WebAssembly sees only its own memory. The Q or K of a layer and step is copied there when it is first used, each head
// transposed, and stays there. When the copies fill the memory, all are dropped.
//
// A worker runs the same class from its source text, so it may use nothing but `ATTENTION_WASM`.

import { ATTENTION_WASM } from "./attention_wasm.js";

export class Simd {
  #code; // the functions of attention.wat
  #memory;
  #numbers; // the whole memory, as floats
  #used = 16; // floats of it; the first ones hold what a call returns
  #matrices = new WeakMap(); // {Q or K: where its copy is}
  #buffers = {}; // {name: { at, length }}

  static LIMIT = 2 ** 26; // floats, 256 MB

  constructor() {
    const bytes = Uint8Array.from(atob(ATTENTION_WASM), (character) => character.charCodeAt(0));
    const { exports } = new WebAssembly.Instance(new WebAssembly.Module(bytes));
    this.#code = exports;
    this.#memory = exports.memory;
    this.#numbers = new Float32Array(this.#memory.buffer);
  }

  // Drops all copies.
  clear() {
    this.#used = 16;
    this.#matrices = new WeakMap();
    this.#buffers = {};
  }

  answer(layer, q, k, cells, logSums, head, out, at) {
    const { heads, tokens, keyGrid } = layer;
    const count = logSums ? tokens : keyGrid.tokens;
    const [first, last] = head < 0 ? [0, heads] : [head, head + 1];
    this.#reserve(layer);
    const sum = this.#zeros("sum", count);
    for (let h = first; h < last; h++) {
      const sums = logSums && this.#logSumsOf(layer, logSums, h);
      for (let i = 0; i < cells.tokens.length; i++) {
        const weight = (keyGrid.tokens * cells.weights[i]) / (last - first);
        if (logSums) this.#addColumn(layer, q, k, sums, cells.tokens[i], h, weight, sum);
        else this.#addRow(layer, q, k, cells.tokens[i], h, weight, sum);
      }
    }
    out.set(this.#numbers.subarray(sum, sum + count), at);
    return out;
  }

  normalise(layer, q, k) {
    const { heads, tokens, keyGrid } = layer;
    const logSums = new Float32Array(heads * tokens);
    const means = new Float32Array(heads * keyGrid.tokens);
    this.#reserve(layer);
    for (let head = 0; head < heads; head++) {
      const sum = this.#zeros("sum", keyGrid.tokens);
      for (let token = 0; token < tokens; token++) {
        this.#addRow(layer, q, k, token, head, keyGrid.tokens / tokens, sum);
        logSums[head * tokens + token] = this.#numbers[0] + Math.log(this.#numbers[1]);
      }
      means.set(this.#numbers.subarray(sum, sum + keyGrid.tokens), head * keyGrid.tokens);
    }
    return { logSums, means };
  }

  #addRow({ headDim, scale, firstQuery, queryCount, firstKey, keyCount, keyGrid }, q, k, token, head, weight, sum) {
    const vector = this.#vector(q, (head * queryCount + firstQuery + token) * headDim, headDim);
    const { at, width } = this.#matrixOf(k, keyCount, headDim);
    const keys = 4 * (at + head * width * headDim);
    const scores = 4 * this.#buffer("scores", width);
    this.#code.addRow(vector, headDim, keys, keyCount, width, scale, scores, firstKey, keyGrid.tokens, weight, 4 * sum);
  }

  #addColumn({ headDim, scale, tokens, firstQuery, queryCount, firstKey, keyCount }, q, k, logSums, token, head, weight, sum) {
    const vector = this.#vector(k, (head * keyCount + firstKey + token) * headDim, headDim);
    const { at, width } = this.#matrixOf(q, queryCount, headDim);
    const queries = 4 * (at + head * width * headDim);
    const scores = 4 * this.#buffer("scores", width);
    this.#code.addColumn(vector, headDim, queries, width, scale, scores, 4 * logSums, firstQuery, tokens, weight, 4 * sum);
  }

  // The address of one of the vectors, which the code reads from its own memory.
  #vector(vectors, from, headDim) {
    const at = this.#buffer("vector", headDim);
    for (let i = 0; i < headDim; i++) this.#numbers[at + i] = vectors[from + i];
    return 4 * at;
  }

  // The log sums of one head, at the places of the queries that they belong to.
  #logSumsOf({ tokens, firstQuery, queryCount }, logSums, head) {
    const at = this.#zeros("logSums", widthOf(queryCount));
    this.#numbers.set(logSums.subarray(head * tokens, (head + 1) * tokens), at + firstQuery);
    return at;
  }

  // Where the transposed copy of all heads is: { at, width }.
  #matrixOf(vectors, count, headDim) {
    const known = this.#matrices.get(vectors);
    if (known) return known;
    const width = widthOf(count);
    const heads = vectors.length / (count * headDim);
    const at = this.#take(heads * headDim * width);
    const numbers = this.#numbers;
    for (let head = 0, from = 0; head < heads; head++) {
      const start = at + head * headDim * width;
      for (let token = 0; token < count; token++) {
        for (let i = 0; i < headDim; i++) numbers[start + i * width + token] = vectors[from++];
      }
    }
    this.#matrices.set(vectors, { at, width });
    return { at, width };
  }

  // Whether a layer's Q and K are small enough.
  fits(layer) {
    return floatsOf(layer) < Simd.LIMIT / 2;
  }

  // Makes sure that nothing is dropped while a layer is worked on.
  #reserve(layer) {
    const most = floatsOf(layer);
    if (this.#used + most > Simd.LIMIT) this.clear();
    const bytes = 4 * (this.#used + most) - this.#memory.buffer.byteLength;
    if (bytes <= 0) return;
    this.#memory.grow(Math.ceil(Math.max(bytes, this.#memory.buffer.byteLength / 2) / 65536));
    this.#numbers = new Float32Array(this.#memory.buffer);
  }

  #buffer(name, length) {
    if (!(this.#buffers[name]?.length >= length)) this.#buffers[name] = { at: this.#take(length), length };
    return this.#buffers[name].at;
  }

  #zeros(name, length) {
    const at = this.#buffer(name, length);
    this.#numbers.fill(0, at, at + length);
    return at;
  }

  // Takes memory that `#reserve` has made, in whole groups of four floats.
  #take(length) {
    const at = this.#used;
    this.#used += 4 * Math.ceil(length / 4);
    return at;
  }
}

// A number of vectors with the padding that the code needs.
function widthOf(count) {
  return 16 * Math.ceil(count / 16);
}

// How much of the memory the copies of one layer at one step and its buffers take at most.
function floatsOf({ heads, headDim, queryCount, keyCount }) {
  return (heads * headDim + 8) * (widthOf(queryCount) + widthOf(keyCount));
}

export function startSimd() {
  try {
    return new Simd();
  } catch {
    return null;
  }
}

// The source text of all this, for a worker.
export function simdSource() {
  const constant = `const ATTENTION_WASM = ${JSON.stringify(ATTENTION_WASM)};`;
  return [constant, String(Simd), ...[widthOf, floatsOf, startSimd].map(String)].join("\n");
}
