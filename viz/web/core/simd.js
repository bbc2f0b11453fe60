// The arithmetic of attention.js in WebAssembly, four numbers at a time (attention.wat). Nothing here touches the DOM.
//
//   const simd = startSimd()       // null where WebAssembly or its SIMD is missing, or forbidden by the page's policy
//   simd.answer(…)                 // takes what `answer` of attention.js takes, and writes the same numbers
//   simd.normalise(layer, q, k, withMeans)    // likewise
//   simd.fits(layer)               // false for a layer too large for either
//
// WebAssembly sees only its own memory. The Q or K of a layer and step is copied there when it is first used, each head
// transposed, and stays there. When the copies fill the memory, all are dropped.
//
// A worker runs the same class from its source text, so it may use nothing but `ATTENTION_WASM`, the functions
// below and those of compact.js.

import { ATTENTION_WASM } from "./attention_wasm.js";
import { packedBytes } from "./compact.js";

export class Simd {
  #code; // the functions of attention.wat
  #memory;
  #numbers; // the whole memory, as floats
  #bytes; // and as bytes
  #used = 16; // floats of it; the first ones are the code's own
  #matrices = new WeakMap(); // {Q or K: where its copy is}
  #rows = new WeakMap(); // {Q or K in half precision: where a copy of it as it is lies, in bytes}
  #buffers = {}; // {name: { at, length }}
  #sizes = new WeakMap(); // {layer: what floatsOfLayer says}

  static LIMIT = 2 ** 26; // floats, 256 MB

  constructor() {
    const bytes = Uint8Array.from(atob(ATTENTION_WASM), (character) => character.charCodeAt(0));
    const { exports } = new WebAssembly.Instance(new WebAssembly.Module(bytes));
    this.#code = exports;
    this.#memory = exports.memory;
    this.#look();
  }

  // Drops all copies.
  clear() {
    this.#used = 16;
    this.#matrices = new WeakMap();
    this.#rows = new WeakMap();
    this.#buffers = {};
  }

  answer(layer, q, k, cells, logSums, head, out, at) {
    const { heads, headDim, tokens, firstQuery, queryCount, firstKey, keyCount, keyGrid } = layer;
    const count = logSums ? tokens : keyGrid.tokens;
    const [first, last] = head < 0 ? [0, heads] : [head, head + 1];
    this.#reserve(layer);
    const sum = this.#zeros("sum", count);
    const [asked, asks] = logSums ? [q, k] : [k, q];
    const [askedCount, asksCount, firstAsks] = logSums ? [queryCount, keyCount, firstKey] : [keyCount, queryCount, firstQuery];
    const matrix = this.#matrixOf(asked, askedCount, headDim);
    for (let h = first; h < last; h++) {
      const sums = logSums && this.#logSumsOf(layer, logSums, h);
      for (let i = 0; i < cells.tokens.length; i++) {
        const weight = (keyGrid.tokens * cells.weights[i]) / (last - first);
        const vector = this.#vectorOf(asks, asksCount, firstAsks + cells.tokens[i], h, headDim);
        if (logSums) this.#addColumn(layer, vector, matrix, sums, h, weight, sum);
        else this.#addRow(layer, vector, matrix, h, weight, sum);
      }
    }
    out.set(this.#numbers.subarray(sum, sum + count), at);
    return out;
  }

  normalise(layer, q, k, withMeans) {
    const { heads, headDim, scale, tokens, firstQuery, queryCount, keyCount, keyGrid } = layer;
    const logSums = new Float32Array(heads * tokens);
    const means = withMeans ? new Float32Array(heads * keyGrid.tokens) : null;
    this.#reserve(layer);
    const { at, width, size } = this.#matrixOf(q, queryCount, headDim);
    const scores = 4 * this.#buffer("group", 16 * (keyCount + 1));
    const sums = this.#buffer("sums", widthOf(tokens));
    for (let head = 0; head < heads; head++) {
      const mean = withMeans ? this.#zeros("mean", 4 * keyCount) : 0;
      const queries = 4 * (at + head * size);
      const keys = this.#keysOf(k, keyCount, headDim, head);
      const cells = [queries, headDim, width, firstQuery, tokens];
      this.#code.normalise(...cells, keys, keyCount, scale * Math.LOG2E, scores, 4 * sums, 4 * mean);
      logSums.set(this.#numbers.subarray(sums, sums + tokens), head * tokens);
      if (withMeans) this.#readMeans(layer, mean, means.subarray(head * keyGrid.tokens, (head + 1) * keyGrid.tokens));
    }
    return { logSums, means };
  }

  // Each mean is in four parts.
  #readMeans({ tokens, firstKey, keyGrid }, at, means) {
    const parts = this.#numbers.subarray(at + 4 * firstKey, at + 4 * (firstKey + keyGrid.tokens));
    const factor = keyGrid.tokens / tokens;
    for (let i = 0, part = 0; i < means.length; i++, part += 4) {
      means[i] = (parts[part] + parts[part + 1] + parts[part + 2] + parts[part + 3]) * factor;
    }
  }

  #addRow({ headDim, scale, firstKey, keyCount, keyGrid }, vector, { at, width, size }, head, weight, sum) {
    const keys = 4 * (at + head * size);
    const scores = 4 * this.#buffer("scores", width);
    const factor = scale * Math.LOG2E;
    this.#code.addRow(vector, headDim, keys, keyCount, width, factor, scores, firstKey, keyGrid.tokens, weight, 4 * sum);
  }

