// The lesson's nodes and wiring: what is pointed at in one panel is outlined in all.

import { layerLabel } from "../core/trace.js";
import { formatTimestep } from "../core/words.js";
import { labelledCanvas, labelledSlider, make, plainButton } from "../dom.js";
import { drawAround, drawTerms, placeAround, placeTerms } from "./heads.js";
import { createNine } from "./nine.js";
import { DRAWN, LINE, drawList, largestMagnitude, measure, picturesCells } from "./paint.js";
import { openLesson, panelsOf } from "./panels.js";

const PANELS = [
  ["picture", "The picture and the feature map"],
  ["list", "Flattened: every cell becomes a row"],
  ["query", "One query, every key"],
  ["scores", "One pixel against every pixel"],
  ["softmax", "Softmax: shares that sum to one"],
  ["values", "The weighted sum of the values"],
  ["output", "Heads joined, and the way out"],
  ["field", "What a convolution sees"],
  ["shuffle", "Try it: shuffle the pixels"],
  ["around", "Every head, layer by layer"],
  ["terms", "The scores taken apart: content and place"],
  ["nine", "Try it: nine heads as a convolution"],
];

const VERDICTS = {
  attention: (gap) =>
    `Attention: largest difference ${gap.toExponential(1)}. ` +
    (gap < 1e-3 ? "Alone it has no idea where anything is." : "This block is told where each pixel is, by position terms."),
  convolution: (gap) => `A 3×3 convolution of this network: ${gap.toFixed(2)}. It knows who its neighbours are.`,
};

function buildLesson(root) {
  root.replaceChildren();
  const ui = { message: make("p", "pg-message", "Loading the lesson…", root), main: make("div", "pl-main", undefined, root) };
  ui.headings = {};
  ui.main.hidden = true;
  const bar = make("div", "pl-bar", undefined, ui.main);
  ui.title = make("strong", "pl-title", "", bar);
  ui.heads = make("div", "pg-segment", undefined, bar);
  const board = make("div", "pl-board", undefined, ui.main);
  PANELS.forEach(([name, heading], i) => {
    const card = make("section", "pg-card pl-card", undefined, board);
    const head = make("h2", "", undefined, card);
    if (i < 8) make("span", "pl-number", String(i + 1), head);
    ui.headings[name] = make("span", "", heading, head);
    ui[name] = { card, sentence: make("p", "pl-sentence", "", card), body: make("div", "pl-body", undefined, card) };
  });
  const on = (panel, className, label) => labelledCanvas(ui[panel].body, className, label);
  ui.grids = {
    picture: on("picture", "pl-half", "The picture"),
    features: on("picture", "pl-half", "The layer's feature map, three principal components as colour"),
    scores: on("scores", "pl-grid", "The scores, laid back on the grid"),
    row: on("softmax", "pl-grid", "The softmax, laid on the grid"),
    arrows: on("values", "pl-grid", "Arrows from the largest contributors"),
    field: on("field", "pl-grid", "What convolutions see"),
  };
  ui.strips = {
    query: on("query", "pl-strip", "The pixel's numbers and its query"),
    keys: on("query", "pl-keys", "The keys of all pixels, one a line"),
    sum: on("values", "pl-strip", "The weighted sum"),
    output: on("output", "pl-strip", "The numbers on their way out"),
  };
  const scroller = make("div", "pl-scroll", undefined, ui.list.body);
  const spacer = make("div", "", undefined, scroller);
  ui.flat = { scroller, spacer, rows: make("canvas", "pl-rows", undefined, spacer) };
  [scroller.tabIndex, ui.grids.features.tabIndex] = [0, 0];
  const list = make("ol", "pl-top", undefined, ui.softmax.body);
  ui.top = Array.from({ length: 5 }, () => make("li", "", "", list));
  ({ text: ui.heat, slider: ui.slider } = labelledSlider(ui.softmax.card, { min: -4, max: 4, step: 0.25, value: 0 }));
  ui.shuffle.button = plainButton("Shuffle the pixels", ui.shuffle.body, "pl-shuffle");
  ui.shuffle.shown = make("div", "pl-shuffled", undefined, ui.shuffle.body);
  ui.shuffle.shown.hidden = true;
  return ui;
}

