// Pointing at the picture, and the keys. `desk` is the viewer's inside: { ui, state, trace, layer, query, choose, hover }.

import { MAX_PINS, boxBetween, cellsOf, decodeMask, encodeMask, moved, tokenAt } from "../core/query.js";

const TAP = 6; // CSS pixels a press may move and still be a tap
const BRUSH = 0.05; // the brush's radius, of the picture's longer side

export function placeIn(event, node) {
  const box = node.getBoundingClientRect();
  const inside = (value) => Math.min(0.999999, Math.max(0, value));
  return [inside((event.clientY - box.top) / box.height), inside((event.clientX - box.left) / box.width)];
}

// -- pins ----------------------------------------------------------------------------------------------------------------

// Pins a query and shows it; one pin too many takes the place of the latest.
function addPin(desk, query) {
  const pins = desk.state.pins.slice(0, MAX_PINS - 1);
  const all = desk.state.pins.length < MAX_PINS ? [...desk.state.pins, query] : [...pins, query];
  desk.choose({ pins: all, active: all.length - 1 });
}

function replacePin(desk, query) {
  const { pins, active } = desk.state;
  desk.choose({ pins: pins.map((pin, i) => (i === active ? query : pin)) });
}

export function removePin(desk, index) {
  const { pins, active } = desk.state;
  const next = active === index ? -1 : active - (active > index ? 1 : 0);
  desk.choose({ pins: pins.filter((_, i) => i !== index), active: next });
}

function pinsAt(desk, point) {
  const { layer, state } = desk;
  const token = tokenAt(layer, point);
  const holds = (query) => cellsOf(query, layer).tokens.includes(token);
  const found = [...state.pins.keys()].filter((i) => holds(state.pins[i]));
  const pixel = found.find((i) => state.pins[i].kind === "pixel"); // a pixel in a region is the one that is meant
  return pixel === undefined ? (found[0] ?? -1) : pixel;
}

// A tap: pins the pixel, shows the pin that is there, or releases it when it is the one that is shown.
function tap(desk, point) {
  const at = pinsAt(desk, point);
  if (at < 0) {
    desk.state.point = point;
    addPin(desk, { kind: "pixel", point });
  } else if (at === desk.state.active) {
    desk.state.point = point;
    removePin(desk, at);
  } else {
    desk.choose({ active: at });
  }
}

// Escape: first lets go of the pin that is shown, then removes all.
function release(desk) {
  if (desk.state.active >= 0) desk.choose({ active: -1 });
  else if (desk.state.pins.length) desk.choose({ pins: [] });
}

// -- the brush -----------------------------------------------------------------------------------------------------------

// The picture's own pixels, or a grid as fine as a link can hold.
function maskGrid([height, width]) {
  const shrink = Math.max(1, Math.max(height, width) / 64);
  return [height, width].map((side) => Math.max(1, Math.round(side / shrink)));
}

// Paints a round spot at a place into a mask; all of a pixel whose middle is inside, and the pixel that holds the place.
function paintSpot(mask, [height, width], [down, across]) {
  const radius = BRUSH * Math.max(height, width);
  const [row, column] = [down * height, across * width];
  for (let y = Math.max(0, Math.floor(row - radius)); y < Math.min(height, row + radius); y++) {
    for (let x = Math.max(0, Math.floor(column - radius)); x < Math.min(width, column + radius); x++) {
      if (Math.hypot(y + 0.5 - row, x + 0.5 - column) <= radius) mask[y * width + x] = 1;
    }
  }
  mask[Math.min(height - 1, Math.floor(row)) * width + Math.min(width - 1, Math.floor(column))] = 1;
}

// A spot at every pixel of the way from one place to another.
function paintStroke(mask, grid, from, to) {
  const steps = Math.max(1, Math.ceil(Math.hypot((to[0] - from[0]) * grid[0], (to[1] - from[1]) * grid[1])));
  for (let i = 0; i <= steps; i++) paintSpot(mask, grid, from.map((v, axis) => v + ((to[axis] - v) * i) / steps));
}

// The mask to paint on: that of the pin that is shown, when it is to be added to, or an empty one.
function maskToPaint(desk, add) {
  const grid = maskGrid(desk.trace.size);
  const { query } = desk;
  const adds = add && desk.state.active >= 0;
  const fits = adds && query.kind === "region" && String(query.grid) === String(grid);
  return { grid, adds: fits, mask: fits ? decodeMask(query).slice() : new Uint8Array(grid[0] * grid[1]) };
}

// -- the pointer ---------------------------------------------------------------------------------------------------------

