import assert from "node:assert/strict";
import test from "node:test";

import { answer, compute, useSimd } from "../../viz/web/core/attention.js";

const cell = (token) => ({ tokens: [token], weights: [1] });

// A layer with other tokens before and after its cells.
function makeLayer({ grid, keyGrid = grid, around = [0, 0], aroundKeys = [0, 0], heads = 2, headDim = 8 }) {
  const gridOf = ([height, width]) => ({ height, width, tokens: height * width });
  const [queries, keys] = [gridOf(grid), gridOf(keyGrid)];
  return {
    ...{ heads, headDim, scale: headDim ** -0.5, ...queries, keyGrid: keys },
    ...{ firstQuery: around[0], queryCount: around[0] + queries.tokens + around[1] },
    ...{ firstKey: aroundKeys[0], keyCount: aroundKeys[0] + keys.tokens + aroundKeys[1] },
  };
}

// Numbers that are the same in every run (a linear congruential generator), between -size and size.
function makeNumbers(count, seed, size = 3) {
  let state = seed;
  return Float32Array.from({ length: count }, () => {
    state = (1664525 * state + 1013904223) % 2 ** 32;
    return size * (state / 2 ** 31 - 1);
  });
}

// softmax(q·K) of one cell, in double precision, times the number of keys that are cells; written apart from the modules.
function rowOf(layer, q, k, token, head) {
  const { headDim, scale, firstQuery, queryCount, firstKey, keyCount, keyGrid } = layer;
  const number = (vectors, count, index, i) => vectors[(head * count + index) * headDim + i];
  const scores = Array.from({ length: keyCount }, (_, j) => {
    let sum = 0;
    for (let i = 0; i < headDim; i++) sum += number(q, queryCount, firstQuery + token, i) * number(k, keyCount, j, i);
    return sum * scale;
  });
  const best = Math.max(...scores);
  const sum = scores.reduce((total, score) => total + Math.exp(score - best), 0);
  return scores.map((score) => (Math.exp(score - best) / sum) * keyGrid.tokens).slice(firstKey, firstKey + keyGrid.tokens);
}

const LAYERS = {
  "a whole number of groups": { grid: [8, 8] },
  "padding": { grid: [5, 7], headDim: 7, heads: 3 },
  "other tokens around the cells": { grid: [5, 7], around: [2, 3], aroundKeys: [1, 5] },
  "a coarser grid of keys": { grid: [6, 6], keyGrid: [3, 3], aroundKeys: [0, 3] },
  "one cell": { grid: [1, 1], heads: 1, headDim: 1 },
};

for (const [name, shape] of Object.entries(LAYERS)) {
  const layer = makeLayer(shape);
  const { heads, headDim, tokens, queryCount, keyCount, keyGrid } = layer;
  const q = makeNumbers(heads * queryCount * headDim, 1);
  const k = makeNumbers(heads * keyCount * headDim, 2);

  test(`rows in WebAssembly equal softmax(q·K): ${name}`, () => {
    assert(useSimd(true));
    for (let head = 0; head < heads; head++) {
      const row = answer(layer, q, k, cell(tokens - 1), null, head, new Float32Array(keyGrid.tokens));
      rowOf(layer, q, k, tokens - 1, head).forEach((value, i) => assert(Math.abs(row[i] - value) < 2e-5 * Math.max(1, value)));
    }
  });

  test(`rows, columns and sums in WebAssembly equal those without it: ${name}`, () => {
    const cells = { tokens: [0, Math.min(tokens, keyGrid.tokens) - 1], weights: [0.25, 0.75] };
    const all = () => {
      const { logSums, means } = compute({ layer, q, k });
      const maps = [null, logSums].map((sums) => compute({ layer, q, k, cells, logSums: sums }));
      const mean = answer(layer, q, k, cells, null, -1, new Float32Array(keyGrid.tokens + 3), 3);
      return [logSums, means, ...maps, mean];
    };
    assert(useSimd(true));
    const fast = all();
    assert.equal(useSimd(false), false);
    const plain = all();
    useSimd(true);
    plain.forEach((numbers, part) => {
      assert.equal(fast[part].length, numbers.length);
      numbers.forEach((value, i) => assert(Math.abs(fast[part][i] - value) < 2e-4 * Math.max(1, Math.abs(value)), `${part} ${i}`));
    });
  });
}

