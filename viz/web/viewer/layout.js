// The viewer's layout: which steps the atlas shows, and its labels. `desk`: see desk.js.

import { isWordQuery, queryGrid } from "../core/query.js";
import { READINGS } from "../core/word_sentences.js";
import { formatGaps, formatGrid, formatGrids, formatKeys, formatTick, nameOf, shortNameOf } from "../core/words.js";
import { h, imageCanvas, makeButton } from "../dom.js";
import { ASIDE, arrange, headSide } from "./arrange.js";
import { spread } from "./columns.js";
import { drawNetwork } from "./network.js";
import { PIN_COLORS } from "./paint.js";
import { removePin } from "./pins.js";
import { ATLAS_LABEL } from "./skeleton.js";

// In CSS pixels.
const BAR = 240; // least width of the colour bar with its numbers
const DIGIT = 8; // width of a bold digit in the steps' labels
const TICK_GAP = 4; // between two of these labels
const [CARD, BESIDE] = [30, 12]; // a card's left and right padding and borders; space between two cards
const PLAYER = 40; // height of the slider below the picture, with the space above

// The columns of an atlas that stands alone, and their labels.
function columnsOf({ trace, state }, count) {
  const columns = spread(trace.steps.length, count, [state.step]);
  return { columns, ticks: columns.map((step) => formatTick(trace, step)) };
}

// Fits picture, maps, columns and labels to the screen. Layer and step stay.
export function buildAtlas(desk) {
  const { ui, trace, painter, pinPainter, rows } = desk;
  const { shared } = desk;
  const steps = shared?.steps.length ?? trace.steps.length;
  const height = innerHeight - topOf(ui.cards.picture) - heightBelow(ui);
  const { all } = desk;
  const fitted = arrange({
    ...{ width: ui.main.clientWidth, height, screen: innerHeight, size: trace.size, rows: rows.length, steps },
    ...{ all: all && !shared, pair: Boolean(shared) },
  });
  const { mode, picture, labels, short, narrow, line, aside } = fitted;
  const { length, columns, room } = shared?.fit(desk.root, fitted) ?? fitted;
  ui.main.dataset.mode = mode;
  for (const each of [painter, pinPainter]) each.measure(length, trace.size);
  const { pitch } = painter.css;
  Object.assign(desk, shared?.columns(desk.root, columns) ?? columnsOf(desk, columns), { compact: short, narrow });
  painter.resize(rows.length, desk.columns.length);
  ui.atlas.all.hidden = steps <= room || Boolean(shared);
  ui.atlas.all.textContent = `All ${steps} steps`;
  ui.atlas.all.setAttribute("aria-pressed", String(all));
  const maps = Math.max(columns, room) * pitch.x;
  const style = { picture, labels, atlas: labels + (aside ? maps + ASIDE : Math.max(BAR, maps)) };
  ui.main.classList.toggle("pg-line", line);
  ui.main.classList.toggle("pg-aside", aside);
  ui.main.classList.toggle("pg-narrow", narrow && mode === "one");
  ui.main.classList.toggle("pg-tight", picture < 440);
  for (const [name, value] of Object.entries(style)) ui.main.style.setProperty(`--pg-${name}`, `${Math.floor(value)}px`);
  const beside = ui.main.clientWidth - picture - Math.floor(style.atlas) - 3 * CARD - 2 * BESIDE;
  desk.side = { room: mode === "three" && !aside ? beside : 0, height: (picture * trace.size[0]) / trace.size[1] + PLAYER };
  sizeHeads(desk);
  labelAtlas(desk);
  buildPins(desk);
}

// Makes the heads as large as fit their card, where that is wide.
function sizeHeads({ ui, side, trace }) {
  const [height, width] = trace.size;
  const size = side ? headSide(side.room, side.height, ui.heads.tiles.length, height / width) : 0;
  ui.main.classList.toggle("pg-roomy", size > 0);
  ui.main.style.setProperty("--pg-head", `${size}px`);
}

// The distance of a node from the top of the page, or of what fills the screen, however far that has been scrolled.
export function topOf(node) {
  const full = document.fullscreenElement;
  return node.getBoundingClientRect().top + (full?.contains(node) ? full.scrollTop : scrollY);
}

// The height of what is to be seen below the cards: the sentence.
const heightBelow = ({ sentence }) => sentence.offsetHeight + 20;

// Fits rows, heads and marks to the query.
export function fitAll(desk) {
  const { ui, state, trace } = desk;
  if (!trace) return;
  fitHeads(desk);
  const chosen = Math.min(state.head, desk.layer.heads - 1);
  for (const { head, button } of ui.heads.tiles) button.setAttribute("aria-pressed", String(head === chosen));
  if (!desk.columns.length) return;
  fitAtlas(desk);
  markAtlas(desk);
}

