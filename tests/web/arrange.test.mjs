// How the viewer uses the screen: viz/web/viewer/arrange.js.

import assert from "node:assert/strict";
import test from "node:test";
import { arrange, headSide } from "../../viz/web/viewer/arrange.js";

const GAP = 2;
const bundled = { size: [64, 64], rows: 10, steps: 25 };
const place = (width, screen, top, changes = {}) => arrange({ width, height: screen - top - 60, screen, ...bundled, ...changes });

// The heights of the picture's card and of the atlas's, with everything in them.
const heights = ({ picture, length, aside }, rows = 10) => [picture + 98, (rows + 1) * (length + GAP) + (aside ? 82 : 122)];

test("picture and atlas fit the screen, side by side with the heads", () => {
  for (const [width, screen] of [[1392, 900], [1318, 768], [1232, 720], [1872, 1080]]) {
    const placed = place(width, screen, 250);
    assert.equal(placed.mode, "three");
    for (const height of heights(placed)) assert.ok(height <= screen - 310, `${height} of ${screen - 310} at ${width}`);
    assert.ok(placed.columns >= 9 && placed.columns <= 13);
  }
});

test("where the screen is low, the bar goes beside the maps, which are larger then", () => {
  for (const [width, screen, least] of [[1232, 720, 26], [1318, 768, 30]]) {
    const { aside, length, columns } = place(width, screen, 258);
    assert.ok(aside && length >= least && columns >= 9, `${length} px, ${columns} columns at ${width}`);
  }
  assert.ok(!place(1392, 900, 258).aside);
});

test("nothing depends on the number of steps but the number of columns", () => {
  for (const width of [1392, 1232, 900]) {
    const { columns, ...many } = place(width, 800, 250);
    const { columns: few, ...same } = place(width, 800, 250, { steps: 9 });
    assert.deepEqual(same, many);
    assert.ok(few <= columns);
  }
});

test("all steps are shown, however small", () => {
  const all = place(1392, 900, 250, { all: true });
  assert.deepEqual([all.mode, all.columns], ["two", 25]);
  assert.ok(all.length < place(1392, 900, 250).length && all.picture === place(1392, 900, 250).picture);
});

test("large screens are used, small ones scroll", () => {
  assert.equal(place(2512, 1440, 250).length, 72);
  assert.equal(place(342, 844, 100).picture, 324);
  assert.equal(place(342, 844, 100).mode, "one");
  assert.ok(place(1232, 720, 250, { rows: 70 }).length >= 32, "an atlas of many layers cannot be seen whole anyway");
});

test("on a phone a row is as high as a finger needs, and seven steps are shown", () => {
  const { mode, length, columns, narrow } = place(374, 844, 60);
  assert.deepEqual([mode, columns, narrow], ["one", 7, true]);
  assert.ok(length + GAP >= 40);
});

test("pictures that are no squares keep their shape", () => {
  const wide = place(1872, 900, 250, { size: [32, 64] });
  assert.ok(wide.picture <= 0.46 * 1872);
  const tall = place(1392, 900, 250, { size: [96, 64] });
  assert.ok((tall.picture * 96) / 64 + 98 <= 900 - 310 + 1);
});

test("heads fill a wide card and never more than it", () => {
  for (const [room, height, count, ratio] of [[460, 800, 5, 1], [900, 700, 9, 1], [460, 500, 17, 1], [700, 640, 5, 1.5], [420, 300, 2, 1]]) {
    const side = headSide(room, height, count, ratio);
    const down = (width) => Math.ceil(count / Math.floor((room + 10) / (width + 10))) * (width * ratio + 28);
    assert.ok(side > 0 && side <= room && down(side) <= height, `${side} of ${room}×${height}`);
    assert.ok(side === 320 || down(side + 2) > height || side + 2 > room, `there is room for more than ${side}`);
  }
  assert.equal(headSide(300, 800, 5), 0);
});

test("two viewers side by side have pictures of one size", () => {
  const [first, second] = [place(690, 900, 430), place(690, 900, 330)];
  assert.deepEqual([first.mode, first.picture], ["one", second.picture]);
});

test("each viewer of a pair has its picture beside its atlas, both on a small screen", () => {
  for (const [width, screen, top] of [[688, 900, 425], [651, 768, 405], [608, 720, 405], [928, 1080, 460]]) {
    const placed = place(width, screen, top, { pair: true });
    assert.equal(placed.mode, "two");
    assert.ok(placed.columns >= 6 && placed.picture >= 250 && top + 34 + placed.picture <= screen, `${placed.picture} at ${width}`);
    assert.ok(placed.picture + 30 + 12 + 30 + placed.labels + placed.columns * (placed.length + GAP) - GAP <= width);
  }
  assert.equal(place(352, 1024, 600, { pair: true }).mode, "one");
});
