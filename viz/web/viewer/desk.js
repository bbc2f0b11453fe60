// What the viewer's modules share: nodes, state, trace and buffers.

import { cellsOf, isWordQuery, layerFor, layersFor, mapGrid, middleOf, modeOf, queryGrid, queryOf } from "../core/query.js";
import { colorTables, scaleOf } from "../core/scale.js";
import { missingWord } from "../core/word_sentences.js";
import { watchBar } from "./bar.js";
import { AtlasPainter } from "./paint.js";
import { buildViewer } from "./skeleton.js";

// Layer and step are indices here, the layer's among trace.all; a view holds the layer's name and the recorded step. `word` is
// the query of the word under the pointer, which is shown whatever else is chosen; a view does not hold it.
export const DEFAULTS = {
  ...{ pins: [], active: -1, point: [0.5, 0.5], mode: "row", layer: 0, step: 0, head: -1, special: false },
  ...{ range: "common", log: true, smooth: false, base: "picture", heads: false, tool: "point" },
  ...{ reading: "spent", branch: "", winner: false, bars: "layer", word: null, opacity: 1 },
};

export class Desk {
  state = { ...DEFAULTS };
  trace = null;
  answers = null;
  columns = []; // indices of the steps that the atlas shows; null where another trace beside this one has a step and this one none
  ticks = []; // the columns' labels
  shared = null; // what two atlases side by side share: see compare/shared.js
  compact = false; // whether labels are short
  narrow = false; // whether the network beside them is
  side = null; // { room, height } inside the heads' card, once it is known
  top = 0; // the picture's distance from the top of the page, until `touched`
  touched = false; // whether somebody has pointed at the viewer, or clicked anywhere
  all = false; // whether the atlas shows every step, however small
  past = []; // { pins, active } before each change that can be undone
  patience = null; // { since, timer } while the atlas is being computed: see computing.js
  held = false; // whether the key that shows the plain picture is
  left = null; // where the mouse left the picture, which is plain since; null once it is elsewhere in the viewer
  layoutKey = ""; // the width and device pixel ratio of the current layout
  map = null; // the chosen map, in times uniform
  known = false; // whether `map` is computed
  scratch = null; // buffer for any other map while it is painted
  colors = null; // buffer for its colours
  pinsKey = ""; // the view for which the pins' rows were last drawn
  waiting = []; // { done, fail }: what waits for the rest of an arriving trace

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
    watchBar(this.ui);
  }

  // The layer in which a query is asked: the chosen one, or its partner if that one cannot answer.
  layerOf(query) {
    return layerFor(this.trace, this.trace.all[this.state.layer], query, this.state);
  }

  get layer() {
    return this.layerOf(this.query);
  }

  // The layers of the atlas, top to bottom.
  get rows() {
    return layersFor(this.trace, this.query, this.state);
  }

  // Why a layer has no map of a query at a step; undefined if it has one.
  gapAt(layer, step, query = this.query) {
    if (step === null) return "this recording has no step at this timestep";
    const missing = isWordQuery(query) ? missingWord(this.trace, layer, query, this.state) : undefined;
    return layer.gaps.get(step) ?? missing ?? this.answers?.refusal?.(query, layer, this.state);
  }

  get gap() {
    return this.gapAt(this.layer, this.state.step);
  }

  // Whether the numbers of a layer at a step, which is no gap, have not arrived yet.
  isArriving(layer, step) {
    const { trace, state } = this;
    const branches = state.branch === trace.difference ? trace.branches : [state.branch];
    return trace.arriving && branches.some((branch) => !layer.numbers(step, branch));
  }

  // The grid on which queries of the picture choose cells.
  get grid() {
    return this.layer.keyGrid ? queryGrid(this.layer, this.state.mode) : this.layer;
  }

  mapGrid(layer = this.layer, query = this.query) {
    return mapGrid(layer, modeOf(query, this.state));
  }

  get query() {
    return this.state.word ?? queryOf(this.state);
  }

  // The query of the picture whose shares the bars show.
  get pictureQuery() {
    const query = queryOf(this.state);
    return isWordQuery(query) ? { kind: "pixel", point: this.state.point } : query;
  }

  get scale() {
    return this.scaleOf(this.query);
  }

  scaleOf(query) {
    return scaleOf(this.state, query);
  }

  // The query's position; for a rectangle or region, its centre.
  get middle() {
    if (isWordQuery(this.query)) return this.state.point;
    const { height, width } = this.grid;
    const [row, column] = middleOf(cellsOf(this.query, this.grid), this.grid);
    return [(row + 0.5) / height, (column + 0.5) / width];
  }

  // A map as displayed; null at a gap, and while it is not computed. With `now` it is computed at once.
  numbers(query, layer, step, head, now = false) {
    if (this.gapAt(layer, step, query)) return null;
    const map = new Float32Array(this.mapGrid(layer, query).tokens);
    return this.answers.read(query, layer, step, head, this.state, map, now) ? map : null;
  }

  // Screen readers announce changes made by key or pin, not every move of the mouse.
  speak(on) {
    const { sentence } = this.ui;
    const live = on ? "polite" : "off";
    if (sentence.getAttribute("aria-live") !== live) sentence.setAttribute("aria-live", live);
  }
}
