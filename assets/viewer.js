// The viewer: a picture to point at, and the atlas of what that pixel looks at. Runs in the Gradio page and in a file.
//
//   const viewer = createViewer(root, { colormap, diverging })   // 256 [r, g, b] each: dark to light; below zero to above
//   viewer.open(buffer, view)      // the bytes of a trace, and what to look at
//   viewer.view(view)              // what a view leaves open stays as it was
//   viewer.viewNow()               // all of it, as viz/view.py and links hold it
//   viewer.onchange(f)             // f() after any change of the view or the trace; not when the mouse only moves
//   viewer.mapOf(layer, step, head), colorsOf(numbers), await viewer.whole()
//
// Needs the scripts that viz/viewer.py lists before this one.

const DEFAULTS = {
  ...{ pins: [], active: -1, point: [0.5, 0.5], mode: "row", layer: 0, step: 0, head: -1, special: false },
  ...{ range: "common", log: true, smooth: false, base: "picture", heads: false, tool: "point" },
};

function createViewer(root, { colormap, diverging }) {
  const tableOf = colorTables(colormap, diverging);
  const state = { ...DEFAULTS }; // layer and step are indices here, a name and a recorded step in a view
  const ui = buildViewer(root);
  const painter = new AtlasPainter(ui.atlas.canvas);
  const pinPainter = new AtlasPainter(ui.pins.canvas);
  for (const [name, colors] of Object.entries({ sequential: colormap, diverging })) {
    const gradient = colors.map((rgb) => `rgb(${rgb})`).join(", ");
    ui.main.style.setProperty(`--pg-${name}`, `linear-gradient(to right, ${gradient})`);
  }
  const frames = []; // durations of the latest repaints, in ms, for the benchmark
  const listeners = { change: [], hover: [], whole: [] };
  let trace = null;
  let answers = null;
  let columns = []; // which steps the atlas shows
  let laidOut = ""; // for which width and device pixels
  let map = null; // the chosen map, in times uniform
  let scratch = null; // any other map, while it is painted
  let colors = null; // and its colours
  let known = false; // whether `map` is there, or still being computed
  let pinsPainted = ""; // for what the rows of the pins were painted last
  let dirty = false;

  // -- what is looked at ---------------------------------------------------------------------------------------------

  const queryNow = () => (state.active >= 0 ? state.pins[state.active] : { kind: "pixel", point: state.point });
  const layerNow = () => trace.layers[state.layer];
  const scaleNow = () => ({ special: state.special && state.mode === "row", range: state.range, log: state.log });

  // -- painting ------------------------------------------------------------------------------------------------------

  // The colours of one map, or null while it is not known.
  function shade(query, layer, step, head) {
    if (!answers.read(query, layer, step, head, state, scratch)) return null;
    return colorize(tableOf(scaleNow(), "solid"), scaleNow(), scratch, layer.tokens, colors);
  }

  function paintAtlas(query) {
    const first = state.layer; // what is chosen is computed first
    for (const layer of [layerNow(), ...trace.layers.filter(({ index }) => index !== first)]) {
      columns.forEach((step, column) => {
        painter.paint(layer.index, column, layer, shade(query, layer, step, state.head), state.smooth);
      });
    }
    painter.show();
  }

  // The rows of the pins change with the view, not with the mouse.
  function paintPins(layer) {
    const now = JSON.stringify([columns, laidOut, { ...viewNow(), step: null, active: null, point: null }]);
    if (!state.pins.length || now === pinsPainted) return;
    let whole = true;
    state.pins.forEach((pin, row) => {
      columns.forEach((step, column) => {
        const shown = shade(pin, layer, step, state.head);
        whole &&= Boolean(shown);
        pinPainter.paint(row, column, layer, shown, state.smooth);
      });
    });
    pinPainter.show();
    pinsPainted = whole ? now : "";
  }

  function paintHeads(query, layer) {
    for (const { head, canvas } of ui.heads.tiles) {
      const shown = shade(query, layer, state.step, head);
      if (shown) paintMap(canvas, layer, shown);
      else canvas.width = layer.width;
    }
  }

  function paintChosen(query, layer) {
    const { canvas, base, overlay } = ui.picture;
    known = answers.read(query, layer, state.step, state.head, state, map);
    if (known) paintMap(overlay, layer, colorize(tableOf(scaleNow(), "veil"), scaleNow(), map, layer.tokens, colors));
    paintPicture(canvas, base, known ? overlay : null, state.smooth);
    state.pins.forEach((pin, i) => i !== state.active && paintQuery(canvas, layer, pin, i, false));
    paintQuery(canvas, layer, query, state.active < 0 ? null : state.active, true);
  }

  function repaint() {
    dirty = false;
    if (!trace) return;
    const began = performance.now();
    const [query, layer] = [queryNow(), layerNow()];
    answers.begin(state.pins);
    paintChosen(query, layer);
    paintHeads(query, layer);
    paintAtlas(query);
    paintPins(layer);
    describe(ui, trace, state, query, known ? map : null);
    showScale(ui, scaleNow(), known ? largestOf(map, layer.tokens) : 1, state);
    frames.push(performance.now() - began);
    if (frames.length > 1000) frames.shift();
    answers.work();
    if (answers.whole) listeners.whole.splice(0).forEach((done) => done());
  }

  function invalidate() {
    if (dirty) return;
    dirty = true;
    requestAnimationFrame(repaint);
  }

  // -- choosing ------------------------------------------------------------------------------------------------------

  function choose(changes) {
    const layer = state.layer;
    Object.assign(state, changes);
    if (trace) {
      if ("step" in changes || "base" in changes) drawBase();
      if ("layer" in changes && layer !== state.layer) buildHeads();
      if ("step" in changes && !columns.includes(state.step)) buildAtlas();
      if ("pins" in changes || "active" in changes || "layer" in changes) buildPins();
    }
    syncControls();
    invalidate();
    listeners.change.forEach((f) => f());
  }

  // The mouse moves: the pixel under it is looked at, unless a pin is; a finger that drags lets go of the pin.
  function hover(point, lets = false) {
    if (state.active >= 0 && lets) choose({ active: -1 });
    if (state.active >= 0) return;
    state.point = point;
    invalidate();
    listeners.hover.forEach((f) => f());
  }

  function drawBase() {
    const preview = trace.previews[state.step];
    const shown = state.base === "preview" && preview ? preview : trace.picture;
    const { base } = ui.picture;
    base.width = shown ? shown.width : trace.size[1];
    base.height = shown ? shown.height : trace.size[0];
    if (shown) base.getContext("2d").putImageData(shown, 0, 0);
  }

  function syncControls() {
    ui.choices.show(state);
    ui.main.dataset.heads = state.heads ? "large" : "small";
    ui.main.classList.toggle("pg-smooth", state.smooth);
    ui.choices.fields.special[0].disabled = state.mode === "column";
    if (!trace) return;
    const chosen = Math.min(state.head, layerNow().heads - 1);
    for (const { head, button } of ui.heads.tiles) button.setAttribute("aria-pressed", String(head === chosen));
    ui.slider.value = String(state.step);
    ui.stepLabel.textContent = formatStep(trace, state.step).replace(",", " ·");
    ui.slider.setAttribute("aria-valuetext", ui.stepLabel.textContent);
    ui.hint.textContent = hintFor(state);
    if (columns.length) markAtlas(ui, state, columns, painter.css);
  }

  // -- laying out ----------------------------------------------------------------------------------------------------

  function layOut() {
    const width = ui.main.clientWidth;
    // The viewer's own height changes with every sentence; only its width is a reason to start over.
    const now = `${width} ${devicePixelRatio}`;
    if (!trace || !width || now === laidOut) return;
    laidOut = now;
    buildAtlas();
    const { canvas } = ui.picture;
    canvas.width = Math.max(1, Math.round(canvas.clientWidth * Math.min(2, devicePixelRatio)));
    canvas.height = Math.max(1, Math.round((canvas.width * trace.size[0]) / trace.size[1]));
    syncControls();
    repaint();
  }

  function buildAtlas() {
    const steps = trace.steps.length;
    const { mode, room, labels, largest } = arrange(ui.main.clientWidth, steps);
    ui.main.dataset.mode = mode;
    const longer = Math.max(...trace.size) / trace.size[1];
    const side = Math.min(largest, Math.max(32, (Math.floor((room - labels) / steps) - GAP) * longer));
    for (const each of [painter, pinPainter]) each.measure(side, trace.size);
    const { pitch } = painter.css;
    columns = columnsFor(steps, Math.max(2, Math.floor((room - labels + GAP) / pitch.x)), state.step);
    painter.resize(trace.layers.length, columns.length);
    ui.main.style.setProperty("--pg-labels", `${labels}px`);
    ui.main.style.setProperty("--pg-atlas", `${labels + columns.length * pitch.x}px`);
    labelAtlas(ui, trace, columns, painter.css, labels < 100);
    ui.atlas.labels.childNodes.forEach((label, layer) => label.addEventListener("click", () => choose({ layer })));
    buildPins();
  }

  function buildPins() {
    if (!columns.length) return;
    pinPainter.resize(Math.max(1, state.pins.length), columns.length);
    pinsPainted = "";
    const activate = (active) => choose({ active });
    labelPins(ui, state, layerNow(), pinPainter.css.pitch, { activate, remove: (index) => removePin(desk, index) });
  }

  function buildHeads() {
    const layer = layerNow();
    ui.heads.strip.replaceChildren();
    ui.heads.tiles = [-1, ...Array(layer.heads).keys()].map((head) => {
      const button = makeButton("pg-head", undefined, ui.heads.strip);
      const canvas = make("canvas", "", undefined, button);
      make("span", "", head < 0 ? "mean" : `head ${head}`, button);
      button.addEventListener("click", () => choose({ head }));
      return { head, button, canvas };
    });
    ui.heads.note.textContent = layer.label;
  }

  // -- playing -------------------------------------------------------------------------------------------------------

  let playing = null;
  function play(on = playing === null) {
    clearInterval(playing);
    const next = () => (root.isConnected ? choose({ step: (state.step + 1) % trace.steps.length }) : play(false));
    playing = on ? setInterval(next, 350) : null;
    ui.play.textContent = on ? "❚❚" : "▶";
    ui.play.setAttribute("aria-label", on ? "Pause" : "Play the steps");
  }

  // -- views ---------------------------------------------------------------------------------------------------------

  function viewNow() {
    const { tool, layer, step, ...view } = state;
    return { ...view, layer: layerNow().name, step: trace.steps[step] };
  }

  // Throws an Error, for the reader, where a pin is none.
  function applyView({ layer: name, step: recorded, ...view } = {}) {
    const changes = Object.fromEntries(Object.entries(view).filter(([key]) => key in DEFAULTS));
    if (view.pins) changes.pins = view.pins.slice(0, MAX_PINS).map(checkQuery);
    const pins = changes.pins || state.pins;
    if ("active" in view || view.pins) changes.active = Math.min(view.active ?? -1, pins.length - 1);
    else if (view.point) changes.active = -1;
    const layer = trace.layers.findIndex((each) => each.name === name);
    const step = trace.steps.indexOf(recorded);
    choose({ ...changes, layer: layer < 0 ? state.layer : layer, step: step < 0 ? state.step : step });
  }

  function open(buffer, view) {
    const before = trace && { layer: layerNow().name, step: state.step / (trace.steps.length - 1 || 1) };
    const alone = !before || trace.steps.length === 1;
    trace = openTrace(buffer);
    play(false);
    if (answers) answers.close();
    answers = createAnswers(trace, invalidate);
    const largest = Math.max(...trace.layers.map((layer) => layer.tokens));
    [map, scratch, colors] = [new Float32Array(largest), new Float32Array(largest), new Uint32Array(largest)];
    ui.slider.max = String(trace.steps.length - 1);
    const same = before ? trace.layers.findIndex(({ name }) => name === before.layer) : -1;
    state.layer = same < 0 ? trace.layers.length - 1 : same;
    state.step = Math.round((alone ? 1 : before.step) * (trace.steps.length - 1));
    introduce(ui, trace);
    ui.main.hidden = false;
    ui.message.hidden = true;
    [columns, laidOut] = [[], ""];
    buildHeads();
    applyView(view);
    layOut();
  }

  // -- wiring --------------------------------------------------------------------------------------------------------

  const desk = {
    ...{ root, ui, state, choose, hover, play },
    get trace() {
      return trace;
    },
    get layer() {
      return layerNow();
    },
    get query() {
      return queryNow();
    },
    // Where the query is; of a region or a rectangle, its middle.
    get place() {
      const { height, width } = layerNow();
      const [row, column] = middleOf(cellsOf(queryNow(), layerNow()), layerNow());
      return [(row + 0.5) / height, (column + 0.5) / width];
    },
  };
  wirePicture(desk);
  wireKeys(desk);
  ui.atlas.canvas.addEventListener("click", (event) => {
    const [row, column] = placeIn(event, ui.atlas.canvas);
    choose({ layer: Math.floor(row * trace.layers.length), step: columns[Math.floor(column * columns.length)] });
  });
  ui.pins.canvas.addEventListener("click", (event) => {
    const [row, column] = placeIn(event, ui.pins.canvas);
    choose({ active: Math.floor(row * state.pins.length), step: columns[Math.floor(column * columns.length)] });
  });
  ui.atlas.previews.addEventListener("click", (event) => {
    const column = event.target.dataset.column;
    if (column !== undefined) choose({ step: columns[Number(column)], base: "preview" });
  });
  ui.slider.addEventListener("input", () => choose({ step: Number(ui.slider.value) }));
  ui.play.addEventListener("click", () => play());
  ui.choices.wire(state, choose);
  new ResizeObserver(() => layOut()).observe(ui.main);

  return {
    ...{ frames, state, repaint, choose, viewNow, open, view: applyView, slot: ui.slot },
    get trace() {
      return trace;
    },
    get columns() {
      return columns;
    },
    // The chosen map, as it is on show; null while it is being computed.
    get map() {
      return known ? map.slice(0, layerNow().tokens) : null;
    },
    // The numbers on show for the active query: of an entry of trace.layers, an index into trace.steps, and a head or -1.
    mapOf(layer, step, head, query = queryNow()) {
      const numbers = new Float32Array(layer.tokens);
      answers.read(query, layer, step, head, state, numbers, true);
      return numbers;
    },
    // [r, g, b, a] of each number, as on screen.
    colorsOf(numbers) {
      const shown = colorize(tableOf(scaleNow(), "solid"), scaleNow(), numbers, numbers.length, new Uint32Array(numbers.length));
      return new Uint8ClampedArray(shown.buffer);
    },
    // Resolves when all that is on screen is computed.
    whole: () => new Promise((done) => (listeners.whole.push(done), invalidate())),
    onchange: (f) => listeners.change.push(f),
    onhover: (f) => listeners.hover.push(f),
    say(text) {
      ui.message.textContent = text;
      ui.message.hidden = false;
    },
  };
}
