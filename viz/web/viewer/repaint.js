// Repaints everything that shows the state. `desk`: see desk.js.

import { isWordQuery } from "../core/query.js";
import { colorize, largestOf } from "../core/scale.js";
import { h, imageCanvas } from "../dom.js";
import { areaWords, areasOf, paintNames } from "./areas.js";
import { showScale } from "./bar.js";
import { showComputed } from "./computing.js";
import { showDescription } from "./description.js";
import { showMatrix } from "./matrix.js";
import { paintMap, paintPicture, paintQuery } from "./paint.js";
import { isPlain } from "./plain.js";
import { showBars } from "./strip.js";

// Draws what lies under the map: the picture, or the one predicted at the chosen step.
export function drawBase({ ui, state, trace }) {
  const { previews, picture, size } = trace;
  const image = (state.base === "preview" && previews[state.step]) || picture;
  ui.picture.base = image ? imageCanvas(image) : h("canvas", { width: size[1], height: size[0] });
}

// The colours of one map, of a layer and a step without a gap; null while it is not computed.
export function shade(desk, query, layer, step, head) {
  const { answers, state, scratch, colors } = desk;
  if (!answers.read(query, layer, step, head, state, scratch)) return null;
  const scale = desk.scaleOf(query);
  return colorize(desk.tableOf(scale, "solid"), scale, scratch, desk.mapGrid(layer, query).tokens, colors);
}

// Draws one map of an atlas; returns false while it is not computed.
function drawMap(desk, painter, [row, column], query, layer, step) {
  const { answers, state, scratch, colors } = desk;
  const grid = desk.mapGrid(layer, query);
  if (!answers.read(query, layer, step, state.head, state, scratch)) {
    painter.paint(row, column, grid, null);
    return false;
  }
  const scale = desk.scaleOf(query);
  const table = desk.tableOf(scale, "solid");
  if (scale.range === "common" && !state.smooth && painter.paintNumbers(row, column, grid, scratch, table)) return true;
  painter.paint(row, column, grid, colorize(table, scale, scratch, grid.tokens, colors), state.smooth);
  return true;
}

function drawChosen(desk, query, layer) {
  const { state, scale, map, colors } = desk;
  const { canvas, base, overlay } = desk.ui.picture;
  const grid = desk.mapGrid();
  desk.known = !desk.gap && desk.answers.read(query, layer, state.step, state.head, state, map);
  if (desk.known) paintMap(overlay, grid, colorize(desk.tableOf(scale, "veil"), scale, map, grid.tokens, colors));
  const opacity = isPlain(desk) ? 0 : state.opacity;
  const areas = state.winner && !state.word ? areasOf(desk) : null;
  paintPicture(canvas, base, areas?.canvas ?? (desk.known ? overlay : null), state.smooth && !areas, opacity);
  if (areas && opacity) paintNames(canvas, areas.names);
  const isShown = (pin, i) => !isWordQuery(pin) && (state.word || i !== state.active);
  state.pins.forEach((pin, i) => isShown(pin, i) && paintQuery(canvas, desk.grid, pin, i, false));
  if (!isWordQuery(query)) paintQuery(canvas, desk.grid, query, state.active < 0 ? null : state.active, opacity > 0);
  else if (!state.word) paintQuery(canvas, desk.grid, desk.pictureQuery, null, false); // the pixel of the bars
}

function drawHeads(desk, query, layer) {
  for (const { head, canvas } of desk.ui.heads.tiles) {
    const colors = desk.gap ? null : shade(desk, query, layer, desk.state.step, head);
    const { width, height } = desk.mapGrid();
    if (colors) paintMap(canvas, desk.mapGrid(), colors);
    else Object.assign(canvas, { width, height }); // clears it
  }
}

// The chosen layer comes first, so that it is computed first.
function drawAtlas(desk, query, chosen) {
  const { painter, columns } = desk;
  const { rows } = desk;
  const maps = { done: 0, total: 0 };
  for (const layer of [chosen, ...rows.filter((other) => other !== chosen)]) {
    const row = rows.indexOf(layer);
    columns.forEach((step, column) => {
      if (desk.gapAt(layer, step, query)) painter.paintGap(row, column);
      else if (desk.isArriving(layer, step)) painter.paintArriving(row, column);
      else {
        maps.total += 1;
        if (drawMap(desk, painter, [row, column], query, layer, step)) maps.done += 1;
      }
    });
  }
  painter.show();
  showComputed(desk, maps.done, maps.total);
}

// The rows of the pins depend on the view, not on the cursor.
function drawPins(desk) {
  const { state, columns, pinPainter } = desk;
  const { pins, mode, special, head, range, log, smooth, reading, branch } = state;
  const key = JSON.stringify([pins, mode, special, head, range, log, smooth, reading, branch, state.layer, columns]);
  if (!pins.length || key === desk.pinsKey) return;
  let whole = true;
  pins.forEach((pin, row) => {
    const layer = desk.layerOf(pin);
    columns.forEach((step, column) => {
      if (desk.gapAt(layer, step, pin)) return pinPainter.paintGap(row, column);
      const isDrawn = drawMap(desk, pinPainter, [row, column], pin, layer, step); // grey while it arrives
      whole &&= isDrawn;
    });
  });
  pinPainter.show();
  desk.pinsKey = whole ? key : "";
}

// Words whose maps are kept from one repaint to the next: the one under the pointer, and those that compete for areas.
const wordsInUse = (desk) => [
  ...(desk.state.word ? [desk.state.word] : []),
  ...(desk.state.winner ? areaWords(desk).map(({ query }) => query) : []),
];

export function drawAll(desk) {
  const { query, layer, state, ui, answers } = desk;
  answers.begin([...state.pins, ...wordsInUse(desk)]);
  drawChosen(desk, query, layer);
  drawHeads(desk, query, layer);
  drawAtlas(desk, query, layer);
  drawPins(desk);
  showDescription(desk, showBars(desk));
  showMatrix(desk);
  showScale(ui, desk.scale, desk.known ? largestOf(desk.map, desk.mapGrid().tokens) : 1, state, query);
  answers.work();
}
