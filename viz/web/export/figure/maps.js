// The maps of a figure, as in viz/figure_layout.py: the atlas, the rows of the pins, and the heads, each a block:
// { height, items }. Nothing here touches the DOM.

import { formatGrids, formatTick } from "../../core/words.js";
import { cut, frame, whole, widthOf } from "./items.js";
import { numberItems } from "./pictures.js";
import { shownName } from "./words.js";

const GAP = 6; // dots, between maps
const LARGEST = 260; // dots: the longer side of a map
const SMALLEST = 12;
const CHOSEN = "#c2410c"; // the frame of the chosen map
const NONE = "#8a8a8a"; // that of a place without a map

// The columns that atlas, pins and heads share: where they begin, a map's sides, and the labels' room before them.
function columnsOf(content, options, pen, x, width) {
  const hasSteps = options.parts.includes("atlas") || options.parts.includes("pins");
  const steps = hasSteps ? content.steps(options).length : 4;
  const names = content.layers(options).flatMap((layer) => [layer.label, formatGrids(layer)]);
  const widest = Math.max(...[...names, "timestep t"].map((name) => widthOf(name, pen.size, pen.font, true)));
  const labels = Math.min(whole(widest) + 2 * GAP, whole(width * 0.35));
  const cell = Math.min(LARGEST, Math.floor((width - labels - (steps - 1) * GAP) / steps));
  if (cell < SMALLEST) throw new Error(`${steps} steps do not fit this width: choose fewer steps or a wider figure.`);
  const [high, wide] = content.trace.size;
  const side = (n) => Math.max(1, whole((cell * n) / Math.max(high, wide)));
  return { x, left: x + labels, wide: side(wide), high: side(high), at: (column) => x + labels + column * (side(wide) + GAP) };
}

export function atlasBlock(content, options, pen, x, y, width) {
  const columns = columnsOf(content, options, pen, x, width);
  const { view, query } = content;
  const [layers, steps] = [content.layers(options), content.steps(options)];
  const pitch = Math.max(columns.high, pen.line) + GAP;
  const items = layers.flatMap((layer, row) => {
    const top = y + row * pitch;
    const isChosen = layer === content.layer;
    const maps = steps.flatMap((step, column) => {
      const box = { x: columns.at(column), y: top, width: columns.wide, height: columns.high };
      const map = mapItem(content, layer, step, view.head, query, box);
      const isMarked = isChosen && step === content.step && layers.length * steps.length > 1;
      return isMarked ? [map, { kind: "lines", strokes: frame(box.x, top, box.width, box.height), stroke: CHOSEN, thick: 5 }] : [map];
    });
    return [...labelItems(columns, pen, layer.label, formatGrids(layer), top, isChosen), ...maps];
  });
  const high = layers.length * pitch - GAP;
  return { height: high + whole(pen.small * 1.3), items: [...items, ...tickItems(content, steps, columns, pen, y + high)] };
}

// A layer's name before its row, and its grid below if there is room.
function labelItems(columns, pen, name, grid, top, bold) {
  const room = columns.left - columns.x - GAP;
  const both = columns.high >= 2 * pen.line;
  const middle = top + Math.floor(columns.high / 2);
  const text = { kind: "text", x: columns.x, anchor: "start" };
  const first = { ...text, y: middle + (both ? -GAP : whole(pen.size * 0.35)), text: cut(name, room, pen.size, pen.font, bold), size: pen.size, fill: pen.ink, bold };
  if (!both) return [first];
  const below = cut(grid, room, pen.small, pen.font);
  return [first, { ...text, y: middle - GAP + whole(pen.small * 1.2), text: below, size: pen.small, fill: pen.soft, bold: false }];
}

// One map, or where there is none a frame, crossed out.
function mapItem(content, layer, step, head, query, { x, y, width, height }) {
  const pixels = content.cells(layer, step, head, query);
  if (pixels) return { kind: "image", x, y, width, height, pixels };
  const strokes = [...frame(x, y, width, height), [x, y, x + width, y + height]];
  return { kind: "lines", strokes, stroke: NONE, thick: 2 };
}

// The timesteps under the columns, as many as there is room for.
function tickItems({ trace }, steps, columns, pen, y) {
  const texts = steps.map((step) => formatTick(trace, step));
  const widest = Math.max(...texts.map((text) => widthOf(text, pen.small, pen.font))) + 2 * GAP;
  let every = 1;
  while (every * (columns.wide + GAP) < widest && every < steps.length) every += 1;
  const baseline = y + whole(pen.small * 1.1);
  const soft = { kind: "text", y: baseline, size: pen.small, fill: pen.soft, bold: false };
  const name = trace.timesteps.every((t) => t === null) ? "step" : "timestep t";
  const ticks = texts.map((text, i) => ({ ...soft, x: columns.at(i) + Math.floor(columns.wide / 2), text, anchor: "middle" }));
  return [{ ...soft, x: columns.x, text: name, anchor: "start" }, ...ticks.filter((_, i) => i % every === 0)];
}

// A row of maps for each pin, in the chosen layer or its partner.
export function pinsBlock(content, options, pen, x, y, width) {
  const columns = columnsOf(content, options, pen, x, width);
  const { view, viewer } = content;
  const { pins } = view;
  const steps = content.steps(options);
  const pitch = Math.max(columns.high, pen.line) + GAP;
  const radius = whole(pen.size * 0.55);
  const start = x + 2 * radius + 2 * GAP;
  const room = columns.left - start - GAP;
  const items = pins.flatMap((pin, row) => {
    const top = y + row * pitch;
    const middle = top + Math.floor(columns.high / 2);
    const text = cut(shownName(pin, content.outlineGrid), room, pen.small, pen.font);
    const label = { kind: "text", x: start, y: middle + whole(pen.small * 0.35), text, size: pen.small, fill: pen.ink, bold: false, anchor: "start" };
    const box = (column) => ({ x: columns.at(column), y: top, width: columns.wide, height: columns.high });
    const maps = steps.map((step, column) => mapItem(content, viewer.layerOf(pin), step, view.head, pin, box(column)));
    return [...numberItems(pen, row, x + radius, middle, radius), label, ...maps];
  });
  const high = Math.max(0, pins.length * pitch - GAP);
  if (!pins.length || options.parts.includes("atlas")) return { height: high, items };
  return { height: high + whole(pen.small * 1.3), items: [...items, ...tickItems(content, steps, columns, pen, y + high)] };
}

// The heads of the chosen layer at the chosen step, with their numbers below.
export function headsBlock(content, options, pen, x, y, width) {
  const columns = columnsOf(content, options, pen, x, width);
  const { view, layer, trace, step, query } = content;
  const across = Math.max(1, Math.floor((x + width - columns.left + GAP) / (columns.wide + GAP)));
  const pitch = columns.high + whole(pen.small * 1.3) + GAP;
  const items = labelItems(columns, pen, layer.label, `heads, t = ${formatTick(trace, step)}`, y, true);
  for (let head = 0; head < layer.heads; head++) {
    const [left, top] = [columns.at(head % across), y + Math.floor(head / across) * pitch];
    items.push(mapItem(content, layer, step, head, query, { x: left, y: top, width: columns.wide, height: columns.high }));
    const place = { x: left + Math.floor(columns.wide / 2), y: top + columns.high + whole(pen.small * 1.1) };
    items.push({ kind: "text", ...place, text: String(head), size: pen.small, fill: pen.soft, bold: head === view.head, anchor: "middle" });
  }
  return { height: (Math.floor((layer.heads - 1) / across) + 1) * pitch - GAP, items };
}
