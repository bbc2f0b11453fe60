// Keeps in the tab which own model is open, and how the model box is filled in, so that a reload brings both back.
// viz/page/kept_model.py says what is kept; viz/page/tabs/reloaded_model.py checks it.

import { keepAs, keptAs } from "./kept.js";
import { showResults } from "./result.js";

const NAME = "pixelgaze-model";
const FIELDS = "name config dtype device prompt negative sampler steps guidance seed height width thin both".split(" ");

// `gradio` is what Gradio gives js_on_load: { element, props, trigger, watch }.
export function startKeptModel({ element, props, trigger, watch }) {
  showResults(element);
  let kept = keptAs(NAME);
  let isOpen = false; // whether the box shows it
  watch("value", () => {
    const { token = null } = props.value || {};
    if (token !== kept?.token) kept = token ? { token } : null;
    isOpen = kept !== null;
    keepAs(NAME, kept);
  });
  addEventListener("pagehide", () => {
    if (isOpen) keepAs(NAME, { ...kept, unfolded: isUnfolded(), fields: { ...kept.fields, ...readFields() } });
  });
  if (kept) trigger("returned", kept);
}

function isUnfolded() {
  return document.querySelector("#model-box > .label-wrap.open") !== null;
}

// Only of the fields that are there: of a folded box there are none, and of others only those that the model has.
function readFields() {
  const inputs = FIELDS.map((name) => [name, document.querySelector(`#model-${name} :is(input, textarea)`)]);
  return Object.fromEntries(inputs.filter(([, input]) => input).map(([name, input]) => [name, valueOf(input)]));
}

function valueOf(input) {
  if (input.type === "checkbox") return input.checked;
  if (input.type === "number") return input.value === "" ? null : input.valueAsNumber;
  return input.value;
}
