// How the viewer is laid out: what fits beside what, which steps the atlas shows, and its labels.

import { scaleWords, ticksOf } from "../core/scale.js";
import { formatTimestep, nameOf, shortNameOf } from "../core/words.js";
import { make, makeButton } from "../dom.js";
import { GAP, PIN_COLORS, imageOf } from "./paint.js";
import { removePin } from "./pointer.js";

// Side by side where there is room: picture, atlas and heads; else heads below both; else all in one column. `room` is for
// the atlas with its labels, `largest` a cell's side, in CSS pixels.
function arrange(width, steps) {
  const [card, gap, labels] = [38, 18, 138];
  const three = width - 2 * gap - 3 * card - 450 - 232;
  if (three >= labels + steps * (40 + GAP)) return { mode: "three", room: three, labels, largest: 50 };
  const two = width - gap - 2 * card - 312;
  if (two >= labels + 8 * (32 + GAP)) return { mode: "two", room: two, labels, largest: 50 };
  return { mode: "one", room: width - 30, labels: width < 560 ? 70 : labels, largest: 54 };
}

// Which steps to show where only `count` fit: evenly spread, the chosen one in the place of its nearest neighbour.
function columnsFor(steps, count, chosen) {
  const kept = Math.min(steps, count);
  const columns = Array.from({ length: kept }, (_, i) => Math.round((i * (steps - 1)) / Math.max(1, kept - 1)));
  const distances = columns.map((step) => Math.abs(step - chosen));
  columns[distances.indexOf(Math.min(...distances))] = chosen;
  return columns;
}

// Cells, columns and labels for the width there is. A view's layer and step stay.
export function buildAtlas(desk) {
  const { ui, trace, state, painter, pinPainter } = desk;
  const steps = trace.steps.length;
  const { mode, room, labels, largest } = arrange(ui.main.clientWidth, steps);
  ui.main.dataset.mode = mode;
  const longer = Math.max(...trace.size) / trace.size[1];
  const side = Math.min(largest, Math.max(32, (Math.floor((room - labels) / steps) - GAP) * longer));
  for (const each of [painter, pinPainter]) each.measure(side, trace.size);
  const { pitch } = painter.css;
  desk.columns = columnsFor(steps, Math.max(2, Math.floor((room - labels + GAP) / pitch.x)), state.step);
  desk.compact = labels < 100;
  painter.resize(trace.layers.length, desk.columns.length);
  ui.main.style.setProperty("--pg-labels", `${labels}px`);
  const least = 240; // what the colour bar and its numbers need, where there are only a few steps
  ui.main.style.setProperty("--pg-atlas", `${labels + Math.max(least, desk.columns.length * pitch.x)}px`);
  labelAtlas(ui, trace, desk.columns, painter.css, desk.compact);
  ui.atlas.labels.childNodes.forEach((label, layer) => label.addEventListener("click", () => desk.choose({ layer })));
  buildPins(desk);
}

export function buildPins(desk) {
  if (!desk.columns.length) return;
  desk.pinPainter.resize(Math.max(1, desk.state.pins.length), desk.columns.length);
  desk.pinsDrawn = "";
  labelPins(desk);
}

export function buildHeads(desk) {
  const { ui, layer } = desk;
  ui.heads.strip.replaceChildren();
  ui.heads.tiles = [-1, ...Array(layer.heads).keys()].map((head) => {
    const button = makeButton("pg-head", undefined, ui.heads.strip);
    const canvas = make("canvas", "", undefined, button);
    make("span", "", head < 0 ? "mean" : `head ${head}`, button);
    button.addEventListener("click", () => desk.choose({ head }));
    desk.watchHead(canvas, head);
    return { head, button, canvas };
  });
  ui.heads.note.textContent = layer.label;
}

// The atlas's labels, timesteps and thumbnails, for columns of this size.
function labelAtlas(ui, trace, columns, { pitch, side }, compact) {
  const { previews, labels, ticks } = ui.atlas;
  [ui.atlas.soFar.textContent, ui.atlas.axis.textContent] = compact ? ["so far", "t"] : ["the picture so far", "timestep t"];
  for (const node of [previews, labels, ticks]) node.replaceChildren();
  for (const layer of trace.layers) {
    const label = make("button", "pg-label", undefined, labels);
    label.type = "button";
    label.title = layer.name;
    label.style.height = `${pitch.y}px`;
    make("span", "pg-name", compact ? layer.shortLabel : layer.label, label);
    make("span", "pg-grid", `${layer.height}×${layer.width}`, label);
  }
  columns.forEach((stepIndex, i) => {
    const tick = make("div", "pg-tick", formatTimestep(trace.timesteps[stepIndex]) || trace.steps[stepIndex], ticks);
    const thumbnail = make("canvas", "pg-preview", undefined, previews);
    for (const node of [tick, thumbnail]) {
      node.style.width = `${side.x}px`;
      node.style.marginRight = `${pitch.x - side.x}px`;
    }
    thumbnail.style.height = `${side.y}px`;
    thumbnail.dataset.column = String(i);
    const preview = trace.previews[stepIndex];
    if (!preview) return;
    thumbnail.width = preview.width;
    thumbnail.height = preview.height;
    thumbnail.getContext("2d").putImageData(imageOf(preview), 0, 0);
  });
}

