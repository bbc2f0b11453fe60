// The panels of a lesson: what is pointed at in one is outlined in all.

const BLUE = [37, 99, 235];
const ORANGE = [234, 88, 12];
const PALE = [243, 244, 246];
const MARK = "#ffa057"; // what is hovered or pointed to, on dark pictures and pale strips alike

// A signed number between -largest and largest as a colour: blue, pale, orange.
function signedColor(value, largest) {
  const t = Math.max(-1, Math.min(1, value / (largest || 1)));
  const end = t < 0 ? BLUE : ORANGE;
  return PALE.map((from, i) => Math.round(from + (end[i] - from) * Math.sqrt(Math.abs(t))));
}

const largestOf = (values) => values.reduce((worst, x) => Math.max(worst, Math.abs(x)), 0);

// A canvas of exactly width×height cells from a function of the cell's index to [r, g, b].
function cellsOf(width, height, color) {
  const canvas = document.createElement("canvas");
  [canvas.width, canvas.height] = [width, height];
  const image = new ImageData(width, height);
  for (let i = 0; i < width * height; i++) image.data.set([...color(i), 255], 4 * i);
  canvas.getContext("2d").putImageData(image, 0, 0);
  return canvas;
}

const picturesCells = ({ shape: [height, width], bytes }) =>
  cellsOf(width, height, (i) => bytes.subarray(3 * i, 3 * i + 3));

// A drawing surface as wide as its place, `ratio` times as high, in device pixels; coordinates are CSS pixels.
function surface(canvas, ratio) {
  const width = canvas.clientWidth || 260;
  const height = Math.round(width * ratio);
  const scale = window.devicePixelRatio || 1;
  [canvas.width, canvas.height] = [Math.round(width * scale), Math.round(height * scale)];
  canvas.style.height = `${height}px`;
  const pen = canvas.getContext("2d");
  pen.setTransform(scale, 0, 0, scale, 0, 0);
  pen.imageSmoothingEnabled = false;
  return { pen, width, height };
}

function outline(pen, x, y, width, height, color, thick = 2) {
  pen.lineWidth = thick + 2;
  pen.strokeStyle = "rgb(0 0 0 / 75%)";
  pen.strokeRect(x, y, width, height);
  pen.lineWidth = thick;
  pen.strokeStyle = color;
  pen.strokeRect(x, y, width, height);
}

const PANELS = [
  ["picture", "The picture and the feature map"],
  ["list", "Flattened: every cell becomes a row"],
  ["query", "One query, every key"],
  ["scores", "One pixel against every pixel"],
  ["softmax", "Softmax: shares that sum to one"],
  ["values", "The weighted sum of the values"],
  ["output", "Heads joined, and the way out"],
  ["convolution", "What a convolution sees"],
  ["shuffle", "Try it: shuffle the pixels"],
];

