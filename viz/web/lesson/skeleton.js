// Builds the lesson's nodes.

import { h, labelledCanvas, makeButton } from "../dom.js";

// The first panels are numbered: they follow a cell through the layer, step by step.
const NUMBERED = 8;
const PANELS = {
  picture: "The picture and the feature map",
  list: "Flattened: every cell becomes a row",
  query: "One query, every key",
  scores: "One cell against every cell",
  softmax: "Softmax: weights that sum to 1",
  values: "The weighted sum of the values",
  output: "Joining the heads, and the output",
  field: "What a convolution sees",
  shuffle: "Try it: shuffle the cells",
  around: "Every head, layer by layer",
  terms: "Splitting the scores: content and position",
  nine: "Try it: a 3×3 convolution from nine heads",
};

// A slider preceded by a text: { label, text, slider }.
export function labelledSlider(properties) {
  const text = h("span");
  const slider = h("input", { type: "range", ...properties });
  return { label: h("label", { class: "pl-heat" }, text, slider), text, slider };
}

// Fills `root` with the lesson. Returns the nodes that change; each panel is { card, heading, sentence, body }.
export function buildLesson(root) {
  const panels = Object.fromEntries(Object.entries(PANELS).map(([name, text], i) => [name, buildPanel(text, i)]));
  const title = h("strong", { class: "pl-title" });
  const heads = h("div", { class: "pg-segment" });
  const board = h("div", { class: "pl-board" }, ...Object.values(panels).map(({ card }) => card));
  const main = h("div", { class: "pl-main", hidden: true }, h("div", { class: "pl-bar" }, title, heads), board);
  const message = h("p", { class: "pg-message" }, "Loading the lesson…");
  root.replaceChildren(message, main);
  const ui = { ...panels, message, main, title, heads, ...buildCanvases(panels), flat: buildList(panels.list) };
  ui.grids.features.tabIndex = 0;
  ui.top = Array.from({ length: 5 }, () => h("li"));
  panels.softmax.body.append(h("ol", { class: "pl-top" }, ...ui.top));
  const { label, text, slider } = labelledSlider({ min: -4, max: 4, step: 0.25, value: 0 });
  panels.softmax.card.append(label);
  ui.shuffle.button = makeButton(SHUFFLE, { class: "pl-shuffle" });
  ui.shuffle.shown = h("div", { class: "pl-shuffled", hidden: true });
  panels.shuffle.body.append(ui.shuffle.button, ui.shuffle.shown);
  return { ...ui, temperature: text, slider };
}

export const SHUFFLE = "Shuffle the cells";

function buildPanel(text, index) {
  const heading = h("span", {}, text);
  const number = index < NUMBERED ? [h("span", { class: "pl-number" }, String(index + 1))] : [];
  const sentence = h("p", { class: "pl-sentence" });
  const body = h("div", { class: "pl-body" });
  const card = h("section", { class: "pg-card pl-card" }, h("h2", {}, ...number, heading), sentence, body);
  return { card, heading, sentence, body };
}

function buildCanvases({ picture, query, scores, softmax, values, output, field }) {
  const add = (panel, className, label) => {
    const canvas = labelledCanvas(label, { class: className });
    panel.body.append(canvas);
    return canvas;
  };
  const grids = {
    picture: add(picture, "pl-half", "The picture"),
    features: add(picture, "pl-half", "The layer's feature map, three principal components as colour"),
    scores: add(scores, "pl-grid", "The scores, laid out on the grid"),
    row: add(softmax, "pl-grid", "The softmax, laid out on the grid"),
    arrows: add(values, "pl-grid", "Arrows from the largest contributors"),
    field: add(field, "pl-grid", "What convolutions see"),
  };
  const strips = {
    query: add(query, "pl-strip", "The cell's numbers and its query"),
    keys: add(query, "pl-keys", "The keys of all cells, one per row"),
    sum: add(values, "pl-strip", "The weighted sum"),
    output: add(output, "pl-strip", "The output, step by step"),
  };
  return { grids, strips };
}

// The list of all cells: a canvas as high as the visible part, in a spacer as high as all rows.
function buildList({ body }) {
  const rows = h("canvas", { class: "pl-rows" });
  const spacer = h("div", {}, rows);
  const scroller = h("div", { class: "pl-scroll", tabIndex: 0 }, spacer);
  body.append(scroller);
  return { scroller, spacer, rows };
}
