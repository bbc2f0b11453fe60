// Paints the lesson's numbers: cells, strips, grids and words. `desk` is what the panels share:
// { root, ui, colormap, state, lesson, panels }, created in page.js.

import { formatPlace } from "../core/words.js";
import { imageCanvas } from "../dom.js";

const BLUE = [37, 99, 235];
export const ORANGE = [234, 88, 12];
const PALE = [243, 244, 246];
export const MARK = "#ffa057"; // outline of the hovered cell, visible on dark pictures and on pale strips
export const LINE = 20; // height of a row of the list, in CSS pixels
const WORD = 16; // height of a word's line

const [BLUES, ORANGES] = [BLUE, ORANGE].map((end) =>
  Array.from({ length: 256 }, (_, level) => PALE.map((from, i) => Math.round(from + ((end[i] - from) * level) / 255))),
);

// The colour of a number between -largest and largest: from blue through pale to orange.
export function signedColor(value, largest) {
  const t = value / (largest || 1);
  return (t < 0 ? BLUES : ORANGES)[Math.round(255 * Math.sqrt(Math.min(1, Math.abs(t))))] ?? PALE; // NaN has no level
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
export const widthOf = (canvas) => WIDTHS.get(canvas) || canvas.clientWidth || 260;

export function measure(desk) {
  const style = getComputedStyle(desk.root);
  [desk.ink, desk.soft] = ["--pg-ink", "--pg-soft"].map((name) => style.getPropertyValue(name));
  for (const canvas of desk.root.querySelectorAll("canvas")) WIDTHS.set(canvas, canvas.clientWidth);
  const { scroller } = desk.ui.flat;
  desk.list = { width: scroller.clientWidth, height: scroller.clientHeight, from: scroller.scrollTop };
}

// Sets a canvas to its width on the page and `ratio` times that as its height; coordinates are CSS pixels.
export function surface(canvas, ratio) {
  const width = widthOf(canvas);
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
export function cellBox({ lesson }, index, width) {
  const side = width / lesson.width;
  return [(index % lesson.width) * side, Math.floor(index / lesson.width) * side, side, side];
}

export const placeOf = ({ lesson }, index) => formatPlace(lesson, index);

// Draws cells on a grid, darkened by `dim`, and outlines the query and the hovered cell.
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

// Draws lists of numbers as strips of colour, one below the other: [label, numbers, scale].
export function drawStrips(desk, node, list, thick = 16) {
  const { pen, width } = surface(node, (list.length * (thick + 20)) / widthOf(node));
  pen.font = "12px system-ui, sans-serif";
  pen.fillStyle = desk.soft;
  list.forEach(([label, values, scale], i) => {
    const y = i * (thick + 20);
    pen.fillText(label, 0, y + 11);
    const strip = cached(desk.panels, label, () => {
      const largest = scale ?? largestMagnitude(values);
      return canvasOfCells(values.length, 1, (c) => signedColor(values[c], largest));
    });
    pen.drawImage(strip, 0, y + 15, width, thick);
  });
}

// The name of a key: a cell's row and column, or a word.
export const keyName = (desk, key) => (desk.lesson.words ? `“${desk.lesson.words[key]}”` : placeOf(desk, key));

// Draws one line per word: the word, and its number as a coloured bar.
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
