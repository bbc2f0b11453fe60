import assert from "node:assert/strict";
import test from "node:test";

import { fileName, npy } from "../../viz/web/export/files.js";

const named = (caption, seed) => fileName({ recipe: { caption, seed } }, ".png");

test("fileName keeps letters, digits and dashes", () => {
  assert.equal(named("A Green monster!", 3), "pixelgaze-a-green-monster-seed-3.png");
  assert.equal(named("../../etc/<b>", 0), "pixelgaze-etc-b-seed-0.png");
  assert.equal(named("…", undefined), "pixelgaze-trace.png");
  assert.equal(named(undefined, "3"), "pixelgaze-trace.png");
  assert.match(named("x".repeat(500), 1), /^pixelgaze-x{60}-seed-1\.png$/);
  assert.match(named(`${"x".repeat(59)} y`, 1), /^pixelgaze-x{59}-seed-1\.png$/);
});

test("npy pads its header so that the numbers are aligned", () => {
  for (const shape of [[3], [1, 3], [3, 1, 1]]) {
    const bytes = npy(Float64Array.of(1, 2, 3), shape);
    const length = bytes[8] | (bytes[9] << 8);
    assert.equal((10 + length) % 64, 0);
    assert.equal(bytes.length, 10 + length + 24);
    assert.equal(bytes[9 + length], 10, "a line feed ends the header");
  }
});
