// The viewer: a picture to point at, and the atlas of what that pixel looks at. Runs in the Gradio page and in a file.
//
//   const viewer = createViewer(root, { colormap, diverging })   // 256 [r, g, b] each: dark to light; below zero to above
//   viewer.open(buffer, view)      // the bytes of a trace, and what to look at; `remote`: who has its numbers, remote.js
//   viewer.view(view)              // what a view leaves open stays as it was
//   viewer.viewNow()               // all of it, as viz/view.py and links hold it
//   viewer.onchange(f)             // f("view" or "open") after any change, not when the mouse only moves; returns a stop
//   viewer.mapOf(layer, step, head), viewer.colorsOf(numbers), await viewer.whole()
//   await viewer.order(layers, steps)    // before mapOf: these maps may have to come from the server
//
// Needs the scripts that viz/page/viewer.py lists before this one. What they share is the desk: nodes, state, trace, buffers.

import { createAnswers } from "../core/answers.js";
import { MAX_PINS, cellsOf, checkQuery, middleOf } from "../core/query.js";
import { createRemoteAnswers } from "../core/remote_answers.js";
import { colorTables, colorize } from "../core/scale.js";
import { openTrace } from "../core/trace.js";
import { formatStep } from "../core/words.js";
import { buildAtlas, buildHeads, buildPins, hintFor, markAtlas } from "./layout.js";
import { AtlasPainter, imageOf } from "./paint.js";
import { wireAtlas, wireKeys, wirePicture } from "./pointer.js";
import { wireReadout } from "./readout.js";
import { drawAll } from "./repaint.js";
import { buildViewer, introduce } from "./skeleton.js";

// Layer and step are indices here; in a view they are a name and a recorded step.
const DEFAULTS = {
  ...{ pins: [], active: -1, point: [0.5, 0.5], mode: "row", layer: 0, step: 0, head: -1, special: false },
  ...{ range: "common", log: true, smooth: false, base: "picture", heads: false, tool: "point" },
};

function createDesk(root, { colormap, diverging }) {
  const ui = buildViewer(root);
  for (const [name, colors] of Object.entries({ sequential: colormap, diverging })) {
    const gradient = colors.map((rgb) => `rgb(${rgb})`).join(", ");
    ui.main.style.setProperty(`--pg-${name}`, `linear-gradient(to right, ${gradient})`);
  }
  return {
    root,
    ui,
    state: { ...DEFAULTS },
    tableOf: colorTables(colormap, diverging),
    painter: new AtlasPainter(ui.atlas.canvas),
    pinPainter: new AtlasPainter(ui.pins.canvas),
    trace: null,
    answers: null,
    columns: [], // which steps the atlas shows
    laidOut: "", // for which width and device pixels
    map: null, // the chosen map, in times uniform
    known: false, // whether it is there, or still being computed
    scratch: null, // any other map, while it is painted
    colors: null, // and its colours
    pinsDrawn: "", // for what the rows of the pins were drawn last
    get layer() {
      return this.trace.layers[this.state.layer];
    },
    get query() {
      const { pins, active, point } = this.state;
      return active >= 0 ? pins[active] : { kind: "pixel", point };
    },
    get scale() {
      const { special, mode, range, log } = this.state;
      return { special: special && mode === "row", range, log };
    },
    // Where the query is; of a region or a rectangle, its middle.
    get place() {
      const { height, width } = this.layer;
      const [row, column] = middleOf(cellsOf(this.query, this.layer), this.layer);
      return [(row + 0.5) / height, (column + 0.5) / width];
    },
    // A map as it is on show; null while it is not computed, unless it is wanted now.
    numbers(query, layer, step, head, now = false) {
      const numbers = new Float32Array(layer.tokens);
      return this.answers.read(query, layer, step, head, this.state, numbers, now) ? numbers : null;
    },
    // Screen readers are told what the keys do and what is pinned, not every move of the mouse.
    speak(on) {
      const live = on ? "polite" : "off";
      if (ui.sentence.getAttribute("aria-live") !== live) ui.sentence.setAttribute("aria-live", live);
    },
  };
}

