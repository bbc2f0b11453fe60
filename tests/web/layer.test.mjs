import assert from "node:assert/strict";
import test from "node:test";

import { readLayer } from "../../viz/web/core/layer.js";

const PIXELS = { kind: "pixels", tokens: 6, grid: [2, 3] };
const WORDS = { kind: "words", tokens: 4, grid: null };
const LAYER = { name: "a", queries: [PIXELS], keys: [PIXELS], heads: 2, head_dim: 4, scale: 0.5 };

test("readLayer finds the pixels among queries and keys", () => {
  const coarse = { kind: "pixels", tokens: 2, grid: [1, 2] };
  const layer = readLayer({ ...LAYER, queries: [WORDS, PIXELS], keys: [WORDS, WORDS, coarse, { ...WORDS, kind: "registers" }] }, "2");
  assert.deepEqual([layer.firstQuery, layer.queryCount, layer.height, layer.width, layer.tokens], [4, 10, 2, 3, 6]);
  assert.deepEqual([layer.firstKey, layer.keyCount, layer.keyGrid], [8, 14, { height: 1, width: 2, tokens: 2 }]);
  assert.deepEqual(layer.otherKeys, { words: 8, registers: 4 });
});

test("readLayer finds words among the keys, and where words ask, too", () => {
  const cross = readLayer({ ...LAYER, keys: [WORDS] }, "2");
  assert.deepEqual([cross.keyGrid, cross.keyCount, cross.wordKeys], [null, 4, [{ kind: "words", tokens: 4, first: 0 }]]);
  assert.equal(cross.wordQueries, null);
  const joint = readLayer({ ...LAYER, queries: [WORDS, PIXELS], keys: [PIXELS, WORDS] }, "2");
  assert.deepEqual([joint.wordKeys[0].first, joint.wordQueries], [6, [0]]);
  const objects = { ...WORDS, kind: "objects" };
  const some = readLayer({ ...LAYER, queries: [WORDS, PIXELS], keys: [PIXELS, objects, WORDS] }, "2");
  assert.deepEqual(some.wordQueries, [null, 0]);
  assert.equal(readLayer({ ...LAYER, queries: [PIXELS, { ...WORDS, tokens: 3 }], keys: [PIXELS, WORDS] }, "2").wordQueries, null);
  assert.equal(readLayer({ ...LAYER, keys: [{ ...WORDS, kind: "registers" }] }, "2"), null);
});

test("readLayer reads version 1", () => {
  const old = { name: "a", kind: "self", grid: [2, 3], keys: 8, extra: 2, heads: 1, head_dim: 1, scale: 1 };
  const layer = readLayer(old, "1");
  assert.deepEqual([layer.firstKey, layer.keyCount, layer.otherKeys], [2, 8, { registers: 2 }]);
  assert.deepEqual(readLayer({ ...old, kind: "cross" }, "1").wordKeys, [{ kind: "words", tokens: 8, first: 0 }]);
  assert.throws(() => readLayer({ ...old, extra: 1 }, "1"), /damaged/);
});

test("readLayer rejects what contradicts itself", () => {
  const changes = {
    "no pixels among the queries": { queries: [WORDS] },
    "pixels twice": { keys: [PIXELS, PIXELS] },
    "no keys": { keys: [] },
    "no list": { keys: PIXELS },
    "a grid of other tokens": { keys: [{ ...PIXELS, tokens: 5 }] },
    "a grid of words": { keys: [PIXELS, { ...WORDS, grid: [2, 2] }] },
    "pixels without a grid": { keys: [{ ...PIXELS, grid: null }] },
    "a negative grid": { keys: [{ ...PIXELS, grid: [-2, -3] }] },
    "a grid of three sides": { keys: [{ ...PIXELS, grid: [1, 2, 3] }] },
    "another kind": { keys: [PIXELS, { ...WORDS, kind: "constructor" }] },
    "half a token": { keys: [PIXELS, { ...WORDS, tokens: 0.5 }] },
    "no heads": { heads: 0 },
    "a scale that is no number": { scale: "1" },
  };
  for (const [name, change] of Object.entries(changes)) {
    assert.throws(() => readLayer({ ...LAYER, ...change }, "2"), /This trace is damaged: layer “a”/, name);
  }
});
