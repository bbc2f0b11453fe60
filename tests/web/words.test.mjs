import assert from "node:assert/strict";
import test from "node:test";

import { formatGaps, formatGrids, formatHead, formatKeys, formatPlace, formatStep, formatTick, formatTimestep, measureMap, nameOf, shortNameOf } from "../../viz/web/core/words.js";

const LAYER = { tokens: 4, width: 2, height: 2, heads: 3 };

test("measureMap of a uniform map and of a single peak", () => {
  const uniform = measureMap(Float32Array.of(1, 1, 1, 1), LAYER, [0, 0], [8, 8]);
  assert.equal(uniform.entropy, 2);
  assert.equal(uniform.effective, 4);
  assert.equal(uniform.total, 1);
  assert.ok(Math.abs(uniform.distance - (0 + 4 + 4 + Math.hypot(4, 4)) / 4) < 1e-6);
  const peak = measureMap(Float32Array.of(0, 0, 0, 4), LAYER, [1, 0], [8, 16]);
  assert.deepEqual([peak.peak, peak.low, peak.entropy, peak.effective, peak.distance], [3, 0, 0, 1, 8]);
});

test("measureMap of a difference is half of what is moved", () => {
  const { share, total, peak, low } = measureMap(Float32Array.of(2, -1, -1, 0), LAYER, [0, 0], [8, 8]);
  assert.deepEqual([share, total, peak, low], [0.5, 0, 0, 1]);
});

test("steps, places and heads in words", () => {
  assert.deepEqual([null, 981, 0.98765].map(formatTimestep), ["", "981", "0.988"]);
  assert.match(formatStep({ steps: [4], timesteps: [801] }, 0), /step 4.*801/);
  assert.match(formatStep({ steps: [4], timesteps: [null] }, 0), /step 4$/);
  assert.match(formatStep({ steps: [4], timesteps: [801], calls: new Map([[0, [1, 3]]]) }, 0), /t = 801, call 1 of 3$/);
  assert.equal(formatTick({ steps: [4], timesteps: [801] }, 0), "801");
  assert.equal(formatTick({ steps: [4], timesteps: [null] }, 0), "4");
  assert.equal(formatPlace(LAYER, 3), "row 1, column 1");
  assert.equal(formatHead(LAYER, 1), "head 1");
  assert.equal(formatHead(LAYER, 7), "head 2");
  assert.match(formatHead(LAYER, -1), /mean.*3 heads/);
});

test("formatKeys and formatGrids say what a layer looks at", () => {
  const layer = (keyGrid, otherKeys) => ({ height: 4, width: 4, keyGrid: { height: keyGrid, width: keyGrid }, otherKeys });
  assert.equal(formatKeys(layer(4, {})), "self-attention · 4×4");
  assert.equal(formatKeys(layer(4, { registers: 4 })), "looks at 4×4 cells and 4 registers");
  assert.equal(formatKeys(layer(2, {})), "looks at 2×2 cells of a coarser map");
  const kinds = { words: 77, "image prompt": 4, objects: 1, unknown: 2 };
  const all = "4×4 cells, 77 words, 4 tokens of an image prompt, 1 object and 2 keys of an unknown kind";
  assert.equal(formatKeys(layer(4, kinds)), `looks at ${all}`);
  assert.deepEqual([formatGrids(layer(4, {})), formatGrids(layer(2, kinds))], ["4×4", "4×4 → 2×2 + 84"]);
});

test("formatGaps joins steps in a row and keeps reasons apart", () => {
  const steps = [0, 1, 2, 5, 7, 8];
  const gaps = (...entries) => formatGaps({ steps }, { gaps: new Map(entries) });
  assert.deepEqual(gaps(), []);
  assert.deepEqual(gaps([3, "a"]), ["no map at step 5: a"]);
  assert.deepEqual(gaps([0, "a"], [1, "a"], [2, "a"], [4, "a"], [5, "a"]), ["no map at steps 0 to 2, 7 and 8: a"]);
  assert.deepEqual(gaps([0, "a"], [1, "b"], [3, "a"]), ["no map at steps 0 and 5: a", "no map at step 1: b"]);
});

test("nameOf and shortNameOf count the cells of the layer", () => {
  const whole = { kind: "box", from: [0, 0], to: [1, 1] };
  assert.match(nameOf(whole, LAYER), /rectangle, 4 cells/);
  assert.match(nameOf({ kind: "box", from: [0, 0], to: [0.1, 0.1] }, LAYER), /rectangle, 1 cell$/);
  assert.equal(nameOf({ kind: "pixel", point: [0.9, 0.1] }, LAYER), "row 1, column 0");
  assert.equal(shortNameOf(whole, LAYER), "4 cells");
  assert.equal(shortNameOf({ kind: "pixel", point: [0.9, 0.1] }, LAYER), "1, 0");
});