// The atlas's rows for the present query, a pixel's or a word's; where there are as many, nothing moves.
export function fitAtlas(desk) {
  const { rows, labelled } = desk;
  if (labelled === rows) return;
  if (labelled.length === rows.length) labelAtlas(desk);
  else buildAtlas(desk);
}

export function buildPins(desk) {
  if (!desk.columns.length) return;
  desk.pinPainter.resize(Math.max(1, desk.state.pins.length), desk.columns.length);
  desk.pinsKey = "";
  labelPins(desk);
}

// The heads of the present layer.
export function fitHeads(desk) {
  const { ui, layer } = desk;
  if (ui.heads.tiles.length !== layer.heads + 1) buildHeads(desk);
  else if (ui.heads.note.textContent !== layer.label) ui.heads.note.textContent = layer.label;
}

export function buildHeads(desk) {
  const { ui, layer } = desk;
  ui.heads.tiles = [-1, ...Array(layer.heads).keys()].map((head) => {
    const canvas = h("canvas");
    const button = makeButton("", { class: "pg-head", onclick: () => desk.choose({ head }) });
    button.append(canvas, h("span", {}, head < 0 ? "mean" : `head ${head}`));
    desk.watchHead(canvas, head);
    return { head, button, canvas };
  });
  ui.heads.strip.replaceChildren(...ui.heads.tiles.map(({ button }) => button));
  ui.heads.note.textContent = layer.label;
  sizeHeads(desk);
}

// Builds the atlas's labels, timesteps and thumbnails, and marks what is chosen.
export function labelAtlas(desk) {
  const { ui, trace, columns, compact, painter, rows } = desk;
  const { pitch } = painter.css;
  const network = drawNetwork(rows, pitch.y, desk.narrow);
  desk.labelled = rows;
  ui.atlas.predicted.textContent = compact ? "image" : "predicted image";
  ui.atlas.axis.textContent = compact ? "t" : "timestep t";
  const labels = rows.map((layer, i) => {
    const title = [layer.name, formatKeys(layer), ...formatGaps(trace, layer)].join("\n");
    const label = makeButton("", { class: "pg-label", title, onclick: () => desk.choose({ layer: layer.index }) });
    Object.assign(label.style, { height: `${pitch.y}px`, paddingLeft: `${network.indent}px` });
    const name = h("span", { class: "pg-name" }, compact ? layer.shortLabel : layer.label);
    label.append(network.blocks[i], name, h("span", { class: "pg-grid" }, compact ? formatGrid(layer) : formatGrids(layer)));
    return label;
  });
  ui.atlas.labels.replaceChildren(...labels);
  ui.atlas.network.replaceChildren(network.node);
  ui.atlas.canvas.setAttribute("aria-label", [ATLAS_LABEL, ...gapsOf(trace, rows)].join(" "));
  ui.atlas.ticks.replaceChildren(...desk.ticks.map((text) => tickNode(text, painter.css)));
  ui.atlas.previews.replaceChildren(...columns.map((step, column) => previewNode(trace, step, column, painter.css)));
  markAtlas(desk);
}

// A sentence for each layer with gaps, for those who cannot see the hatch.
function gapsOf(trace, rows) {
  const gapped = rows.filter(({ gaps }) => gaps.size);
  return gapped.map((layer) => `${layer.label} has ${formatGaps(trace, layer).join("; ")}.`);
}

function tickNode(text, { pitch, side }) {
  const tick = h("div", { class: "pg-tick" }, text);
  Object.assign(tick.style, { width: `${side.x}px`, marginRight: `${pitch.x - side.x}px` });
  return tick;
}

function previewNode(trace, step, column, { pitch, side }) {
  const preview = trace.previews[step];
  const node = preview ? imageCanvas(preview) : h("canvas");
  node.className = "pg-preview";
  node.dataset.column = String(column);
  Object.assign(node.style, { width: `${side.x}px`, height: `${side.y}px`, marginRight: `${pitch.x - side.x}px` });
  return node;
}

