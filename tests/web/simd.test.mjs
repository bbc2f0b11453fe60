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
