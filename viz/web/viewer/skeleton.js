// Builds the viewer's nodes. Each function returns a card and the nodes in it that change.

import { h, labelledCanvas, makeButton } from "../dom.js";
import { Choices } from "./choices.js";
import { buildHelp } from "./help.js";
import { buildMatrix } from "./matrix.js";
import { buildStrip } from "./strip.js";

export const ATLAS_LABEL = "Maps of every layer, top to bottom, at every step, left to right.";

const heading = (text, ...nodes) => h("div", { class: "pg-heading" }, h("h2", {}, text), ...nodes);

function buildTools(choices) {
  const chips = h("div", { class: "pg-chips" });
  const slot = h("div", { class: "pg-slot" }); // for buttons added from outside the viewer
  const { button, dialog } = buildHelp();
  const tools = h(
    "div",
    { class: "pg-tools" },
    choices.segment("mode", "Direction", { row: "Looks at", column: "Is looked at by" }),
    choices.toggle("special", "Minus average", "What this pixel looks at more, or less, than the average pixel"),
    choices.segment("tool", "Select", { point: "Pixel", box: "Rectangle", brush: "Brush" }),
    chips,
    h("div", { class: "pg-end" }, slot, button),
  );
  return { tools, chips, slot, dialog };
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
  const [where, hint] = ["pg-where", "pg-hint"].map((name) => h("p", { class: name }));
  const base = choices.segment("base", "Picture shown", { picture: "Final image", preview: "Prediction at this step" });
  const player = h("div", { class: "pg-player" }, play, slider, stepLabel);
  const card = h(
    "section",
    { class: "pg-card pg-left" },
    heading("Picture", base),
    ...[canvas, player, sentence, where, hint],
  );
  const picture = { canvas, overlay: h("canvas"), base: h("canvas") };
  return { card, picture, play, slider, stepLabel, sentence, where, hint };
}

function buildAtlasCard(choices) {
  const note = h("span", { class: "pg-note" });
  const canvas = labelledCanvas(ATLAS_LABEL);
  const mark = h("div", { class: "pg-mark" });
  const [predicted, axis] = [h("div", { class: "pg-corner" }), h("div", { class: "pg-corner" })];
  const [previews, labels, ticks] = ["previews", "labels", "ticks"].map((name) => h("div", { class: `pg-${name}` }));
  const maps = h("div", { class: "pg-maps" }, canvas, mark);
  const grid = h("div", { class: "pg-atlas" }, predicted, previews, labels, maps, axis, ticks);
  const pins = buildPinRows();
  const scale = buildScale(choices);
  const card = h("section", { class: "pg-card pg-right" }, heading("Atlas", note), grid, pins.group, scale.group);
  return { card, atlas: { canvas, previews, labels, ticks, mark, note, predicted, axis }, pins, ...scale.nodes };
}

function buildPinRows() {
  const note = h("span", { class: "pg-note" });
  const labels = h("div", { class: "pg-pin-labels" });
  const canvas = labelledCanvas("Maps of every pin, top to bottom, at every step, left to right");
  const grid = h("div", { class: "pg-atlas" }, labels, h("div", { class: "pg-pin-maps" }, canvas));
  return { group: h("div", { class: "pg-pins" }, heading("Pins", note), grid), note, labels, canvas };
}

function buildScale(choices) {
  const gradient = h("div", { class: "pg-gradient" });
  const ticks = h("div", { class: "pg-bar-ticks" });
  const scaleNote = h("p", { class: "pg-note" });
  const legend = h(
    "div",
    { class: "pg-legend" },
    choices.segment("range", "Colour range", { common: "Same scale", own: "Scale per map" }),
    choices.toggle("log", "log", "Logarithmic scale"),
    choices.toggle("smooth", "smooth", "Interpolate between cells, for display only"),
  );
  const group = h("div", { class: "pg-scale" }, h("div", { class: "pg-bar" }, gradient, ticks), legend, scaleNote);
  return { group, nodes: { gradient, ticks, scaleNote } };
}

function buildSide(choices) {
  const note = h("span", { class: "pg-note" });
  const enlarge = choices.toggle("heads", "Enlarge", "Show all heads enlarged, side by side");
  const strip = h("div", { class: "pg-heads" });
  const numbers = h("dl", { class: "pg-numbers" });
  const card = h("section", { class: "pg-card pg-side" }, heading("Heads", note, enlarge), strip, numbers);
  return { card, heads: { strip, note, tiles: [] }, numbers };
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
  const readout = h("div", { class: "pg-readout", hidden: true });
  const title = h("span", { class: "pg-title" });
  const recipe = h("span");
  const proof = buildProof();
  const strip = buildStrip(choices);
  const matrix = buildMatrix();
  const [tools, left, right, side] = [buildTools, buildPicture, buildAtlasCard, buildSide].map((build) => build(choices));
  const main = h(
    "div",
    { class: "pg-main", hidden: true },
    h("div", { class: "pg-facts" }, title, strip.node, matrix.node, recipe, proof.node),
    ...[tools.tools, tools.dialog, left.card, right.card, side.card],
  );
  root.replaceChildren(message, main, readout);
  return { root, main, message, title, strip, matrix, recipe, proof, choices, readout, ...tools, ...left, ...right, ...side };
}
