// Keyboard control. `desk`: see desk.js.

import { paintSpot } from "../core/mask.js";
import { encodeMask, isWordQuery, shiftQuery, tokenAt } from "../core/query.js";
import { ARROWS } from "../dom.js";
import { toggleFullScreen } from "./full_screen.js";
import { addPin, clearPins, replacePin, tap, undoPins } from "./pins.js";
import { holdPlain } from "./plain.js";
import { maskToPaint } from "./pointer.js";

// Keys act on the viewer that has the focus, and never in its text fields. A click anywhere in a viewer gives it the focus.
export function wireKeys(desk) {
  document.addEventListener("keydown", function act(event) {
    if (!desk.root.isConnected) {
      document.removeEventListener("keydown", act);
      return desk.answers?.close();
    }
    if (!isForViewer(desk, event)) return;
    const isUndo = event.key.toLowerCase() === "z" && (event.ctrlKey || event.metaKey) && !event.shiftKey && !event.altKey;
    const isPlain = !event.ctrlKey && !event.metaKey && !event.altKey;
    if (isUndo ? undoPins(desk) : isPlain && pressKey(desk, event.key, event.shiftKey)) event.preventDefault(); // prevents scrolling
  });
}

function isForViewer({ root, ui, trace }, event) {
  const { target, key } = event;
  if (!trace || event.defaultPrevented || ui.dialog.open || !root.contains(target)) return false;
  if (target.matches("textarea, select, [contenteditable], input:not([type=range])")) return false;
  if (target.matches("input") && (ARROWS[key] || key === " ")) return false;
  return !(target.matches("button, a, summary") && (key === "Enter" || key === " "));
}

// Returns whether the key has a meaning.
function pressKey(desk, key, shift) {
  const { state, layer, trace } = desk;
  const last = trace.steps.length - 1;
  const actions = {
    Enter: () => (state.tool === "brush" ? paintHere(desk) : tap(desk, desk.middle)),
    "[": () => desk.choose({ step: Math.max(0, state.step - 1) }),
    "]": () => desk.choose({ step: Math.min(last, state.step + 1) }),
    h: () => desk.choose({ head: state.head + 1 >= layer.heads ? -1 : state.head + 1 }),
    l: () => stepLayer(desk, 1),
    L: () => stepLayer(desk, -1),
    o: () => holdPlain(desk),
    f: () => toggleFullScreen(desk),
    r: () => desk.choose({ mode: state.mode === "row" ? "column" : "row" }),
    " ": () => desk.play(),
    Escape: () => clearPins(desk),
  };
  if (Object.hasOwn(ARROWS, key)) moveQuery(desk, ARROWS[key], shift);
  else if (Object.hasOwn(actions, key)) actions[key]();
  else return false;
  return true;
}

// Chooses the next layer of the atlas, or the previous one; after the last comes the first.
function stepLayer(desk, by) {
  const { rows, layer } = desk;
  desk.choose({ layer: rows[(rows.indexOf(layer) + by + rows.length) % rows.length].index });
}

function moveQuery(desk, [down, right], grow) {
  const { state, grid, query } = desk;
  if (isWordQuery(query)) return;
  if (grow) return growQuery(desk, down, right);
  const next = shiftQuery(query, down, right, grid);
  if (state.active >= 0) replacePin(desk, next);
  else desk.hover(next.point);
  desk.speak(true);
}

// Turns a pixel into a rectangle, or enlarges a rectangle, by one cell of the chosen layer.
function growQuery(desk, down, right) {
  const { state, grid, query } = desk;
  if (query.kind === "region") return;
  const { height, width } = grid;
  let { from, to } = query;
  if (query.kind === "pixel") {
    const token = tokenAt(grid, query.point);
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
