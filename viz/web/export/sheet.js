// The sheet exported as PNG or SVG: the words with their bars, picture, atlas with labels, pins, colour bar, and a sentence
// that describes the map.
//
// It is laid out as a list of items (texts, bitmaps, gaps, boxes, frames and dots) in CSS pixels, which sheet_files.js draws.

import { DIFFERENCE, layersFor, queryGrid, queryOf } from "../core/query.js";
import { largestOf } from "../core/scale.js";
import { formatGrids, formatTick, nameOf } from "../core/words.js";
import { PIN_COLORS } from "../viewer/paint.js";
import { layOutStrip } from "./sheet_strip.js";
import { wrapText } from "./text.js";

const SHEET = { margin: 24, cell: 44, gap: 3, labels: 148, picture: [280, 520], foot: 64, width: 640 };

// The sizes and positions on the sheet, in CSS pixels.
function measureSheet({ viewer }, hasPicture) {
  const { margin, cell, gap, labels, picture } = SHEET;
  const { trace, columns } = viewer;
  const { length: rows } = rowsOf(viewer);
  const longer = Math.max(...trace.size);
  const side = { x: (cell * trace.size[1]) / longer, y: (cell * trace.size[0]) / longer };
  const high = rows * (side.y + gap) - gap;
  const wide = hasPicture ? Math.min(picture[1], Math.max(picture[0], (high * trace.size[1]) / trace.size[0])) : 0;
  const left = hasPicture ? 2 * margin + wide : margin;
  const width = Math.max(SHEET.width, left + labels + columns.length * (side.x + gap) + margin);
  return { side, left, width, high, picture: { x: margin, width: wide, height: (wide * trace.size[0]) / trace.size[1] } };
}

// The sheet: { width, height, items }, in CSS pixels. Without `scale` it holds the atlas alone; with `scale` also the
// picture, rendered at the resolution of the exported file.
export function layOutSheet(source, scale) {
  const { viewer } = source;
  const { trace } = viewer;
  const view = viewer.viewNow();
  const sheet = measureSheet(source, Boolean(scale));
  const titles = headings(source, sheet.width);
  const strip = stripOf(viewer, sheet.width - 2 * SHEET.margin);
  const above = titles[titles.length - 1].y + 18;
  const top = above + strip.height;
  const pins = pinItems(source, sheet, top + sheet.high + 44);
  const below = view.pins.length ? 36 + view.pins.length * (sheet.side.y + SHEET.gap) : 0;
  const bar = colorBar(source, sheet);
  const foot = SHEET.foot + 13 * bar.lines;
  const height = top + Math.max(sheet.high + 26 + below, sheet.picture.height) + foot;
  const items = [{ kind: "box", x: 0, y: 0, width: sheet.width, height, fill: "#ffffff" }, ...titles, ...strip.items(SHEET.margin, above)];
  if (scale) {
    const canvas = source.pictureCanvas(trace.steps.indexOf(view.step), Math.round(sheet.picture.width * scale), view.base);
    items.push({ kind: "bitmap", canvas, y: top, ...sheet.picture });
  }
  items.push(...atlasItems(source, sheet, top), ...tickItems(viewer, sheet, top + sheet.high + 15));
  items.push(...pins, ...bar.items(sheet.left, height - foot + 16));
  return { width: sheet.width, height, items };
}

// The layers of the atlas.
function rowsOf(viewer) {
  const view = viewer.viewNow();
  return layersFor(viewer.trace, queryOf(view), view);
}

function stripOf(viewer, room) {
  const { words } = viewer.exported;
  if (!words?.words.length) return { height: 0, items: () => [] };
  const { height, items } = layOutStrip(words, { signed: viewer.viewNow().branch === DIFFERENCE }, room);
  return { height: height + 14, items };
}

function atlasItems(source, { side, left }, top) {
  const { viewer, query, layer: asked } = source;
  const { trace } = viewer;
  const view = viewer.viewNow();
  return rowsOf(viewer).flatMap((layer, row) => {
    const y = top + row * (side.y + SHEET.gap);
    const middle = y + side.y / 2;
    const weight = layer === asked ? 700 : 400;
    const label = { kind: "text", text: layer.label, x: left, y: middle, size: 12, weight, room: SHEET.labels - 8 };
    const grid = { kind: "text", text: formatGrids(layer), x: left, y: middle + 14, size: 10, soft: true };
    const maps = viewer.columns.flatMap((stepIndex, column) => {
      const box = { x: left + SHEET.labels + column * (side.x + SHEET.gap), y, width: side.x, height: side.y };
      const map = mapItem(source, layer, stepIndex, view, box, query);
      const chosen = layer === asked && trace.steps[stepIndex] === view.step;
      return chosen ? [map, { kind: "frame", ...box }] : [map];
    });
    return [label, grid, ...maps];
  });
}

