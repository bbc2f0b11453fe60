// Draws a scene's figure: grids, strips, bars, labels. All places are CSS pixels on the stage's one canvas.
//
// A box is { x, y, width, height }. `desk` is described in paint.js; here it also has `tones`, colours from the style sheet,
// and `areas`, the parts of the figure that can be pointed at: { box, cellAt(x, y) }.

import { positionOf } from "../core/scale.js";
import { canvasOfCells, largestMagnitude } from "./paint.js";

const TONES = ["ink", "soft", "line", "surface", "q", "k", "v"];
const NAMES = { q: "query", k: "key", v: "value" };
const WEIGHTS = positionOf({ special: false, range: "common", log: true });
const FEW = 40; // words that fit one below the other

// Reads colours and the font from the style sheet: { ink, …, q, k, v, font }; `rgb` holds them as numbers.
export function readTones(node) {
  const style = getComputedStyle(node);
  const tones = { font: style.fontFamily, rgb: {} };
  for (const name of TONES) {
    const value = style.getPropertyValue(`--pg-${NAMES[name] ?? name}`).trim();
    tones[name] = value;
    tones.rgb[name] = [1, 3, 5].map((at) => parseInt(value.slice(at, at + 2), 16));
  }
  return tones;
}

export const inset = ({ x, y, width, height }, by) => ({ x: x + by, y: y + by, width: width - 2 * by, height: height - 2 * by });
export const mix = (from, to, t) => from + (to - from) * t;
export const clamp01 = (t) => Math.max(0, Math.min(1, t));
// The part of t in which something happens, from 0 to 1, slow at both ends.
export function during(t, from, to) {
  const part = clamp01((t - from) / (to - from));
  return part * part * (3 - 2 * part);
}

// The largest box of these proportions within a box, in its middle.
export function fit(box, columns, rows) {
  const scale = Math.min(box.width / columns, box.height / rows);
  const [width, height] = [columns * scale, rows * scale];
  return { x: box.x + (box.width - width) / 2, y: box.y + (box.height - height) / 2, width, height };
}

// Splits the figure: a first part of `share`, and the rest; side by side where it is wide, else one above the other.
export function panes({ width, height }, share = 0.5, gap = 28) {
  if (width > 1.1 * height) {
    const first = (width - gap) * share;
    return { wide: true, first: { x: 0, y: 0, width: first, height }, rest: { x: first + gap, y: 0, width: width - first - gap, height } };
  }
  const first = (height - gap) * Math.min(0.45, share);
  return { wide: false, first: { x: 0, y: 0, width, height: first }, rest: { x: 0, y: first + gap, width, height: height - first - gap } };
}

export function write(desk, pen, text, x, y, { size = 12, color = desk.tones.ink, align = "left", bold = false, room } = {}) {
  pen.font = `${bold ? "600 " : ""}${size}px ${desk.tones.font}`;
  pen.textAlign = align;
  pen.textBaseline = "alphabetic";
  pen.fillStyle = color;
  if (room === undefined) pen.fillText(text, x, y);
  else pen.fillText(text, x, y, Math.max(10, room));
}

export function frame(pen, { x, y, width, height }, color, thick = 2) {
  for (const [style, line] of [["rgb(0 0 0 / 75%)", thick + 2], [color, thick]]) {
    [pen.strokeStyle, pen.lineWidth] = [style, line];
    pen.strokeRect(x, y, width, height);
  }
}

// A canvas's picture, with hard edges.
export function stamp(pen, source, { x, y, width, height }, alpha = 1) {
  pen.globalAlpha = alpha;
  pen.imageSmoothingEnabled = false;
  pen.drawImage(source, x, y, width, height);
  pen.globalAlpha = 1;
}

export function fill(pen, { x, y, width, height }, color) {
  pen.fillStyle = color;
  pen.fillRect(x, y, width, height);
}

export function arrow(pen, [x, y], [toX, toY], color, thick, head = 7) {
  const angle = Math.atan2(toY - y, toX - x);
  const size = Math.min(head + thick, Math.hypot(toX - x, toY - y));
  const [endX, endY] = [toX - size * 0.8 * Math.cos(angle), toY - size * 0.8 * Math.sin(angle)];
  for (const [style, extra] of [["rgb(0 0 0 / 60%)", 2], [color, 0]]) {
    [pen.strokeStyle, pen.fillStyle, pen.lineWidth] = [style, style, thick + extra];
    pen.beginPath();
    pen.moveTo(x, y);
    pen.lineTo(endX, endY);
    pen.stroke();
    pen.beginPath();
    pen.moveTo(toX, toY);
    for (const turn of [2.65, -2.65]) pen.lineTo(toX + size * Math.cos(angle + turn), toY + size * Math.sin(angle + turn));
    pen.fill();
  }
}

// -- grids -----------------------------------------------------------------------------------------------------------------

export function cellBox(lesson, index, { x, y, width, height }) {
  const [across, down] = [width / lesson.width, height / lesson.height];
  return { x: x + (index % lesson.width) * across, y: y + Math.floor(index / lesson.width) * down, width: across, height: down };
}

