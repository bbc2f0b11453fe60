import assert from "node:assert/strict";
import test from "node:test";

import { csvOf } from "../../viz/web/export/csv.js";

test("csvOf writes lines side by side and leaves gaps empty", () => {
  const data = [
    { type: "scatter", x: [0, 4], y: [1.5, null], meta: "up 1" },
    { type: "scatter", x: [0, 4], y: [2, 3], meta: "=cmd" },
  ];
  assert.equal(csvOf(data), '"step","up 1","\'=cmd"\r\n0,1.5,2\r\n4,,3\r\n');
});

test("csvOf writes a heat map row by row", () => {
  assert.equal(csvOf([{ type: "heatmap", z: [[1, 2], [null, 4]] }]), "1,2\r\n,4\r\n");
});
