// The steps of two recordings on one axis: viz/web/compare/steps.js, and which of them are shown: viz/web/viewer/columns.js.

import assert from "node:assert/strict";
import test from "node:test";
import { isSameStep, mergeSteps, stepLike } from "../../viz/web/compare/steps.js";
import { spread } from "../../viz/web/viewer/columns.js";

const trace = (...timesteps) => ({ timesteps, steps: timesteps.map((_, i) => 10 * i) });
const merged = (a, b) => mergeSteps(a, b).map(({ label, steps }) => [label, ...steps]);

test("steps of equal t share a column, others leave a gap", () => {
  const [long, short] = [trace(999, 759, 519, 279, 39), trace(999, 519, 500, 39)];
  assert.deepEqual(merged(long, short), [
    ["999", 0, 0],
    ["759", 1, null],
    ["519", 2, 1],
    ["500", null, 2],
    ["279", 3, null],
    ["39", 4, 3],
  ]);
});

test("timesteps may rise, repeat, or be missing", () => {
  assert.deepEqual(merged(trace(0.25, 0.75), trace(0.5, 0.75)), [["0.250", 0, null], ["0.500", null, 0], ["0.750", 1, 1]]);
  assert.deepEqual(merged(trace(9, 5, 5, 1), trace(9, 5, 1)), [["9", 0, 0], ["5", 1, 1], ["5", 2, null], ["1", 3, 2]]);
  assert.deepEqual(merged(trace(null, null), trace(null, null, null)), [["0", 0, 0], ["10", 1, 1], ["20", null, 2]]);
  assert.deepEqual(merged(trace(9, 5), { timesteps: [], steps: [] }), [["9", 0, null], ["5", 1, null]]);
});

test("every step of both is in the order in which it ran", () => {
  for (let seed = 1; seed < 200; seed++) {
    const pick = (by) => Array.from({ length: 20 }, (_, i) => 1000 - 50 * i).filter((t) => (t * by * 7919) % 13 < 6);
    const [a, b] = [trace(...pick(seed)), trace(...pick(seed + 31))];
    const all = mergeSteps(a, b);
    const own = (side) => all.map(({ steps }) => steps[side]).filter((step) => step !== null);
    assert.deepEqual(own(0), [...a.steps.keys()]);
    assert.deepEqual(own(1), [...b.steps.keys()]);
    assert.equal(all.length, new Set([...a.timesteps, ...b.timesteps]).size);
    for (const { steps: [i, j] } of all) if (i !== null && j !== null) assert.ok(isSameStep(a, i, b, j));
  }
});

test("a step stands for the same one, else for the nearest by timestep", () => {
  const [long, short] = [trace(999, 759, 519, 279, 39), trace(999, 500, 39)];
  assert.deepEqual([0, 1, 2, 3, 4].map((step) => stepLike(long, step, short)), [0, 0, 1, 1, 2]);
  assert.ok(isSameStep(long, 4, short, 2) && !isSameStep(long, 2, short, 1));
  assert.equal(stepLike(trace(null, null, null), 1, trace(9, 8, 7, 6, 5)), 2);
});

test("columns are evenly spaced and hold every chosen step", () => {
  assert.deepEqual(spread(25, 5, []), [0, 6, 12, 18, 24]);
  assert.deepEqual(spread(25, 5, [7]), [0, 7, 12, 18, 24]);
  assert.deepEqual(spread(3, 9, [1]), [0, 1, 2]);
  for (let count = 2; count < 12; count++) {
    for (let i = 0; i < 25; i++) {
      const columns = spread(25, count, [i, (i * 7) % 25]);
      assert.ok(columns.includes(i) && columns.includes((i * 7) % 25), `${columns} without ${i}`);
      assert.equal(new Set(columns).size, count);
    }
  }
});
