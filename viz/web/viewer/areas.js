// Which word wins where: a map of areas in the words' colours, over the picture. A cell belongs to the word on which it spends
// most; with the reading "used", to the one on which it spends most relative to that word's mean. `desk`: see desk.js.

import { isOfCaption, isQueryOf } from "../core/captions.js";
import { DIFFERENCE, isWordQuery } from "../core/query.js";
import { stripLayer, winnersOf } from "../core/shares.js";
import { h } from "../dom.js";
import { PIN_COLORS } from "./paint.js";

// The pins' colours first. Neighbours in a caption differ in hue.
const COLORS = [
  ...["#e69f00", "#56b4e9", "#009e73", "#cc79a7", "#f0e442", "#0072b2", "#d55e00", "#b39ddb", "#8bc34a", "#26c6da"],
  ...["#a1887f", "#ff8a80", "#c0ca33", "#7986cb", "#90a4ae", "#ffd180", "#4db6ac", "#f48fb1", "#aed581", "#9575cd"],
];
const NAMED = 0.02; // the least share of the picture that an area's name needs

// The words that compete: those that are pinned, if they are two or more, else all of the caption.
export function areaWords(desk) {
  const { trace, state } = desk;
  const layer = stripLayer(trace, trace.all[state.layer]);
  if (!layer) return [];
  const words = layer.words(state.branch);
  const pinned = words.filter((word) => state.pins.some((pin) => isQueryOf(pin, word)));
  return pinned.length > 1 ? pinned : words.filter(isOfCaption);
}

// A word's colour: its pin's; with areas on show, its area's; else none.
export function colorOf(desk, word) {
  const { state } = desk;
  const pin = state.pins.findIndex((query) => isQueryOf(query, word));
  if (pin >= 0) return PIN_COLORS[pin];
  if (!state.winner) return null;
  const free = COLORS.filter((color) => !state.pins.some((query, i) => isWordQuery(query) && PIN_COLORS[i] === color));
  const place = areaWords(desk).findIndex((other) => isQueryOf(other.query, word));
  return place < 0 ? null : free[place % free.length];
}

// A canvas with one pixel per cell, and the names of the largest areas: { canvas, names: [[word, row, column in 0..1]] }. Null
// at a gap, and while the maps are not known; with `now` they are computed at once.
export function areasOf(desk, step = desk.state.step, now = false) {
  const { trace, state } = desk;
  const layer = stripLayer(trace, trace.all[state.layer]);
  if (!layer || layer.gaps.has(step)) return null;
  const words = areaWords(desk);
  const colors = words.map((word) => colorOf(desk, word));
  const key = JSON.stringify([layer.index, step, state.head, state.branch, state.reading, words.map(({ slots }) => slots), colors]);
  if (desk.areas?.key === key && desk.areas.trace === trace) return desk.areas;
  const maps = words.map((word) => sharesOfWord(desk, layer, word, step, now));
  if (!maps.length || !maps.every(Boolean)) return null;
  const { winners } = winnersOf(maps, layer.tokens);
  desk.areas = { key, trace, canvas: paintAreas(layer, winners, colors), names: namesOf(layer, winners, words) };
  return desk.areas;
}

function sharesOfWord({ answers, state, trace }, layer, word, step, now) {
  const map = new Float32Array(layer.tokens);
  const branch = state.branch === DIFFERENCE ? trace.branch : state.branch;
  const reading = state.reading === "used" ? "used" : "spent";
  if (!answers.read(word.query, layer, step, state.head, { ...state, reading, branch }, map, now)) return null;
  return reading === "used" ? map : map.map((value) => (value * word.keys.length) / layer.keyCount);
}

function paintAreas({ height, width }, winners, colors) {
  const canvas = h("canvas", { width, height });
  const image = new ImageData(width, height);
  const bytes = colors.map((color) => [1, 3, 5].map((i) => parseInt(color.slice(i, i + 2), 16)));
  winners.forEach((word, i) => image.data.set([...bytes[word], 150], 4 * i));
  canvas.getContext("2d").putImageData(image, 0, 0);
  return canvas;
}

// Where each large area has room for its name: the cell that is farthest from the area's edge.
function namesOf({ height, width, tokens }, winners, words) {
  const depths = depthsOf(winners, height, width);
  const places = words.map((word, index) => {
    let [best, count] = [-1, 0];
    for (let i = 0; i < tokens; i++) {
      if (winners[i] !== index) continue;
      count++;
      if (best < 0 || depths[i] > depths[best]) best = i;
    }
    return { count, name: [word.text, (Math.floor(best / width) + 0.5) / height, ((best % width) + 0.5) / width] };
  });
  const large = places.filter(({ count }) => count >= NAMED * tokens).sort((a, b) => b.count - a.count);
  return large.map(({ name }) => name);
}

// How many steps each cell is from one of another area, or from outside the picture.
function depthsOf(winners, height, width) {
  const depths = new Float32Array(winners.length).fill(Infinity);
  const neighbour = (i, y, x) => {
    const isOutside = y < 0 || x < 0 || y >= height || x >= width;
    return isOutside || winners[y * width + x] !== winners[i] ? 0 : depths[y * width + x];
  };
  const visit = (i, offsets) => {
    const [y, x] = [Math.floor(i / width), i % width];
    for (const [dy, dx] of offsets) depths[i] = Math.min(depths[i], neighbour(i, y + dy, x + dx) + 1);
  };
  for (let i = 0; i < winners.length; i++) visit(i, [[-1, 0], [0, -1]]);
  for (let i = winners.length - 1; i >= 0; i--) visit(i, [[1, 0], [0, 1]]);
  return depths;
}

// Writes the areas' names on the picture, the largest area's first; none over another.
export function paintNames(canvas, names) {
  const context = canvas.getContext("2d");
  const size = Math.max(11, Math.round(canvas.width / 32));
  context.font = `650 ${size}px Inter, system-ui, "Segoe UI", "DejaVu Sans", sans-serif`;
  context.textBaseline = "middle";
  context.lineWidth = size / 4;
  context.lineJoin = "round";
  const written = [];
  for (const [text, down, across] of names) {
    const room = context.measureText(text).width / 2 + size / 3;
    const x = Math.min(canvas.width - room, Math.max(room, across * canvas.width));
    const y = Math.min(canvas.height - size, Math.max(size, down * canvas.height));
    if (written.some((other) => Math.abs(other.x - x) < other.room + room && Math.abs(other.y - y) < 1.2 * size)) continue;
    written.push({ x, y, room });
    context.textAlign = "center";
    context.strokeStyle = "rgba(0, 0, 0, 0.8)";
    context.strokeText(text, x, y);
    context.fillStyle = "#ffffff";
    context.fillText(text, x, y);
  }
}
