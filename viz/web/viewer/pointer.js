// Pointing at the picture and the atlas with a mouse or a finger. `desk`: see desk.js.

import { maskGrid, paintStroke } from "../core/mask.js";
import { boxBetween, decodeMask, encodeMask } from "../core/query.js";
import { addPin, replacePin, tap } from "./pins.js";
import { wirePlain } from "./plain.js";

const TAP = 6; // CSS pixels a press may move and still count as a tap

// The position of an event on a node: [row, column] in 0..1.
export function placeIn(event, node) {
  const box = node.getBoundingClientRect();
  const inside = (value) => Math.min(0.999999, Math.max(0, value));
  return [inside((event.clientY - box.top) / box.height), inside((event.clientX - box.left) / box.width)];
}

// The mask to paint on: with `add`, that of the selected region; else an empty one.
export function maskToPaint({ trace, query, state }, add) {
  const grid = maskGrid(trace.size);
  const adds = add && state.active >= 0 && query.kind === "region" && String(query.grid) === String(grid);
  return { grid, adds, mask: adds ? decodeMask(query).slice() : new Uint8Array(grid[0] * grid[1]) };
}

export function wirePicture(desk) {
  const { canvas } = desk.ui.picture;
  let press = null; // while a button or a finger is down
  wirePlain(desk);
  canvas.addEventListener("pointerdown", (event) => {
    if (!desk.trace || event.button) return;
    const point = placeIn(event, canvas);
    press = { x: event.clientX, y: event.clientY, from: point, last: point, moved: false, touch: event.pointerType !== "mouse" };
    canvas.setPointerCapture(event.pointerId);
  });
  canvas.addEventListener("pointermove", (event) => {
    if (!desk.trace) return;
    const point = placeIn(event, canvas);
    if (desk.state.active < 0) desk.speak(false); // a pin has been announced and stays
    if (!press) desk.hover(point);
    else if (press.moved || !isTap(press, event)) drag(desk, press, event, point);
    else if (desk.state.tool === "point") desk.hover(point);
  });
  canvas.addEventListener("pointerup", (event) => {
    if (!press) return;
    if (!press.moved && isTap(press, event)) tap(desk, placeIn(event, canvas));
    press = null;
  });
  canvas.addEventListener("pointercancel", () => (press = null));
}

const isTap = (press, event) => Math.hypot(event.clientX - press.x, event.clientY - press.y) <= TAP;

// Draws a rectangle or region as a pin that grows with the drag; with the pixel tool, a finger explores.
function drag(desk, press, event, point) {
  const { tool } = desk.state;
  if (tool === "point") {
    if (press.touch) desk.hover(point, true);
    return;
  }
  if (!press.moved) {
    press.moved = true;
    if (tool === "brush") press.paint = maskToPaint(desk, event.shiftKey);
    press.pinned = press.paint?.adds ?? false;
  }
  const query = tool === "box" ? boxBetween(press.from, point) : strokeTo(press, point);
  if (query.kind === "box" && (query.from[0] === query.to[0] || query.from[1] === query.to[1])) return;
  if (press.pinned) replacePin(desk, query);
  else addPin(desk, query);
  press.pinned = true;
}

function strokeTo(press, point) {
  const { mask, grid } = press.paint;
  paintStroke(mask, grid, press.last, point);
  press.last = point;
  return encodeMask(mask, grid);
}

// A click on a map chooses its step, and its layer or pin.
export function wireAtlas(desk) {
  const { atlas, pins } = desk.ui;
  atlas.all.addEventListener("click", () => {
    desk.all = !desk.all;
    desk.layOut();
  });
  const stepAt = (column) => desk.columns[Math.floor(column * desk.columns.length)];
  atlas.canvas.addEventListener("click", (event) => {
    const [row, column] = placeIn(event, atlas.canvas);
    const { index } = desk.rows[Math.floor(row * desk.rows.length)];
    desk.choose({ layer: index, step: stepAt(column) ?? desk.state.step });
  });
  pins.canvas.addEventListener("click", (event) => {
    const [row, column] = placeIn(event, pins.canvas);
    desk.choose({ active: Math.floor(row * desk.state.pins.length), step: stepAt(column) ?? desk.state.step });
  });
  atlas.previews.addEventListener("click", ({ target }) => {
    const { column } = target.dataset;
    const step = column === undefined ? null : desk.columns[Number(column)];
    if (step !== null) desk.choose({ step, base: "preview" });
  });
}
