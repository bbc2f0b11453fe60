// Buttons that set a field of the state: { field: [button, …] }. A single button switches its field on and off.

import { h, makeButton } from "../dom.js";

export class Choices {
  fields = {};

  // A group with one button for each entry of { value: text }.
  segment(field, label, options) {
    this.fields[field] = Object.entries(options).map(([value, text]) => makeButton(text, { value }));
    return h("div", { class: "pg-segment", role: "group", "aria-label": label }, ...this.fields[field]);
  }

  toggle(field, text, title) {
    this.fields[field] = [makeButton(text, { class: "pg-toggle", title })];
    return this.fields[field][0];
  }

  // Calls `choose({ field: value })` when a button is pressed.
  wire(state, choose) {
    for (const [field, buttons] of Object.entries(this.fields)) {
      const valueOf = (button) => (buttons.length > 1 ? button.value : !state[field]);
      for (const button of buttons) button.addEventListener("click", () => choose({ [field]: valueOf(button) }));
    }
  }

  show(state) {
    for (const [field, buttons] of Object.entries(this.fields)) {
      for (const button of buttons) {
        const pressed = buttons.length > 1 ? button.value === state[field] : state[field];
        button.setAttribute("aria-pressed", String(Boolean(pressed)));
      }
    }
  }
}
