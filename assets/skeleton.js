// The viewer's nodes, and the words in them. Text from outside reaches the page through textContent only.

function make(tag, className, text, parent) {
  const node = document.createElement(tag);
  if (className) node.className = className;
  if (text !== undefined) node.textContent = text;
  if (parent) parent.append(node);
  return node;
}

function formatTimes(value) {
  return `${value >= 9.95 ? Math.round(value) : value.toPrecision(2)}×`;
}

function formatTimestep(t) {
  return t === null ? "" : Number.isInteger(t) ? String(t) : t.toPrecision(3);
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

// Side by side where there is room: picture, atlas and heads; else heads below both; else all in one column. `room` is for
// the atlas with its labels, `largest` a cell's side, in CSS pixels.
function arrange(width, steps) {
  const [card, gap, labels] = [38, 18, 138];
  const three = width - 2 * gap - 3 * card - 450 - 232;
  if (three >= labels + steps * (40 + GAP)) return { mode: "three", room: three, labels, largest: 50 };
  const two = width - gap - 2 * card - 312;
  if (two >= labels + 8 * (32 + GAP)) return { mode: "two", room: two, labels, largest: 50 };
  return { mode: "one", room: width - 30, labels: width < 560 ? 70 : labels, largest: 54 };
}

// Which steps to show where only `count` fit: evenly spread, the chosen one in the place of its nearest neighbour.
function columnsFor(steps, count, chosen) {
  const kept = Math.min(steps, count);
  const columns = Array.from({ length: kept }, (_, i) => Math.round((i * (steps - 1)) / Math.max(1, kept - 1)));
  const distances = columns.map((step) => Math.abs(step - chosen));
  columns[distances.indexOf(Math.min(...distances))] = chosen;
  return columns;
}

// The atlas's labels, timesteps and thumbnails, for columns of this size.
function labelAtlas(ui, trace, columns, { pitch, side }, compact) {
  const { previews, labels, ticks } = ui.atlas;
  [ui.atlas.soFar.textContent, ui.atlas.axis.textContent] = compact ? ["so far", "t"] : ["the picture so far", "timestep t"];
  for (const node of [previews, labels, ticks]) node.replaceChildren();
  for (const layer of trace.layers) {
    const label = make("button", "pg-label", undefined, labels);
    label.type = "button";
    label.title = layer.name;
    label.style.height = `${pitch.y}px`;
    make("span", "pg-name", compact ? layer.shortLabel : layer.label, label);
    make("span", "pg-grid", `${layer.height}×${layer.width}`, label);
  }
  columns.forEach((stepIndex, i) => {
    const tick = make("div", "pg-tick", formatTimestep(trace.timesteps[stepIndex]) || trace.steps[stepIndex], ticks);
    const thumbnail = make("canvas", "pg-preview", undefined, previews);
    for (const node of [tick, thumbnail]) {
      node.style.width = `${side.x}px`;
      node.style.marginRight = `${pitch.x - side.x}px`;
    }
    thumbnail.style.height = `${side.y}px`;
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
  canvas.setAttribute("role", "application");
  canvas.setAttribute("aria-label", "The picture, with what the chosen pixel looks at. Arrow keys move the pixel.");
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
  const soFar = make("div", "pg-corner", "", grid);
  const previews = make("div", "pg-previews", undefined, grid);
  const labels = make("div", "pg-labels", undefined, grid);
  const maps = make("div", "pg-maps", undefined, grid);
  const atlasCanvas = make("canvas", "", undefined, maps);
  atlasCanvas.setAttribute("role", "img");
  atlasCanvas.setAttribute("aria-label", "Maps of every layer, top to bottom, at every step, left to right");
  const mark = make("div", "pg-mark", undefined, maps);
  const axis = make("div", "pg-corner", "", grid);
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
    make("dt", "", name, item);
    return make("dd", "", "", item);
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
    atlas: { canvas: atlasCanvas, previews, labels, ticks, mark, note, soFar, axis },
    ticks: barTicks,
    gradient: bar.firstChild,
    scaleNote,
    heads: { strip, note: headsNote, tiles: [] },
    numbers,
  };
}

// One plain sentence for the chosen map, and the numbers under the heads.
function describe(ui, trace, state, map, token) {
  const layer = trace.layers[state.layer];
  const found = measureMap(map, layer, token, trace.size);
  const place = (i) => `row ${Math.floor(i / layer.width)}, column ${i % layer.width}`;
  const [said, strong] = findings(map, layer, token, found.peak, place);
  const timestep = formatTimestep(trace.timesteps[state.step]);
  const at = `${layer.label}, step ${trace.steps[state.step]}${timestep ? `, t = ${timestep}` : ""}`;
  const grid = `${layer.height}×${layer.width}`;
  ui.sentence.replaceChildren(`The pixel at ${place(token)} of the ${grid} map, layer ${at}, looks ${said}`);
  make("strong", "", strong, ui.sentence);
  ui.sentence.append(".");
  const head = state.head < 0 ? `mean of ${layer.heads} heads` : `head ${Math.min(state.head, layer.heads - 1)}`;
  ui.where.textContent = `${layer.name}, ${head}`;
  const [peak, entropy, effective, distance] = ui.numbers;
  peak.textContent = formatTimes(map[found.peak]);
  entropy.textContent = `${found.entropy.toFixed(1)} bit`;
  effective.textContent = `${Math.round(found.effective)} of ${layer.tokens}`;
  distance.textContent = `${found.distance.toFixed(1)} px`;
}

// What the sentence says after "looks", and its last words, which are set bold.
function findings(map, layer, token, peak, place) {
  const near = (i) =>
    Math.abs(Math.floor(i / layer.width) - Math.floor(token / layer.width)) <= 1 &&
    Math.abs((i % layer.width) - (token % layer.width)) <= 1;
  let away = -1;
  for (let i = 0; i < layer.tokens; i++) if (!near(i) && (away < 0 || map[i] > map[away])) away = i;
  if (map[peak] < 2) return ["almost evenly at everything: no more than ", `${formatTimes(map[peak])} chance anywhere`];
  if (!near(peak)) return [`mostly at ${place(peak)}, `, `${formatTimes(map[peak])} chance`];
  if (away < 0 || map[away] < 2) return ["mostly at itself and its neighbours, ", `${formatTimes(map[peak])} chance`];
  return [`mostly around itself and, farther off, at ${place(away)}, `, `${formatTimes(map[away])} chance`];
}
