// Draws the panels of a lesson. A `desk` is what the panels share: { root, ui, colormap, state, lesson, panels }, made by
// createLesson in lessonpage.js.

import { convolutionsNeeded, rowOf } from "./panels.js";

const BLUE = [37, 99, 235];
const ORANGE = [234, 88, 12];
const PALE = [243, 244, 246];
const MARK = "#ffa057"; // what is hovered or pointed to, on dark pictures and pale strips alike
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

// What `make` makes, made once for its owner: a lesson, or the panels of one query.
export function once(owner, name, make) {
  owner.made ??= new Map();
  if (!owner.made.has(name)) owner.made.set(name, make());
  return owner.made.get(name);
}

// A canvas of exactly width×height cells from a function of the cell's index to [r, g, b].
export function canvasOfCells(width, height, color) {
  const canvas = document.createElement("canvas");
  [canvas.width, canvas.height] = [width, height];
  const image = new ImageData(width, height);
  for (let i = 0; i < width * height; i++) {
    const [red, green, blue] = color(i);
    [image.data[4 * i], image.data[4 * i + 1], image.data[4 * i + 2], image.data[4 * i + 3]] = [red, green, blue, 255];
  }
  canvas.getContext("2d").putImageData(image, 0, 0);
  return canvas;
}

export const picturesCells = ({ shape: [height, width], bytes }) =>
  canvasOfCells(width, height, (i) => bytes.subarray(3 * i, 3 * i + 3));

// How wide canvases are. Asked for all of them before any is drawn: asking in between lays the page out every time.
const WIDTHS = new WeakMap();
const widthOf = (canvas) => WIDTHS.get(canvas) || canvas.clientWidth || 260;

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
function cellBox({ lesson }, index, width) {
  const side = width / lesson.width;
  return [(index % lesson.width) * side, Math.floor(index / lesson.width) * side, side, side];
}

