// Draws the eight numbered panels, from the picture to what a convolution sees. `desk`: see paint.js.

import {
  LINE,
  MARK,
  ORANGE,
  cached,
  canvasOfCells,
  cellBox,
  drawGrid,
  drawStrips,
  drawWords,
  keyName,
  largestMagnitude,
  outline,
  placeOf,
  signedColor,
  surface,
  widthOf,
} from "./paint.js";
import { convolutionsNeeded, rowOf } from "./panels.js";

function drawPicture(desk) {
  const { ui, lesson, panels, state } = desk;
  ui.picture.sentence.textContent =
    `Cell ${placeOf(desk, state.query)} of the layer's ${lesson.height}×${lesson.width} map: ${panels.before.length} ` +
    `numbers, one per channel (colours: first three principal components). A token is one such cell. Click a cell to make ` +
    `it the query, or use the arrow keys.`;
  drawGrid(desk, ui.grids.picture, lesson.cells.picture);
  drawGrid(desk, ui.grids.features, lesson.cells.features);
}

export function drawList(desk) {
  const { ui, lesson, state } = desk;
  const { width, height, from } = desk.list;
  ui.list.sentence.textContent =
    `Row = ${Math.floor(state.query / lesson.width)} × ${lesson.width} + ${state.query % lesson.width} = ${state.query}. ` +
    `No values are mixed; unflattening just reverses this: ${state.query} = ${placeOf(desk, state.query)}.`;
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
  const isQuery = index === state.query;
  pen.font = `${isQuery ? "bold " : ""}12px system-ui, sans-serif`;
  pen.fillStyle = isQuery ? desk.ink : desk.soft;
  pen.fillText(String(index), 2, y + 14);
  pen.fillStyle = `rgb(${lesson.colors.slice(3 * index, 3 * index + 3).join(" ")})`;
  pen.fillRect(36, y + 2, 18, LINE - 4);
  if (!(desk.rows?.results?.size < 100 && desk.rows.of === lesson)) desk.rows = { of: lesson, results: new Map() };
  const strip = cached(desk.rows, index, () => canvasOfCells(size, 1, (c) => signedColor(numbers[c], lesson.tokenScale)));
  pen.drawImage(strip, 58, y + 2, width - 62, LINE - 4);
  if (isQuery || index === state.hover) outline(pen, 57, y + 1.5, width - 60, LINE - 3, isQuery ? "#fff" : MARK, 1.5);
}