// Queries as viz/compact.py packs them: for each head its channels' scales, then ten bits a number, in groups of four.
function pack(numbers, { heads, headDim, queryCount }) {
  const bits = [];
  const put = (value, count) => {
    for (let bit = count - 1; bit >= 0; bit--) bits.push((value >> bit) & 1);
  };
  const scale = 0.01;
  const scaleBytes = new Uint8Array(Float32Array.of(scale).buffer);
  for (let head = 0; head < heads; head++) {
    for (let i = 0; i < headDim; i++) scaleBytes.forEach((byte) => put(byte, 8));
    for (let token = 0; token < queryCount; token++) {
      const vector = Array.from({ length: headDim }, (_, i) => numbers[(head * queryCount + token) * headDim + i]);
      vector.forEach((number) => put(Math.round(number / scale) + 512, 10));
      for (let i = headDim; i % 4; i++) put(0, 10);
    }
  }
  const bytes = Uint8Array.from({ length: bits.length / 8 }, (_, i) => parseInt(bits.slice(8 * i, 8 * i + 8).join(""), 2));
  const unpacked = numbers.map((number) => Math.fround(Math.round(number / scale) * Math.fround(scale)));
  const shifted = new Uint8Array(bytes.length + 3); // a file's bytes begin anywhere
  shifted.set(bytes, 3);
  return { packed: shifted.subarray(3), unpacked };
}

for (const [name, shape] of Object.entries(LAYERS)) {
  const layer = makeLayer(shape);
  const { heads, headDim, tokens, queryCount, keyCount, keyGrid } = layer;
  const { packed, unpacked } = pack(makeNumbers(heads * queryCount * headDim, 6), layer);
  const k = makeNumbers(heads * keyCount * headDim, 7);

  for (const on of [true, false]) {
    test(`packed queries give the maps of their numbers, ${on ? "in WebAssembly" : "without it"}: ${name}`, () => {
      const q = { packed };
      const { logSums, means } = (useSimd(on), compute({ layer, q, k, withMeans: true }));
      const cells = cell(Math.min(tokens, keyGrid.tokens) - 1);
      const [rows, columns] = [null, logSums].map((sums) => compute({ layer, q, k, cells, logSums: sums }));
      useSimd(true);
      for (let head = 0; head < heads; head++) {
        const all = Array.from({ length: tokens }, (_, token) => rowOf(layer, unpacked, k, token, head));
        const near = (value, expected) => assert(Math.abs(value - expected) < (on ? 4e-5 : 4e-4) * Math.max(1, expected));
        for (let j = 0; j < keyGrid.tokens; j++) {
          near(rows[head * keyGrid.tokens + j], all[cells.tokens[0]][j]);
          near(means[head * keyGrid.tokens + j], all.reduce((sum, row) => sum + row[j], 0) / tokens);
        }
        all.forEach((row, token) => near(columns[head * tokens + token], row[cells.tokens[0]]));
      }
    });
  }
}

// Numbers in half precision as a file holds them, and what they are. Written apart from compact.js.
function makeHalves(count, seed) {
  const bits = Array.from(makeNumbers(count, seed, 1), (value) => Math.floor((value + 1) * 32768) & 0xbfff); // below 2 in size
  bits.splice(0, 4, 0x0000, 0x8000, 0x0001, 0x83ff); // zeros and numbers below the normal ones
  const valueOf = (half) => {
    const [exponent, fraction] = [(half >> 10) & 31, half & 1023];
    return (half >> 15 ? -1 : 1) * (exponent ? (1024 + fraction) * 2 ** (exponent - 25) : fraction * 2 ** -24);
  };
  return { halves: Uint16Array.from(bits.slice(0, count)), floats: Float32Array.from(bits.slice(0, count), valueOf) };
}

for (const [name, shape] of Object.entries(LAYERS)) {
  const layer = makeLayer(shape);
  const { heads, headDim, tokens, queryCount, keyCount, keyGrid } = layer;
  const [q, k] = [makeHalves(heads * queryCount * headDim, 21), makeHalves(heads * keyCount * headDim, 22)];

  for (const on of [true, false]) {
    test(`half precision gives the maps of its numbers, ${on ? "in WebAssembly" : "without it"}: ${name}`, () => {
      const all = (queries, keys) => {
        useSimd(on);
        const { logSums, means } = compute({ layer, q: queries, k: keys });
        const cells = cell(Math.min(tokens, keyGrid.tokens) - 1);
        const maps = [null, logSums].map((sums) => compute({ layer, q: queries, k: keys, cells, logSums: sums }));
        useSimd(true);
        return [logSums, means, ...maps];
      };
      const expected = all(q.floats, k.floats);
      assert.deepEqual(all({ halves: q.halves }, { halves: k.halves }), expected);
      assert.deepEqual(all(q.floats, { halves: k.halves }), expected);
      const rows = expected[2];
      for (let head = 0; head < heads; head++) {
        const exact = rowOf(layer, q.floats, k.floats, Math.min(tokens, keyGrid.tokens) - 1, head);
        exact.forEach((value, j) => {
          assert(Math.abs(rows[head * keyGrid.tokens + j] - value) < (on ? 4e-5 : 4e-4) * Math.max(1, value));
        });
      }
    });
  }
}