function placeOf({ lesson }, index) {
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
function drawStrips(desk, node, list, thick = 16) {
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
const keyName = (desk, key) => (desk.lesson.words ? `“${desk.lesson.words[key]}”` : placeOf(desk, key));

// A line a word: its name, and its number as a bar of a colour.
function drawWords(desk, node, values, color) {
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

function drawPicture(desk) {
  const { ui, lesson, panels, state } = desk;
  ui.picture.sentence.textContent =
    `Cell ${placeOf(desk, state.query)} of the layer's ${lesson.height}×${lesson.width} map: ${panels.before.length} ` +
    `numbers, one a channel (colours are three principal components). A token is one such cell. Click a cell to ask it, or ` +
    `use the arrow keys.`;
  drawGrid(desk, ui.grids.picture, lesson.cells.picture);
  drawGrid(desk, ui.grids.features, lesson.cells.features);
}

export function drawList(desk) {
  const { ui, lesson, state } = desk;
  const { width, height, from } = desk.list;
  ui.list.sentence.textContent =
    `Row = ${Math.floor(state.query / lesson.width)} × ${lesson.width} + ${state.query % lesson.width} = ${state.query}. ` +
    `Nothing is mixed: unflattening is the same thing backwards, ${state.query} = ${placeOf(desk, state.query)}.`;
  const { pen } = surface(ui.flat.rows, height / widthOf(ui.flat.rows));
  const first = Math.floor(from / LINE);
  for (let i = first; i < Math.min(lesson.count, first + height / LINE + 1); i++) {
    drawRow(desk, pen, i, i * LINE - from, width);
  }
}

function drawRow(desk, pen, index, y, width) {
  const { lesson, state } = desk;
  const size = lesson.tokens.length / lesson.count;
  const numbers = rowOf(lesson.tokens, index, size);
  const asked = index === state.query;
  pen.font = `${asked ? "bold " : ""}12px system-ui, sans-serif`;
  pen.fillStyle = asked ? desk.ink : desk.soft;
  pen.fillText(String(index), 2, y + 14);
  pen.fillStyle = `rgb(${lesson.colors.slice(3 * index, 3 * index + 3).join(" ")})`;
  pen.fillRect(36, y + 2, 18, LINE - 4);
  if (!(desk.rows?.made?.size < 100 && desk.rows.of === lesson)) desk.rows = { of: lesson, made: new Map() };
  const strip = once(desk.rows, index, () => canvasOfCells(size, 1, (c) => signedColor(numbers[c], lesson.tokenScale)));
  pen.drawImage(strip, 58, y + 2, width - 62, LINE - 4);
  if (asked || index === state.hover) outline(pen, 57, y + 1.5, width - 60, LINE - 3, asked ? "#fff" : MARK, 1.5);
}

function drawQuery(desk) {
  const { ui, lesson, panels, state } = desk;
  const { d, count, keys, heads, words } = lesson;
  const shared = words
    ? `The same W_q serves all ${count} pixels. Keys are no pixels here: W_k makes one of each of the ${keys} words, one ` +
      `line each below. Only the question comes from the picture.`
    : `The same W_q and W_k serve every pixel: they are 1×1 convolutions, so ${count} pixels make ${count} queries and ` +
      `${count} keys, one line each below. A row of Q is a pixel, not a channel.`;
  ui.query.sentence.textContent =
    `x, the ${panels.pixel.length} numbers of this cell, ${lesson.query_weight ? "times W_q gives" : "with its place give"} ` +
    `its query q, ${d} numbers. ${shared}`;
  drawStrips(desk, ui.strips.query, [
    [`x, pixel ${state.query}`, panels.pixel],
    [`${lesson.query_weight ? "q = W_q x" : "q"}, head ${state.head} of ${heads}`, panels.query],
  ]);
  const { pen, width, height } = surface(ui.strips.keys, 0.62);
  const lines = once(lesson, `keys of head ${state.head}`, () => {
    const made = rowOf(lesson.key, state.head, keys * d);
    const largest = largestMagnitude(made);
    return canvasOfCells(d, keys, (i) => signedColor(made[i], largest));
  });
  pen.drawImage(lines, 0, 0, width, height);
  if (words) return;
  const line = height / count;
  if (state.hover >= 0) outline(pen, 0, state.hover * line - 1, width, Math.max(3, line), MARK, 1);
  outline(pen, 0, state.query * line - 1, width, Math.max(3, line), "#fff", 1);
}

function drawScores(desk) {
  const { ui, lesson, panels, state } = desk;
  const { scale } = lesson.layer;
  const scaled = Math.abs(scale - 1) > 1e-9 ? `q·k / √${Math.round(1 / scale ** 2)}` : "q·k, unscaled";
  if (lesson.words) {
    ui.scores.sentence.textContent =
      `Row ${state.query} of QKᵀ, ${scaled}: one pixel against every word, orange above zero and blue below. The largest, ` +
      `${panels.scores[panels.top[0]].toFixed(3)}, is that of ${keyName(desk, panels.top[0])}.`;
    return drawWords(desk, ui.grids.scores, panels.scores, signedColor);
  }
  const at = state.hover >= 0 ? state.hover : state.query;
  ui.scores.sentence.textContent =
    `Row ${state.query} of QKᵀ, ${scaled}, laid back on the grid: one pixel against every pixel. ` +
    `At ${placeOf(desk, at)} it is ${panels.scores[at].toFixed(3)}.`;
  const cells = once(panels, "scores", () => {
    const largest = largestMagnitude(panels.scores);
    return canvasOfCells(lesson.width, lesson.height, (i) => signedColor(panels.scores[i], largest));
  });
  drawGrid(desk, ui.grids.scores, cells);
}

function drawSoftmax(desk) {
  const { ui, lesson, panels, state, colormap } = desk;
  ui.softmax.sentence.textContent =
    `e to each score, divided by the sum: ${lesson.keys} shares that sum to ${panels.total.toFixed(6)}.`;
  if (lesson.words) drawWords(desk, ui.grids.row, panels.row, () => ORANGE);
  else {
    const largest = panels.row[panels.top[0]];
    const heat = (i) => colormap[Math.round((255 * panels.row[i]) / largest)];
    drawGrid(desk, ui.grids.row, once(panels, "row", () => canvasOfCells(lesson.width, lesson.height, heat)));
  }
  ui.top.forEach((entry, i) => {
    const key = panels.top[i];
    entry.hidden = key === undefined;
    if (key === undefined) return;
    entry.textContent = `${panels.row[key].toFixed(4)}  ${keyName(desk, key)}`;
    entry.classList.toggle("pl-at", !lesson.words && key === state.hover);
  });
  ui.heat.textContent = `temperature ${state.temperature.toFixed(2)}`;
}

function drawWordValues(desk) {
  const { ui, lesson, panels, state, colormap } = desk;
  const [most, least] = [panels.column.reduce((a, b) => Math.max(a, b)), panels.column.reduce((a, b) => Math.min(a, b))];
  const heat = (i) => colormap[Math.round((255 * panels.column[i]) / most)];
  drawGrid(desk, ui.grids.arrows, once(panels, "column", () => canvasOfCells(lesson.width, lesson.height, heat)));
  ui.values.sentence.textContent =
    `Every word's value v, ${lesson.dv} numbers, times its share; added up. The map: how much of ` +
    `${keyName(desk, panels.top[0])}, of which this pixel takes most, each pixel takes (${(100 * least).toFixed(1)} to ` +
    `${(100 * most).toFixed(1)} %). Nothing of another pixel arrives here.`;
  drawStrips(desk, ui.strips.sum, [[`Σ a·v, head ${state.head}`, panels.attended]]);
}

function drawValues(desk) {
  const { ui, lesson, panels, state } = desk;
  if (lesson.words) return drawWordValues(desk);
  const { pen, width } = drawGrid(desk, ui.grids.arrows, lesson.cells.features, 0.35);
  const centre = (index) => {
    const [x, y, side] = cellBox(desk, index, width);
    return [x + side / 2, y + side / 2];
  };
  pen.strokeStyle = pen.fillStyle = MARK;
  for (const key of panels.top) {
    pen.lineWidth = 1 + 4 * Math.sqrt(panels.row[key] / panels.row[panels.top[0]]);
    pen.beginPath();
    pen.moveTo(...centre(key));
    pen.lineTo(...centre(state.query));
    pen.stroke();
    pen.beginPath();
    pen.arc(...centre(key), 4, 0, 7);
    pen.fill();
  }
  outline(pen, ...cellBox(desk, state.query, width), "#fff");
  const share = panels.top.reduce((all, key) => all + panels.row[key], 0);
  ui.values.sentence.textContent =
    `Every pixel's value v, ${lesson.dv} numbers, times its share; added up. The five largest, drawn as arrows, make ` +
    `${(100 * share).toFixed(1)} % of the sum. This is where something of a far pixel arrives here.`;
  drawStrips(desk, ui.strips.sum, [[`Σ a·v, head ${state.head}`, panels.attended]]);
}

function drawOutput(desk) {
  const { ui, lesson, panels, state } = desk;
  const { gamma, heads, residual, out_weight } = lesson;
  const largest = largestMagnitude(panels.own);
  const way = [gamma !== null && `times γ = ${gamma.toFixed(4)}`, out_weight && "through W_out"].filter(Boolean).join(", ");
  drawStrips(
    desk,
    ui.strips.output,
    [
      [heads > 1 ? `heads 0 to ${heads - 1}, side by side` : "the one head's sum", panels.joined],
      [way || "as it is", panels.contribution, largest],
      ...(residual ? [["what came in, carried past (residual)", panels.before, largest]] : []),
      ["what comes out, computed here", panels.output, largest],
      ["the block's own output", panels.own, largest],
    ],
    22,
  );
  ui.output.sentence.textContent =
    `All heads' sums side by side, ${way || "as they are"}${residual ? ", plus what came in" : ""}. ` +
    `Largest difference to what the network's own block put out: ${panels.difference.toExponential(1)}` +
    (state.temperature === 1 ? "." : `, at temperature ${state.temperature.toFixed(2)}; at 1 only rounding is left.`);
}

function drawField(desk) {
  const { ui, lesson, panels, state } = desk;
  const { pen, width } = drawGrid(desk, ui.grids.field, lesson.cells.features, 0.45);
  const [x, y, side] = cellBox(desk, state.query, width);
  const far = panels.top[0];
  const needed = lesson.words ? 1 : convolutionsNeeded(lesson, state.query, far);
  pen.lineWidth = 2;
  for (const [reach, color, dash] of [[needed, MARK, [5, 4]], [1, "#fff", []]].slice(lesson.words ? 1 : 0)) {
    pen.strokeStyle = color;
    pen.setLineDash(dash);
    pen.strokeRect(x - reach * side, y - reach * side, (2 * reach + 1) * side, (2 * reach + 1) * side);
  }
  if (lesson.words) {
    ui.field.sentence.textContent =
      "A 3×3 convolution here sees the nine cells in the white square, and no word, however many of them follow one " +
      "another: what the caption says comes in through cross-attention alone.";
    return;
  }
  outline(pen, ...cellBox(desk, far, width), MARK);
  const near = panels.row.filter((_, j) => convolutionsNeeded(lesson, state.query, j) === 1);
  const inside = near.reduce((all, weight) => all + weight, 0);
  ui.field.sentence.textContent =
    `A 3×3 convolution here sees the nine cells in the white square: ${(100 * inside).toFixed(1)} % of this row. To reach ` +
    `${placeOf(desk, far)}, its largest entry, takes ${needed === 1 ? "one of them" : `${needed} of them in a row (dashed)`}. ` +
    `Attention does not replace them: this network's convolutions make the features that attention compares.`;
}

export const DRAWN = [drawPicture, drawList, drawQuery, drawScores, drawSoftmax, drawValues, drawOutput, drawField];