// One map, or a hatched frame where the layer has none.
function mapItem(source, layer, stepIndex, view, box, query) {
  const numbers = source.viewer.mapOf(layer, stepIndex, view.head, query);
  if (!numbers) return { kind: "gap", reason: source.viewer.gapAt(layer, stepIndex, query), ...box };
  return { kind: "bitmap", canvas: source.mapCanvas(numbers, layer, "solid", query), smooth: view.smooth, ...box };
}

// The pins' rows under the atlas, each with its colour and number.
function pinItems(source, { side, left }, y) {
  const { viewer } = source;
  const view = viewer.viewNow();
  const asked = view.pins.map((pin) => viewer.layerOf(pin));
  const rows = view.pins.flatMap((pin, i) => {
    const layer = asked[i];
    const top = y + 14 + i * (side.y + SHEET.gap);
    const middle = top + side.y / 2;
    const dot = { kind: "dot", x: left + 8, y: middle, radius: 8, fill: PIN_COLORS[i] };
    const number = { kind: "text", text: String(i + 1), x: left + 8, y: middle + 4, size: 11, weight: 700, middle: true };
    const label = { kind: "text", text: nameOf(pin, queryGrid(layer, view.mode)), x: left + 22, y: middle + 4, size: 10, room: SHEET.labels - 26 };
    const maps = viewer.columns.map((stepIndex, column) => {
      const x = left + SHEET.labels + column * (side.x + SHEET.gap);
      return mapItem(source, layer, stepIndex, view, { x, y: top, width: side.x, height: side.y }, pin);
    });
    return [dot, number, label, ...maps];
  });
  const text = `Pins: maps in ${[...new Set(asked.map(({ label }) => label))].join(" and ")}`;
  return rows.length ? [{ kind: "text", text, x: left, y, size: 12, weight: 700 }, ...rows] : [];
}

function tickItems({ trace, columns }, { side, left }, y) {
  const ticks = columns.map((stepIndex, column) => {
    const x = left + SHEET.labels + column * (side.x + SHEET.gap) + side.x / 2;
    return { kind: "text", text: formatTick(trace, stepIndex), x, y, size: 10, soft: true, middle: true };
  });
  return [{ kind: "text", text: "timestep t", x: left, y, size: 10, soft: true }, ...ticks];
}

function headings({ viewer, sentence, where, areasNote }, width) {
  const { caption } = viewer.trace.recipe;
  const room = width - 2 * SHEET.margin;
  const items = [];
  let y = 10;
  for (const [text, size, weight, most] of [
    [typeof caption === "string" ? caption : "", 15, 700],
    [sentence, 12, 400, 6],
    [where, 10, 400],
    ...(areasNote ? [[areasNote, 10, 400]] : []),
  ]) {
    for (const line of wrapText(text, { size, weight }, room, most)) {
      y += size + 6;
      items.push({ kind: "text", text: line, x: SHEET.margin, y, size, weight, soft: weight === 400, room });
    }
  }
  return items;
}

// The colour bar and the note on its scale: the note's number of lines, and a function from a position to the items.
function colorBar(source, sheet) {
  const room = sheet.width - sheet.left - SHEET.margin;
  const width = Math.min(420, room);
  const { viewer, layer } = source;
  const view = viewer.viewNow();
  const map = viewer.mapOf(layer, viewer.trace.steps.indexOf(view.step), view.head, source.query);
  const { colors, ticks, note } = source.bar(map ? largestOf(map, map.length) : 1);
  const canvas = document.createElement("canvas");
  [canvas.width, canvas.height] = [256, 1];
  const context = canvas.getContext("2d");
  colors.forEach((rgb, i) => {
    context.fillStyle = `rgb(${rgb})`;
    context.fillRect(i, 0, 1, 1);
  });
  const soft = { kind: "text", size: 10, soft: true };
  const lines = wrapText(note, soft, room, 5);
  const items = (x, y) => [
    { kind: "bitmap", canvas, x, y, width, height: 10 },
    ...ticks.map(([at, text]) => ({ ...soft, text, x: x + at * width, y: y + 24, middle: true })),
    ...lines.map((text, i) => ({ ...soft, text, x, y: y + 42 + 13 * i })),
  ];
  return { lines: lines.length, items };
}
