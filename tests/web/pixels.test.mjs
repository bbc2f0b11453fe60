import assert from "node:assert/strict";
import test from "node:test";

import { startPixels } from "../../viz/web/core/pixels.js";
import { colorTables, colorize } from "../../viz/web/core/scale.js";

const SCALE = { special: false, range: "common", log: true };
const grey = Array.from({ length: 256 }, (_, i) => [i, 255 - i, i >> 1]);
const table = colorTables(grey, grey)(SCALE, "solid");

const lookupOf = (grid, side) => {
  const to = (n, length) => Uint16Array.from({ length }, (_, i) => Math.floor(((i + 0.5) * n) / length));
  return { down: to(grid[0], side[0]), across: to(grid[1], side[1]), height: grid[0], width: grid[1] };
};

const numbersOf = (count, seed) => Float32Array.from({ length: count }, (_, i) => 2 ** (((i * 7919 + seed) % 97) / 8 - 4) - 0.1);

// [grid, pixels of the map, width of the bitmap]
for (const [grid, side, width] of [
  [[8, 8], [43, 43], 100],
  [[32, 32], [25, 25], 60],
  [[3, 5], [7, 9], 9],
  [[1, 1], [1, 1], 1],
  [[256, 256], [40, 37], 50],
]) {
  test(`a ${grid.join("×")} map of ${side.join("×")} pixels is painted as its colours say`, () => {
    const [lookup, numbers] = [lookupOf(grid, side), numbersOf(grid[0] * grid[1], grid[0])];
    const colors = colorize(table, SCALE, numbers, numbers.length, new Uint32Array(numbers.length));
    const pixels = startPixels();
    const bytes = pixels.resize(width * (side[0] + 2));
    assert(pixels.paint(width, width, lookup, numbers, table)); // from the second row on
    const painted = new Uint32Array(bytes.buffer, bytes.byteOffset, bytes.length / 4);
    for (let y = 0; y < side[0] + 2; y++) {
      for (let x = 0; x < width; x++) {
        const inside = y >= 1 && y < side[0] + 1 && x < side[1];
        const expected = inside ? colors[lookup.down[y - 1] * grid[1] + lookup.across[x]] : 0;
        assert.equal(painted[y * width + x], expected, `${y} ${x}`);
      }
    }
  });
}

test("a bitmap that is resized is transparent, and other tables and lookups take the place of the first", () => {
  const pixels = startPixels();
  const [numbers, other] = [numbersOf(64, 1), colorTables(grey.toReversed(), grey)(SCALE, "solid")];
  pixels.resize(400);
  for (let side = 2; side < 300; side++) assert(pixels.paint(0, side, lookupOf([8, 8], [1, side]), numbers, table)); // more than fit
  const bytes = pixels.resize(3_000_000); // more memory
  assert(bytes.every((byte) => byte === 0));
  const lookup = lookupOf([8, 8], [8, 8]);
  for (const each of [table, other, table]) {
    assert(pixels.paint(0, 8, lookup, numbers, each));
    const expected = colorize(each, SCALE, numbers, 64, new Uint32Array(64));
    assert.deepEqual(new Uint32Array(bytes.buffer, bytes.byteOffset, 64), expected);
  }
});

test("a map with too many numbers or no room is left to others, and so is everything without WebAssembly", () => {
  const pixels = startPixels();
  pixels.resize(100);
  assert.equal(pixels.paint(1, 10, lookupOf([8, 8], [10, 10]), numbersOf(64, 1), table), false);
  assert.equal(pixels.paint(0, 10, lookupOf([300, 300], [10, 10]), numbersOf(90_000, 1), table), false);
  const { WebAssembly } = globalThis;
  try {
    globalThis.WebAssembly = undefined;
    assert.equal(startPixels(), null);
  } finally {
    globalThis.WebAssembly = WebAssembly;
  }
});
