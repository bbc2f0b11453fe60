// The arrays of the NPZ file, as viz/export.py writes them. Nothing here touches the DOM.

// { name: [values, shape] } of all maps of the atlas and the pins.
export function displayedMaps(viewer) {
  const { trace } = viewer;
  const view = viewer.viewNow();
  const overSteps = (layer, query) => {
    const { height, width, tokens } = viewer.gridOf(layer);
    const values = new Float32Array(trace.steps.length * tokens).fill(NaN); // which it stays at gaps
    trace.steps.forEach((_, i) => values.set(viewer.mapOf(layer, i, view.head, query) ?? [], i * tokens));
    return [values, [trace.steps.length, height, width]];
  };
  const arrays = {};
  trace.layers.forEach((layer, i) => (arrays[`maps_${String(i).padStart(2, "0")}`] = overSteps(layer)));
  const chosen = trace.layers.find(({ name }) => name === view.layer);
  view.pins.forEach((pin, i) => (arrays[`pin_${i + 1}`] = overSteps(chosen, pin)));
  const timesteps = Float64Array.from(trace.timesteps, (t) => (t === null ? NaN : t));
  return {
    ...arrays,
    layers: [trace.layers.map(({ name }) => name), [trace.layers.length]],
    steps: [Int32Array.from(trace.steps), [trace.steps.length]],
    timesteps: [timesteps, [timesteps.length]],
    view: [[JSON.stringify(view)], []],
    recipe: [[JSON.stringify(trace.recipe)], []],
  };
}
