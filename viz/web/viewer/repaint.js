// Repaints everything that shows the state. `desk`: see desk.js.

import { colorize, largestOf } from "../core/scale.js";
import { h, imageCanvas } from "../dom.js";
import { showDescription } from "./description.js";
import { showScale } from "./layout.js";
import { paintMap, paintPicture, paintQuery } from "./paint.js";

// Draws what lies under the map: the picture, or the one predicted at the chosen step.
export function drawBase({ ui, state, trace }) {
  const { previews, picture, size } = trace;
  const image = (state.base === "preview" && previews[state.step]) || picture;
  ui.picture.base = image ? imageCanvas(image) : h("canvas", { width: size[1], height: size[0] });
}

// The colours of one map, of a layer and a step without a gap; null while it is not computed.
function shade(desk, query, layer, step, head) {
  const { answers, state, scale, scratch, colors } = desk;
  if (!answers.read(query, layer, step, head, state, scratch)) return null;
  return colorize(desk.tableOf(scale, "solid"), scale, scratch, desk.mapGrid(layer).tokens, colors);
}

function drawChosen(desk, query, layer) {
  const { state, scale, map, colors } = desk;
  const { canvas, base, overlay } = desk.ui.picture;
  const grid = desk.mapGrid();
  desk.known = !desk.gap && desk.answers.read(query, layer, state.step, state.head, state, map);
  if (desk.known) paintMap(overlay, grid, colorize(desk.tableOf(scale, "veil"), scale, map, grid.tokens, colors));
  paintPicture(canvas, base, desk.known ? overlay : null, state.smooth);
  state.pins.forEach((pin, i) => i !== state.active && paintQuery(canvas, desk.grid, pin, i, false));
  paintQuery(canvas, desk.grid, query, state.active < 0 ? null : state.active, true);
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
  const { painter, columns, state } = desk;
  for (const layer of [chosen, ...desk.trace.layers.filter((other) => other !== chosen)]) {
    columns.forEach((step, column) => {
      if (layer.gaps.has(step)) painter.paintGap(layer.index, column);
      else painter.paint(layer.index, column, desk.mapGrid(layer), shade(desk, query, layer, step, state.head), state.smooth);
    });
  }
  painter.show();
}

// The rows of the pins depend on the view, not on the cursor.
function drawPins(desk, layer) {
  const { state, columns, pinPainter } = desk;
  const { pins, mode, special, head, range, log, smooth } = state;
  const key = JSON.stringify([pins, mode, special, head, range, log, smooth, layer.index, columns]);
  if (!pins.length || key === desk.pinsKey) return;
  let whole = true;
  pins.forEach((pin, row) => {
    columns.forEach((step, column) => {
      if (layer.gaps.has(step)) return pinPainter.paintGap(row, column);
      const colors = shade(desk, pin, layer, step, head);
      whole &&= colors !== null;
      pinPainter.paint(row, column, desk.mapGrid(), colors, smooth);
    });
  });
  pinPainter.show();
  desk.pinsKey = whole ? key : "";
}

export function drawAll(desk) {
  const { query, layer, state, ui, answers } = desk;
  answers.begin(state.pins);
  drawChosen(desk, query, layer);
  drawHeads(desk, query, layer);
  drawAtlas(desk, query, layer);
  drawPins(desk, layer);
  showDescription(ui, desk.trace, state, query, desk.known ? desk.map : null);
  showScale(ui, desk.scale, desk.known ? largestOf(desk.map, desk.mapGrid().tokens) : 1, state);
  answers.work();
}
