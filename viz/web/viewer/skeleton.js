// Builds the viewer's nodes. Each function returns a card and the nodes in it that change.

import { h, labelledCanvas, makeButton } from "../dom.js";
import { Choices } from "./choices.js";
import { buildFullScreen } from "./full_screen.js";
import { buildHelp } from "./help.js";
import { buildMatrix } from "./matrix.js";
import { buildNotice } from "./notice.js";
import { buildStrip } from "./strip.js";

export const ATLAS_LABEL = "Maps of every layer, top to bottom, at every step, left to right.";

const heading = (text, ...nodes) => h("div", { class: "pg-heading" }, h("h2", {}, text), ...nodes);

// What was drawn and what was verified, the pins, and buttons for the whole.
function buildFacts() {
  const [title, recipe] = ["pg-title", "pg-recipe"].map((name) => h("span", { class: name }));
  const chips = h("div", { class: "pg-chips" });
  const slot = h("div", { class: "pg-slot" }); // for buttons added from outside the viewer
  const { button, dialog } = buildHelp();
  const proof = buildProof();
  const full = buildFullScreen();
  const end = h("div", { class: "pg-end" }, proof.node, slot, full, button);
  const facts = h("div", { class: "pg-facts" }, title, recipe, chips, end);
  return { facts, title, recipe, proof, chips, slot, full, dialog };
}

function buildTools(choices, strip) {
  return h(
    "div",
    { class: "pg-tools" },
    choices.segment("mode", "Direction", { row: "Looks at", column: "Is looked at by" }),
    choices.toggle("special", "Minus average", "What this pixel looks at more, or less, than the average pixel"),
    choices.segment("tool", "Select", { point: "Pixel", box: "Rectangle", brush: "Brush" }),
    strip.controls,
  );
}

function buildPicture(choices) {
  const sentence = h("p", { class: "pg-sentence", "aria-live": "polite", id: `pg-${Math.random().toString(36).slice(2)}` });
  const canvas = h("canvas", {
    class: "pg-picture",
    tabIndex: 0,
    role: "application",
    "aria-label": "The picture with the chosen map over it. Arrow keys move the pixel; Enter pins it.",
    "aria-describedby": sentence.id,
  });
  const play = makeButton("▶", { class: "pg-play", "aria-label": "Play the steps" });
  const slider = h("input", { type: "range", min: "0", value: "0", "aria-label": "Denoising step" });
  const stepLabel = h("span", { class: "pg-step" });
  const base = choices.segment("base", "Picture shown", { picture: "Final image", preview: "Prediction at this step" });
  const [, preview] = choices.fields.base;
  preview.replaceChildren("Prediction", h("span", { class: "pg-wide" }, " at this step"));
  const opacity = choices.slider("opacity", "Map", "Map opacity", "How strongly the map covers the picture; hold O to see the plain picture");
  const player = h("div", { class: "pg-player" }, play, slider, stepLabel);
  const card = h("section", { class: "pg-card pg-left", "aria-label": "Picture" }, h("div", { class: "pg-heading" }, base, opacity), canvas, player);
  const picture = { canvas, overlay: h("canvas"), base: h("canvas") };
  return { card, picture, play, slider, stepLabel, sentence };
}

// What the chosen map shows, in words, below picture and atlas.
function buildCaption(sentence, strip) {
  const [where, hint, scaleNote] = ["pg-where", "pg-hint", "pg-scale-note"].map((name) => h("p", { class: name }));
  const small = h("div", { class: "pg-small" }, hint, strip.note, where, scaleNote);
  const node = h("div", { class: "pg-caption" }, sentence, small);
  return { node, where, hint, scaleNote };
}

