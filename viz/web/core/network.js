// The shape of a network as its attention layers show it: their grids, and the arms of a U. Nothing here touches the DOM.

const ARMS = [
  ["Encoder", /(?:^|\.)(?:down_blocks|input_blocks|down)\./],
  ["Middle", /(?:^|\.)(?:mid_block|middle_block|mid)\./],
  ["Decoder", /(?:^|\.)(?:up_blocks|output_blocks|up)\./],
];

// Whether a layer's name says that it looks at something other than the picture.
export const isCross = (name) => /attn2|cross/.test(name);

// The different grids, finest first. `grids`: [height, width] each.
export function levelsOf(grids) {
  const different = new Map(grids.map((grid) => [grid.join("×"), grid]));
  return [...different.values()].sort((a, b) => b[0] * b[1] - a[0] * a[1]);
}

// What can be drawn of a network. `layers` are { name, height, width } each, in the order in which they run. Returns
//
//   { levels: the different grids, finest first,
//     depths: for each layer, the index of its grid among these,
//     arms: [{ name: "Encoder", "Middle" or "Decoder", from, count }], runs of layers; none if the names of some don't say,
//     skips: [[a layer, a later one]], the last of the encoder and the first of the decoder on each grid that both have }
export function networkOf(layers) {
  const levels = levelsOf(layers.map(({ height, width }) => [height, width]));
  const depths = layers.map(({ height, width }) => levels.findIndex((grid) => grid[0] === height && grid[1] === width));
  const names = layers.map(({ name }) => ARMS.find(([, pattern]) => pattern.test(name))?.[0]);
  if (names.includes(undefined)) return { levels, depths, arms: [], skips: [] };
  const arms = [];
  names.forEach((name, i) => {
    if (arms.at(-1)?.name === name) arms.at(-1).count += 1;
    else arms.push({ name, from: i, count: 1 });
  });
  const isAt = (name, depth) => (other, i) => other === name && depths[i] === depth;
  const skips = levels.map((_, depth) => [names.findLastIndex(isAt("Encoder", depth)), names.findIndex(isAt("Decoder", depth))]);
  return { levels, depths, arms, skips: skips.filter(([from, to]) => from >= 0 && to > from) };
}