export function wirePicture(desk) {
  const { canvas } = desk.ui.picture;
  let press = null; // since a button or a finger is down

  function drag(event, point) {
    const { state } = desk;
    if (state.tool === "point") {
      if (press.touch) desk.hover(point, true);
      return;
    }
    if (!press.moved) {
      press.moved = true;
      if (state.tool === "brush") press.paint = maskToPaint(desk, event.shiftKey);
      press.draft = press.paint?.adds ?? false;
    }
    const query = state.tool === "box" ? boxBetween(press.from, point) : stroke(point);
    if (query.kind === "box" && (query.from[0] === query.to[0] || query.from[1] === query.to[1])) return;
    if (press.draft) replacePin(desk, query);
    else addPin(desk, query);
    press.draft = true;
  }

  function stroke(point) {
    const { mask, grid } = press.paint;
    paintStroke(mask, grid, press.last, point);
    press.last = point;
    return encodeMask(mask, grid);
  }

  canvas.addEventListener("pointerdown", (event) => {
    if (!desk.trace || event.button) return;
    const point = placeIn(event, canvas);
    press = { x: event.clientX, y: event.clientY, from: point, last: point, moved: false, touch: event.pointerType !== "mouse" };
    canvas.setPointerCapture(event.pointerId);
  });
  canvas.addEventListener("pointermove", (event) => {
    if (!desk.trace) return;
    const point = placeIn(event, canvas);
    if (desk.state.active < 0) desk.speak(false); // what is pinned has been said and stays
    if (!press) desk.hover(point);
    else if (press.moved || Math.hypot(event.clientX - press.x, event.clientY - press.y) > TAP) drag(event, point);
    else if (desk.state.tool === "point") desk.hover(point);
  });
  canvas.addEventListener("pointerup", (event) => {
    if (!press) return;
    const near = Math.hypot(event.clientX - press.x, event.clientY - press.y) <= TAP;
    const { moved } = press;
    press = null;
    if (!moved && near) tap(desk, placeIn(event, canvas));
  });
  canvas.addEventListener("pointercancel", () => (press = null));
}

// A click into a grid of maps chooses the step, and the layer or the pin.
export function wireAtlas(desk) {
  const { atlas, pins } = desk.ui;
  const stepAt = (column) => desk.columns[Math.floor(column * desk.columns.length)];
  atlas.canvas.addEventListener("click", (event) => {
    const [row, column] = placeIn(event, atlas.canvas);
    desk.choose({ layer: Math.floor(row * desk.trace.layers.length), step: stepAt(column) });
  });
  pins.canvas.addEventListener("click", (event) => {
    const [row, column] = placeIn(event, pins.canvas);
    desk.choose({ active: Math.floor(row * desk.state.pins.length), step: stepAt(column) });
  });
  atlas.previews.addEventListener("click", ({ target }) => {
    const { column } = target.dataset;
    if (column !== undefined) desk.choose({ step: desk.columns[Number(column)], base: "preview" });
  });
}

// -- the keys ------------------------------------------------------------------------------------------------------------

const ARROWS = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] };

function moveQuery(desk, [down, right], grow) {
  const { state, layer, query } = desk;
  if (grow) return growQuery(desk, down, right);
  const next = moved(query, down, right, layer);
  if (state.active >= 0) replacePin(desk, next);
  else desk.hover(next.point);
  desk.speak(true);
}

// Makes a pixel a rectangle, or a rectangle larger, by a cell of the layer that is shown.
function growQuery(desk, down, right) {
  const { state, layer, query } = desk;
  if (query.kind === "region") return;
  const { height, width } = layer;
  let { from, to } = query;
  if (query.kind === "pixel") {
    const token = tokenAt(layer, query.point);
    const [row, column] = [Math.floor(token / width), token % width];
    [from, to] = [[row / height, column / width], [(row + 1) / height, (column + 1) / width]];
  }
  const clip = (value) => Math.min(1, Math.max(0, value));
  const [y, x] = [down / height, right / width];
  const box = {
    kind: "box",
    from: [clip(from[0] + Math.min(0, y)), clip(from[1] + Math.min(0, x))],
    to: [clip(to[0] + Math.max(0, y)), clip(to[1] + Math.max(0, x))],
  };
  if (state.active >= 0) replacePin(desk, box);
  else addPin(desk, box);
}

function paintHere(desk) {
  const { grid, adds, mask } = maskToPaint(desk, true);
  paintSpot(mask, grid, desk.state.point);
  const query = encodeMask(mask, grid);
  if (adds) replacePin(desk, query);
  else addPin(desk, query);
}

function pressKey(desk, key, shift) {
  const { state, layer, trace } = desk;
  const steps = trace.steps.length;
  if (ARROWS[key]) moveQuery(desk, ARROWS[key], shift);
  else if (key === "Enter" && state.tool === "brush") paintHere(desk);
  else if (key === "Enter") tap(desk, desk.place);
  else if (key === "[") desk.choose({ step: Math.max(0, state.step - 1) });
  else if (key === "]") desk.choose({ step: Math.min(steps - 1, state.step + 1) });
  else if (key === "h") desk.choose({ head: state.head + 1 >= layer.heads ? -1 : state.head + 1 });
  else if (key === "r") desk.choose({ mode: state.mode === "row" ? "column" : "row" });
  else if (key === " ") desk.play();
  else if (key === "Escape") release(desk);
  else return false;
  return true;
}

// Keys act in the viewer, and in the page's first one while nothing else has the focus; never where something is typed.
export function wireKeys(desk) {
  const { root, ui } = desk;
  document.addEventListener("keydown", function act(event) {
    if (!root.isConnected) {
      document.removeEventListener("keydown", act);
      return desk.answers?.close();
    }
    const { target, key } = event;
    if (!desk.trace || event.ctrlKey || event.metaKey || event.altKey || event.defaultPrevented || ui.dialog.open) return;
    const first = [...document.querySelectorAll(".pg-main:not([hidden])")].find((main) => main.offsetParent);
    if (!(root.contains(target) || (target === document.body && first === ui.main))) return;
    if (target.matches("textarea, select, [contenteditable], input:not([type=range])")) return;
    if (target.matches("input") && (ARROWS[key] || key === " ")) return;
    if (target.matches("button, a") && (key === "Enter" || key === " ")) return;
    if (pressKey(desk, key, event.shiftKey)) event.preventDefault(); // the page stays where it is
  });
}
