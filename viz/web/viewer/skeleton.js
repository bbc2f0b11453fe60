// The viewer's nodes. Text from outside reaches the page through textContent only.

import { MAX_PINS } from "../core/query.js";
import { make, makeButton } from "../dom.js";

// The line above the picture: what was drawn, how, and how far the recorded numbers are proved.
export function introduce(ui, trace) {
  const { caption, seed, steps, guidance } = trace.recipe;
  ui.title.textContent = typeof caption === "string" ? caption : "";
  const plain = (value) => ["number", "string"].includes(typeof value); // a file may say anything
  const parts = [
    plain(seed) && `seed ${seed}`,
    plain(steps) && `${steps} steps`,
    plain(guidance) && `guidance ${guidance}`,
    trace.remote && "too big for the browser: the maps come from the server",
  ];
  ui.recipe.textContent = parts.filter(Boolean).join(" · ");
  const refused = Object.keys(trace.skipped).length;
  const digits = (error) => error.toExponential(0).replace("-", "\u2011"); // does not break between lines
  ui.proof.textContent =
    trace.proved === null
      ? ""
      : `✓ verified to ${digits(trace.proved)} as recorded` +
        (trace.verified > 2 * trace.proved ? `, ${digits(trace.verified)} as stored` : "") +
        (refused ? `; ${refused} layer${refused > 1 ? "s" : ""} refused` : "");
  const meaning = "How far each module's own output is from the one recomputed from its q, k and v.";
  const reasons = Object.entries(trace.skipped).map(([name, reason]) => `${name}: ${reason}`);
  ui.proof.title = [meaning, ...reasons].join("\n");
}

const TOOLS = { point: "Point", box: "Rectangle", brush: "Brush" };
const KEYS = [
  ["← ↑ → ↓", "move the pixel, or the chosen pin, by a cell"],
  ["Shift + arrows", "make it a rectangle, or the rectangle larger"],
  ["Enter", "pin the pixel or let the pin go; with the brush, paint here"],
  ["[  ]", "the step before, the next step"],
  ["Space", "play the steps"],
  ["h", "the next head"],
  ["r", "“looks at”, “is looked at by”"],
  ["Escape", "let go of the pin; once more: remove all pins"],
];
const TOUCH = `Tap the picture to pin a pixel, tap the pin to let it go, drag to look around. With the rectangle or the brush, drag to
mark a region; with the brush, Shift adds to the one that is shown. Up to ${MAX_PINS} pins at once; a further one takes the place of the latest.`;

// Buttons that choose, by the field of the state they set: { field: [button, …] }. A lone button is on or off.
class Choices {
  constructor() {
    this.fields = {};
  }

  segment(name, label, options, parent) {
    const group = make("div", "pg-segment", undefined, parent);
    group.setAttribute("role", "group");
    group.setAttribute("aria-label", label);
    this.fields[name] = Object.entries(options).map(([value, text]) => {
      const button = makeButton("", text, group);
      button.value = value;
      return button;
    });
  }

  toggle(name, text, title, parent) {
    const button = makeButton("pg-toggle", text, parent);
    button.title = title;
    this.fields[name] = [button];
  }

  // Calls choose({ field: value }) when one is pressed.
  wire(state, choose) {
    for (const [name, buttons] of Object.entries(this.fields)) {
      const value = (button) => (buttons.length > 1 ? button.value : !state[name]);
      for (const button of buttons) button.addEventListener("click", () => choose({ [name]: value(button) }));
    }
  }

  show(state) {
    for (const [name, buttons] of Object.entries(this.fields)) {
      for (const button of buttons) {
        const on = buttons.length > 1 ? button.value === state[name] : state[name];
        button.setAttribute("aria-pressed", String(Boolean(on)));
      }
    }
  }
}

function buildTools(choices, parent) {
  const tools = make("div", "pg-tools", undefined, parent);
  choices.segment("mode", "Direction", { row: "Looks at", column: "Is looked at by" }, tools);
  choices.toggle("special", "What is special", "What is special about this pixel: its row minus the mean row of all pixels", tools);
  choices.segment("tool", "Ask with", TOOLS, tools);
  const chips = make("div", "pg-chips", undefined, tools);
  const end = make("div", "pg-end", undefined, tools);
  const slot = make("div", "pg-slot", undefined, end);
  const help = makeButton("pg-toggle pg-ask", "?", end, "Keys and touch");
  const dialog = make("dialog", "pg-help", undefined, parent);
  make("h2", "", "Keys and touch", dialog);
  const list = make("dl", "", undefined, dialog);
  for (const [key, text] of KEYS) {
    const item = make("div", "", undefined, list);
    make("dt", "", key, item);
    make("dd", "", text, item);
  }
  make("p", "", TOUCH, dialog);
  const close = makeButton("pg-toggle", "Close", dialog);
  help.addEventListener("click", () => dialog.showModal());
  close.addEventListener("click", () => dialog.close());
  return { chips, slot, dialog };
}

