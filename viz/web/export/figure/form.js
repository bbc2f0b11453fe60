// The fields of the Export figure dialog.

import { formatStep, formatTick } from "../../core/words.js";
import { h } from "../../dom.js";
import { DEFAULTS } from "./layout.js";

const PARTS = {
  ...{ picture: "Picture and map", plain: "Plain picture", atlas: "Atlas" },
  ...{ pins: "Pins", heads: "Heads", bar: "Colour bar" },
};
const SIZES = [4, 40]; // points
const CHOICES = {
  layers: ["Layers", { chosen: "This layer", grids: "One layer a grid", all: "All layers", some: "Some layers…" }],
  steps: ["Steps", { chosen: "This step", five: "Five steps", all: "All steps", some: "Some steps…" }],
  width: ["Width", { single: "84 mm, one column", double: "174 mm, two columns", slide: "254 mm, 16:9 slide" }],
  theme: ["Background", { light: "Light", dark: "Dark", transparent: "Transparent" }],
  font: ["Font", { sans: "Helvetica", serif: "Times" }],
  format: ["Format", { png: "PNG", svg: "SVG", pdf: "PDF" }],
  dpi: ["Resolution", { 300: "300 dpi", 600: "600 dpi" }],
};

const tick = (text, checked, value) => {
  const box = h("input", { type: "checkbox", checked, value });
  return { box, node: h("label", { class: "pg-check" }, box, text) };
};

export class FigureForm {
  #parts = {};
  #fields = {};
  #lists = {}; // the boxes of some layers, or some steps: { node, boxes }
  #size = h("input", { type: "number", min: SIZES[0], max: SIZES[1], step: "0.5", value: DEFAULTS.size });
  #caption = tick("Caption under the figure", DEFAULTS.caption, "caption");

  // `onchange` is called when any choice is changed.
  constructor(onchange) {
    const parts = Object.entries(PARTS).map(([part, text]) => {
      this.#parts[part] = tick(text, DEFAULTS.parts.includes(part), part);
      return this.#parts[part].node;
    });
    const fields = Object.fromEntries(Object.keys(CHOICES).map((name) => [name, this.#select(name)]));
    for (const name of ["layers", "steps"]) this.#lists[name] = { node: h("fieldset", { class: "pg-some", hidden: true }), boxes: [] };
    const { layers, steps } = this.#lists;
    const size = h("label", {}, h("span", {}, "Font size, pt"), this.#size);
    this.node = h(
      "div",
      { class: "pg-figure-form" },
      h("fieldset", { class: "pg-parts" }, h("legend", {}, "Parts"), ...parts, this.#caption.node),
      ...[fields.layers, layers.node, fields.steps, steps.node],
      ...[fields.width, fields.theme, fields.font, size, fields.format, fields.dpi],
    );
    this.node.addEventListener("input", ({ target }) => {
      if (target === this.#fields.layers || target === this.#fields.steps) this.#showLists();
      this.#fields.dpi.disabled = this.format !== "png";
      onchange();
    });
  }

  #select(name) {
    const [title, choices] = CHOICES[name];
    const options = Object.entries(choices).map(([value, text]) => h("option", { value, selected: value === DEFAULTS[name] }, text));
    this.#fields[name] = h("select", {}, ...options);
    return h("label", {}, h("span", {}, title), this.#fields[name]);
  }

  get format() {
    return this.#fields.format.value;
  }

  get dpi() {
    return Number(this.#fields.dpi.value);
  }

  // Starts from what a content's view shows: its pins, and its heads where all are on show.
  start(content) {
    const { trace, view, rows, step, layer } = content;
    this.#parts.pins.box.disabled = !view.pins.length;
    this.#parts.pins.box.checked = view.pins.length > 0;
    if (view.heads) this.#parts.heads.box.checked = true;
    const kept = (name) => new Set(this.#lists[name].boxes.filter(({ checked }) => checked).map(({ value }) => value));
    const [layers, steps] = [kept("layers").add(layer.name), kept("steps").add(String(trace.steps[step]))];
    this.#fill("layers", rows.map(({ name, label }) => [name, label, name]), layers);
    this.#fill("steps", trace.steps.map((each, i) => [String(each), formatTick(trace, i), formatStep(trace, i)]), steps);
    this.#showLists();
  }

  #fill(name, entries, checked) {
    const list = this.#lists[name];
    const ticks = entries.map(([value, text, title]) => {
      const each = tick(text, checked.has(value), value);
      each.node.title = title;
      return each;
    });
    list.boxes = ticks.map(({ box }) => box);
    list.node.replaceChildren(h("legend", {}, name === "layers" ? "These layers" : "These steps, by timestep"), ...ticks.map(({ node }) => node));
  }

  #showLists() {
    for (const [name, { node }] of Object.entries(this.#lists)) node.hidden = this.#fields[name].value !== "some";
  }

  // The options of the figure, as DEFAULTS. Throws an Error to show to the user if they are not complete.
  get options() {
    const parts = Object.keys(PARTS).filter((part) => this.#parts[part].box.checked && !this.#parts[part].box.disabled);
    if (!parts.length) throw new Error("Choose at least one part of the figure.");
    const size = this.#size.valueAsNumber;
    if (!(size >= SIZES[0] && size <= SIZES[1])) throw new Error(`The font size must be ${SIZES[0]} to ${SIZES[1]} points.`);
    const { width, theme, font } = this.#fields;
    const steps = this.#chosen("steps");
    return {
      ...{ parts, layers: this.#chosen("layers"), steps: Array.isArray(steps) ? steps.map(Number) : steps },
      ...{ width: width.value, theme: theme.value, font: font.value, size, caption: this.#caption.box.checked },
    };
  }

  #chosen(name) {
    const { value } = this.#fields[name];
    if (value !== "some") return value;
    const chosen = this.#lists[name].boxes.filter(({ checked }) => checked).map((box) => box.value);
    if (!chosen.length) throw new Error(`Choose at least one ${name.slice(0, -1)}.`);
    return chosen;
  }
}
