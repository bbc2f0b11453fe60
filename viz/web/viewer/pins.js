// Adds, replaces and removes pins, and brings them back. `desk`: see desk.js.

import { isQueryOf } from "../core/captions.js";
import { MAX_PINS, cellsOf, isWordQuery, tokenAt } from "../core/query.js";
import { hideNotice, showNotice } from "./notice.js";

const KEPT = 50; // changes that can be undone

// Changes the pins such that it can be undone; with a `sentence`, which says what was lost, the visitor is told so.
function changePins(desk, pins, active, sentence = "") {
  const { state, past } = desk;
  past.push({ pins: state.pins, active: state.active });
  if (past.length > KEPT) past.shift();
  desk.choose({ pins, active });
  if (sentence) showNotice(desk, sentence, () => undoPins(desk));
  else hideNotice(desk);
}

// Brings back the pins as they were before the latest change; returns whether there was one.
export function undoPins(desk) {
  const before = desk.past.pop();
  if (!before) return false;
  hideNotice(desk);
  desk.choose(before);
  return true;
}

// Pins a query and selects the pin; beyond MAX_PINS it replaces the newest pin.
export function addPin(desk, query) {
  const { pins } = desk.state;
  const lost = pins.length < MAX_PINS ? "" : `There can be at most ${MAX_PINS} pins: pin ${MAX_PINS} was replaced.`;
  const changed = [...pins.slice(0, MAX_PINS - 1), query];
  changePins(desk, changed, changed.length - 1, lost);
}

// Replaces the selected pin.
export function replacePin(desk, query) {
  const { pins, active } = desk.state;
  desk.choose({ pins: pins.map((pin, i) => (i === active ? query : pin)) });
}

export function removePin(desk, index) {
  const { pins, active } = desk.state;
  const next = active === index ? -1 : active - (active > index ? 1 : 0);
  changePins(desk, pins.filter((_, i) => i !== index), next);
}

// The index of the pin at a point; -1 for none.
function pinAt({ grid, state }, point) {
  const token = tokenAt(grid, point);
  const holds = (query) => !isWordQuery(query) && cellsOf(query, grid).tokens.includes(token);
  const hits = [...state.pins.keys()].filter((i) => holds(state.pins[i]));
  const pixel = hits.find((i) => state.pins[i].kind === "pixel"); // a pixel takes precedence over a region around it
  return pixel ?? hits[0] ?? -1;
}

// Pins the pixel at a point; a pin that is already there is selected, or removed if it is selected.
export function tap(desk, point) {
  const index = pinAt(desk, point);
  if (index < 0) {
    desk.state.point = point;
    addPin(desk, { kind: "pixel", point });
  } else if (index === desk.state.active) {
    desk.state.point = point;
    removePin(desk, index);
  } else {
    desk.choose({ active: index });
  }
}

// The index of the pin that names a word; -1 for none.
export const pinOfWord = ({ pins }, word) => pins.findIndex((pin) => isQueryOf(pin, word));

// Pins a word; a pin of it that is already there is selected, or removed if it is selected.
export function tapWord(desk, word) {
  const index = pinOfWord(desk.state, word);
  if (index < 0) addPin(desk, word.query);
  else if (index === desk.state.active) removePin(desk, index);
  else desk.choose({ active: index });
}

// Deselects the selected pin; if none is selected, removes all pins.
export function clearPins(desk) {
  const { length } = desk.state.pins;
  if (desk.state.active >= 0) desk.choose({ active: -1 });
  else if (length) changePins(desk, [], -1, length > 1 ? `All ${length} pins were removed.` : "The pin was removed.");
}
