// Paints the lesson's numbers as cells. `desk` is what its parts share:
// { root, ui, colormap, bright, state, lesson, panels, stage, overlay, tones, areas }, created in page.js.

import { formatPlace } from "../core/words.js";
import { imageCanvas } from "../dom.js";

const BELOW = [71, 85, 105];
const ABOVE = [124, 58, 237];
const PALE = [243, 244, 246];

const [BELOWS, ABOVES] = [BELOW, ABOVE].map((end) =>
  Array.from({ length: 256 }, (_, level) => PALE.map((from, i) => Math.round(from + ((end[i] - from) * level) / 255))),
);

// The colour of a number between -largest and largest: from slate through pale to violet.
export function signedColor(value, largest) {
  const t = value / (largest || 1);
  return (t < 0 ? BELOWS : ABOVES)[Math.round(255 * Math.sqrt(Math.min(1, Math.abs(t))))] ?? PALE; // NaN has no level
}

export function largestMagnitude(values) {
  let worst = 0;
  for (let i = 0; i < values.length; i++) worst = Math.max(worst, Math.abs(values[i]));
  return worst;
}

// The result of `make`, cached on its owner: a lesson, or the panels of one query.
export function cached(owner, name, make) {
  owner.results ??= new Map();
  if (!owner.results.has(name)) owner.results.set(name, make());
  return owner.results.get(name);
}

// A canvas of width×height pixels, one per cell; `color` takes a cell's index and returns [r, g, b].
export function canvasOfCells(width, height, color) {
  const data = new Uint8ClampedArray(4 * width * height);
  for (let i = 0; i < width * height; i++) {
    const [red, green, blue] = color(i);
    [data[4 * i], data[4 * i + 1], data[4 * i + 2], data[4 * i + 3]] = [red, green, blue, 255];
  }
  return imageCanvas({ width, height, data });
}

export const canvasOfPicture = ({ shape: [height, width], bytes }) =>
  canvasOfCells(width, height, (i) => bytes.subarray(3 * i, 3 * i + 3));

// {canvas: its width}. All widths are read before anything is drawn: reading in between would force a new layout each time.
const WIDTHS = new WeakMap();

export function measure(node) {
  for (const canvas of node.querySelectorAll("canvas")) WIDTHS.set(canvas, canvas.clientWidth);
}

// Sets a canvas to its width on the page and `ratio` times that as its height; coordinates are CSS pixels.
export function surface(canvas, ratio) {
  const width = WIDTHS.get(canvas) || canvas.clientWidth || 260;
  const height = Math.round(width * ratio);
  const scale = window.devicePixelRatio || 1;
  const pen = canvas.getContext("2d");
  const size = [Math.round(width * scale), Math.round(height * scale)];
  if (pen.reset && canvas.width === size[0] && canvas.height === size[1]) pen.reset(); // cheaper than a new bitmap
  else [canvas.width, canvas.height] = size;
  if (canvas.style.height !== `${height}px`) canvas.style.height = `${height}px`;
  pen.setTransform(scale, 0, 0, scale, 0, 0);
  pen.imageSmoothingEnabled = false;
  return { pen, width, height };
}

export function outline(pen, x, y, width, height, color, thick = 2) {
  for (const [style, line] of [["rgb(0 0 0 / 75%)", thick + 2], [color, thick]]) {
    [pen.strokeStyle, pen.lineWidth] = [style, line];
    pen.strokeRect(x, y, width, height);
  }
}

// The box of a cell on a grid drawn `width` wide: x, y, side, side.
function boxOf({ lesson }, index, width) {
  const side = width / lesson.width;
  return [(index % lesson.width) * side, Math.floor(index / lesson.width) * side, side, side];
}

export const placeOf = ({ lesson }, index) => formatPlace(lesson, index);

// The name of a key: a cell's row and column, or a word.
export const keyName = (desk, key) => (desk.lesson.words ? `“${desk.lesson.words[key]}”` : placeOf(desk, key));

// Draws cells on a grid on a canvas of its own, darkened by `dim`, and outlines the query and the hovered cell.
export function drawGrid(desk, node, source, dim = 0) {
  const { lesson, state, bright } = desk;
  const { pen, width, height } = surface(node, lesson.height / lesson.width);
  pen.drawImage(source, 0, 0, width, height);
  pen.fillStyle = `rgb(0 0 0 / ${dim})`;
  pen.fillRect(0, 0, width, height);
  if (state.hover >= 0) outline(pen, ...boxOf(desk, state.hover, width), "#fff", 1.5);
  outline(pen, ...boxOf(desk, state.query, width), bright.q);
  return { pen, width, height };
}
