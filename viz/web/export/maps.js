// The arrays of the NPZ file, as viz/export.py writes them. Nothing here touches the DOM.

import { layersFor, queryOf } from "../core/query.js";

// { name: [values, shape] } of all maps of the atlas and the pins, and of what the query spends on words.
export function displayedMaps(viewer) {
  const { trace } = viewer;
  const view = viewer.viewNow();
  const rows = layersFor(trace, queryOf(view), view);
  const overSteps = (layer, query) => {
    const { height, width, tokens } = viewer.gridOf(layer, query);
    const values = new Float32Array(trace.steps.length * tokens).fill(NaN); // which it stays at gaps
    trace.steps.forEach((_, i) => values.set(viewer.mapOf(layer, i, view.head, query) ?? [], i * tokens));
    return [values, [trace.steps.length, height, width]];
  };
  const arrays = {};
  rows.forEach((layer, i) => (arrays[`maps_${twoDigits(i)}`] = overSteps(layer, queryOf(view))));
  const asked = view.pins.map((pin) => viewer.layerOf(pin));
  view.pins.forEach((pin, i) => (arrays[`pin_${i + 1}`] = overSteps(asked[i], pin)));
  const timesteps = Float64Array.from(trace.timesteps, (t) => (t === null ? NaN : t));
  return {
    ...arrays,
    ...wordShares(viewer, view),
    layers: [rows.map(({ name }) => name), [rows.length]],
    layers_of_pins: [asked.map(({ name }) => name), [asked.length]],
    steps: [Int32Array.from(trace.steps), [trace.steps.length]],
    timesteps: [timesteps, [timesteps.length]],
    view: [[JSON.stringify(view)], []],
    recipe: [[JSON.stringify(trace.recipe)], []],
  };
}

// Of every layer with words, its words, and the shares of attention that the query spends on them: of the pixel under the
// pointer, while a word is chosen.
function wordShares(viewer, view) {
  const { trace } = viewer;
  const { wordLayers: layers } = trace;
  const arrays = { word_layers: [layers.map(({ name }) => name), [layers.length]] };
  layers.forEach((layer, number) => {
    const words = layer.words(view.branch);
    const values = new Float32Array(trace.steps.length * words.length).fill(NaN); // which it stays at gaps
    trace.steps.forEach((_, i) => values.set(viewer.exported.sharesAt(layer, i) ?? [], i * words.length));
    arrays[`words_${twoDigits(number)}`] = [words.map(({ text }) => text), [words.length]];
    arrays[`word_kinds_${twoDigits(number)}`] = [words.map(({ of }) => of), [words.length]];
    arrays[`word_shares_${twoDigits(number)}`] = [values, [trace.steps.length, words.length]];
  });
  return arrays;
}

const twoDigits = (number) => String(number).padStart(2, "0");