function drawQuery(desk) {
  const { ui, lesson, panels, state } = desk;
  const { d, count, keys, heads, words } = lesson;
  const shared = words
    ? `All ${count} cells share W_q. Here the keys aren't cells: W_k makes one from each of the ${keys} words, one row each ` +
      `(below). Only the query comes from the picture.`
    : `All cells share W_q and W_k, which act as 1×1 convolutions: ${count} cells give ${count} queries and ${count} keys, ` +
      `one row each (below: the keys). A row of Q is a cell, not a channel.`;
  const origin = lesson.query_weight ? "multiplied by W_q, give" : "together with its position, give";
  ui.query.sentence.textContent =
    `This cell's ${panels.pixel.length} numbers, x, ${origin} its query q (${d} numbers per head). ${shared}`;
  drawStrips(desk, ui.strips.query, [
    [`x, cell ${state.query}`, panels.pixel],
    [`${lesson.query_weight ? "q = W_q x" : "q"}, head ${state.head} of ${heads}`, panels.query],
  ]);
  const { pen, width, height } = surface(ui.strips.keys, 0.62);
  const lines = cached(lesson, `keys of head ${state.head}`, () => {
    const numbers = rowOf(lesson.key, state.head, keys * d);
    const largest = largestMagnitude(numbers);
    return canvasOfCells(d, keys, (i) => signedColor(numbers[i], largest));
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
      `Row ${state.query} of QKᵀ, ${scaled}: one cell against every word, orange above zero and blue below. The largest, ` +
      `${panels.scores[panels.top[0]].toFixed(3)}, belongs to ${keyName(desk, panels.top[0])}.`;
    return drawWords(desk, ui.grids.scores, panels.scores, signedColor);
  }
  const at = state.hover >= 0 ? state.hover : state.query;
  ui.scores.sentence.textContent =
    `Row ${state.query} of QKᵀ, ${scaled}, laid out on the grid: one cell against every cell. ` +
    `At ${placeOf(desk, at)} it is ${panels.scores[at].toFixed(3)}.`;
  const cells = cached(panels, "scores", () => {
    const largest = largestMagnitude(panels.scores);
    return canvasOfCells(lesson.width, lesson.height, (i) => signedColor(panels.scores[i], largest));
  });
  drawGrid(desk, ui.grids.scores, cells);
}

function drawSoftmax(desk) {
  const { ui, lesson, panels, state, colormap } = desk;
  ui.softmax.sentence.textContent =
    `Exponentiate each score and divide by the total: ${lesson.keys.toLocaleString("en")} weights that sum to ` +
    `${Number(panels.total.toFixed(6))}.`;
  if (lesson.words) drawWords(desk, ui.grids.row, panels.row, () => ORANGE);
  else {
    const largest = panels.row[panels.top[0]];
    const heat = (i) => colormap[Math.round((255 * panels.row[i]) / largest)];
    drawGrid(desk, ui.grids.row, cached(panels, "row", () => canvasOfCells(lesson.width, lesson.height, heat)));
  }
  ui.top.forEach((entry, i) => {
    const key = panels.top[i];
    entry.hidden = key === undefined;
    if (key === undefined) return;
    entry.textContent = `${panels.row[key].toFixed(4)}  ${keyName(desk, key)}`;
    entry.classList.toggle("pl-at", !lesson.words && key === state.hover);
  });
  ui.temperature.textContent = `temperature ${state.temperature.toFixed(2)}`;
}

function drawWordValues(desk) {
  const { ui, lesson, panels, state, colormap } = desk;
  const [most, least] = [panels.column.reduce((a, b) => Math.max(a, b)), panels.column.reduce((a, b) => Math.min(a, b))];
  const heat = (i) => colormap[Math.round((255 * panels.column[i]) / most)];
  drawGrid(desk, ui.grids.arrows, cached(panels, "column", () => canvasOfCells(lesson.width, lesson.height, heat)));
  ui.values.sentence.textContent =
    `Each word's value v (${lesson.dv} numbers) is multiplied by its weight and added up. The map shows the weight that each ` +
    `cell gives ${keyName(desk, panels.top[0])}, the largest here (${(100 * least).toFixed(1)} to ` +
    `${(100 * most).toFixed(1)}%). No information from other cells arrives here.`;
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
    `Each cell's value v (${lesson.dv} numbers) is multiplied by its weight and added up. The five largest (arrows) carry ` +
    `${(100 * share).toFixed(1)}% of the weight. This is how information from distant cells reaches this one.`;
  drawStrips(desk, ui.strips.sum, [[`Σ a·v, head ${state.head}`, panels.attended]]);
}

function drawOutput(desk) {
  const { ui, lesson, panels, state } = desk;
  const { gamma, heads, residual, out_weight } = lesson;
  const largest = largestMagnitude(panels.own);
  const steps = [gamma !== null && `times γ = ${gamma.toFixed(4)}`, out_weight && "through W_out"].filter(Boolean).join(", ");
  drawStrips(
    desk,
    ui.strips.output,
    [
      [heads > 1 ? `heads 0 to ${heads - 1}, side by side` : "the single head's sum", panels.joined],
      [steps || "unchanged", panels.contribution, largest],
      ...(residual ? [["the input, added unchanged (residual)", panels.before, largest]] : []),
      ["the output, computed here", panels.output, largest],
      ["the block's own output", panels.own, largest],
    ],
    22,
  );
  ui.output.sentence.textContent =
    `All heads' sums side by side, ${steps || "unchanged"}${residual ? ", plus the input" : ""}. ` +
    `Largest difference from the network's own output: ${panels.difference.toExponential(1)}` +
    (state.temperature === 1 ? "." : `, at temperature ${state.temperature.toFixed(2)}; at 1, only rounding remains.`);
}

function drawField(desk) {
  const { ui, lesson, panels, state } = desk;
  const { pen, width } = drawGrid(desk, ui.grids.field, lesson.cells.features, 0.45);
  const start = "A 3×3 convolution here sees the nine cells in the white square";
  outlineReach(desk, pen, width, 1, "#fff", []);
  if (lesson.words) {
    ui.field.sentence.textContent =
      `${start}. No stack of convolutions ever sees a word: the caption enters only through cross-attention.`;
    return;
  }
  const [inside, far] = splitByWindow(lesson, panels.row, state.query);
  ui.field.sentence.textContent = `${start}, which hold ${(100 * inside).toFixed(1)}% of this
    row's weight. ${describeFar(desk, far)}Attention does not replace convolutions: they compute the features that it
    compares.`.replace(/\s+/g, " ");
  if (far < 0) return;
  outlineReach(desk, pen, width, convolutionsNeeded(lesson, state.query, far), MARK, [5, 4]);
  outline(pen, ...cellBox(desk, far, width), MARK);
}

// The share of a row's weight inside the 3×3 window, and the key of the largest weight outside; -1 for none.
function splitByWindow(lesson, row, query) {
  let [inside, far] = [0, -1];
  row.forEach((weight, key) => {
    if (convolutionsNeeded(lesson, query, key) === 1) inside += weight;
    else if (far < 0 || weight > row[far]) far = key;
  });
  return [inside, far];
}

function describeFar(desk, far) {
  if (far < 0) return "";
  const count = convolutionsNeeded(desk.lesson, desk.state.query, far);
  return `Reaching its strongest distant cell, ${placeOf(desk, far)}, would take ${count} such layers in a row (dashed). `;
}

// Outlines the cells that `reach` 3×3 convolutions in a row can see from the query.
function outlineReach({ lesson, state }, pen, width, reach, color, dash) {
  const [x, y, side] = cellBox({ lesson }, state.query, width);
  [pen.lineWidth, pen.strokeStyle] = [2, color];
  pen.setLineDash(dash);
  pen.strokeRect(x - reach * side, y - reach * side, (2 * reach + 1) * side, (2 * reach + 1) * side);
  pen.setLineDash([]);
}

export const DRAW_PANELS = [drawPicture, drawList, drawQuery, drawScores, drawSoftmax, drawValues, drawOutput, drawField];
