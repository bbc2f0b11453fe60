import assert from "node:assert/strict";
import test from "node:test";

import { csvOf } from "../../viz/web/export/csv.js";

test("csvOf writes lines side by side and leaves gaps empty", () => {
  const data = [
    { type: "scatter", x: [0, 4], y: [1.5, null], meta: "up 1" },
    { type: "scatter", x: [0, 4], y: [2, 3], meta: "=cmd" },
  ];
  const meta = { timesteps: [999, null], about: { pin: "pin 1, row 9, column 2", head: "head 1" } };
  const about = '"pin 1, row 9, column 2","head 1"';
  const header = '"step","timestep","pin","head","up 1","\'=cmd"';
  assert.equal(csvOf(data, meta), `${header}\r\n0,999,${about},1.5,2\r\n4,,${about},,3\r\n`);
  assert.equal(csvOf(data), '"step","timestep","up 1","\'=cmd"\r\n0,,1.5,2\r\n4,,,3\r\n');
});

test("csvOf writes a heat map row by row", () => {
  assert.equal(csvOf([{ type: "heatmap", z: [[1, 2], [null, 4]] }]), "1,2\r\n,4\r\n");
});
