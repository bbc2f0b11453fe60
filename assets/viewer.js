// The viewer: a picture to point at, and the atlas of what that pixel looks at. Runs in the Gradio page and in a file.
//
//   const viewer = createViewer(root, { colormap })       // colormap: 256 [r, g, b], dark to light
//   viewer.open(buffer, { point, layer, step, head })     // the bytes of a trace; point is (row, column) in 0..1
//
// Text from outside reaches the page through textContent and the canvas only. Needs assets/trace.js.

const GAP = 2;
const SCALES = {
  // One range for every map of every trace, so that a colour always means the same.
  common: { label: "one for all", note: "times uniform, log scale, the same in every map" },
  own: { label: "each its own", note: "each map from 0 to its own largest value; maps cannot be compared" },
};
const LOW = -2; // octaves: from a quarter of uniform
const HIGH = 5; // to 32 times uniform, and more

function make(tag, className, text, parent) {
  const node = document.createElement(tag);
  if (className) node.className = className;
  if (text !== undefined) node.textContent = text;
  if (parent) parent.append(node);
  return node;
}

function spreadIndices(total, count) {
  const kept = Math.min(total, count);
  return Array.from({ length: kept }, (_, i) => Math.round((i * (total - 1)) / Math.max(1, kept - 1)));
}

function formatTimes(value) {
  return `${value >= 9.95 ? Math.round(value) : value.toPrecision(2)}×`;
}

function formatTimestep(t) {
  return t === null ? "" : Number.isInteger(t) ? String(t) : t.toPrecision(3);
}

// A colour for every float without a logarithm: the top 16 bits of a positive float32 are its exponent and 7 bits of its
// fraction, fine enough for 256 colours on a log scale.
function colorTables(colormap) {
  const pack = ([r, g, b], alpha) => ((alpha << 24) | (b << 16) | (g << 8) | r) >>> 0;
  const build = (position, alphaOf) => {
    const table = new Uint32Array(65536);
    const bits = new Uint32Array(1);
    const float = new Float32Array(bits.buffer);
    for (let i = 0; i < 32768; i++) {
      bits[0] = (i << 16) | 0x8000;
      const at = Math.min(1, Math.max(0, Number.isFinite(float[0]) ? position(float[0]) : 1));
      table[i] = pack(colormap[Math.round(at * 255)], Math.round(255 * alphaOf(at)));
    }
    return table;
  };
  const log = (value) => (Math.log2(value) - LOW) / (HIGH - LOW);
  const solid = () => 1;
  const veil = (at) => 0.3 + 0.62 * Math.sqrt(at); // over the picture: hardly there where nothing is looked at
  return {
    common: { solid: build(log, solid), veil: build(log, veil) },
    own: { solid: build((v) => v, solid), veil: build((v) => v, veil) },
  };
}

