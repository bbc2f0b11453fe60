// What the same query's map gains and loses from one trace to another, in times uniform. Nothing here touches the DOM.

import { nameOfWord } from "../core/captions.js";
import { isWordQuery, modeOf, queryGrid, queryOf } from "../core/query.js";
import { formatSigned } from "../core/scale.js";
import { formatGrid, formatHead, formatPlace, formatStep, formatTimestep, nameOf } from "../core/words.js";
import { isSameStep } from "./steps.js";

const SIDES = ["left", "right"];

// Of two viewers that show the same view: { map: the right map minus the left, grid }, or { reason: a sentence, why there is none },
// or {} while a map is being computed. `maps`: those on show, by default.
export function differenceOf(left, right, maps = [left.map, right.map]) {
  const viewers = [left, right];
  if (viewers.some(({ trace }) => !trace)) return { reason: "Choose a recording to compare with." };
  const query = queryNow(left);
  const layers = viewers.map((viewer) => viewer.layerOf(query));
  const reason = obstacle(viewers, query, layers);
  if (reason) return { reason: `No difference: ${reason}.` };
  const [a, b] = maps;
  if (!a || !b) return {};
  return { map: b.map((value, i) => value - a[i]), grid: left.gridOf(layers[0], query) };
}

export const queryNow = ({ state }) => state.word ?? queryOf(state);

// Why two maps cannot be subtracted; undefined if they can.
function obstacle(viewers, query, layers) {
  const [left, right] = viewers;
  const states = viewers.map(({ state }) => state);
  const either = (test) => [0, 1].find(test);
  if (layers[0].name !== layers[1].name) return `the recordings have no layer of one name here (left ${layers[0].name}, right ${layers[1].name})`;
  if (!isSameStep(left.trace, left.state.step, right.trace, right.state.step)) return otherSteps(viewers);
  const lacking = either((i) => states[i].head >= layers[i].heads);
  if (lacking !== undefined) return `the ${SIDES[lacking]} layer has no head ${states[lacking].head}`;
  if (states[0].branch !== states[1].branch) return `the left shows the ${states[0].branch} branch, the right the ${states[1].branch} one`;
  if (states[0].reading !== states[1].reading) return "only one of the recordings knows what words look at";
  const gaps = viewers.map((viewer, i) => viewer.gapAt(layers[i], states[i].step, query));
  const gapped = either((i) => gaps[i] !== undefined);
  if (gapped !== undefined) return `the ${SIDES[gapped]} recording has no map here (${gaps[gapped]})`;
  const grids = viewers.map((viewer, i) => formatGrid(viewer.gridOf(layers[i], query)));
  if (grids[0] !== grids[1]) return `the left map has ${grids[0]} cells, the right ${grids[1]}`;
  return undefined;
}

function otherSteps(viewers) {
  const [left, right] = viewers.map(({ trace, state }) => {
    const t = formatTimestep(trace.timesteps[state.step]);
    return t ? `t = ${t}` : formatStep(trace, state.step);
  });
  return `the recordings have no step of equal t here (left ${left}, right ${right})`;
}

// Which maps are compared: "up 2 · attention 1, head 1, t = 399".
export function placeOf(viewer) {
  const { trace, state } = viewer;
  const layer = viewer.layerOf(queryNow(viewer));
  return `${layer.label}, ${formatHead(layer, state.head)}, ${formatStep(trace, state.step).replace(/^step \d+, /, "")}`;
}

// The sentence about a difference, in parts: plain, bold, plain, …
export function describeGains(viewer, { map, grid }) {
  const { state } = viewer;
  const query = queryNow(viewer);
  const layer = viewer.layerOf(query);
  let [gain, loss, moved] = [0, 0, 0];
  map.forEach((value, i) => {
    if (value > map[gain]) gain = i;
    if (value < map[loss]) loss = i;
    moved += Math.abs(value) / 2 / grid.tokens;
  });
  const subject = isWordQuery(query) ? `The word “${nameOfWord(query)}”` : capitalize(nameOf(query, queryGrid(layer, state.mode)));
  if (map[gain] <= 0 && map[loss] >= 0) return [`${subject}: `, "the two maps are the same", "."];
  const places = [
    ...(map[gain] > 0 ? [`gains most at ${formatPlace(grid, gain)}, `, formatSigned(map[gain])] : ["gains nowhere", ""]),
    ...(map[loss] < 0 ? [`, and loses most at ${formatPlace(grid, loss)}, `, formatSigned(map[loss])] : ["; it loses nowhere", ""]),
  ];
  const isRow = modeOf(query, state) === "row" && !state.special;
  const shares = isRow ? ["; ", `${Math.round(100 * moved)}%`, " of its attention lies elsewhere."] : ["."];
  return [`${subject} ${places[0]}`, ...places.slice(1), ...shares];
}

const capitalize = (text) => text.charAt(0).toUpperCase() + text.slice(1);