// The pictures of the shuffled pixels, and what they say.
function fillShuffle({ ui, lesson }) {
  const { shown } = ui.shuffle;
  shown.replaceChildren();
  const figure = (parent, name, text) => {
    const box = make("figure", "", undefined, parent);
    box.append(picturesCells(lesson.tensors.get(name)));
    make("figcaption", "", text, box);
  };
  for (const [name, gap] of Object.entries(lesson.gaps)) {
    make("p", "pl-sentence", VERDICTS[name](gap), shown);
    const line = make("div", "pl-figures", undefined, shown);
    figure(line, "shuffled", "its input, shuffled");
    figure(line, `${name}/first`, "shuffled, then put through");
    figure(line, `${name}/after`, "put through, then shuffled");
  }
}

// What pointing does, everywhere: `hover` outlines a pixel, `ask` makes it the query.
function wireLesson(desk, { hover, ask, roll, compute }) {
  const { ui, state } = desk;
  const clamp = (t, count) => Math.max(0, Math.min(count - 1, Math.floor(t * count)));
  const points = (node, at, asks = true) => {
    node.addEventListener("pointermove", (event) => hover(at(event, node.getBoundingClientRect())));
    node.addEventListener("pointerleave", () => hover(-1));
    if (asks) node.addEventListener("click", (event) => ask(at(event, node.getBoundingClientRect())));
  };
  const onGrid = ({ clientX, clientY }, { left, top, width, height }) =>
    clamp((clientY - top) / height, desk.lesson.height) * desk.lesson.width +
    clamp((clientX - left) / width, desk.lesson.width);
  const ofKeys = (at) => (event, box) => (desk.lesson.words ? -1 : at(event, box)); // words are no pixels
  const { scores, row, ...grids } = ui.grids;
  for (const node of Object.values(grids)) points(node, onGrid);
  for (const node of [scores, row]) points(node, ofKeys(onGrid));
  // Small maps, whose canvases come and go: an event is of the canvas it happened in.
  for (const { body } of [ui.around, ui.terms]) {
    const at = (event) => (event.target.tagName === "CANVAS" ? onGrid(event, event.target.getBoundingClientRect()) : -1);
    body.addEventListener("pointermove", (event) => hover(at(event)));
    body.addEventListener("pointerleave", () => hover(-1));
    body.addEventListener("click", (event) => ask(at(event)));
  }
  const { scroller } = ui.flat;
  points(scroller, ({ clientY }, { top }) =>
    clamp((clientY - top + scroller.scrollTop) / LINE / desk.lesson.count, desk.lesson.count),
  );
  points(ui.strips.keys, ofKeys(({ clientY }, { top, height }) => clamp((clientY - top) / height, desk.lesson.count)));
  ui.top.forEach((entry, i) => entry.addEventListener("pointerenter", ofKeys(() => hover(desk.panels.top[i]))));
  scroller.addEventListener("scroll", roll);
  ui.grids.features.addEventListener("keydown", (event) => {
    const [down, right] = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] }[event.key] ?? [];
    if (down === undefined) return;
    event.preventDefault();
    const { width, height } = desk.lesson;
    const [y, x] = [Math.floor(state.query / width) + down, (state.query % width) + right];
    if (y >= 0 && y < height && x >= 0 && x < width) ask(y * width + x);
  });
  ui.slider.addEventListener("input", () => {
    state.temperature = 2 ** Number(ui.slider.value);
    compute();
  });
  const { button, shown } = ui.shuffle;
  button.addEventListener("click", () => {
    shown.hidden = !shown.hidden;
    if (!shown.hidden) fillShuffle(desk);
    button.textContent = shown.hidden ? "Shuffle the pixels" : "Put them back";
  });
}

