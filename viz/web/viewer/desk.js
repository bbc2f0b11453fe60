// What the viewer's modules share: nodes, state, trace and buffers.

import { cellsOf, mapGrid, middleOf, queryGrid } from "../core/query.js";
import { colorTables, scaleOf } from "../core/scale.js";
import { AtlasPainter } from "./paint.js";
import { buildViewer } from "./skeleton.js";

// Layer and step are indices here; a view holds the layer's name and the recorded step.
export const DEFAULTS = {
  ...{ pins: [], active: -1, point: [0.5, 0.5], mode: "row", layer: 0, step: 0, head: -1, special: false },
  ...{ range: "common", log: true, smooth: false, base: "picture", heads: false, tool: "point" },
};

export class Desk {
  state = { ...DEFAULTS };
  trace = null;
  answers = null;
  columns = []; // indices of the steps that the atlas shows
  compact = false; // whether labels are short
  layoutKey = ""; // the width and device pixel ratio of the current layout
  map = null; // the chosen map, in times uniform
  known = false; // whether `map` is computed
  scratch = null; // buffer for any other map while it is painted
  colors = null; // buffer for its colours
  pinsKey = ""; // the view for which the pins' rows were last drawn

  constructor(root, { colormap, diverging }) {
    this.root = root;
    this.ui = buildViewer(root);
    for (const [name, colors] of Object.entries({ sequential: colormap, diverging })) {
      const gradient = colors.map((rgb) => `rgb(${rgb})`).join(", ");
      this.ui.main.style.setProperty(`--pg-${name}`, `linear-gradient(to right, ${gradient})`);
    }
    this.tableOf = colorTables(colormap, diverging);
    this.painter = new AtlasPainter(this.ui.atlas.canvas);
    this.pinPainter = new AtlasPainter(this.ui.pins.canvas);
  }

  get layer() {
    return this.trace.layers[this.state.layer];
  }

  // Why the chosen layer has no map at the chosen step; undefined if it has one.
  get gap() {
    return this.layer.gaps.get(this.state.step);
  }

  // The grid on which queries choose cells.
  get grid() {
    return queryGrid(this.layer, this.state.mode);
  }

  mapGrid(layer = this.layer) {
    return mapGrid(layer, this.state.mode);
  }

  get query() {
    const { pins, active, point } = this.state;
    return active >= 0 ? pins[active] : { kind: "pixel", point };
  }

  get scale() {
    return scaleOf(this.state);
  }

  // The query's position; for a rectangle or region, its centre.
  get place() {
    const { height, width } = this.grid;
    const [row, column] = middleOf(cellsOf(this.query, this.grid), this.grid);
    return [(row + 0.5) / height, (column + 0.5) / width];
  }

  // A map as displayed; null at a gap, and while it is not computed. With `now` it is computed at once.
  numbers(query, layer, step, head, now = false) {
    if (layer.gaps.has(step)) return null;
    const map = new Float32Array(this.mapGrid(layer).tokens);
    return this.answers.read(query, layer, step, head, this.state, map, now) ? map : null;
  }

  // Screen readers announce changes made by key or pin, not every move of the mouse.
  speak(on) {
    const { sentence } = this.ui;
    const live = on ? "polite" : "off";
    if (sentence.getAttribute("aria-live") !== live) sentence.setAttribute("aria-live", live);
  }
}