  #addColumn({ headDim, scale, tokens, firstQuery }, vector, { at, width, size }, logSums, head, weight, sum) {
    const queries = 4 * (at + head * size);
    const scores = 4 * this.#buffer("scores", width);
    const factor = scale * Math.LOG2E;
    this.#code.addColumn(vector, headDim, queries, width, factor, scores, 4 * logSums, firstQuery, tokens, weight, 4 * sum);
  }

  // The address of one of the vectors, which the code reads from its own memory.
  #vectorOf(vectors, count, token, head, headDim) {
    const to = this.#buffer("vector", headDim + 8);
    if (vectors.packed) {
      const { at, width, size } = this.#matrixOf(vectors, count, headDim);
      for (let i = 0; i < headDim; i++) this.#numbers[to + i] = this.#numbers[at + head * size + i * width + token];
      return 4 * to;
    }
    const from = (head * count + token) * headDim;
    if (vectors.halves) this.#code.widen(this.#rowsOf(vectors) + 2 * from, headDim, 4 * to);
    else for (let i = 0; i < headDim; i++) this.#numbers[to + i] = vectors[from + i];
    return 4 * to;
  }

  // Where the numbers of all heads are as they came, in half precision: a hover reads one vector of each map's Q.
  #rowsOf(vectors) {
    const known = this.#rows.get(vectors);
    if (known) return known;
    const { halves } = vectors;
    const at = 4 * this.#take(halves.length / 2 + 4);
    this.#bytes.set(new Uint8Array(halves.buffer, halves.byteOffset, halves.byteLength), at);
    this.#rows.set(vectors, at);
    return at;
  }

  // The address of the keys of one head, one after another. If their number is odd, the last one is there twice.
  #keysOf(k, keyCount, headDim, head) {
    const at = this.#buffer("keys", (keyCount + 1) * headDim + 8);
    const length = keyCount * headDim;
    if (k.halves) this.#widen(k.halves, head * length, length, at);
    else this.#numbers.set(k.subarray(head * length, (head + 1) * length), at);
    this.#numbers.copyWithin(at + length, at + length - headDim, at + length);
    return 4 * at;
  }

  // The binary log sums of one head, at the places of the queries that they belong to.
  #logSumsOf({ tokens, firstQuery, queryCount }, logSums, head) {
    const at = this.#zeros("logSums", widthOf(queryCount));
    const numbers = this.#numbers;
    for (let i = 0, from = head * tokens; i < tokens; i++) numbers[at + firstQuery + i] = logSums[from + i] * Math.LOG2E;
    return at;
  }

  // Where the transposed copy of all heads is: { at, width, size }, the floats of a row and of a head.
  #matrixOf(vectors, count, headDim) {
    const known = this.#matrices.get(vectors);
    if (known) return known;
    const width = widthOf(count);
    const size = 4 * Math.ceil(headDim / 4) * width;
    const { packed, halves } = vectors;
    const bytes = packed ?? (halves ? null : new Uint8Array(vectors.buffer, vectors.byteOffset, vectors.byteLength));
    const length = packed ? packedBytes({ heads: 1, headDim, queryCount: count }) : 4 * count * headDim; // of a head
    const heads = halves ? halves.length / (count * headDim) : bytes.length / length;
    const at = this.#take(heads * size);
    const raw = this.#buffer("raw", rawFloats(count, headDim));
    const make = packed ? this.#code.unpack : this.#code.transpose;
    for (let head = 0; head < heads; head++) {
      if (halves) this.#widen(halves, head * count * headDim, count * headDim, raw);
      else this.#bytes.set(bytes.subarray(head * length, (head + 1) * length), 4 * raw);
      make(4 * raw, count, headDim, 4 * (at + head * size), width);
    }
    const matrix = { at, width, size };
    this.#matrices.set(vectors, matrix);
    return matrix;
  }

  // Writes some numbers in half precision as floats.
  #widen(halves, first, length, to) {
    const at = 4 * this.#buffer("halves", length / 2 + 4);
    this.#bytes.set(new Uint8Array(halves.buffer, halves.byteOffset + 2 * first, 2 * length), at);
    this.#code.widen(at, length, 4 * to);
  }

  // Whether a layer's Q and K are small enough.
  fits(layer) {
    return this.#sizeOf(layer) < Simd.LIMIT / 2;
  }

  #sizeOf(layer) {
    if (!this.#sizes.has(layer)) this.#sizes.set(layer, floatsOfLayer(layer));
    return this.#sizes.get(layer);
  }

  // Makes sure that nothing is dropped while a layer is worked on.
  #reserve(layer) {
    const most = this.#sizeOf(layer);
    if (this.#used + most > Simd.LIMIT) this.clear();
    const bytes = 4 * (this.#used + most) - this.#memory.buffer.byteLength;
    if (bytes <= 0) return;
    this.#memory.grow(Math.ceil(Math.max(bytes, this.#memory.buffer.byteLength / 2) / 65536));
    this.#look();
  }

  #look() {
    this.#numbers = new Float32Array(this.#memory.buffer);
    this.#bytes = new Uint8Array(this.#memory.buffer);
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
  return 32 * Math.ceil(count / 32);
}

// The floats of one head, and what the code may read beyond them.
function rawFloats(count, headDim) {
  return count * (4 * Math.ceil(headDim / 4)) + 5 * headDim + 8;
}

// How much of the memory the copies of one layer at one step and its buffers take at most.
function floatsOfLayer({ heads, headDim, queryCount, keyCount }) {
  const [queries, keys] = [queryCount, keyCount].map(widthOf);
  const matrices = (heads * 6 * Math.ceil(headDim / 4) + 8) * (queries + keys); // and as they came, half as large
  return matrices + 2 * rawFloats(Math.max(queries, keys), headDim) + (keys + 16) * (headDim + 20) + 256;
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
  return [constant, String(Simd), ...[widthOf, rawFloats, floatsOfLayer, startSimd].map(String)].join("\n");
}