test("infinite numbers and NaN in half precision are not hidden", () => {
  const layer = makeLayer({ grid: [2, 2], heads: 1, headDim: 2 });
  const ones = Uint16Array.from({ length: 8 }, () => 0x3c00);
  for (const odd of [0x7c00, 0x7e00]) {
    const halves = Uint16Array.of(odd, ...ones.subarray(1));
    useSimd(true);
    const row = answer(layer, { halves }, { halves: ones }, cell(0), null, 0, new Float32Array(4));
    const other = answer(layer, { halves: ones }, { halves }, cell(1), null, 0, new Float32Array(4));
    const { logSums } = compute({ layer, q: { halves }, k: { halves: ones } });
    assert(![...row, logSums[0]].every(Number.isFinite) && !other.every((share) => share > 0 && share < 4), `${odd}`);
    assert([...logSums.subarray(1)].every(Number.isFinite));
  }
});

test("log sums in WebAssembly are exact, with large scores and many keys, and need no means", () => {
  const layer = makeLayer({ grid: [5, 7], keyGrid: [31, 33], heads: 1, headDim: 6 });
  const [q, k] = [makeNumbers(35 * 6, 8, 12), makeNumbers(31 * 33 * 6, 9, 12)];
  assert(useSimd(true));
  const { logSums, means } = compute({ layer, q, k, withMeans: false });
  assert.equal(means, null);
  for (let token = 0; token < 35; token++) {
    const scores = Array.from({ length: 31 * 33 }, (_, j) => {
      let sum = 0;
      for (let i = 0; i < 6; i++) sum += q[token * 6 + i] * k[j * 6 + i];
      return sum * 6 ** -0.5;
    });
    const best = Math.max(...scores);
    const exact = best + Math.log(scores.reduce((sum, score) => sum + Math.exp(score - best), 0));
    assert(Math.abs(logSums[token] - exact) < 1e-6 * Math.abs(exact) + 5e-6, `${logSums[token]} ${exact}`);
  }
});

test("log sums of numbers that are not finite are not", () => {
  const layer = makeLayer({ grid: [2, 2], heads: 1, headDim: 2 });
  useSimd(true);
  const { logSums, means } = compute({ layer, q: Float32Array.of(NaN, 0, 1, 1, 0, 0, 1, 0), k: new Float32Array(8).fill(1) });
  assert(Number.isNaN(logSums[0]) && logSums.slice(1).every(Number.isFinite));
  assert(means.every(Number.isNaN));
});

test("scores far below zero still make a row that sums to one", () => {
  const layer = makeLayer({ grid: [3, 3], heads: 1, headDim: 4 });
  const q = new Float32Array(9 * 4).fill(30);
  const k = makeNumbers(9 * 4, 3, 1).map((value) => value - 20);
  useSimd(true);
  const row = answer(layer, q, k, cell(0), null, 0, new Float32Array(9));
  assert(Math.abs(row.reduce((a, b) => a + b) - 9) < 1e-4);
});

test("numbers that are not finite are not hidden", () => {
  const layer = makeLayer({ grid: [2, 2], heads: 1, headDim: 2 });
  useSimd(true);
  const row = answer(layer, new Float32Array(8).fill(NaN), new Float32Array(8), cell(0), null, 0, new Float32Array(4));
  assert(row.every(Number.isNaN));
});

test("copies in WebAssembly's memory are dropped when they fill it, and made again", () => {
  const layer = makeLayer({ grid: [32, 32], heads: 8, headDim: 64 });
  useSimd(true);
  const q = makeNumbers(8 * 1024 * 64, 4);
  const first = makeNumbers(8 * 1024 * 64, 5);
  const read = (k) => answer(layer, q, k, cell(7), null, -1, new Float32Array(1024));
  const before = read(first);
  for (let i = 0; i < 140; i++) read(first.slice());
  assert.deepEqual(read(first), before);
});