// Each pin has a row under the atlas, and a chip in the toolbar that selects or removes it.
function labelPins(desk) {
  const { ui, state } = desk;
  const { layer, grid } = pinsOn(desk);
  ui.pins.group.hidden = !state.pins.length;
  ui.pins.note.textContent = `maps in ${layer.label}, step by step`;
  const names = state.pins.map((query) => nameOf(query, grid));
  const chips = names.map((name, i) => {
    const remove = makeButton("×", { "aria-label": `Remove pin ${i + 1}`, onclick: () => removePin(desk, i) });
    return h("span", { class: "pg-chip" }, pinButton(desk, i, `${i + 1}: show the pin, ${name}`), remove);
  });
  replaceButtons(ui, ui.chips, chips);
  const labels = names.map((name, i) => {
    const shown = desk.compact ? shortNameOf(state.pins[i], grid) : name;
    const label = pinButton(desk, i, `${i + 1} ${shown}${shown === name ? "" : `: ${name}`}`, "pg-label");
    label.style.height = `${desk.pinPainter.css.pitch.y}px`;
    label.append(h("span", { class: "pg-grid" }, shown));
    return label;
  });
  replaceButtons(ui, ui.pins.labels, labels);
}

// Replaces a node's children. A focus among them goes to the button in the same place, or stays in the viewer, as its keys need it.
function replaceButtons(ui, node, children) {
  const index = [...node.querySelectorAll("button")].indexOf(document.activeElement);
  node.replaceChildren(...children);
  if (index >= 0) (node.querySelectorAll("button")[index] ?? ui.picture.canvas).focus({ preventScroll: true });
}

// The layer and grid that name the pins: those of the pixels among them, whatever word is under the pointer.
function pinsOn(desk) {
  const pixel = { kind: "pixel" };
  const layer = desk.layerOf(desk.state.pins.find((pin) => !isWordQuery(pin)) ?? desk.state.pins[0] ?? pixel);
  return { layer, grid: layer.keyGrid ? queryGrid(layer, desk.state.mode) : layer };
}

function pinButton(desk, index, label, className = "") {
  const pressed = String(index === desk.state.active);
  const button = makeButton("", { class: className, "aria-label": label, "aria-pressed": pressed });
  const dot = h("span", { class: "pg-dot" }, String(index + 1));
  dot.style.background = PIN_COLORS[index];
  button.append(dot);
  button.addEventListener("click", () => desk.choose({ active: index }));
  return button;
}

// Marks the chosen map in the atlas, its layer and its step.
export function markAtlas(desk) {
  const { ui, trace, state, columns, painter, rows, query } = desk;
  const { pitch, side } = painter.css;
  const column = columns.indexOf(state.step);
  const row = rows.indexOf(desk.layer);
  Object.assign(ui.atlas.mark.style, {
    transform: `translate(${column * pitch.x}px, ${row * pitch.y}px)`,
    width: `${side.x}px`,
    height: `${side.y}px`,
  });
  ui.atlas.labels.childNodes.forEach((label, i) => label.setAttribute("aria-pressed", String(i === row)));
  const ticks = [...ui.atlas.ticks.childNodes];
  const longest = Math.max(...ticks.map(({ textContent }) => textContent.length));
  const every = Math.ceil((DIGIT * longest + TICK_GAP) / pitch.x); // labels that would touch are left out, never the chosen one
  ticks.forEach((tick, i) => {
    tick.classList.toggle("pg-chosen", i === column);
    tick.classList.toggle("pg-spare", (i - column) % every !== 0);
  });
  const steps = desk.shared?.steps.length ?? trace.steps.length;
  const kind = { pixel: "pixel", box: "rectangle", region: "region" }[query.kind];
  const more = state.special ? " more, or less, than the average pixel" : "";
  const meaning = state.mode === "column" ? `who looks at this ${kind}` : `where this ${kind} looks${more}`;
  const text = isWordQuery(query) ? `${nameOf(query)}, ${READINGS[state.reading]}` : meaning;
  const note = columns.length === steps ? `${text}, by layer and step` : `${text} · ${columns.length} of ${steps} steps`;
  Object.assign(ui.atlas.note, { textContent: note, title: note }); // the heading may cut it off
}

export function hintFor({ pins, active, tool }) {
  const isTouch = matchMedia("(hover: none)").matches;
  if (isTouch && active >= 0) return "Pinned. Tap it again to unpin.";
  if (active >= 0 && isWordQuery(pins[active])) return "A pinned word. Click it again to unpin, or press Esc to explore freely.";
  if (active >= 0) return "Pinned. Click it again to unpin, or press Esc to explore freely.";
  if (tool === "box") return "Drag over the picture to select a rectangle.";
  if (tool === "brush") return `Drag over the picture to paint a region${isTouch ? "" : "; hold Shift to add to the selected region"}.`;
  if (isTouch) return "Move a finger over the picture; tap a pixel to pin it.";
  if (pins.length) return "Point at a pixel. Press Esc to remove all pins.";
  return "Point at a pixel. Click to pin it; use the arrow keys to move it.";
}
