// Buttons and sliders that set a field of the state: { field: [button, …] }. A single button switches its field on and off; a
// slider sets it to 0…1.

import { h, makeButton } from "../dom.js";

export class Choices {
  fields = {};
  #groups = {}; // {field: the node of its segment}
  #choose = () => {};
  #state = {};

  // A group with one button for each entry of { value: text }; hidden without entries.
  segment(field, label, options) {
    this.#groups[field] = h("div", { class: "pg-segment", role: "group", "aria-label": label });
    this.offer(field, options);
    return this.#groups[field];
  }

  // Replaces the entries of a segment.
  offer(field, options) {
    this.fields[field] = Object.entries(options).map(([value, text]) => makeButton(text, { value }));
    for (const button of this.fields[field]) button.addEventListener("click", () => this.#choose({ [field]: button.value }));
    this.#groups[field].replaceChildren(...this.fields[field]);
    this.#groups[field].hidden = !this.fields[field].length;
  }

  toggle(field, text, title) {
    const button = makeButton(text, { class: "pg-toggle", title });
    button.addEventListener("click", () => this.#choose({ [field]: !this.#state[field] }));
    this.fields[field] = [button];
    return button;
  }

  slider(field, text, label, title) {
    const input = h("input", { type: "range", min: "0", max: "100", step: "5", "aria-label": label });
    input.addEventListener("input", () => this.#choose({ [field]: Number(input.value) / 100 }));
    this.fields[field] = [input];
    return h("label", { class: "pg-slider", title }, text, input);
  }

  // Calls `choose({ field: value })` when a button is pressed.
  wire(state, choose) {
    this.#state = state;
    this.#choose = choose;
  }

  show(state) {
    for (const [field, buttons] of Object.entries(this.fields)) {
      if (buttons[0]?.type === "range") {
        buttons[0].value = String(100 * state[field]);
        continue;
      }
      for (const button of buttons) {
        const pressed = buttons.length > 1 ? button.value === state[field] : state[field];
        button.setAttribute("aria-pressed", String(Boolean(pressed)));
      }
    }
  }
}