function createViewer(root, { colormap }) {
  const tables = colorTables(colormap);
  const state = { point: [0.5, 0.5], pinned: false, layer: 0, step: 0, head: -1, scale: "common", base: "picture" };
  const ui = buildViewer(root);
  ui.gradient.style.background = `linear-gradient(to right, ${colormap.map((rgb) => `rgb(${rgb})`).join(", ")})`;
  const frames = []; // durations of the latest repaints, in ms, for the benchmark
  let trace = null;
  let columns = []; // which steps the atlas shows
  let cell = 32; // side of an atlas cell in CSS pixels
  let map = null; // the chosen map, in times uniform
  let atlas = null; // { canvas, context, pixels, image, ratio }
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

  // Colours of one map on its own grid, through the table of the chosen scale.
  function colorize(values, count, kind, out) {
    const table = tables[state.scale][kind];
    if (state.scale === "own") {
      let best = 1e-30;
      for (let i = 0; i < count; i++) if (values[i] > best) best = values[i];
      for (let i = 0; i < count; i++) values[i] /= best;
    }
    const bits = new Uint32Array(values.buffer, 0, count);
    for (let i = 0; i < count; i++) out[i] = table[bits[i] >>> 16];
    return out;
  }

  // -- painting ------------------------------------------------------------------------------------------------------

  const values = { buffer: new Float32Array(0), colors: new Uint32Array(0) };

  function paintAtlas() {
    const { pixels, image, context, ratio } = atlas;
    const side = Math.round(cell * ratio);
    const pitch = Math.round((cell + GAP) * ratio);
    trace.layers.forEach((layer, row) => {
      const { rows, columns: across } = nearest(layer, side);
      columns.forEach((stepIndex, column) => {
        compute(layer, stepIndex, state.head, values.buffer);
        const colors = colorize(values.buffer, layer.tokens, "solid", values.colors);
        let previous = -1;
        let start = row * pitch * image.width + column * pitch;
        for (let y = 0; y < side; y++, start += image.width) {
          if (rows[y] === previous) {
            pixels.copyWithin(start, start - image.width, start - image.width + side);
            continue;
          }
          previous = rows[y];
          const from = previous * layer.width;
          for (let x = 0; x < side; x++) pixels[start + x] = colors[from + across[x]];
        }
      });
    });
    context.putImageData(image, 0, 0);
  }

  const lookups = new Map();
  function nearest(layer, side) {
    const key = `${layer.height} ${layer.width} ${side}`;
    if (!lookups.has(key)) {
      const table = (n) => Uint16Array.from({ length: side }, (_, i) => Math.floor(((i + 0.5) * n) / side));
      lookups.set(key, { rows: table(layer.height), columns: table(layer.width) });
    }
    return lookups.get(key);
  }

  function paintSmall(canvas, layer, shown, kind) {
    if (canvas.width !== layer.width || canvas.height !== layer.height) {
      canvas.width = layer.width;
      canvas.height = layer.height;
    }
    const image = new ImageData(layer.width, layer.height);
    colorize(Float32Array.from(shown), layer.tokens, kind, new Uint32Array(image.data.buffer));
    canvas.getContext("2d").putImageData(image, 0, 0);
  }

  function paintPicture() {
    const layer = trace.layers[state.layer];
    const { canvas, overlay, base } = ui.picture;
    const context = canvas.getContext("2d");
    const { width, height } = canvas;
    context.imageSmoothingEnabled = false;
    context.drawImage(base, 0, 0, width, height);
    context.fillStyle = "rgba(8, 6, 14, 0.35)";
    context.fillRect(0, 0, width, height);
    paintSmall(overlay, layer, map.subarray(0, layer.tokens), "veil");
    context.drawImage(overlay, 0, 0, width, height);
    paintQuery(context, layer, width, height);
  }

  function paintQuery(context, layer, width, height) {
    const token = tokenOf(layer);
    const [w, h] = [width / layer.width, height / layer.height];
    const [x, y] = [(token % layer.width) * w, Math.floor(token / layer.width) * h];
    const line = Math.max(1, Math.round(width / 400));
    context.fillStyle = "rgba(255, 255, 255, 0.4)";
    context.fillRect(0, y + h / 2 - line / 2, x, line);
    context.fillRect(x + w, y + h / 2 - line / 2, width - x - w, line);
    context.fillRect(x + w / 2 - line / 2, 0, line, y);
    context.fillRect(x + w / 2 - line / 2, y + h, line, height - y - h);
    for (const [grow, color, thick] of [
      [3 * line, "rgba(0, 0, 0, 0.9)", 2 * line],
      [1.5 * line, state.pinned ? "#ffb454" : "#ffffff", 2 * line],
    ]) {
      context.strokeStyle = color;
      context.lineWidth = thick;
      context.strokeRect(x - grow, y - grow, w + 2 * grow, h + 2 * grow);
    }
  }

  function paintHeads() {
    const layer = trace.layers[state.layer];
    for (const { head, canvas } of ui.heads.tiles) {
      const shown = compute(layer, state.step, head, new Float32Array(layer.tokens));
      paintSmall(canvas, layer, shown, "solid");
    }
  }

  function describe() {
    const layer = trace.layers[state.layer];
    const token = tokenOf(layer);
    const found = measureMap(map, layer, token, trace.size);
    const place = (i) => `row ${Math.floor(i / layer.width)}, column ${i % layer.width}`;
    const near = (i) =>
      Math.abs(Math.floor(i / layer.width) - Math.floor(token / layer.width)) <= 1 &&
      Math.abs((i % layer.width) - (token % layer.width)) <= 1;
    let away = -1;
    for (let i = 0; i < layer.tokens; i++) if (!near(i) && (away < 0 || map[i] > map[away])) away = i;
    const [said, strong] = sentence(map[found.peak], near(found.peak), place(found.peak), away < 0 ? null : [place(away), map[away]]);
    ui.sentence.replaceChildren(`The pixel at ${place(token)} of the ${layer.height}×${layer.width} map looks ${said}`);
    make("strong", "", strong, ui.sentence);
    ui.sentence.append(".");
    const step = trace.steps[state.step];
    const timestep = formatTimestep(trace.timesteps[state.step]);
    const head = state.head < 0 ? `mean of ${layer.heads} heads` : `head ${Math.min(state.head, layer.heads - 1)}`;
    ui.where.textContent = `${layer.name}, ${head}, step ${step}${timestep ? `, t = ${timestep}` : ""}`;
    const [peak, entropy, effective, distance] = ui.numbers;
    peak.textContent = formatTimes(map[found.peak]);
    entropy.textContent = `${found.entropy.toFixed(1)} bit`;
    effective.textContent = `${Math.round(found.effective)} of ${layer.tokens}`;
    distance.textContent = `${found.distance.toFixed(1)} px`;
  }

  function sentence(peak, atItself, place, away) {
    if (peak < 2) return ["almost evenly at everything: no more than ", `${formatTimes(peak)} chance anywhere`];
    if (!atItself) return [`mostly at ${place}, `, `${formatTimes(peak)} chance`];
    if (!away || away[1] < 2) return ["mostly at itself and its neighbours, ", `${formatTimes(peak)} chance`];
    return [`mostly around itself and, farther off, at ${away[0]}, `, `${formatTimes(away[1])} chance`];
  }

  function repaint() {
    dirty = false;
    if (!trace) return;
    const began = performance.now();
    const layer = trace.layers[state.layer];
    compute(layer, state.step, state.head, map);
    paintPicture();
    paintAtlas();
    paintHeads();
    describe();
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
    ui.hint.textContent = state.pinned
      ? "Pinned. Click it again or press Escape to let go."
      : "Point at a pixel; click to pin it.";
  }

  function placeMarks() {
    const column = columns.indexOf(state.step);
    ui.atlas.mark.hidden = column < 0;
    const pitch = cell + GAP;
    ui.atlas.mark.style.transform = `translate(${column * pitch}px, ${state.layer * pitch}px)`;
    ui.atlas.mark.style.width = ui.atlas.mark.style.height = `${cell}px`;
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
    return { mode: "one", room: width - 30, labels: 62, largest: 44 };
  }

  function buildAtlas() {
    const ratio = Math.min(2, devicePixelRatio || 1);
    const { canvas, previews, labels, ticks } = ui.atlas;
    const pitch = cell + GAP;
    canvas.width = Math.round(columns.length * pitch * ratio);
    canvas.height = Math.round(trace.layers.length * pitch * ratio);
    canvas.style.width = `${canvas.width / ratio}px`;
    canvas.style.height = `${canvas.height / ratio}px`;
    const context = canvas.getContext("2d");
    const image = context.createImageData(canvas.width, canvas.height);
    atlas = { context, image, pixels: new Uint32Array(image.data.buffer), ratio };
    labels.replaceChildren();
    trace.layers.forEach((layer) => {
      const label = make("div", "pg-label", undefined, labels);
      label.title = layer.name;
      label.style.height = `${pitch}px`;
      make("span", "pg-name", layer.label, label);
      make("span", "pg-grid", `${layer.height}×${layer.width}`, label);
    });
    ticks.replaceChildren();
    previews.replaceChildren();
    columns.forEach((stepIndex, i) => {
      const tick = make("div", "pg-tick", formatTimestep(trace.timesteps[stepIndex]) || trace.steps[stepIndex], ticks);
      const thumbnail = make("canvas", "pg-preview", undefined, previews);
      for (const node of [tick, thumbnail]) {
        node.style.width = `${cell}px`;
        node.style.marginRight = `${GAP}px`;
      }
      thumbnail.style.height = `${cell}px`;
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
  root.addEventListener("keydown", (event) => {
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
      values.buffer = new Float32Array(largest);
      values.colors = new Uint32Array(largest);
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

// The line above the picture: what was drawn, how, and how far the recorded numbers are proved.
function introduce(ui, trace) {
  const { caption, seed, steps, guidance } = trace.recipe;
  ui.title.textContent = typeof caption === "string" ? caption : "";
  const parts = [
    seed !== undefined && `seed ${seed}`,
    steps !== undefined && `${steps} steps`,
    guidance !== undefined && `guidance ${guidance}`,
  ];
  ui.recipe.textContent = parts.filter(Boolean).join(" · ");
  const refused = Object.keys(trace.skipped).length;
  ui.proof.textContent =
    trace.proved === null
      ? ""
      : `✓ verified: output reproduced to ${trace.proved.toExponential(0)}` +
        (refused ? `; ${refused} layer${refused > 1 ? "s" : ""} refused` : "");
  ui.proof.title = Object.entries(trace.skipped)
    .map(([name, reason]) => `${name}: ${reason}`)
    .join("\n");
}

// The skeleton of the viewer, built once. Returns the nodes that change.
function buildViewer(root) {
  root.replaceChildren();
  const message = make("p", "pg-message", "Loading the recorded trace…", root);
  message.setAttribute("role", "status");
  const main = make("div", "pg-main", undefined, root);
  main.hidden = true;
  const segments = {};
  const segment = (name, label, options, parent) => {
    const group = make("div", "pg-segment", undefined, parent);
    group.setAttribute("role", "group");
    group.setAttribute("aria-label", label);
    segments[name] = Object.entries(options).map(([value, text]) => {
      const button = make("button", "", text, group);
      button.type = "button";
      button.value = value;
      return button;
    });
  };

  const facts = make("p", "pg-facts", undefined, main);
  const title = make("span", "pg-title", "", facts);
  const recipe = make("span", "", "", facts);
  const proof = make("span", "pg-proof", "", facts);
  const left = make("section", "pg-card pg-left", undefined, main);
  const pictureHeading = make("div", "pg-heading", undefined, left);
  make("h2", "", "Picture", pictureHeading);
  segment("base", "Picture shown", { picture: "final", preview: "expected at this step" }, pictureHeading);
  const canvas = make("canvas", "pg-picture", undefined, left);
  canvas.tabIndex = 0;
  canvas.setAttribute("role", "img");
  canvas.setAttribute("aria-label", "The picture, with what the chosen pixel looks at");
  const player = make("div", "pg-player", undefined, left);
  const play = make("button", "pg-play", "▶", player);
  play.type = "button";
  play.setAttribute("aria-label", "Play the steps");
  const slider = make("input", "", undefined, player);
  Object.assign(slider, { type: "range", min: "0", value: "0" });
  slider.setAttribute("aria-label", "Denoising step");
  const stepLabel = make("span", "pg-step", "", player);
  const sentence = make("p", "pg-sentence", "", left);
  sentence.setAttribute("aria-live", "polite");
  const where = make("p", "pg-where", "", left);
  const hint = make("p", "pg-hint", "", left);

  const right = make("section", "pg-card pg-right", undefined, main);
  const heading = make("div", "pg-heading", undefined, right);
  make("h2", "", "Atlas", heading);
  const note = make("span", "pg-note", "", heading);
  const grid = make("div", "pg-atlas", undefined, right);
  make("div", "pg-corner", "the picture so far", grid);
  const previews = make("div", "pg-previews", undefined, grid);
  const labels = make("div", "pg-labels", undefined, grid);
  const maps = make("div", "pg-maps", undefined, grid);
  const atlasCanvas = make("canvas", "", undefined, maps);
  atlasCanvas.setAttribute("role", "img");
  atlasCanvas.setAttribute("aria-label", "Maps of every layer, top to bottom, at every step, left to right");
  const mark = make("div", "pg-mark", undefined, maps);
  make("div", "pg-corner", "timestep t", grid);
  const ticks = make("div", "pg-ticks", undefined, grid);

  const scale = make("div", "pg-scale", undefined, right);
  const bar = make("div", "pg-bar", undefined, scale);
  make("div", "pg-gradient", undefined, bar);
  const barTicks = make("div", "pg-bar-ticks", undefined, bar);
  for (let octave = LOW; octave <= HIGH; octave++) make("span", "pg-common", { [-2]: "¼×", [-1]: "½×" }[octave] || `${2 ** octave}×`, barTicks);
  make("span", "pg-each", "0", barTicks);
  make("span", "pg-each", "largest", barTicks);
  const legend = make("div", "pg-legend", undefined, scale);
  segment("scale", "Colour range", Object.fromEntries(Object.entries(SCALES).map(([k, v]) => [k, v.label])), legend);
  const scaleNote = make("span", "pg-note", "", legend);

  const side = make("section", "pg-card pg-side", undefined, main);
  const headsHeading = make("div", "pg-heading", undefined, side);
  make("h2", "", "Heads", headsHeading);
  const headsNote = make("span", "pg-note", "", headsHeading);
  const strip = make("div", "pg-heads", undefined, side);
  const numbersRow = make("dl", "pg-numbers", undefined, side);
  const numbers = ["peak, times chance", "entropy", "effective keys", "mean distance"].map((name) => {
    const item = make("div", "", undefined, numbersRow);
    const value = make("dd", "", "", item);
    make("dt", "", name, item);
    return value;
  });
  return {
    main,
    message,
    title,
    recipe,
    proof,
    picture: { canvas, overlay: document.createElement("canvas"), base: document.createElement("canvas") },
    play,
    slider,
    stepLabel,
    segments,
    sentence,
    where,
    hint,
    atlas: { canvas: atlasCanvas, previews, labels, ticks, mark, note },
    ticks: barTicks,
    gradient: bar.firstChild,
    scaleNote,
    heads: { strip, note: headsNote, tiles: [] },
    numbers,
  };
}