export function createViewer(root, palettes) {
  const desk = createDesk(root, palettes);
  const { ui, state } = desk;
  const frames = []; // durations of the latest repaints, in ms, for the benchmark
  const listeners = { change: new Set(), hover: new Set(), whole: [] };
  let dirty = false;
  let opening = false;

  function repaint() {
    dirty = false;
    if (!desk.trace || !desk.columns.length) return; // nothing to show, or nowhere yet
    const began = performance.now();
    drawAll(desk);
    refreshReadout();
    frames.push(performance.now() - began);
    if (frames.length > 1000) frames.shift();
    if (desk.answers.whole) listeners.whole.splice(0).forEach((done) => done());
  }

  function invalidate() {
    if (dirty) return;
    dirty = true;
    requestAnimationFrame(repaint);
  }

  // -- choosing ------------------------------------------------------------------------------------------------------

  function choose(changes) {
    const { layer } = state;
    Object.assign(state, changes);
    if (desk.trace) {
      if ("step" in changes || "base" in changes) drawBase();
      if (layer !== state.layer) buildHeads(desk);
      if ("step" in changes && !desk.columns.includes(state.step)) buildAtlas(desk);
      if ("pins" in changes || "active" in changes || "layer" in changes) buildPins(desk);
    }
    syncControls();
    invalidate();
    if (!opening) listeners.change.forEach((f) => f("view"));
  }

  // The mouse moves: the pixel under it is looked at, unless a pin is; a finger that drags lets go of the pin.
  function hover(point, letsGo = false) {
    if (state.active >= 0 && letsGo) choose({ active: -1 });
    if (state.active >= 0) return;
    state.point = point;
    invalidate();
    listeners.hover.forEach((f) => f());
  }

  function drawBase() {
    const { previews, picture, size } = desk.trace;
    const shown = state.base === "preview" && previews[state.step] ? previews[state.step] : picture;
    const { base } = ui.picture;
    base.width = shown ? shown.width : size[1];
    base.height = shown ? shown.height : size[0];
    if (shown) base.getContext("2d").putImageData(imageOf(shown), 0, 0);
  }

  function syncControls() {
    ui.choices.show(state);
    ui.main.dataset.heads = state.heads ? "large" : "small";
    ui.main.classList.toggle("pg-smooth", state.smooth);
    ui.choices.fields.special[0].disabled = state.mode === "column";
    desk.speak(playing === null);
    if (!desk.trace) return;
    const chosen = Math.min(state.head, desk.layer.heads - 1);
    for (const { head, button } of ui.heads.tiles) button.setAttribute("aria-pressed", String(head === chosen));
    ui.slider.value = String(state.step);
    ui.stepLabel.textContent = formatStep(desk.trace, state.step).replace(",", " ·");
    ui.slider.setAttribute("aria-valuetext", ui.stepLabel.textContent);
    ui.hint.textContent = hintFor(state);
    if (desk.columns.length) markAtlas(desk);
  }

  function layOut() {
    const width = ui.main.clientWidth;
    // The viewer's own height changes with every sentence; only its width is a reason to start over.
    const now = `${width} ${devicePixelRatio}`;
    if (!desk.trace || !width || now === desk.laidOut) return;
    desk.laidOut = now;
    buildAtlas(desk);
    const { canvas } = ui.picture;
    const [down, across] = desk.trace.size;
    canvas.width = Math.max(1, Math.round(canvas.clientWidth * Math.min(2, devicePixelRatio)));
    canvas.height = Math.max(1, Math.round((canvas.width * down) / across));
    syncControls();
    repaint();
  }

  // -- playing -------------------------------------------------------------------------------------------------------

  let playing = null;
  function play(on = playing === null) {
    clearInterval(playing);
    const next = () => (root.isConnected ? choose({ step: (state.step + 1) % desk.trace.steps.length }) : play(false));
    playing = on ? setInterval(next, 350) : null;
    ui.play.textContent = on ? "❚❚" : "▶";
    ui.play.setAttribute("aria-label", on ? "Pause" : "Play the steps");
  }

  // -- views ---------------------------------------------------------------------------------------------------------

  function viewNow() {
    const { tool, layer, step, ...view } = state;
    return { ...view, layer: desk.layer.name, step: desk.trace.steps[step] };
  }

  // Throws an Error, for the reader, where a pin is none.
  function applyView({ layer: name, step: recorded, ...view } = {}) {
    const changes = Object.fromEntries(Object.entries(view).filter(([key]) => key in DEFAULTS));
    if (view.pins) changes.pins = view.pins.slice(0, MAX_PINS).map(checkQuery);
    const pins = changes.pins || state.pins;
    if ("active" in view || view.pins) changes.active = Math.min(view.active ?? -1, pins.length - 1);
    else if (view.point) changes.active = -1;
    const layer = desk.trace.layers.findIndex((each) => each.name === name);
    const step = desk.trace.steps.indexOf(recorded);
    choose({ ...changes, layer: layer < 0 ? state.layer : layer, step: step < 0 ? state.step : step });
  }

  function answersOf(trace) {
    if (!trace.remote) return createAnswers(trace, invalidate);
    return createRemoteAnswers(trace, trace.remote, invalidate, (text) => {
      ui.message.textContent = text;
      ui.message.hidden = !text;
    });
  }

  function open(buffer, view, remote = null) {
    const before = desk.trace && { layer: desk.layer.name, step: state.step / (desk.trace.steps.length - 1 || 1) };
    const alone = !before || desk.trace.steps.length === 1;
    const trace = openTrace(buffer, remote);
    play(false);
    if (desk.answers) desk.answers.close();
    const largest = Math.max(...trace.layers.map((layer) => layer.tokens));
    Object.assign(desk, {
      ...{ trace, answers: answersOf(trace), columns: [], laidOut: "", pinsDrawn: "" },
      ...{ map: new Float32Array(largest), scratch: new Float32Array(largest), colors: new Uint32Array(largest) },
    });
    ui.slider.max = String(trace.steps.length - 1);
    const same = before ? trace.layers.findIndex(({ name }) => name === before.layer) : -1;
    state.layer = same < 0 ? trace.layers.length - 1 : same;
    state.step = Math.round((alone ? 1 : before.step) * (trace.steps.length - 1));
    introduce(ui, trace);
    ui.main.hidden = false;
    ui.message.hidden = true;
    buildHeads(desk);
    opening = true;
    try {
      applyView(view);
      layOut();
    } finally {
      opening = false;
    }
    listeners.change.forEach((f) => f("open"));
  }

  // -- wiring --------------------------------------------------------------------------------------------------------

  Object.assign(desk, { choose, hover, play });
  const refreshReadout = wireReadout(desk);
  wirePicture(desk);
  wireKeys(desk);
  wireAtlas(desk);
  ui.slider.addEventListener("input", () => choose({ step: Number(ui.slider.value) }));
  ui.play.addEventListener("click", () => play());
  ui.choices.wire(state, choose);
  new ResizeObserver(() => layOut()).observe(ui.main);

  const listen = (set) => (f) => {
    set.add(f);
    return () => set.delete(f);
  };
  return {
    ...{ root, frames, state, repaint, choose, hover, viewNow, open, view: applyView, slot: ui.slot },
    get trace() {
      return desk.trace;
    },
    get columns() {
      return desk.columns;
    },
    // The chosen map, as it is on show; null while it is being computed.
    get map() {
      return desk.known ? desk.map.slice(0, desk.layer.tokens) : null;
    },
    // The numbers on show for a query, by default the one that is shown: of an entry of trace.layers, an index into
    // trace.steps, and a head or -1 for their mean. Computed here and now, where need be.
    mapOf(layer, step, head, query = desk.query) {
      const numbers = desk.numbers(query, layer, step, head, true);
      if (!numbers) throw new Error("What is on show has changed meanwhile; try again.");
      return numbers;
    },
    // Resolves when `mapOf` knows the maps of these layers, indices of steps and queries, of the head that is chosen.
    order(layers, steps, queries = [desk.query]) {
      const each = (query) => layers.flatMap((layer) => steps.map((step) => [query, layer, step, state.head]));
      return desk.answers.order(queries.flatMap(each), state);
    },
    // [r, g, b, a] of each number, as on screen.
    colorsOf(numbers) {
      const colors = new Uint32Array(numbers.length);
      colorize(desk.tableOf(desk.scale, "solid"), desk.scale, numbers, numbers.length, colors);
      return new Uint8ClampedArray(colors.buffer);
    },
    // Resolves when all that is on screen is computed.
    whole: () => new Promise((done) => (listeners.whole.push(done), invalidate())),
    onchange: listen(listeners.change),
    onhover: listen(listeners.hover),
    say(text) {
      ui.message.textContent = text;
      ui.message.hidden = false;
    },
  };
}
