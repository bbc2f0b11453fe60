// The first visit: a ghost of a cursor goes from the pixel on show to the place it looks at most, and the map follows it. Once for
// each visitor, until anything is touched; not where motion is unwanted, and not in the HTML file.

import { h } from "../dom.js";

const TAUGHT = "pixelgaze-taught"; // in localStorage
const PATIENCE = 1200; // ms of quiet before it begins
const [WAIT, TRAVEL, STAY] = [600, 1400, 1000]; // ms
const APART = 0.15; // least distance to the other place, as a share of the picture
const TOUCHES = ["pointermove", "pointerdown", "keydown", "wheel", "touchstart", "blur"];

const isUnwanted = () => matchMedia("(prefers-reduced-motion: reduce)").matches || !matchMedia("(hover: hover)").matches;

// Where storage is forbidden, nobody can be known again, so nobody is taught.
function isTaught() {
  try {
    return localStorage.getItem(TAUGHT) !== null;
  } catch {
    return true;
  }
}

// Call once the first trace is on show.
export function teach(viewer) {
  if (isTaught() || isUnwanted()) return;
  let remove = () => {};
  const timer = setTimeout(() => {
    const path = pathIn(viewer);
    if (path) remove = play(viewer, path, end);
    else end();
  }, PATIENCE);
  const end = () => {
    clearTimeout(timer);
    TOUCHES.forEach((type) => removeEventListener(type, touch, true));
    stopListening();
    remove();
  };
  // A browser may report a mouse that rests while the page moves below it.
  const touch = ({ type, movementX, movementY }) => (type !== "pointermove" || movementX || movementY) && end();
  TOUCHES.forEach((type) => addEventListener(type, touch, { capture: true, passive: true }));
  const stopListening = viewer.onchange(end);
}

// From the pixel on show to the cell, some way off, at which it looks most: two places, [row, column] in 0..1. Null if nothing is to
// be learned there.
function pathIn(viewer) {
  const { state, map, root } = viewer;
  if (!map || state.active >= 0 || state.word || state.mode !== "row" || document.hidden || !root.offsetParent) return null;
  const { height, width } = viewer.gridOf(viewer.layerOf({ kind: "pixel" }));
  const placeOf = (cell) => [(Math.floor(cell / width) + 0.5) / height, ((cell % width) + 0.5) / width];
  const isFar = ([row, column]) => Math.hypot(row - state.point[0], column - state.point[1]) > APART;
  let best = -1;
  map.forEach((value, cell) => {
    if (isFar(placeOf(cell)) && (best < 0 || value > map[best])) best = cell;
  });
  return best >= 0 && map[best] > 2 ? [state.point, placeOf(best)] : null;
}

// Moves the ghost along the path, and the query with it; calls `done` at its end. Returns a function that removes the ghost, and
// leaves the query where it was before.
function play(viewer, [from, to], done) {
  remember();
  const ghost = h("div", { class: "pg-ghost", "aria-hidden": "true" });
  viewer.root.append(ghost);
  const canvas = viewer.root.querySelector(".pg-picture");
  const began = performance.now();
  let frame = requestAnimationFrame(function move(now) {
    const share = Math.min(1, Math.max(0, (now - began - WAIT) / TRAVEL));
    const eased = share * share * (3 - 2 * share);
    const place = from.map((start, i) => start + (to[i] - start) * eased);
    const box = canvas.getBoundingClientRect();
    ghost.style.translate = `${box.left + place[1] * box.width}px ${box.top + place[0] * box.height}px`;
    if (share > 0) viewer.hover(place);
    if (now - began < WAIT + TRAVEL + STAY) frame = requestAnimationFrame(move);
    else done();
  });
  return () => {
    cancelAnimationFrame(frame);
    ghost.remove();
    if (viewer.state.active < 0) viewer.hover(from);
  };
}

function remember() {
  try {
    localStorage.setItem(TAUGHT, "1");
  } catch {
    // it will be shown again
  }
}