export function centreOf(lesson, index, box) {
  const cell = cellBox(lesson, index, box);
  return [cell.x + cell.width / 2, cell.y + cell.height / 2];
}

// Draws cells on their grid; with `areas` they can be pointed at, and the query and the hovered cell are outlined.
export function drawCells(desk, pen, source, box, { dim = 0, key = -1, marks = true } = {}) {
  const { lesson, state } = desk;
  stamp(pen, source, box);
  if (dim) fill(pen, box, `rgb(0 0 0 / ${dim})`);
  if (!marks) return;
  desk.areas.push({ box, cellAt: (x, y) => cellAtPlace(lesson, x, y) });
  if (state.hover >= 0 && state.hover !== key) frame(pen, cellBox(lesson, state.hover, box), "#fff", 1.5);
  if (key >= 0) frame(pen, cellBox(lesson, key, box), desk.bright.k);
  frame(pen, cellBox(lesson, state.query, box), desk.bright.q, 2.5);
}

function cellAtPlace({ width, height }, x, y) {
  return Math.min(height - 1, Math.floor(y * height)) * width + Math.min(width - 1, Math.floor(x * width));
}

// The colour of a weight in times chance, as on Explore.
export function heatOf({ colormap, lesson }, weight) {
  return colormap[Math.round(255 * clamp01(WEIGHTS(Math.max(1e-9, weight * lesson.keys))))];
}

// One number for each key: a map, or bars for words. `color(index)` returns [r, g, b]; keys from `filled` on are empty.
export function drawKeys(desk, pen, box, values, color, { filled = values.length, key = -1 } = {}) {
  const { lesson, tones } = desk;
  if (lesson.words) return drawWordBars(desk, pen, box, values, color, filled, key);
  const empty = tones.rgb.line;
  const place = fit(box, lesson.width, lesson.height);
  drawCells(desk, pen, canvasOfCells(lesson.width, lesson.height, (i) => (i < filled ? color(i) : empty)), place, { key });
  return place;
}

function drawWordBars(desk, pen, box, values, color, filled, key) {
  const { words } = desk.lesson;
  const count = Math.min(words.length, FEW);
  const line = Math.min(22, box.height / count);
  const [largest, left] = [largestMagnitude(values) || 1, Math.min(96, box.width * 0.4)];
  for (let j = 0; j < count; j++) {
    const y = box.y + j * line;
    write(desk, pen, words[j], box.x, y + line * 0.72, {
      size: Math.min(13, line * 0.78),
      color: j === key ? desk.tones.k : desk.tones.ink,
      bold: j === key,
      room: left - 8,
    });
    if (j >= filled) continue;
    const width = Math.max(1, (Math.abs(values[j]) / largest) * (box.width - left));
    fill(pen, { x: box.x + left, y: y + 2, width, height: line - 4 }, `rgb(${color(j).join(" ")})`);
  }
  return box;
}

// -- numbers ---------------------------------------------------------------------------------------------------------------

// A function from numbers to colours: grey below zero, the page at zero, the tone ("q", "k", "v" or "ink") above.
export function signedTone({ tones }, tone, largest) {
  const [zero, above, below] = [tones.rgb.surface, tones.rgb[tone], tones.rgb.soft];
  return (value) => {
    const t = Math.sqrt(Math.min(1, Math.abs(value) / (largest || 1)));
    const end = value < 0 ? below : above;
    return zero.map((from, i) => Math.round(mix(from, end[i], value < 0 ? 0.8 * t : t)));
  };
}

// A list of numbers as one line of cells.
export function drawStrip(desk, pen, values, box, tone, largest = largestMagnitude(values)) {
  const color = signedTone(desk, tone, largest);
  stamp(pen, canvasOfCells(values.length, 1, (c) => color(values[c])), box);
  [pen.strokeStyle, pen.lineWidth] = [desk.tones.line, 1];
  pen.strokeRect(box.x, box.y, box.width, box.height);
}

// A list of numbers as bars up and down from a line in the middle.
export function drawBars(desk, pen, values, box, color, largest = largestMagnitude(values)) {
  const middle = box.y + box.height / 2;
  const wide = box.width / values.length;
  pen.fillStyle = color;
  values.forEach((value, c) => {
    const tall = ((value / (largest || 1)) * box.height) / 2;
    pen.fillRect(box.x + c * wide + wide * 0.12, tall > 0 ? middle - tall : middle, wide * 0.76, Math.max(1, Math.abs(tall)));
  });
  fill(pen, { x: box.x, y: middle - 0.5, width: box.width, height: 1 }, desk.tones.soft);
}

// "W" with a lowered letter, from x on.
export function writeWeight(desk, pen, letter, x, y, color) {
  write(desk, pen, "W", x, y, { size: 15, bold: true, color });
  const { width } = pen.measureText("W");
  write(desk, pen, letter, x + width + 1, y + 4, { size: 12, bold: true, color });
}
