// Small controls that several parts of the lesson use.

import { h } from "../dom.js";

// A slider preceded by a text: { label, text, slider }.
export function labelledSlider(properties) {
  const text = h("span");
  const slider = h("input", { type: "range", ...properties });
  return { label: h("label", { class: "pl-heat" }, text, slider), text, slider };
}