function buildPicture(choices, parent) {
  const card = make("section", "pg-card pg-left", undefined, parent);
  const heading = make("div", "pg-heading", undefined, card);
  make("h2", "", "Picture", heading);
  choices.segment("base", "Picture shown", { picture: "final", preview: "expected at this step" }, heading);
  const canvas = make("canvas", "pg-picture", undefined, card);
  canvas.tabIndex = 0;
  canvas.setAttribute("role", "application");
  canvas.setAttribute("aria-label", "The picture, with the chosen map over it. Arrow keys move the pixel, Enter pins it.");
  const player = make("div", "pg-player", undefined, card);
  const play = makeButton("pg-play", "▶", player, "Play the steps");
  const slider = make("input", "", undefined, player);
  Object.assign(slider, { type: "range", min: "0", value: "0" });
  slider.setAttribute("aria-label", "Denoising step");
  const stepLabel = make("span", "pg-step", "", player);
  const sentence = make("p", "pg-sentence", "", card);
  sentence.setAttribute("aria-live", "polite");
  sentence.id = `pg-${Math.random().toString(36).slice(2)}`;
  canvas.setAttribute("aria-describedby", sentence.id);
  const where = make("p", "pg-where", "", card);
  const hint = make("p", "pg-hint", "", card);
  const [overlay, base] = [document.createElement("canvas"), document.createElement("canvas")];
  return { picture: { canvas, overlay, base }, play, slider, stepLabel, sentence, where, hint };
}

function buildAtlasCard(choices, parent) {
  const card = make("section", "pg-card pg-right", undefined, parent);
  const heading = make("div", "pg-heading", undefined, card);
  make("h2", "", "Atlas", heading);
  const note = make("span", "pg-note", "", heading);
  const grid = make("div", "pg-atlas", undefined, card);
  const soFar = make("div", "pg-corner", "", grid);
  const previews = make("div", "pg-previews", undefined, grid);
  const labels = make("div", "pg-labels", undefined, grid);
  const maps = make("div", "pg-maps", undefined, grid);
  const canvas = make("canvas", "", undefined, maps);
  canvas.setAttribute("role", "img");
  canvas.setAttribute("aria-label", "Maps of every layer, top to bottom, at every step, left to right");
  const mark = make("div", "pg-mark", undefined, maps);
  const axis = make("div", "pg-corner", "", grid);
  const ticks = make("div", "pg-ticks", undefined, grid);
  const pins = buildPinRows(card);
  return { atlas: { canvas, previews, labels, ticks, mark, note, soFar, axis }, pins, ...buildScale(choices, card) };
}

function buildPinRows(parent) {
  const group = make("div", "pg-pins", undefined, parent);
  const heading = make("div", "pg-heading", undefined, group);
  make("h2", "", "Pins", heading);
  const note = make("span", "pg-note", "", heading);
  const grid = make("div", "pg-atlas", undefined, group);
  const labels = make("div", "pg-pin-labels", undefined, grid);
  const maps = make("div", "pg-pin-maps", undefined, grid);
  const canvas = make("canvas", "", undefined, maps);
  canvas.setAttribute("role", "img");
  canvas.setAttribute("aria-label", "Maps of every pin, top to bottom, at every step, left to right");
  return { group, note, labels, canvas };
}

function buildScale(choices, parent) {
  const scale = make("div", "pg-scale", undefined, parent);
  const bar = make("div", "pg-bar", undefined, scale);
  const gradient = make("div", "pg-gradient", undefined, bar);
  const ticks = make("div", "pg-bar-ticks", undefined, bar);
  const legend = make("div", "pg-legend", undefined, scale);
  choices.segment("range", "Colour range", { common: "one for all", own: "each its own" }, legend);
  choices.toggle("log", "log", "A logarithmic scale", legend);
  choices.toggle("smooth", "smooth", "Draw maps smoothed instead of as the cells they are", legend);
  const scaleNote = make("p", "pg-note", "", scale);
  return { gradient, ticks, scaleNote };
}

function buildSide(choices, parent) {
  const card = make("section", "pg-card pg-side", undefined, parent);
  const heading = make("div", "pg-heading", undefined, card);
  make("h2", "", "Heads", heading);
  const note = make("span", "pg-note", "", heading);
  choices.toggle("heads", "large", "All heads large, side by side", heading);
  const strip = make("div", "pg-heads", undefined, card);
  const numbers = make("dl", "pg-numbers", undefined, card);
  return { heads: { strip, note, tiles: [] }, numbers };
}

// The skeleton of the viewer, built once. Returns the nodes that change.
export function buildViewer(root) {
  root.replaceChildren();
  const message = make("p", "pg-message", "Loading the recorded trace…", root);
  message.setAttribute("role", "status");
  const main = make("div", "pg-main", undefined, root);
  main.hidden = true;
  const choices = new Choices();
  const facts = make("p", "pg-facts", undefined, main);
  const title = make("span", "pg-title", "", facts);
  const recipe = make("span", "", "", facts);
  const proof = make("span", "pg-proof", "", facts);
  const readout = make("div", "pg-readout", "", root);
  readout.hidden = true;
  return {
    root,
    main,
    message,
    title,
    recipe,
    proof,
    choices,
    readout,
    ...buildTools(choices, main),
    ...buildPicture(choices, main),
    ...buildAtlasCard(choices, main),
    ...buildSide(choices, main),
  };
}
