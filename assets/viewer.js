// The viewer: a picture to point at, and the atlas of what that pixel looks at. Runs in the Gradio page and in a file.
//
//   const viewer = createViewer(root, { colormap })       // colormap: 256 [r, g, b], dark to light
//   viewer.open(buffer, { point, layer, step, head })     // the bytes of a trace; point is (row, column) in 0..1
//
// Needs trace.js (the numbers), paint.js (their colours) and skeleton.js (the nodes and words).

function createViewer(root, { colormap }) {
  const tables = colorTables(colormap);
  const state = { point: [0.5, 0.5], pinned: false, layer: 0, step: 0, head: -1, scale: "common", base: "picture" };
  const ui = buildViewer(root);
  const painter = new AtlasPainter(ui.atlas.canvas);
  ui.gradient.style.background = `linear-gradient(to right, ${colormap.map((rgb) => `rgb(${rgb})`).join(", ")})`;
  const frames = []; // durations of the latest repaints, in ms, for the benchmark
  let trace = null;
  let columns = []; // which steps the atlas shows
  let laidOut = ""; // for which trace, width and device pixels
  let map = null; // the chosen map, in times uniform
  let scratch = null; // any other map, while it is painted
  let colors = null; // and its colours
  let dirty = false;

  // -- what is looked at ---------------------------------------------------------------------------------------------

  function tokenOf(layer, point = state.point) {
    const row = Math.min(layer.height - 1, Math.floor(point[0] * layer.height));
    const column = Math.min(layer.width - 1, Math.floor(point[1] * layer.width));
    return row * layer.width + column;
  }

  function compute(layer, stepIndex, head, out) {
    return trace.map(layer, stepIndex, tokenOf(layer), Math.min(head, layer.heads - 1), out);
  }

  // -- painting ------------------------------------------------------------------------------------------------------

  function paintAtlas() {
    trace.layers.forEach((layer, row) => {
      columns.forEach((stepIndex, column) => {
        const shown = compute(layer, stepIndex, state.head, scratch);
        painter.paint(row, column, layer, colorize(tables, state.scale, "solid", shown, layer.tokens, colors));
      });
    });
    painter.show();
  }

  function paintHeads(layer) {
    for (const { head, canvas } of ui.heads.tiles) {
      const shown = compute(layer, state.step, head, scratch);
      paintMap(canvas, layer, colorize(tables, state.scale, "solid", shown, layer.tokens, colors));
    }
  }

  function repaint() {
    dirty = false;
    if (!trace) return;
    const began = performance.now();
    const layer = trace.layers[state.layer];
    const { canvas, base, overlay } = ui.picture;
    compute(layer, state.step, state.head, map);
    paintMap(overlay, layer, colorize(tables, state.scale, "veil", map, layer.tokens, colors));
    paintPicture(canvas, base, overlay);
    paintQuery(canvas, layer, tokenOf(layer), state.pinned);
    paintAtlas();
    paintHeads(layer);
    describe(ui, trace, state, map, tokenOf(layer));
    placeMarks();
    frames.push(performance.now() - began);
    if (frames.length > 1000) frames.shift();
  }

  function invalidate() {
    if (dirty) return;
    dirty = true;
    requestAnimationFrame(repaint);
  }

  // -- choosing ------------------------------------------------------------------------------------------------------

  function choose(changes) {
    Object.assign(state, changes);
    if (trace && ("step" in changes || "base" in changes)) drawBase();
    if (trace && "layer" in changes) buildHeads();
    if (trace && "step" in changes && !columns.includes(state.step)) buildAtlas();
    syncControls();
    invalidate();
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
    for (const [name, buttons] of Object.entries(ui.segments)) {
      for (const button of buttons) button.setAttribute("aria-pressed", String(button.value === state[name]));
    }
    if (!trace) return;
    const chosen = Math.min(state.head, trace.layers[state.layer].heads - 1);
    for (const { head, button } of ui.heads.tiles) button.setAttribute("aria-pressed", String(head === chosen));
    const timestep = formatTimestep(trace.timesteps[state.step]);
    ui.slider.value = String(state.step);
    ui.stepLabel.textContent = `step ${trace.steps[state.step]}${timestep ? ` · t = ${timestep}` : ""}`;
    ui.slider.setAttribute("aria-valuetext", ui.stepLabel.textContent);
    ui.scaleNote.textContent = SCALES[state.scale].note;
    ui.ticks.classList.toggle("pg-own", state.scale === "own");
    ui.sentence.setAttribute("aria-live", state.pinned ? "polite" : "off"); // not at every move of the mouse
    ui.hint.textContent = state.pinned
      ? "Pinned. Click it again or press Escape to let go."
      : "Point at a pixel; click to pin it, and move it with the arrow keys.";
  }

  function placeMarks() {
    const column = columns.indexOf(state.step);
    const { pitch, side } = painter.css;
    Object.assign(ui.atlas.mark.style, {
      transform: `translate(${column * pitch.x}px, ${state.layer * pitch.y}px)`,
      width: `${side.x}px`,
      height: `${side.y}px`,
    });
    ui.atlas.labels.childNodes.forEach((label, i) => label.setAttribute("aria-pressed", String(i === state.layer)));
    ui.atlas.ticks.childNodes.forEach((tick, i) => tick.classList.toggle("pg-chosen", i === column));
  }

  function pointAt(event) {
    const box = event.currentTarget.getBoundingClientRect();
    const inside = (value) => Math.min(0.999999, Math.max(0, value));
    return [inside((event.clientY - box.top) / box.height), inside((event.clientX - box.left) / box.width)];
  }

  function pick(point) {
    const layer = trace.layers[state.layer];
    if (state.pinned && tokenOf(layer, point) === tokenOf(layer)) choose({ pinned: false, point });
    else choose({ pinned: true, point });
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
    repaint();
  }

  function buildAtlas() {
    const steps = trace.steps.length;
    const { mode, room, labels, largest } = arrange(ui.main.clientWidth, steps);
    ui.main.dataset.mode = mode;
    const longer = Math.max(...trace.size) / trace.size[1];
    painter.measure(Math.min(largest, Math.max(32, (Math.floor((room - labels) / steps) - GAP) * longer)), trace.size);
    const { pitch } = painter.css;
    columns = columnsFor(steps, Math.max(2, Math.floor((room - labels + GAP) / pitch.x)), state.step);
    painter.resize(trace.layers.length, columns.length);
    ui.main.style.setProperty("--pg-labels", `${labels}px`);
    ui.main.style.setProperty("--pg-atlas", `${labels + columns.length * pitch.x}px`);
    labelAtlas(ui, trace, columns, painter.css, labels < 100);
    ui.atlas.labels.childNodes.forEach((label, layer) => label.addEventListener("click", () => choose({ layer })));
  }

  function buildHeads() {
    const layer = trace.layers[state.layer];
    ui.heads.strip.replaceChildren();
    ui.heads.tiles = [-1, ...Array(layer.heads).keys()].map((head) => {
      const button = make("button", "pg-head", undefined, ui.heads.strip);
      button.type = "button";
      const canvas = make("canvas", "", undefined, button);
      make("span", "", head < 0 ? "mean" : `head ${head}`, button);
      button.addEventListener("click", () => choose({ head }));
      return { head, button, canvas };
    });
    ui.heads.note.textContent = layer.label;
  }

  // -- playing -------------------------------------------------------------------------------------------------------

  let playing = null;
  function play(on) {
    clearInterval(playing);
    const next = () => (root.isConnected ? choose({ step: (state.step + 1) % trace.steps.length }) : play(false));
    playing = on ? setInterval(next, 350) : null;
    ui.play.textContent = on ? "❚❚" : "▶";
    ui.play.setAttribute("aria-label", on ? "Pause" : "Play the steps");
  }

  // -- wiring --------------------------------------------------------------------------------------------------------

  ui.picture.canvas.addEventListener("pointermove", (event) => {
    if (!trace || state.pinned) return;
    choose({ point: pointAt(event) });
  });
  ui.picture.canvas.addEventListener("click", (event) => trace && pick(pointAt(event)));
  ui.atlas.canvas.addEventListener("click", (event) => {
    const [row, column] = pointAt(event);
    choose({ layer: Math.floor(row * trace.layers.length), step: columns[Math.floor(column * columns.length)] });
  });
  ui.atlas.previews.addEventListener("click", (event) => {
    const column = event.target.dataset.column;
    if (column !== undefined) choose({ step: columns[Number(column)], base: "preview" });
  });
  ui.picture.canvas.addEventListener("keydown", (event) => {
    const [down, right] = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] }[event.key] || [];
    if (!trace || down === undefined) return;
    event.preventDefault(); // the page stays where it is
    const { height, width } = trace.layers[state.layer];
    const step = (value, by, cells) => Math.min(cells - 1, Math.max(0, Math.floor(value * cells) + by)) / cells + 0.5 / cells;
    choose({ pinned: true, point: [step(state.point[0], down, height), step(state.point[1], right, width)] });
  });
  document.addEventListener("keydown", function release(event) {
    if (!root.isConnected) document.removeEventListener("keydown", release);
    else if (event.key === "Escape" && state.pinned) choose({ pinned: false });
  });
  ui.slider.addEventListener("input", () => choose({ step: Number(ui.slider.value) }));
  ui.play.addEventListener("click", () => play(playing === null));
  for (const [name, buttons] of Object.entries(ui.segments)) {
    for (const button of buttons) button.addEventListener("click", () => choose({ [name]: button.value }));
  }
  new ResizeObserver(() => layOut()).observe(ui.main);

  return {
    frames,
    state,
    repaint,
    get trace() {
      return trace;
    },
    get map() {
      return map && map.slice(0, trace.layers[state.layer].tokens);
    },
    choose,
    // What a view leaves open stays as it was, so that another picture can be asked the same question.
    view(view = {}) {
      const layer = trace.layers.findIndex(({ name }) => name === view.layer);
      const step = trace.steps.indexOf(view.step);
      choose({
        point: view.point || state.point,
        pinned: state.pinned && !view.point,
        layer: layer < 0 ? state.layer : layer,
        step: step < 0 ? state.step : step,
        head: view.head === undefined ? state.head : view.head,
      });
    },
    open(buffer, view) {
      const before = trace && { layer: trace.layers[state.layer].name, step: state.step / (trace.steps.length - 1 || 1) };
      const alone = !before || trace.steps.length === 1;
      trace = openTrace(buffer);
      play(false);
      const largest = Math.max(...trace.layers.map((layer) => layer.tokens));
      map = new Float32Array(largest);
      scratch = new Float32Array(largest);
      colors = new Uint32Array(largest);
      ui.slider.max = String(trace.steps.length - 1);
      const same = before ? trace.layers.findIndex(({ name }) => name === before.layer) : -1;
      state.layer = same < 0 ? trace.layers.length - 1 : same;
      state.step = Math.round((alone ? 1 : before.step) * (trace.steps.length - 1));
      introduce(ui, trace);
      ui.main.hidden = false;
      ui.message.hidden = true;
      columns = [];
      laidOut = "";
      this.view(view);
      layOut();
    },
    say(text) {
      ui.message.textContent = text;
      ui.message.hidden = false;
    },
  };
}

