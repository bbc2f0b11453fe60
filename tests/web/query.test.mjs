import assert from "node:assert/strict";
import test from "node:test";

import { boxBetween, cellsOf, checkQuery, coverage, decodeMask, encodeMask, middleOf, overlaps, shiftQuery, tokenAt } from "../../viz/web/core/query.js";

const GRID = { height: 2, width: 4 };
const box = (from, to) => ({ kind: "box", from, to });
const sum = (numbers) => numbers.reduce((a, b) => a + b, 0);
const near = (actual, expected) => {
  assert.equal(actual.length, expected.length);
  actual.forEach((value, i) => assert.ok(Math.abs(value - expected[i]) < 1e-12, `${[...actual]} is not ${expected}`));
};

test("overlaps returns the covered share of each part", () => {
  near(overlaps(4, 0.125, 0.75), [0.5, 1, 1, 0]);
  near(overlaps(3, 0, 1), [1, 1, 1]);
  near(overlaps(2, 0.5, 0.5), [0, 0]);
});

test("coverage of a rectangle, worked by hand", () => {
  near(coverage(box([0.25, 0.125], [1, 0.5]), GRID), [0.25, 0.5, 0, 0, 0.5, 1, 0, 0]);
  near(coverage(box([0, 0], [1, 1]), GRID), new Array(8).fill(1));
});

test("coverage of a region on a coarser and on a finer grid", () => {
  const region = encodeMask(Uint8Array.of(1, 0, 0, 1), [2, 2]);
  near(coverage(region, { height: 1, width: 1 }), [0.5]);
  near(coverage(region, { height: 2, width: 4 }), [1, 1, 0, 0, 0, 0, 1, 1]);
  near(coverage(region, { height: 3, width: 2 }), [1, 0, 0.5, 0.5, 0, 1]);
});

test("encodeMask and decodeMask agree, the first pixel in the highest bit", () => {
  const mask = Uint8Array.of(1, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0);
  const region = encodeMask(mask, [3, 4]);
  assert.deepEqual(region, { kind: "region", grid: [3, 4], mask: "gEA" });
  assert.deepEqual([...decodeMask({ ...region })], [...mask]);
});

test("decodeMask returns an empty mask for text that does not fit the grid", () => {
  for (const mask of ["", "gEAA", "g", "!!!", "gE"]) {
    assert.equal(sum([...decodeMask({ kind: "region", grid: [3, 4], mask })]), 0, mask);
  }
});

test("checkQuery returns valid queries and rejects others", () => {
  const good = [{ kind: "pixel", point: [0, 1] }, box([0, 0.2], [0.1, 1]), { kind: "region", grid: [3, 4], mask: "gEA" }];
  good.push({ kind: "word", text: "red" }, { kind: "word", text: "1", nth: 2, of: "image prompt", encoder: 1 });
  for (const query of good) assert.equal(checkQuery(query), query);
  const bad = [
    null,
    {},
    { kind: "pixel" },
    { kind: "pixel", point: [0.5] },
    { kind: "pixel", point: [0.5, 1.01] },
    { kind: "pixel", point: [0.5, NaN] },
    box([0.5, 0.2], [0.5, 0.9]),
    box([0.5, 0.2], [0.4, 0.9]),
    { kind: "region", grid: [3, 4], mask: "AAA" },
    { kind: "region", grid: [3, 257], mask: "gEA" },
    { kind: "region", grid: [3, 4.5], mask: "gEA" },
    { kind: "circle", point: [0, 0] },
    { kind: "word", text: "" },
    { kind: "word", text: "a".repeat(101) },
    { kind: "word", text: "red", nth: -1 },
    { kind: "word", text: "red", of: "noun" },
  ];
  for (const query of bad) assert.throws(() => checkQuery(query), /neither a word nor a pixel, a rectangle or a region/, JSON.stringify(query));
});

test("boxBetween sorts its corners", () => {
  assert.deepEqual(boxBetween([0.9, 0.1], [0.2, 0.4]), box([0.2, 0.1], [0.9, 0.4]));
});

test("tokenAt stays on the grid at the far edges", () => {
  assert.equal(tokenAt(GRID, [0, 0]), 0);
  assert.equal(tokenAt(GRID, [0.5, 0.25]), 5);
  assert.equal(tokenAt(GRID, [1, 1]), 7);
});

test("cellsOf returns weights that sum to 1 and leaves out uncovered cells", () => {
  const { tokens, weights } = cellsOf(box([0.25, 0.125], [1, 0.5]), GRID);
  assert.deepEqual(tokens, [0, 1, 4, 5]);
  near(weights, [0.25, 0.5, 0.5, 1].map((share) => share / 2.25));
  assert.deepEqual(cellsOf({ kind: "pixel", point: [0.9, 0.9] }, GRID), { tokens: [7], weights: [1] });
});

test("middleOf weights the cells", () => {
  near(middleOf({ tokens: [0, 7], weights: [0.25, 0.75] }, GRID), [0.75, 2.25]);
});

test("shiftQuery moves by whole cells and stays inside the picture", () => {
  near(shiftQuery({ kind: "pixel", point: [0.1, 0.1] }, 1, 2, GRID).point, [0.75, 0.625]);
  near(shiftQuery({ kind: "pixel", point: [0.9, 0.9] }, 1, 1, GRID).point, [0.75, 0.875]);
  const { from, to } = shiftQuery(box([0.1, 0.6], [0.4, 0.9]), 1, 3, GRID);
  near([...from, ...to], [0.6, 0.7, 0.9, 1]);
  const region = encodeMask(Uint8Array.of(1, 0, 0, 0), [2, 2]);
  assert.deepEqual([...decodeMask(shiftQuery(region, 1, 2, GRID))], [0, 0, 0, 1]);
  assert.equal(shiftQuery(region, -1, 0, GRID), region);
});
