import assert from "node:assert/strict";
import test from "node:test";

import {
  colorTables,
  colorize,
  formatSigned,
  formatTimes,
  fromHex,
  largestOf,
  positionOf,
  scaleOf,
  scaleWords,
  ticksOf,
} from "../../viz/web/core/scale.js";

const SCALES = [true, false].flatMap((special) =>
  ["common", "own"].flatMap((range) => [true, false].map((log) => ({ special, range, log }))),
);
const near = (actual, expected) => assert.ok(Math.abs(actual - expected) < 1e-9, `${actual} is not ${expected}`);

test("positionOf agrees with positions worked out by hand", () => {
  const place = (special, range, log, value) => positionOf({ special, range, log })(value);
  near(place(false, "common", true, 0.25), 0);
  near(place(false, "common", true, 32), 1);
  near(place(false, "common", false, 4), 0.5);
  near(place(false, "own", false, 0.3), 0.3);
  near(place(false, "own", true, 1), 1);
  near(place(false, "own", true, 2 ** -7), 0);
  near(place(true, "common", false, -4), 0);
  near(place(true, "common", true, 31), 1);
  near(place(true, "own", false, 0.5), 0.75);
});

test("positionOf increases on every scale and puts a difference of zero in the middle", () => {
  for (const scale of SCALES) {
    const position = positionOf(scale);
    const values = (scale.special ? [-1, -0.5, -0.1, 0] : []).concat([0.05, 0.3, 0.9, 1]);
    const places = values.map(position);
    assert.deepEqual(places, [...places].sort((a, b) => a - b), JSON.stringify(scale));
    assert.equal(new Set(places).size, places.length);
    if (scale.special) near(position(0), 0.5);
  }
});

test("ticksOf places each tick where positionOf places its number", () => {
  const number = (text) => Number(text.replace("¼", "0.25").replace("½", "0.5").replace("−", "-").replace("×", ""));
  for (const scale of SCALES) {
    const largest = 8;
    const position = positionOf(scale);
    for (const [place, text] of ticksOf(scale, largest)) {
      const value = number(text) / (scale.range === "own" ? largest : 1);
      const expected = position(value);
      assert.ok(Math.abs(place - expected) < 0.02, `${JSON.stringify(scale)}: ${text} at ${place}, not ${expected}`);
    }
  }
});

test("scaleWords names the scale and its ends, and warns about columns", () => {
  const words = (scale, state = {}) => scaleWords(scale, 8, { mode: "row", smooth: false, ...state });
  assert.notEqual(words({ special: false, range: "common", log: true }), words({ special: true, range: "common", log: true }));
  assert.match(words({ special: false, range: "common", log: true }), /log.*¼×.*32×/i);
  assert.match(words({ special: false, range: "own", log: false }), /linear.*0×.*8×/i);
  const plain = words({ special: false, range: "common", log: false });
  assert.match(plain, /linear/i);
  assert.ok(words({ special: false, range: "common", log: false }, { mode: "column" }).length > plain.length);
  assert.ok(words({ special: false, range: "common", log: false }, { smooth: true }).length > plain.length);
});

test("formatTimes and formatSigned round to two digits", () => {
  assert.deepEqual([0, 0.123, 1, 9.94, 9.96, 31.5].map(formatTimes), ["0×", "0.12×", "1×", "9.9×", "10×", "32×"]);
  assert.deepEqual([0, 2, -0.5].map(formatSigned), ["0", "+2×", "−0.5×"]);
});

test("largestOf ignores signs and reads only `count` numbers", () => {
  assert.equal(largestOf(Float32Array.of(1, -3, 2, 9), 3), 3);
  assert.ok(largestOf(new Float32Array(4), 4) > 0);
});

test("scaleOf shows differences for rows only", () => {
  const view = { special: true, range: "own", log: false, head: 2 };
  assert.deepEqual(scaleOf({ ...view, mode: "row" }), { special: true, range: "own", log: false });
  assert.deepEqual(scaleOf({ ...view, mode: "column" }), { special: false, range: "own", log: false });
});

test("fromHex reads hexadecimal digits, three channels per colour", () => {
  assert.deepEqual(fromHex("000102ff10a0"), [[0, 1, 2], [255, 16, 160]]);
});

test("colorize uses the whole range of the colour map", () => {
  const gray = Array.from({ length: 256 }, (_, i) => [i, i, i]);
  const table = colorTables(gray, gray);
  for (const range of ["common", "own"]) {
    const scale = { special: false, range, log: false };
    const out = colorize(table(scale, "solid"), scale, Float32Array.of(0, 8, 4), 3, new Uint32Array(3));
    const levels = [...out].map((color) => color & 255);
    assert.deepEqual(levels.slice(0, 2), [0, 255]);
    assert.ok(Math.abs(levels[2] - 128) <= 1);
    assert.ok([...out].every((color) => color >>> 24 === 255));
  }
  const values = Float32Array.of(-Infinity, Infinity);
  const scale = { special: false, range: "common", log: true };
  const ends = [...colorize(table(scale, "solid"), scale, values, 2, new Uint32Array(2))].map((color) => color & 255);
  assert.deepEqual(ends, [0, 255]);
});
