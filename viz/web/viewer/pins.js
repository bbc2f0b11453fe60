// Pinning: adding, replacing and removing the queries that stay. `desk` is the viewer's inside, see viewer/desk.js.

import { MAX_PINS, cellsOf, tokenAt } from "../core/query.js";

// Pins a query and shows it; one pin too many replaces the newest.
export function addPin(desk, query) {
  const pins = [...desk.state.pins.slice(0, MAX_PINS - 1), query];
  const all = desk.state.pins.length < MAX_PINS ? [...desk.state.pins, query] : pins;
  desk.choose({ pins: all, active: all.length - 1 });
}

// Replaces the pin that is shown.
export function replacePin(desk, query) {
  const { pins, active } = desk.state;
  desk.choose({ pins: pins.map((pin, i) => (i === active ? query : pin)) });
}

export function removePin(desk, index) {
  const { pins, active } = desk.state;
  const next = active === index ? -1 : active - (active > index ? 1 : 0);
  desk.choose({ pins: pins.filter((_, i) => i !== index), active: next });
}

// The index of the pin at a place; -1 for none.
function pinAt({ layer, state }, point) {
  const token = tokenAt(layer, point);
  const holds = (query) => cellsOf(query, layer).tokens.includes(token);
  const hits = [...state.pins.keys()].filter((i) => holds(state.pins[i]));
  const pixel = hits.find((i) => state.pins[i].kind === "pixel"); // rather a pixel than a region around it
  return pixel ?? hits[0] ?? -1;
}

// A tap: pins the pixel, shows the pin that is there, or removes it if it is the one shown.
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

// Escape: first deselects the pin that is shown, then removes all.
export function release(desk) {
  if (desk.state.active >= 0) desk.choose({ active: -1 });
  else if (desk.state.pins.length) desk.choose({ pins: [] });
}