// One row for each pin, under the atlas, and a chip in the row of tools: to show the pin, and to remove it.
function labelPins(desk) {
  const { ui, state, layer } = desk;
  const { group, labels, note } = ui.pins;
  group.hidden = !state.pins.length;
  note.textContent = `each in ${layer.label}, step by step`;
  labels.replaceChildren();
  ui.chips.replaceChildren();
  if (!state.pins.length) make("span", "pg-note", "no pins yet", ui.chips);
  state.pins.forEach((query, i) => {
    const name = nameOf(query, layer);
    const pressed = String(i === state.active);
    const label = makeButton("pg-label", undefined, labels, `Pin ${i + 1}, ${name}`);
    const chip = make("span", "pg-chip", undefined, ui.chips);
    const shows = makeButton("", undefined, chip, `Show pin ${i + 1}, ${name}`);
    label.style.height = `${desk.pinPainter.css.pitch.y}px`;
    for (const button of [label, shows]) {
      button.setAttribute("aria-pressed", pressed);
      makeDot(i, button);
      button.addEventListener("click", () => desk.choose({ active: i }));
    }
    make("span", "pg-grid", desk.compact ? shortNameOf(query, layer) : name, label);
    makeButton("", "×", chip, `Remove pin ${i + 1}`).addEventListener("click", () => removePin(desk, i));
  });
}

function makeDot(number, parent) {
  make("span", "pg-dot", String(number + 1), parent).style.background = PIN_COLORS[number];
}

// What of the atlas is chosen.
export function markAtlas({ ui, trace, state, columns, painter }) {
  const { pitch, side } = painter.css;
  const column = columns.indexOf(state.step);
  Object.assign(ui.atlas.mark.style, {
    transform: `translate(${column * pitch.x}px, ${state.layer * pitch.y}px)`,
    width: `${side.x}px`,
    height: `${side.y}px`,
  });
  ui.atlas.labels.childNodes.forEach((label, i) => label.setAttribute("aria-pressed", String(i === state.layer)));
  ui.atlas.ticks.childNodes.forEach((tick, i) => tick.classList.toggle("pg-chosen", i === column));
  const some = columns.length < trace.steps.length ? `${columns.length} of ${trace.steps.length} steps shown; ` : "";
  const asked = state.active >= 0 ? { pixel: "pixel", box: "rectangle", region: "region" }[state.pins[state.active].kind] : "pixel";
  const says = state.mode === "column" ? `who looks at this ${asked}` : `where this ${asked} looks`;
  ui.atlas.note.textContent = `${some}each cell is one map: ${says}, noise to picture`;
}

// The colour bar's ticks and its words.
export function showScale(ui, scale, largest, state) {
  const marks = ticksOf(scale, largest);
  const now = JSON.stringify([marks, scale, state.mode, state.smooth]);
  if (ui.ticks.dataset.shown === now) return;
  ui.ticks.dataset.shown = now;
  while (ui.ticks.childNodes.length > marks.length) ui.ticks.lastChild.remove();
  marks.forEach(([at, text], i) => {
    const tick = ui.ticks.childNodes[i] || make("span", "", "", ui.ticks);
    tick.style.left = `${100 * at}%`;
    tick.textContent = text;
  });
  ui.scaleNote.textContent = scaleWords(scale, largest, state);
  ui.gradient.dataset.kind = scale.special ? "diverging" : "sequential";
}

export function hintFor({ pins, active, tool }) {
  if (active >= 0) return "Pinned. Click it again to remove it, or press Escape to look around.";
  if (tool === "box") return "Drag over the picture to ask about a rectangle.";
  if (tool === "brush") return "Drag over the picture to paint a region; hold Shift to add to the one that is shown.";
  if (pins.length) return "Point at a pixel; Escape removes all pins.";
  return "Point at a pixel; click to pin it, and move it with the arrow keys.";
}