function createLesson(root, { colormap }) {
  const state = { query: 0, head: 0, temperature: 1, hover: -1, scrolled: false };
  let lesson = null;
  let panels = null;
  root.replaceChildren();
  const message = make("p", "pg-message", "Loading the lesson…", root);
  const main = make("div", "pl-main", undefined, root);
  main.hidden = true;
  const bar = make("div", "pl-bar", undefined, main);
  const title = make("strong", "pl-title", "", bar);
  const heads = make("div", "pg-segment", undefined, bar);
  const ui = {};
  const board = make("div", "pl-board", undefined, main);
  PANELS.forEach(([name, heading], i) => {
    const card = make("section", "pg-card pl-card", undefined, board);
    const head = make("h2", "", undefined, card);
    if (name !== "shuffle") make("span", "pl-number", String(i + 1), head);
    head.append(heading);
    ui[name] = { card, sentence: make("p", "pl-sentence", "", card), body: make("div", "pl-body", undefined, card) };
  });
  const canvas = (panel, className, label) => {
    const node = make("canvas", className, undefined, ui[panel].body);
    node.setAttribute("role", "img");
    node.setAttribute("aria-label", label);
    return node;
  };
  const grids = {
    picture: canvas("picture", "pl-half", "The picture"),
    features: canvas("picture", "pl-half", "The layer's feature map, three principal components as colour"),
    scores: canvas("scores", "pl-grid", "The scores, laid back on the grid"),
    row: canvas("softmax", "pl-grid", "The softmax, laid on the grid"),
    arrows: canvas("values", "pl-grid", "Arrows from the largest contributors"),
    field: canvas("convolution", "pl-grid", "What convolutions see"),
  };
  const scroller = make("div", "pl-scroll", undefined, ui.list.body);
  scroller.tabIndex = 0;
  const spacer = make("div", "", undefined, scroller);
  const rows = make("canvas", "pl-rows", undefined, spacer);
  const strips = canvas("query", "pl-strip", "The pixel's numbers and its query");
  const keys = canvas("query", "pl-keys", "The keys of all pixels, one a line");
  const top = make("ol", "pl-top", undefined, ui.softmax.body);
  const heat = make("label", "pl-heat", undefined, ui.softmax.card);
  const heatText = make("span", "", "", heat);
  const slider = make("input", "", undefined, heat);
  Object.assign(slider, { type: "range", min: -4, max: 4, step: 0.25, value: 0 });
  const out = canvas("output", "pl-strip", "The numbers on their way out");
  const sum = canvas("values", "pl-strip", "The weighted sum");
  const shuffleButton = make("button", "pl-shuffle", "Shuffle the pixels", ui.shuffle.body);
  shuffleButton.type = "button";
  const shuffled = make("div", "pl-shuffled", undefined, ui.shuffle.body);
  shuffled.hidden = true;

  const place = (index) => `row ${Math.floor(index / lesson.width)}, column ${index % lesson.width}`;
  const heatmap = (values, largest) => (i) => colormap[Math.round(255 * Math.min(1, values[i] / (largest || 1)))];

  function cellBox(index, width) {
    const side = width / lesson.width;
    return [(index % lesson.width) * side, Math.floor(index / lesson.width) * side, side, side];
  }
  function drawGrid(node, source, dim = 0) {
    const { pen, width, height } = surface(node, lesson.height / lesson.width);
    pen.drawImage(source, 0, 0, width, height);
    pen.fillStyle = `rgb(0 0 0 / ${dim})`;
    pen.fillRect(0, 0, width, height);
    if (state.hover >= 0) outline(pen, ...cellBox(state.hover, width), MARK);
    outline(pen, ...cellBox(state.query, width), "#fff");
    return { pen, width, height };
  }
  function drawStrips(node, list, thick = 16) {
    const { pen, width } = surface(node, (list.length * (thick + 20)) / (node.clientWidth || 260));
    pen.font = "12px system-ui, sans-serif";
    pen.fillStyle = getComputedStyle(root).getPropertyValue("--pg-soft");
    list.forEach(([label, values, scale], i) => {
      const y = i * (thick + 20);
      pen.fillText(label, 0, y + 11);
      const largest = scale ?? largestOf(values);
      pen.drawImage(cellsOf(values.length, 1, (c) => signedColor(values[c], largest)), 0, y + 15, width, thick);
    });
  }

  const LINE = 20;
  function drawRows() {
    const [width, height] = [scroller.clientWidth, scroller.clientHeight];
    if (width <= 0) return;
    const { pen } = surface(rows, height / rows.clientWidth);
    const first = Math.floor(scroller.scrollTop / LINE);
    const offset = scroller.scrollTop % LINE;
    const size = lesson.tokens.length / lesson.count;
    const [ink, soft] = ["--pg-ink", "--pg-soft"].map((name) => getComputedStyle(root).getPropertyValue(name));
    for (let i = first; i < Math.min(lesson.count, first + height / LINE + 1); i++) {
      const y = (i - first) * LINE - offset;
      const numbers = rowOf(lesson.tokens, i, size);
      pen.font = `${i === state.query ? "bold " : ""}12px system-ui, sans-serif`;
      pen.fillStyle = i === state.query ? ink : soft;
      pen.fillText(String(i), 2, y + 14);
      pen.fillStyle = `rgb(${lesson.colors.slice(3 * i, 3 * i + 3).join(" ")})`;
      pen.fillRect(36, y + 2, 18, LINE - 4);
      pen.drawImage(cellsOf(size, 1, (c) => signedColor(numbers[c], lesson.tokenScale)), 58, y + 2, width - 62, LINE - 4);
      if (i === state.query || i === state.hover) {
        outline(pen, 57, y + 1.5, width - 60, LINE - 3, i === state.query ? "#fff" : MARK, 1.5);
      }
    }
  }

  function drawQuery() {
    const { d, count, heads } = lesson;
    ui.query.sentence.textContent =
      `x, the ${panels.pixel.length} numbers of this cell, times W_q gives its query q, ${d} numbers. ` +
      `The same W_q and W_k serve every pixel: they are 1×1 convolutions, so ${count} pixels make ${count} queries and ` +
      `${count} keys, one line each below. A row of Q is a pixel, not a channel.`;
    drawStrips(strips, [
      [`x, pixel ${state.query}`, panels.pixel],
      [`q = W_q x, head ${state.head} of ${heads}`, panels.query],
    ]);
    const at = state.head * count;
    const largest = largestOf(rowOf(lesson.key, state.head, count * d));
    const { pen, width, height } = surface(keys, 0.62);
    pen.drawImage(cellsOf(d, count, (i) => signedColor(lesson.key[at * d + i], largest)), 0, 0, width, height);
    const line = height / count;
    if (state.hover >= 0) outline(pen, 0, state.hover * line - 1, width, Math.max(3, line), MARK, 1);
    outline(pen, 0, state.query * line - 1, width, Math.max(3, line), "#fff", 1);
  }

  function drawValues() {
    const { pen, width } = drawGrid(grids.arrows, lesson.cells.features, 0.35);
    const centre = (index) => cellBox(index, width).map((x, i, [, , side]) => (i < 2 ? x + side / 2 : x));
    const [toX, toY] = centre(state.query);
    for (const key of panels.top) {
      const [x, y] = centre(key);
      pen.strokeStyle = pen.fillStyle = MARK;
      pen.lineWidth = 1 + 8 * Math.sqrt(panels.row[key] / panels.row[panels.top[0]]) * 0.5;
      pen.beginPath();
      pen.moveTo(x, y);
      pen.lineTo(toX, toY);
      pen.stroke();
      pen.beginPath();
      pen.arc(x, y, 4, 0, 7);
      pen.fill();
    }
    outline(pen, ...cellBox(state.query, width), "#fff");
    const share = panels.top.reduce((all, key) => all + panels.row[key], 0);
    ui.values.sentence.textContent =
      `Every pixel's value v, ${lesson.dv} numbers, times its share; added up. The five largest, drawn as arrows, make ` +
      `${(100 * share).toFixed(1)} % of the sum. This is where something of a far pixel arrives here.`;
    drawStrips(sum, [[`Σ a·v, head ${state.head}`, panels.attended]]);
  }

  function drawOutput() {
    const shown = largestOf(panels.own);
    const list = [[`heads 0 to ${lesson.heads - 1}, side by side`, panels.joined]];
    list.push([`${lesson.gamma === null ? "" : `γ = ${lesson.gamma.toFixed(4)}, `}through W_out`, panels.contribution, shown]);
    if (lesson.residual) list.push(["what came in, carried past (residual)", panels.before, shown]);
    list.push(["their sum", panels.output, shown], ["the block's own output", panels.own, shown]);
    drawStrips(out, list, 22);
    ui.output.sentence.textContent =
      `All heads' sums side by side, through W_out${lesson.residual ? ", plus what came in" : ""}. ` +
      `Largest difference to what the network's own block put out: ${panels.difference.toExponential(1)}` +
      (state.temperature === 1 ? "." : `, at temperature ${state.temperature.toFixed(2)}; at 1 it is rounding.`);
  }

  function drawConvolution() {
    const { pen, width } = drawGrid(grids.field, lesson.cells.features, 0.45);
    const [x, y, side] = cellBox(state.query, width);
    const far = panels.top[0];
    const needed = convolutionsNeeded(lesson, state.query, far);
    pen.save();
    for (const reach of new Set([1, needed])) {
      pen.setLineDash(reach === 1 ? [] : [5, 4]);
      pen.lineWidth = 2;
      pen.strokeStyle = reach === 1 ? "#fff" : MARK;
      pen.strokeRect(x - reach * side, y - reach * side, (2 * reach + 1) * side, (2 * reach + 1) * side);
    }
    pen.restore();
    outline(pen, ...cellBox(far, width), MARK);
    let inside = 0;
    for (let j = 0; j < lesson.count; j++) if (convolutionsNeeded(lesson, state.query, j) === 1) inside += panels.row[j];
    ui.convolution.sentence.textContent =
      `A 3×3 convolution here sees the nine cells in the white square: ${(100 * inside).toFixed(1)} % of this row. ` +
      `To reach ${place(far)} it takes ${needed} of them in a row (dashed). Attention does not replace them: this ` +
      `network's convolutions make the features that attention compares.`;
  }

  function drawSoftmax() {
    ui.softmax.sentence.textContent =
      `e to each score, divided by the sum: ${lesson.count} shares that sum to ${panels.total.toFixed(6)}.`;
    drawGrid(grids.row, cellsOf(lesson.width, lesson.height, heatmap(panels.row, panels.row[panels.top[0]])));
    top.replaceChildren();
    for (const key of panels.top) {
      const entry = make("li", key === state.hover ? "pl-at" : "", `${panels.row[key].toFixed(4)}  ${place(key)}`, top);
      entry.addEventListener("pointerenter", () => hover(key));
    }
    heatText.textContent = `temperature ${state.temperature.toFixed(2)}`;
  }

  function draw() {
    if (!lesson || !root.clientWidth) return;
    if (!state.scrolled) scrollToQuery();
    const { scale, head_dim } = lesson.layer;
    ui.picture.sentence.textContent =
      `Cell ${place(state.query)} of the layer's ${lesson.height}×${lesson.width} map: ${panels.before.length} numbers, ` +
      `one a channel (colours are three principal components). A token is one such cell. Click a cell to ask it, or use the arrow keys.`;
    drawGrid(grids.picture, lesson.cells.picture);
    drawGrid(grids.features, lesson.cells.features);
    ui.list.sentence.textContent =
      `Row = ${Math.floor(state.query / lesson.width)} × ${lesson.width} + ${state.query % lesson.width} = ${state.query}. ` +
      `Nothing is mixed: unflattening is the same thing backwards, ${state.query} = ${place(state.query)}.`;
    drawRows();
    drawQuery();
    const scaled = Math.abs(scale - 1) > 1e-9 ? `q·k / √${Math.round(1 / scale ** 2)}` : "q·k, unscaled";
    const mine = panels.scores[state.hover >= 0 ? state.hover : state.query];
    ui.scores.sentence.textContent =
      `Row ${state.query} of QKᵀ, ${scaled}, laid back on the grid: one pixel against every pixel. ` +
      `At ${place(state.hover >= 0 ? state.hover : state.query)} it is ${mine.toFixed(3)}.`;
    const largest = largestOf(panels.scores);
    drawGrid(grids.scores, cellsOf(lesson.width, lesson.height, (i) => signedColor(panels.scores[i], largest)));
    drawSoftmax();
    drawValues();
    drawOutput();
    drawConvolution();
  }

  let waiting = 0;
  const redraw = () => {
    cancelAnimationFrame(waiting);
    waiting = requestAnimationFrame(draw);
  };
  function compute() {
    panels = panelsOf(lesson, state.query, state.head, state.temperature);
    redraw();
  }
  function hover(index) {
    if (index === state.hover) return;
    state.hover = index;
    redraw();
  }
  // Scrolls the list to the query, which can be done only while it is on the page.
  function scrollToQuery() {
    scroller.scrollTop = (state.query - 6) * LINE;
    state.scrolled = scroller.clientHeight > 0;
  }
  function ask(index) {
    state.query = index;
    state.point = [(Math.floor(index / lesson.width) + 0.5) / lesson.height, ((index % lesson.width) + 0.5) / lesson.width];
    scrollToQuery();
    compute();
  }

  for (const node of Object.values(grids)) {
    const at = (event) => {
      const box = node.getBoundingClientRect();
      const [x, y] = [(event.clientX - box.left) / box.width, (event.clientY - box.top) / box.height];
      const clamp = (t, count) => Math.max(0, Math.min(count - 1, Math.floor(t * count)));
      return clamp(y, lesson.height) * lesson.width + clamp(x, lesson.width);
    };
    node.addEventListener("pointermove", (event) => hover(at(event)));
    node.addEventListener("pointerleave", () => hover(-1));
    node.addEventListener("click", (event) => ask(at(event)));
  }
  grids.features.tabIndex = 0;
  grids.features.addEventListener("keydown", (event) => {
    const [down, right] = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] }[event.key] ?? [];
    if (down === undefined) return;
    event.preventDefault();
    const [y, x] = [Math.floor(state.query / lesson.width) + down, (state.query % lesson.width) + right];
    if (y >= 0 && y < lesson.height && x >= 0 && x < lesson.width) ask(y * lesson.width + x);
  });
  const lineAt = (event) => Math.min(lesson.count - 1, Math.floor((event.clientY - scroller.getBoundingClientRect().top + scroller.scrollTop) / LINE));
  scroller.addEventListener("pointermove", (event) => hover(lineAt(event)));
  scroller.addEventListener("pointerleave", () => hover(-1));
  scroller.addEventListener("click", (event) => ask(lineAt(event)));
  scroller.addEventListener("scroll", redraw);
  keys.addEventListener("pointermove", (event) => {
    const box = keys.getBoundingClientRect();
    hover(Math.max(0, Math.min(lesson.count - 1, Math.floor(((event.clientY - box.top) / box.height) * lesson.count))));
  });
  keys.addEventListener("pointerleave", () => hover(-1));
  slider.addEventListener("input", () => {
    state.temperature = 2 ** Number(slider.value);
    compute();
  });
  shuffleButton.addEventListener("click", () => {
    shuffled.hidden = !shuffled.hidden;
    shuffleButton.textContent = shuffled.hidden ? "Shuffle the pixels" : "Put them back";
  });
  new ResizeObserver(redraw).observe(root);

  function showShuffle() {
    ui.shuffle.sentence.textContent =
      "The same cells in another order, given to this very layer: does what comes out move with them, unchanged?";
    shuffled.replaceChildren();
    const figure = (parent, name, text) => {
      const box = make("figure", "", undefined, parent);
      const node = make("canvas", "", undefined, box);
      const cells = picturesCells(lesson.tensors.get(name));
      [node.width, node.height] = [cells.width, cells.height];
      node.getContext("2d").drawImage(cells, 0, 0);
      make("figcaption", "", text, box);
    };
    const verdicts = {
      attention: (gap) => `Attention: largest difference ${gap.toExponential(1)}. Alone it has no idea where anything is.`,
      convolution: (gap) => `A 3×3 convolution of this network: ${gap.toFixed(2)}. It knows who its neighbours are.`,
    };
    for (const [name, gap] of Object.entries(lesson.gaps)) {
      make("p", "pl-sentence", verdicts[name](gap), shuffled);
      const line = make("div", "pl-figures", undefined, shuffled);
      figure(line, "shuffled", "its input, shuffled");
      figure(line, `${name}/first`, "shuffled, then put through");
      figure(line, `${name}/after`, "put through, then shuffled");
    }
  }

  return {
    state,
    say(text) {
      [message.textContent, message.hidden, main.hidden] = [text, false, true];
    },
    open(buffer, view) {
      lesson = openLesson(buffer);
      const features = lesson.tensors.get("features");
      lesson.colors = features.bytes;
      lesson.tokenScale = largestOf(lesson.tokens);
      lesson.cells = { picture: picturesCells(lesson.tensors.get("picture")), features: picturesCells(features) };
      [message.hidden, main.hidden] = [true, false];
      title.textContent = `${layerLabel(lesson.layer.name)}, step ${lesson.step}, t = ${formatTimestep(lesson.timestep)}`;
      heads.replaceChildren();
      for (let h = 0; h < lesson.heads; h++) {
        const button = make("button", "", `head ${h}`, heads);
        button.type = "button";
        button.addEventListener("click", () => chooseHead(h));
      }
      showShuffle();
      spacer.style.height = `${lesson.count * LINE}px`;
      state.scrolled = false;
      const [y, x] = view?.point ?? state.point ?? [0.5, 0.5];
      state.hover = -1;
      state.query = Math.floor(y * lesson.height) * lesson.width + Math.floor(x * lesson.width);
      chooseHead(Math.max(0, Math.min(lesson.heads - 1, view?.head ?? state.head)));
      ask(state.query);
    },
    panels: () => panels,
    ask,
  };

  function chooseHead(head) {
    state.head = head;
    [...heads.children].forEach((button, h) => button.setAttribute("aria-pressed", String(h === head)));
    compute();
  }
}
