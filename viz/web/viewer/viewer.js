// The viewer: a picture to point at, and the atlas of what that pixel looks at. Runs in the Gradio page and in an HTML file.
//
//   const viewer = new Viewer(root, { colormap, diverging })   // 256 [r, g, b] each: dark to light; below zero to above
//   viewer.open(buffer, view, remote)    // a trace's bytes, the view to open it with, and its server: see remote_answers.js;
//                                        // or an open trace, which may be arriving: then call viewer.receive: see arriving.js
//   viewer.view(view)                    // changes the view; fields it leaves out keep their values
//   viewer.viewNow()                     // the whole view, as viz/view.py and links hold it
//   viewer.onchange(f)                   // calls f("view" or "open") on changes, except pointer moves; returns an unsubscriber
//   viewer.mapOf(layer, step, head), viewer.colorsOf(numbers), await viewer.whole()
//   await viewer.order(layers, steps)    // call before mapOf: these maps may have to come from the server

import { MAX_PINS, checkQuery, isWordQuery, queryOf } from "../core/query.js";
import { answersOf } from "../core/remote_answers.js";
import { colorize } from "../core/scale.js";
import { openTrace } from "../core/trace.js";
import { formatStep } from "../core/words.js";
import { placeIn, placeOf, startArrival, showArrival, whenArrived } from "./arriving.js";
import { describeTrace } from "./description.js";
import { DEFAULTS, Desk } from "./desk.js";
import { exportedFrom } from "./exported.js";
import { wireFullScreen } from "./full_screen.js";
import { wireKeys } from "./keys.js";
import { buildAtlas, buildHeads, buildPins, fitAll, hintFor, topOf } from "./layout.js";
import { wireAtlas, wirePicture } from "./pointer.js";
import { wireReadout } from "./readout.js";
import { drawAll, drawBase } from "./repaint.js";
import { Signals } from "./signals.js";
import { markWords, openStrip } from "./strip.js";

const FRAME = 350; // ms per step during playback

export class Viewer {
  frames = []; // durations of the latest repaints, in ms, for the benchmark
  #desk;
  #refreshReadout;
  #signals = new Signals();
  #whenWhole = []; // called once everything on screen is computed
  #dirty = false; // whether a repaint is due
  #opening = false;
  #playing = null; // the interval that plays the steps

