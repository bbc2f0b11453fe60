// The viewer: a picture to point at, and the atlas of what that pixel looks at. Runs in the Gradio page and in a file.
//
//   const viewer = createViewer(root, { colormap })       // colormap: 256 [r, g, b], dark to light
//   viewer.open(buffer, { point, layer, step, head })     // the bytes of a trace; point is (row, column) in 0..1
//
// Needs trace.js (the numbers), paint.js (their colours) and skeleton.js (the nodes and words).

function spreadIndices(total, count) {
  const kept = Math.min(total, count);
  return Array.from({ length: kept }, (_, i) => Math.round((i * (total - 1)) / Math.max(1, kept - 1)));
}

function createViewer(root, { colormap }) {
  const tables = colorTables(colormap);
  const state = { point: [0.5, 0.5], pinned: false, layer: 0, step: 0, head: -1, scale: "common", base: "picture" };
  const ui = buildViewer(root);
  const painter = new AtlasPainter(ui.atlas.canvas);
  ui.gradient.style.background = `linear-gradient(to right, ${colormap.map((rgb) => `rgb(${rgb})`).join(", ")})`;
  const frames = []; // durations of the latest repaints, in ms, for the benchmark
  let trace = null;
  let columns = []; // which steps the atlas shows
  let cell = 32; // side of an atlas cell in CSS pixels
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
    trace.map(layer, stepIndex, tokenOf(layer), Math.min(head, layer.heads - 1), out);
    return out;
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
    if (trace && "step" in changes && showStep()) buildAtlas();
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
    for (const { head, button } of ui.heads.tiles) button.setAttribute("aria-pressed", String(head === state.head));
    if (!trace) return;
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
    ui.atlas.mark.hidden = column < 0;
    const { cssPitch: pitch, cssSide: side } = painter;
    ui.atlas.mark.style.transform = `translate(${column * pitch}px, ${state.layer * pitch}px)`;
    ui.atlas.mark.style.width = ui.atlas.mark.style.height = `${side}px`;
    ui.atlas.labels.childNodes.forEach((label, i) => label.classList.toggle("pg-chosen", i === state.layer));
    ui.atlas.ticks.childNodes.forEach((label, i) => label.classList.toggle("pg-chosen", i === column));
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
    if (!trace) return;
    const width = ui.main.clientWidth;
    if (!width) return;
    const steps = trace.steps.length;
    const { mode, room, labels, largest } = arrange(width, steps);
    ui.main.dataset.mode = mode;
    cell = Math.min(largest, Math.max(32, Math.floor((room - labels) / steps) - GAP));
    columns = spreadIndices(steps, Math.max(2, Math.floor((room - labels + GAP) / (cell + GAP))));
    showStep();
    ui.main.style.setProperty("--pg-labels", `${labels}px`);
    ui.main.style.setProperty("--pg-atlas", `${labels + columns.length * (cell + GAP)}px`);
    buildAtlas();
    const { canvas } = ui.picture;
    const side = Math.max(1, Math.round(canvas.clientWidth * Math.min(2, devicePixelRatio)));
    canvas.width = side;
    canvas.height = Math.round((side * trace.size[0]) / trace.size[1]);
    repaint();
  }

  // Where not all steps fit, the chosen one takes the place of its nearest neighbour.
  function showStep() {
    if (columns.includes(state.step)) return false;
    const distances = columns.map((step) => Math.abs(step - state.step));
    columns[distances.indexOf(Math.min(...distances))] = state.step;
    return true;
  }

  // Side by side where there is room: picture, atlas and heads; else heads below the atlas; else all in one column.
  function arrange(width, steps) {
    const [card, gap, labels] = [38, 18, 138];
    const three = width - 2 * gap - 3 * card - 450 - 232;
    if (three >= labels + steps * (40 + GAP)) return { mode: "three", room: three, labels, largest: 50 };
    const two = width - gap - 2 * card - 312;
    if (two >= labels + 8 * (32 + GAP)) return { mode: "two", room: two, labels, largest: 50 };
    return { mode: "one", room: width - 30, labels: width < 560 ? 70 : labels, largest: 54 };
  }

  function buildAtlas() {
    const { previews, labels, ticks } = ui.atlas;
    const compact = ui.main.clientWidth < 560;
    [ui.atlas.soFar.textContent, ui.atlas.axis.textContent] = compact ? ["so far", "t"] : ["the picture so far", "timestep t"];
    painter.resize(trace.layers.length, columns.length, cell);
    const { cssPitch: pitch, cssSide: side } = painter;
    labels.replaceChildren();
    trace.layers.forEach((layer) => {
      const label = make("div", "pg-label", undefined, labels);
      label.title = layer.name;
      label.style.height = `${pitch}px`;
      make("span", "pg-name", compact ? layer.shortLabel : layer.label, label);
      make("span", "pg-grid", `${layer.height}×${layer.width}`, label);
    });
    ticks.replaceChildren();
    previews.replaceChildren();
    columns.forEach((stepIndex, i) => {
      const tick = make("div", "pg-tick", formatTimestep(trace.timesteps[stepIndex]) || trace.steps[stepIndex], ticks);
      const thumbnail = make("canvas", "pg-preview", undefined, previews);
      for (const node of [tick, thumbnail]) {
        node.style.width = `${side}px`;
        node.style.marginRight = `${pitch - side}px`;
      }
      thumbnail.style.height = `${side}px`;
      thumbnail.dataset.column = String(i);
      const preview = trace.previews[stepIndex];
      if (!preview) return;
      thumbnail.width = preview.width;
      thumbnail.height = preview.height;
      thumbnail.getContext("2d").putImageData(preview, 0, 0);
    });
    const all = columns.length === trace.steps.length ? "" : `${columns.length} of ${trace.steps.length} steps shown; `;
    ui.atlas.note.textContent = `${all}each cell is one map: where this pixel looks, noise to picture`;
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
    playing = on ? setInterval(() => choose({ step: (state.step + 1) % trace.steps.length }), 350) : null;
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
  document.addEventListener("keydown", (event) => {
    if (event.key === "Escape" && state.pinned) choose({ pinned: false });
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
    open(buffer, view = {}) {
      const before = trace ? state.step / Math.max(1, trace.steps.length - 1) : 1;
      const name = view.layer || (trace && trace.layers[state.layer].name);
      trace = openTrace(buffer);
      play(false);
      const largest = Math.max(...trace.layers.map((layer) => layer.tokens));
      map = new Float32Array(largest);
      scratch = new Float32Array(largest);
      colors = new Uint32Array(largest);
      ui.slider.max = String(trace.steps.length - 1);
      const layer = trace.layers.findIndex((found) => found.name === name);
      const step = trace.steps.indexOf(view.step);
      // What a view leaves open stays as it was, so that another picture can be asked the same question.
      Object.assign(state, {
        point: view.point || state.point,
        pinned: view.point ? true : state.pinned,
        layer: layer < 0 ? trace.layers.length - 1 : layer,
        step: step < 0 ? Math.round(before * (trace.steps.length - 1)) : step,
        head: view.head === undefined ? state.head : view.head,
      });
      introduce(ui, trace);
      drawBase();
      buildHeads();
      syncControls();
      ui.main.hidden = false;
      ui.message.hidden = true;
      layOut();
    },
    say(text) {
      ui.message.textContent = text;
      ui.message.hidden = false;
    },
  };
}

