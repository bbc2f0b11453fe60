// The pictures of a figure and the outlines of queries on them, as in viz/figure_layout.py. Nothing here touches the DOM.

import { decodeMask, tokenAt } from "../../core/query.js";
import { PIN_COLORS } from "../../viewer/paint.js";
import { frame, whole } from "./items.js";

const GAP = 6; // dots, between pictures

// The picture with its map and the plain one, side by side or one above the other.
export function picturesBlock(content, parts, pen, x, y, width, stacked) {
  const shown = ["picture", "plain"].filter((part) => parts.includes(part));
  if (!shown.length) return { height: 0, items: [] };
  const [high, wide] = content.trace.size;
  const across = stacked ? 1 : shown.length;
  const side = Math.floor((width - (across - 1) * GAP) / across);
  const height = whole((side * high) / wide);
  const items = shown.flatMap((part, i) => {
    const [left, top] = stacked ? [x, y + i * (height + GAP)] : [x + i * (side + GAP), y];
    const box = { x: left, y: top, width: side, height };
    const image = { kind: "image", ...box, pixels: part === "picture" ? content.mapped() : content.plain() };
    if (part === "plain") return [image];
    return [image, ...content.outlined.flatMap(([query, number]) => outlineOf(content, pen, query, number, box))];
  });
  const rows = stacked ? shown.length : 1;
  return { height: rows * (height + GAP) - GAP, items };
}

// A query's outline on the picture in a box, and the number of its pin.
function outlineOf(content, pen, query, number, box) {
  const across = (share) => box.x + whole(share * box.width);
  const down = (share) => box.y + whole(share * box.height);
  const strokes = query.kind === "region" ? regionStrokes(query, across, down) : boxStrokes(content, query, across, down);
  const stroke = number === null ? "#ffffff" : PIN_COLORS[number];
  const lines = [{ kind: "lines", strokes, stroke: "#000000", thick: 9 }, { kind: "lines", strokes, stroke, thick: 5 }];
  if (number === null) return lines;
  const radius = whole(pen.size * 0.55);
  const right = Math.max(...strokes.map(([, , end]) => end));
  const top = Math.min(...strokes.map(([, start]) => start));
  return [...lines, ...numberItems(pen, number, Math.min(right, box.x + box.width - radius), Math.max(top, box.y + radius), radius)];
}

function boxStrokes(content, query, across, down) {
  let { from: start, to: end } = query;
  if (query.kind === "pixel") {
    const grid = content.outlineGrid;
    const token = tokenAt(grid, query.point);
    const [row, column] = [Math.floor(token / grid.width), token % grid.width];
    start = [row / grid.height, column / grid.width];
    end = [(row + 1) / grid.height, (column + 1) / grid.width];
  }
  const [left, top, right, bottom] = [across(start[1]), down(start[0]), across(end[1]), down(end[0])];
  return frame(left, top, right - left, bottom - top);
}

// The edges of painted cells, from the upper left, rows first.
function regionStrokes(query, across, down) {
  const [rows, columns] = query.grid;
  const mask = decodeMask(query);
  const on = (y, x) => y >= 0 && y < rows && x >= 0 && x < columns && mask[y * columns + x] === 1;
  const strokes = [];
  const add = (a, b, c, d) => strokes.push([across(a / columns), down(b / rows), across(c / columns), down(d / rows)]);
  for (let y = 0; y <= rows; y++) {
    for (let x = 0; x <= columns; x++) {
      if (on(y, x) !== on(y - 1, x)) add(x, y, x + 1, y);
      if (on(y, x) !== on(y, x - 1)) add(x, y, x, y + 1);
    }
  }
  return strokes;
}

// A pin's number in its colour.
export function numberItems(pen, number, x, y, radius) {
  const text = { kind: "text", x, y: y + whole(pen.small * 0.36), text: String(number + 1), size: pen.small };
  return [
    { kind: "dot", x, y, radius, fill: PIN_COLORS[number] },
    { ...text, fill: "#000000", bold: true, anchor: "middle" },
  ];
}