function buildAtlasCard(choices) {
  const note = h("span", { class: "pg-note" });
  const canvas = labelledCanvas(ATLAS_LABEL);
  const mark = h("div", { class: "pg-mark" });
  const [predicted, axis] = [h("div", { class: "pg-corner" }), h("div", { class: "pg-corner" })];
  const [previews, labels, ticks] = ["previews", "labels", "ticks"].map((name) => h("div", { class: `pg-${name}` }));
  const maps = h("div", { class: "pg-maps" }, canvas, mark);
  const network = h("div", { class: "pg-behind" });
  const rows = h("div", { class: "pg-rows", role: "group", "aria-label": "Layers of the network" }, network, labels);
  const grid = h("div", { class: "pg-atlas" }, predicted, previews, rows, maps, axis, ticks);
  const pins = buildPinRows();
  const scale = buildScale(choices);
  const all = makeButton("", { class: "pg-toggle", hidden: true });
  const card = h("section", { class: "pg-card pg-right" }, heading("Atlas", note, all), grid, scale.group);
  const atlas = { canvas, maps, previews, network, labels, ticks, mark, note, predicted, axis, all };
  return { card, atlas, pins, ...scale.nodes };
}

function buildPinRows() {
  const note = h("span", { class: "pg-note" });
  const labels = h("div", { class: "pg-pin-labels" });
  const canvas = labelledCanvas("Maps of every pin, top to bottom, at every step, left to right");
  const grid = h("div", { class: "pg-atlas" }, labels, h("div", { class: "pg-pin-maps" }, canvas));
  return { group: h("section", { class: "pg-card pg-pins", hidden: true }, heading("Pins", note), grid), note, labels, canvas };
}

function buildScale(choices) {
  const gradient = h("div", { class: "pg-gradient" });
  const ticks = h("div", { class: "pg-bar-ticks" });
  const legend = h(
    "div",
    { class: "pg-legend" },
    choices.segment("range", "Colour range", { common: "Same scale", own: "Scale per map" }),
    choices.toggle("log", "log", "Logarithmic scale"),
    choices.toggle("smooth", "smooth", "Interpolate between cells, for display only"),
  );
  const bar = h("div", { class: "pg-bar" }, gradient, ticks);
  const group = h("div", { class: "pg-scale" }, bar, legend);
  return { group, nodes: { gradient, ticks } };
}

function buildSide(choices) {
  const note = h("span", { class: "pg-note" });
  const enlarge = choices.toggle("heads", "Enlarge", "Show all heads enlarged, side by side");
  const strip = h("div", { class: "pg-heads" });
  const card = h("section", { class: "pg-card pg-side" }, heading("Heads", note, enlarge), strip);
  return { card, heads: { strip, note, tiles: [] } };
}

// It can be scrolled, so it can have the focus.
const proofList = () => h("div", { class: "pg-proof-more", tabIndex: 0, role: "region", "aria-label": "What was verified" });

// One line that says what was verified; opened, it lists what is not shown. Escape closes it.
function buildProof() {
  const [summary, more] = [h("summary"), proofList()];
  const node = h("details", { class: "pg-proof" }, summary, more);
  node.addEventListener("keydown", (event) => {
    if (event.key !== "Escape" || !node.open) return;
    event.stopPropagation(); // Escape would also remove the pins
    node.open = false;
    summary.focus();
  });
  return { node, summary, more };
}

// Fills `root` with the viewer. Returns the nodes that change.
export function buildViewer(root) {
  const choices = new Choices();
  const message = h("p", { class: "pg-message", role: "status" }, "Loading the recording…");
  const readout = h("div", { class: "pg-readout", hidden: true }, h("canvas", { hidden: true }), h("span"));
  const strip = buildStrip(choices);
  const matrix = buildMatrix();
  const { facts, dialog, ...top } = buildFacts();
  const tools = buildTools(choices, strip);
  const [left, right, side] = [buildPicture, buildAtlasCard, buildSide].map((build) => build(choices));
  const caption = buildCaption(left.sentence, strip);
  const words = h("div", { class: "pg-above" }, strip.node, matrix.node);
  const numbers = h("dl", { class: "pg-numbers" });
  const parts = [facts, words, tools, dialog, left.card, right.card, side.card, caption.node, right.pins.group, numbers];
  const main = h("div", { class: "pg-main", hidden: true, tabIndex: -1 }, ...parts); // a click in it takes the focus, for the keys
  const cards = { picture: left.card, atlas: right.card, caption: caption.node, heads: side.card };
  const notice = buildNotice();
  root.replaceChildren(message, main, readout, notice.node);
  return { root, main, message, notice, cards, strip, matrix, choices, numbers, readout, dialog, ...top, ...left, ...right, ...side, ...caption };
}
