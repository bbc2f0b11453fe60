// Paints numbers for the lesson: cells, strips, grids and words. A `desk` is what its panels share:
// { root, ui, colormap, state, lesson, panels }, made in page.js.

import { imageCanvas } from "../dom.js";

const BLUE = [37, 99, 235];
export const ORANGE = [234, 88, 12];
const PALE = [243, 244, 246];
export const MARK = "#ffa057"; // around what is hovered, on dark pictures and pale strips alike
export const LINE = 20; // of the list, in CSS pixels
const WORD = 16; // of the words

const [BLUES, ORANGES] = [BLUE, ORANGE].map((end) =>
  Array.from({ length: 256 }, (_, level) => PALE.map((from, i) => Math.round(from + ((end[i] - from) * level) / 255))),
);

// A signed number between -largest and largest as a colour: blue, pale, orange.
export function signedColor(value, largest) {
  const t = value / (largest || 1);
  return (t < 0 ? BLUES : ORANGES)[Math.round(255 * Math.sqrt(Math.min(1, Math.abs(t))))] ?? PALE; // NaN is neither
}

export function largestMagnitude(values) {
  let worst = 0;
  for (let i = 0; i < values.length; i++) worst = Math.max(worst, Math.abs(values[i]));
  return worst;
}

// The result of `make`, kept with its owner: a lesson, or the panels of one query.
export function once(owner, name, make) {
  owner.results ??= new Map();
  if (!owner.results.has(name)) owner.results.set(name, make());
  return owner.results.get(name);
}

// A canvas of exactly width×height cells from a function of the cell's index to [r, g, b].
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

// How wide canvases are. Asked for all of them before any is drawn: asking in between lays the page out every time.
const WIDTHS = new WeakMap();
export const widthOf = (canvas) => WIDTHS.get(canvas) || canvas.clientWidth || 260;

export function measure(desk) {
  const style = getComputedStyle(desk.root);
  [desk.ink, desk.soft] = ["--pg-ink", "--pg-soft"].map((name) => style.getPropertyValue(name));
  for (const canvas of desk.root.querySelectorAll("canvas")) WIDTHS.set(canvas, canvas.clientWidth);
  const { scroller } = desk.ui.flat;
  desk.list = { width: scroller.clientWidth, height: scroller.clientHeight, from: scroller.scrollTop };
}

// A drawing surface as wide as its place, `ratio` times as high, in device pixels; coordinates are CSS pixels.
export function surface(canvas, ratio) {
  const width = widthOf(canvas);
  const height = Math.round(width * ratio);
  const scale = window.devicePixelRatio || 1;
  const pen = canvas.getContext("2d");
  const size = [Math.round(width * scale), Math.round(height * scale)];
  if (pen.reset && canvas.width === size[0] && canvas.height === size[1]) pen.reset(); // cheaper than new memory
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
export function cellBox({ lesson }, index, width) {
  const side = width / lesson.width;
  return [(index % lesson.width) * side, Math.floor(index / lesson.width) * side, side, side];
}

export function placeOf({ lesson }, index) {
  return `row ${Math.floor(index / lesson.width)}, column ${index % lesson.width}`;
}

// Cells on a grid, darkened by `dim`, with the query and what is hovered outlined.
export function drawGrid(desk, node, source, dim = 0) {
  const { lesson, state } = desk;
  const { pen, width, height } = surface(node, lesson.height / lesson.width);
  pen.drawImage(source, 0, 0, width, height);
  pen.fillStyle = `rgb(0 0 0 / ${dim})`;
  pen.fillRect(0, 0, width, height);
  if (state.hover >= 0) outline(pen, ...cellBox(desk, state.hover, width), MARK);
  outline(pen, ...cellBox(desk, state.query, width), "#fff");
  return { pen, width, height };
}

// Lists of numbers as strips of colour, one under the other: [label, numbers, the largest, if not their own].
export function drawStrips(desk, node, list, thick = 16) {
  const { pen, width } = surface(node, (list.length * (thick + 20)) / widthOf(node));
  pen.font = "12px system-ui, sans-serif";
  pen.fillStyle = desk.soft;
  list.forEach(([label, values, scale], i) => {
    const y = i * (thick + 20);
    pen.fillText(label, 0, y + 11);
    const strip = once(desk.panels, label, () => {
      const largest = scale ?? largestMagnitude(values);
      return canvasOfCells(values.length, 1, (c) => signedColor(values[c], largest));
    });
    pen.drawImage(strip, 0, y + 15, width, thick);
  });
}

// What a key is called: a cell, or a word.
export const keyName = (desk, key) => (desk.lesson.words ? `“${desk.lesson.words[key]}”` : placeOf(desk, key));

// A line a word: its name, and its number as a bar of a colour.
export function drawWords(desk, node, values, color) {
  const { words } = desk.lesson;
  const { pen, width } = surface(node, (words.length * WORD) / widthOf(node));
  const [largest, left] = [largestMagnitude(values), 86];
  pen.font = "12px system-ui, sans-serif";
  words.forEach((word, j) => {
    const y = j * WORD;
    pen.fillStyle = j === desk.panels.top[0] ? desk.ink : desk.soft;
    pen.fillText(word, 0, y + 12, left - 6);
    pen.fillStyle = `rgb(${color(values[j], largest).join(" ")})`;
    pen.fillRect(left, y + 2, Math.max(1, (Math.abs(values[j]) / largest) * (width - left)), WORD - 4);
  });
}