export function createLesson(root, { colormap }) {
  const state = { query: 0, point: null, head: 0, temperature: 1, hover: -1, scrolled: false };
  const desk = { root, colormap, state, ui: buildLesson(root), lesson: null, panels: null };
  const { ui } = desk;
  const nine = createNine(ui.nine);
  let waiting = 0;
  let onshown = () => {};

  function draw() {
    if (!desk.panels || !root.clientWidth) return;
    if (!state.scrolled) scrollToQuery();
    for (const place of [placeAround, placeTerms]) place(desk);
    measure(desk);
    for (const panel of [...DRAWN, drawAround, drawTerms]) panel(desk);
    nine.draw();
  }
  function redraw() {
    cancelAnimationFrame(waiting);
    waiting = requestAnimationFrame(draw);
  }
  // Only the list: the other panels stay as they are.
  function roll() {
    requestAnimationFrame(() => {
      if (!desk.panels || !root.clientWidth) return;
      measure(desk);
      drawList(desk);
    });
  }
  function compute() {
    desk.panels = panelsOf(desk.lesson, state.query, state.head, state.temperature);
    redraw();
  }
  function hover(index) {
    if (index === state.hover) return;
    state.hover = index;
    redraw();
  }
  // The list can be scrolled only while it is on the page.
  function scrollToQuery() {
    ui.flat.scroller.scrollTop = (state.query - 6) * LINE;
    state.scrolled = ui.flat.scroller.clientHeight > 0;
  }
  function ask(index) {
    if (index < 0) return;
    const { width, height } = desk.lesson;
    state.query = index;
    state.point = [(Math.floor(index / width) + 0.5) / height, ((index % width) + 0.5) / width];
    scrollToQuery();
    compute();
  }
  // The query at a place of the picture, (row, column) in 0..1, and a head; -1, the mean of all, leaves the head.
  function look(point, head) {
    const { lesson } = desk;
    const wanted = head >= 0 ? head : state.head;
    if (lesson) {
      const query = Math.floor(point[0] * lesson.height) * lesson.width + Math.floor(point[1] * lesson.width);
      const there = Math.min(lesson.heads - 1, wanted);
      const here = query === state.query && there === state.head;
      pressHead(there);
      if (!here) ask(query);
    } else {
      state.head = wanted;
    }
    state.point = point; // not the cell's middle: a finer layer has another cell there
  }
  function pressHead(head) {
    state.head = head;
    [...ui.heads.children].forEach((button, h) => button.setAttribute("aria-pressed", String(h === head)));
  }
  // Buttons that stay are kept: another layer must not take the keyboard's focus away.
  function fillHeads(heads) {
    while (ui.heads.childElementCount > heads) ui.heads.lastChild.remove();
    for (let h = ui.heads.childElementCount; h < heads; h++) {
      plainButton(`head ${h}`, ui.heads).addEventListener("click", () => {
        pressHead(h);
        compute();
      });
    }
  }
  function open(buffer, view) {
    const lesson = (desk.lesson = openLesson(buffer));
    const keys = lesson.words ? "every word" : "every pixel";
    ui.headings.query.textContent = lesson.words ? "One query, a key of every word" : "One query, every key";
    ui.headings.scores.textContent = `One pixel against ${keys}`;
    ui.grids.scores.setAttribute("aria-label", lesson.words ? "The score of every word" : "The scores, laid back on the grid");
    ui.grids.row.setAttribute("aria-label", lesson.words ? "The share of every word" : "The softmax, laid on the grid");
    const features = lesson.tensors.get("features");
    [lesson.colors, lesson.tokenScale] = [features.bytes, largestMagnitude(lesson.tokens)];
    lesson.cells = { picture: picturesCells(lesson.tensors.get("picture")), features: picturesCells(features) };
    [ui.message.hidden, ui.main.hidden, state.hover, state.scrolled] = [true, false, -1, false];
    const noise = lesson.timestep === null ? "" : `, step ${lesson.step}, t = ${formatTimestep(lesson.timestep)}`;
    ui.title.textContent = layerLabel(lesson.layer.name) + noise;
    fillHeads(lesson.heads);
    ui.shuffle.sentence.textContent =
      "The same cells in another order, given to this very layer: does what comes out move with them, unchanged?";
    if (!ui.shuffle.shown.hidden) fillShuffle(desk);
    nine.open(features);
    ui.flat.spacer.style.height = `${lesson.count * LINE}px`;
    const [y, x] = view?.point ?? state.point ?? [0.5, 0.5];
    state.query = Math.floor(y * lesson.height) * lesson.width + Math.floor(x * lesson.width);
    pressHead(Math.max(0, Math.min(lesson.heads - 1, view?.head ?? state.head)));
    ask(state.query);
  }
  function say(text) {
    [ui.message.textContent, ui.message.hidden, ui.main.hidden] = [text, false, true];
  }
  wireLesson(desk, { hover, ask, roll, compute });
  let wide = 0;
  new ResizeObserver(() => {
    if (root.clientWidth === wide) return;
    if (!root.clientWidth) state.scrolled = false; // what is hidden forgets how far it was scrolled
    else if (!wide) onshown();
    wide = root.clientWidth;
    redraw();
  }).observe(root);
  return { state, open, say, ask, look, nine, panels: () => desk.panels, lesson: () => desk.lesson, onshown: (act) => (onshown = act) };
}
