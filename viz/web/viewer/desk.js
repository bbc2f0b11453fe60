// What the viewer's parts share: nodes, state, trace and buffers.

import { cellsOf, middleOf } from "../core/query.js";
import { colorTables } from "../core/scale.js";
import { AtlasPainter } from "./paint.js";
import { buildViewer } from "./skeleton.js";

// Layer and step are indices here; in a view they are a name and a recorded step.
export const DEFAULTS = {
  ...{ pins: [], active: -1, point: [0.5, 0.5], mode: "row", layer: 0, step: 0, head: -1, special: false },
  ...{ range: "common", log: true, smooth: false, base: "picture", heads: false, tool: "point" },
};

export class Desk {
  state = { ...DEFAULTS };
  trace = null;
  answers = null;
  columns = []; // the steps that the atlas shows
  compact = false; // whether labels are short
  laidOut = ""; // for which width and device pixels
  map = null; // the chosen map, in times uniform
  known = false; // whether it is there, or still being computed
  scratch = null; // any other map, while it is painted,
  colors = null; // and its colours
  pinsDrawn = ""; // what the rows of the pins were last drawn for

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

  get query() {
    const { pins, active, point } = this.state;
    return active >= 0 ? pins[active] : { kind: "pixel", point };
  }

  get scale() {
    const { special, mode, range, log } = this.state;
    return { special: special && mode === "row", range, log };
  }

  // Where the query is; of a region or a rectangle, its middle.
  get place() {
    const { height, width } = this.layer;
    const [row, column] = middleOf(cellsOf(this.query, this.layer), this.layer);
    return [(row + 0.5) / height, (column + 0.5) / width];
  }

  // A map as it is shown; null while it is not computed, unless it is needed now.
  numbers(query, layer, step, head, now = false) {
    const map = new Float32Array(layer.tokens);
    return this.answers.read(query, layer, step, head, this.state, map, now) ? map : null;
  }

  // Screen readers announce what the keys do and what is pinned, not every move of the mouse.
  speak(on) {
    const { sentence } = this.ui;
    const live = on ? "polite" : "off";
    if (sentence.getAttribute("aria-live") !== live) sentence.setAttribute("aria-live", live);
  }
}
