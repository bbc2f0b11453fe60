// Describes a word's map in words and numbers, as words.js does a pixel's. Nothing here touches the DOM.

import { findWord, nameOfWord } from "./captions.js";
import { DIFFERENCE, mapGrid, modeOf } from "./query.js";
import { formatSigned, formatTimes } from "./scale.js";
import { formatShare } from "./shares.js";
import { queriesOf } from "./sides.js";
import { formatGrid, formatHead, formatKeys, formatPlace, formatStep } from "./words.js";

// What maps of words show; the atlas and the switch between the readings use the same.
export const READINGS = {
  spent: "what the pixels spend on it",
  used: "where it is used",
  looks: "what it looks at",
};

// Why a layer has no map of a word; undefined if it has one.
export function missingWord(trace, layer, query, { branch, reading }) {
  if (!trace.wordLayers.length) return "this recording holds no words";
  const branches = branch === DIFFERENCE ? trace.branches : [branch];
  const without = branches.find((name) => !findWord(layer.words(name), query));
  if (without === undefined) {
    const asks = reading !== "looks" || branches.every((name) => queriesOf(layer, findWord(layer.words(name), query)));
    return asks ? undefined : `${nameOfWord(query)} is looked at in this layer, but looks at nothing`;
  }
  const whose = trace.branches.length > 1 ? `${without} caption` : "caption";
  return `the ${whose} has no ${nameOfWord(query)} in this layer`;
}

// { subject, where, parts, numbers }: see `describeMap` in words.js. `gap` is why there is no map.
export function describeWord(trace, state, query, layer, gap, map) {
  const word = findWord(layer.words(state.branch), query);
  const name = nameOfWord(query, word ? layer.words(state.branch) : []);
  const grid = mapGrid(layer, modeOf(query, state));
  const whose = word && word.of !== "word" ? capitalised(name) : `The word ${name}`;
  const subject = `${whose} on the ${formatGrid(grid)} map, layer ${layer.label}, ${formatStep(trace, state.step)},`;
  const where = `${layer.name}, ${formatKeys(layer)}, ${formatHead(layer, state.head)}`;
  if (gap) return { subject, where, parts: ["has no map: ", gap, "."], numbers: [] };
  if (!map) return { subject, where, parts: null, numbers: null };
  const found = { grid, unit: word.keys.length / layer.keyCount, peak: peakOf(map), mean: meanOf(map) };
  const kind = state.branch === DIFFERENCE ? "apart" : state.reading;
  const { parts, numbers } = { spent, used, looks, apart }[kind](map, found);
  const note = trace.captionOf(state.branch)?.notes.get(query.text);
  const joins = modeOf(query, state) === "row" ? "Mean of" : "Sum of";
  const tokens = word.keys.length > 1 && word.of === "word" ? ` ${joins} its ${word.keys.length} tokens.` : "";
  parts[parts.length - 1] += tokens + (note ? ` ${capitalised(note).replace(/\.?$/, ".")}` : "");
  return { subject, where, parts, numbers };
}

const capitalised = (text) => text[0].toUpperCase() + text.slice(1);

function spent(map, { grid, unit, peak, mean }) {
  const place = formatPlace(grid, peak);
  const [most, average] = [map[peak] * unit, mean * unit].map((share) => formatShare(share));
  const times = ["peak, times uniform", formatTimes(map[peak])];
  return {
    parts: [`gets most from the cell at ${place}: `, `${most} of its attention`, `; on average ${average}.`],
    numbers: [["largest share", most], ["mean share", average], times, spread(map, grid)],
  };
}

function used(map, { grid, peak }) {
  return {
    parts: [`is used most by the cell at ${formatPlace(grid, peak)}, `, `${formatTimes(map[peak])} its mean`, "."],
    numbers: [["peak, × its mean", formatTimes(map[peak])], spread(map, grid)],
  };
}

function looks(map, { grid, peak, mean }) {
  const [most, others] = [formatTimes(map[peak]), formatShare(1 - mean)];
  return {
    parts: [`looks mostly at the cell at ${formatPlace(grid, peak)}, `, `${most} chance`, `; ${others} of its attention is on words.`],
    numbers: [["peak, times uniform", most], ["on words", others], spread(map, grid)],
  };
}

function apart(map, { grid, peak }) {
  const low = map.reduce((least, value, i) => (value < map[least] ? i : least), 0);
  const [gain, loss] = [map[peak], map[low]].map(formatSigned);
  return {
    parts: [`gains most at ${formatPlace(grid, peak)}, `, gain, `, and loses most at ${formatPlace(grid, low)}, ${loss}.`],
    numbers: [["largest gain", gain], ["largest loss", loss]],
  };
}

// Over how many cells a map is spread: 2^entropy.
function spread(map, { tokens }) {
  const total = map.reduce((sum, value) => sum + value, 0);
  const entropy = map.reduce((sum, value) => (value > 0 ? sum - (value / total) * Math.log2(value / total) : sum), 0);
  return ["effective number of cells", `${Math.round(2 ** entropy)} of ${tokens}`];
}

const peakOf = (map) => map.reduce((best, value, i) => (value > map[best] ? i : best), 0);
const meanOf = (map) => map.reduce((sum, value) => sum + value, 0) / map.length;