  constructor(root, palettes) {
    const desk = new Desk(root, palettes);
    const { ui } = desk;
    this.#desk = desk;
    Object.assign(desk, {
      choose: (changes) => this.choose(changes),
      hover: (point, deselect) => this.hover(point, deselect),
      pointAt: (word, speak) => this.pointAt(word, speak),
      play: () => this.#play(),
      repaint: () => this.#invalidate(),
      layOut: () => this.#layOut(true),
    });
    this.#refreshReadout = wireReadout(desk);
    wirePicture(desk);
    wireKeys(desk);
    wireFullScreen(desk);
    wireAtlas(desk);
    ui.slider.addEventListener("input", () => this.choose({ step: Number(ui.slider.value) }));
    ui.play.addEventListener("click", () => this.#play());
    ui.matrix.node.addEventListener("toggle", () => this.#invalidate());
    ui.choices.wire(desk.state, desk.choose);
    new ResizeObserver(() => this.#layOut()).observe(ui.main);
    new ResizeObserver(() => this.#layOut()).observe(document.body); // while what is above the viewer is still being loaded
    addEventListener("resize", () => root.isConnected && this.#layOut());
    const touch = () => (desk.touched = true);
    root.addEventListener("pointermove", touch, { once: true });
    document.addEventListener("pointerdown", touch, { once: true, capture: true });
  }

  get root() {
    return this.#desk.root;
  }

  get slot() {
    return this.#desk.ui.slot;
  }

  get state() {
    return this.#desk.state;
  }

  get trace() {
    return this.#desk.trace;
  }

  // The steps of the atlas, as indices into trace.steps.
  get columns() {
    return this.#desk.columns.filter((step) => step !== null);
  }

  // The chosen map as displayed; null at a gap, and while it is being computed.
  get map() {
    const { known, map } = this.#desk;
    return known ? map.slice(0, this.#desk.mapGrid().tokens) : null;
  }

  // -- the view ------------------------------------------------------------------------------------------------------

  choose(changes) {
    const desk = this.#desk;
    const { state } = desk;
    Object.assign(state, changes);
    if (desk.trace) {
      if ("step" in changes || "base" in changes) drawBase(desk);
      if ("step" in changes && !desk.columns.includes(state.step)) buildAtlas(desk);
      if (["pins", "active", "layer", "mode"].some((name) => name in changes)) buildPins(desk);
    }
    this.#showState();
    this.#invalidate();
    if (!this.#opening) this.#signals.send("change", "view");
  }

  // Queries the pixel under the cursor, unless a pin is selected; with `deselect` (a dragging finger) the pin is deselected.
  // While a pinned word is on show, the bars follow the cursor, and the map stays.
  hover(point, deselect = false) {
    const { state } = this.#desk;
    if (state.active >= 0 && deselect) this.choose({ active: -1 });
    if (state.active >= 0 && !isWordQuery(state.pins[state.active])) return;
    state.point = point;
    this.#invalidate();
    this.#signals.send("hover");
  }

  // Shows the map of a word while the cursor or the focus is on it; null when it leaves. With `speak` it is announced.
  pointAt(word, speak = false) {
    const desk = this.#desk;
    desk.state.word = word;
    desk.speak(speak);
    fitAll(desk);
    this.#invalidate();
    this.#signals.send("hover");
  }

  viewNow() {
    const { state, trace } = this.#desk;
    const { tool, layer, step, word, ...view } = state;
    return { ...view, layer: this.layerOf(queryOf(state)).name, step: trace.steps[step] };
  }

  // Throws an Error to show to the user if a pin is not a valid query.
  view({ layer: name, step: recorded, ...view } = {}) {
    const { state, trace } = this.#desk;
    const changes = Object.fromEntries(Object.entries(view).filter(([key]) => key in DEFAULTS));
    if (view.pins) changes.pins = view.pins.slice(0, MAX_PINS).map(checkQuery);
    const pins = changes.pins || state.pins;
    if ("active" in view || view.pins) changes.active = Math.min(view.active ?? -1, pins.length - 1);
    else if (view.point) changes.active = -1;
    const layer = trace.all.findIndex((each) => each.name === name);
    if (!trace.branches.includes(changes.branch) && changes.branch !== trace.difference) delete changes.branch;
    if (changes.reading === "looks" && !trace.askingLayers.length) delete changes.reading;
    const step = trace.steps.indexOf(recorded);
    this.choose({ ...changes, layer: layer < 0 ? state.layer : layer, step: step < 0 ? state.step : step });
  }

  // Shows a trace. Fields that `view` leaves out are kept: the layer by name, the step by its position among the steps.
  open(source, view, remote = null) {
    const desk = this.#desk;
    const { state, ui } = desk;
    const { place } = this;
    const trace = source instanceof ArrayBuffer ? openTrace(source, remote) : source;
    this.#play(false);
    desk.answers?.close();
    startArrival(desk);
    const answers = answersOf(trace, () => this.#invalidate(), (text) => this.say(text));
    const largest = Math.max(...trace.all.map(({ tokens, keyGrid }) => Math.max(tokens, keyGrid?.tokens ?? 0)));
    Object.assign(desk, {
      ...{ trace, answers, columns: [], layoutKey: "", pinsKey: "" },
      ...{ map: new Float32Array(largest), scratch: new Float32Array(largest), colors: new Uint32Array(largest) },
    });
    ui.slider.max = String(trace.steps.length - 1);
    Object.assign(state, placeIn(trace, {}, place));
    describeTrace(ui, trace);
    openStrip(desk);
    ui.main.hidden = false;
    ui.message.hidden = true;
    buildHeads(desk);
    this.#opening = true;
    try {
      this.view(view);
      this.#layOut();
    } finally {
      this.#opening = false;
    }
    this.#signals.send("change", "open");
  }

  // What another trace opens with: see placeIn in arriving.js.
  get place() {
    return placeOf(this.#desk);
  }

  // Shows how much has arrived of the trace, and what it brings. `options`: see showArrival in arriving.js.
  receive(arrival, options) {
    showArrival(this.#desk, arrival, options);
    this.#invalidate();
  }

  // Resolves once the whole trace has arrived.
  arrived() {
    return whenArrived(this.#desk);
  }

  say(text) {
    const { message } = this.#desk.ui;
    message.textContent = text;
    message.hidden = !text;
  }

  onchange = (f) => this.#signals.listen("change", f);
  onhover = (f) => this.#signals.listen("hover", f);
  onpaint = (f) => this.#signals.listen("paint", f); // after every repaint

  // Shares columns and sizes with another viewer's atlas (see compare/shared.js), until called with null.
  share(shared) {
    this.#desk.shared = shared;
    this.#layOut(true);
  }

  // -- maps ----------------------------------------------------------------------------------------------------------

  // A query's map as displayed (by default, of the current query): `layer` is an entry of trace.all that can answer the query
  // (one of `rows`, or that of `layerOf`), `step` an index into trace.steps, `head` an index, or -1 for the mean. Computed at
  // once if necessary; null at a gap.
  mapOf(layer, step, head, query = this.#desk.query) {
    if (this.#desk.gapAt(layer, step, query)) return null;
    const numbers = this.#desk.numbers(query, layer, step, head, true);
    if (!numbers) throw new Error("The view changed while exporting; try again.");
    return numbers;
  }

  // Resolves once `mapOf` can return the maps of these layers, step indices, queries and heads, by default the chosen one.
  order(layers, steps, queries = [this.#desk.query], heads = [this.#desk.state.head]) {
    const { answers, state } = this.#desk;
    const each = (query) => layers.flatMap((layer) => steps.flatMap((step) => heads.map((head) => [query, layer, step, head])));
    const hasMap = ([query, layer, step]) => !this.#desk.gapAt(layer, step, query);
    return answers.order(queries.flatMap(each).filter(hasMap), state);
  }

  // The grid of a layer's maps of a query: { height, width, tokens }.
  gridOf(layer, query = this.#desk.query) {
    return this.#desk.mapGrid(layer, query);
  }

  // The layers of the atlas: those with keys that are pixels, or words.
  get rows() {
    return this.#desk.rows;
  }

  // The layer in which a query, such as a pin, is asked: the chosen one, or its partner.
  layerOf(query) {
    return this.#desk.layerOf(query);
  }

  // Why a layer has no map of a query at a step; undefined if it has one.
  gapAt(layer, step, query = this.#desk.query) {
    return this.#desk.gapAt(layer, step, query);
  }

  // What exports need of the words: see exported.js.
  get exported() {
    return exportedFrom(this.#desk);
  }

  // Four bytes, [r, g, b, a], per number, as on screen.
  colorsOf(numbers) {
    const { tableOf, scale } = this.#desk;
    const colors = new Uint32Array(numbers.length);
    colorize(tableOf(scale, "solid"), scale, numbers, numbers.length, colors);
    return new Uint8ClampedArray(colors.buffer);
  }

  // Resolves once everything on screen is computed.
  whole() {
    return new Promise((done) => {
      this.#whenWhole.push(done);
      this.#invalidate();
    });
  }

  repaint() {
    const desk = this.#desk;
    this.#dirty = false;
    if (!desk.trace || !desk.columns.length) return; // no trace, or no layout yet
    const began = performance.now();
    drawAll(desk);
    this.#refreshReadout();
    this.frames.push(performance.now() - began);
    if (this.frames.length > 1000) this.frames.shift();
    this.#signals.send("paint");
    if (desk.answers.whole) this.#whenWhole.splice(0).forEach((done) => done());
  }

  #invalidate() {
    if (this.#dirty) return;
    this.#dirty = true;
    requestAnimationFrame(() => this.repaint());
  }

  // -- controls ------------------------------------------------------------------------------------------------------

  #showState() {
    const desk = this.#desk;
    const { ui, state } = desk;
    ui.choices.show(state);
    fitAll(desk);
    ui.main.dataset.heads = state.heads ? "large" : "small";
    ui.main.classList.toggle("pg-smooth", state.smooth);
    ui.choices.fields.special[0].disabled = state.mode === "column";
    desk.speak(this.#playing === null);
    if (!desk.trace) return;
    ui.slider.value = String(state.step);
    ui.stepLabel.textContent = formatStep(desk.trace, state.step).replace(",", " ·");
    ui.slider.setAttribute("aria-valuetext", ui.stepLabel.textContent);
    ui.hint.textContent = hintFor(state);
    markWords(desk);
  }

  // Lays the viewer out again if the width or the screen has changed, or if `asked`; and until somebody points, if it has moved.
  #layOut(asked = false) {
    const desk = this.#desk;
    const { ui } = desk;
    const width = ui.main.clientWidth;
    const isTall = ui.main.dataset.mode !== "one"; // then its sizes depend on the screen's height
    if (!desk.touched) desk.top = topOf(ui.cards.picture);
    const key = [width, devicePixelRatio, ...(isTall ? [innerHeight, desk.top] : [])].join(" ");
    if (!desk.trace || !width || (key === desk.layoutKey && !asked)) return;
    desk.layoutKey = key;
    buildAtlas(desk);
    const { canvas } = ui.picture;
    const [down, across] = desk.trace.size;
    canvas.width = Math.max(1, Math.round(canvas.clientWidth * Math.min(2, devicePixelRatio)));
    canvas.height = Math.max(1, Math.round((canvas.width * down) / across));
    this.#showState();
    this.repaint();
  }

  #play(on = this.#playing === null) {
    const { root, state, ui } = this.#desk;
    clearInterval(this.#playing);
    const next = () => {
      if (root.isConnected) this.choose({ step: (state.step + 1) % this.trace.steps.length });
      else this.#play(false);
    };
    this.#playing = on ? setInterval(next, FRAME) : null;
    ui.play.textContent = on ? "❚❚" : "▶";
    ui.play.setAttribute("aria-label", on ? "Pause" : "Play the steps");
  }
}
