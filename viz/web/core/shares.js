// What a pixel or a region spends on each word, and the sentence that ranks the words. Nothing here touches the DOM.

import { isOfCaption, isQueryOf, nameOfWord } from "./captions.js";
import { DIFFERENCE, layerFor } from "./query.js";
import { formatGrid, formatHead, joinWords } from "./words.js";

const RANKED = 3; // words in the sentence

const wordKeyOf = ({ text, of, nth, encoder }) => JSON.stringify([text, of, nth, encoder]);

// The layers whose shares the bars show: the chosen one, or with "grid" all with the same words on its grid, without those
// that have a gap. `layer` is one of trace.wordLayers.
export function barLayers(trace, { bars, branch, step }, layer) {
  if (bars !== "grid") return [layer];
  const names = (other) => other.words(branch).map(wordKeyOf).join();
  const isAlike = (other) => other.height === layer.height && other.width === layer.width && names(other) === names(layer);
  return trace.wordLayers.filter((other) => isAlike(other) && !other.gaps.has(step));
}

// The shares of the words of a layer, in their order: numbers, which with all other keys' sum to 1; of two branches, their
// difference, NaN for words that only one caption has. Null while they are not known, and at a gap.
export function sharesOf(answers, trace, state, layer, query) {
  const layers = barLayers(trace, state, layer);
  if (!layers.length || layers.some(({ gaps }) => gaps.has(state.step))) return null;
  const ofBranch = (branch) => sharesOfBranch(answers, { ...state, branch }, layers, query);
  if (!isDifference(trace, state)) return ofBranch(state.branch);
  const [first, last] = trace.branches.map(ofBranch);
  return first && last && differenceOf(trace, layer, first, last);
}

function sharesOfBranch(answers, state, layers, query) {
  const words = layers[0].words(state.branch);
  const totals = new Float32Array(words.length);
  const keys = new Float32Array(layers[0].wordKeys.reduce((sum, { tokens }) => sum + tokens, 0));
  const head = state.bars === "grid" ? -1 : state.head;
  const heads = layers.reduce((sum, each) => sum + each.heads, 0); // the mean is over all of them
  let known = true;
  for (const each of layers) {
    known = answers.shares(query, each, state.step, head, state, keys) && known;
    words.forEach(({ slots }, i) => slots.forEach((slot) => (totals[i] += (keys[slot] * each.heads) / heads)));
  }
  return known ? totals : null;
}

// Numbers of the words of the last branch minus those of the first; NaN for words that only one has.
function differenceOf(trace, layer, first, last) {
  const [before, after] = trace.branches.map((branch) => layer.words(branch));
  return last.map((share, i) => share - (first[before.findIndex((word) => isQueryOf(after[i].query, word))] ?? NaN));
}

// What each word spends on each word, as `sharesOf`: (W, W), in the order of the layer's words. Null if it is not known.
export function matrixOf(answers, trace, state, layer) {
  const ofBranch = (branch) => answers.wordMatrix(layer, state.step, state.head, { branch });
  if (!isDifference(trace, state)) return ofBranch(state.branch);
  const [before, after] = trace.branches.map((branch) => layer.words(branch));
  const [first, last] = trace.branches.map(ofBranch);
  const places = after.map(({ query }) => before.findIndex((word) => isQueryOf(query, word)));
  const at = (row, column) => (row < 0 || column < 0 ? NaN : first[row * before.length + column]);
  return first && last && last.map((share, i) => share - at(places[Math.floor(i / after.length)], places[i % after.length]));
}

const isDifference = (trace, { branch }) => Boolean(trace.difference) && branch === DIFFERENCE;

// What the bars show: "up 2 · attention 0, mean of 4 heads", or "mean of 6 layers on 16×16 cells, all heads".
export function barsText(trace, state, layer) {
  if (state.bars !== "grid") return `${layer.label}, ${formatHead(layer, state.head)}`;
  const { length } = barLayers(trace, state, layer);
  return `mean of ${length} layer${length === 1 ? "" : "s"} on ${formatGrid(layer)} cells, all heads`;
}

// A share in per cent, with two digits: 31%, 4.2%, 0.3%; "–" for NaN. With `signed`, it is a difference in points.
export function formatShare(share, signed = false) {
  if (Number.isNaN(share)) return "–";
  const size = Math.abs(100 * share);
  const digits = size < 0.05 ? "0" : size < 9.95 ? size.toFixed(1) : String(Math.round(size));
  return `${signed && digits !== "0" ? (share > 0 ? "+" : "−") : ""}${digits}%`;
}

// The sentence of the strip, in parts: plain, bold, plain, … Null without shares.
export function describeShares(words, shares, { branch }, { isJoint, isPlural }) {
  if (!shares) return null;
  const signed = branch === DIFFERENCE;
  const known = words.map((word, i) => [nameOfWord(word, words), shares[i], isOfCaption(word)]);
  const all = known.filter(([, share]) => !Number.isNaN(share));
  const ranked = all.filter(([, , counts]) => counts).sort((a, b) => Math.abs(b[1]) - Math.abs(a[1]));
  const others = new Map();
  for (const [name, share, counts] of all) if (!counts) others.set(name, (others.get(name) ?? 0) + share);
  const textOf = ([name, share]) => `${formatShare(share, signed)} on ${name}`;
  const rest = [...others].filter(([, share]) => formatShare(share) !== "0%").map(textOf);
  const first = ranked.slice(0, RANKED).filter(([, share]) => formatShare(share) !== "0%");
  const verb = signed ? "Between the branches, the difference is " : isPlural ? "They spend " : "It spends ";
  if (!first.length && rest.length) return [`${verb}${joinWords(rest)}.`];
  if (!first.length) return [];
  const list = [...first.slice(1).map(textOf), ...rest];
  const whole = isJoint ? " of all its attention" : "";
  return [verb, textOf(first[0]), `${list.length ? `, ${joinWords(list)}` : ""}${whole}.`];
}

// The layer whose words the strip shows; null if the trace has none.
export function stripLayer(trace, chosen) {
  if (!trace.wordLayers.length) return null;
  return layerFor(trace, chosen, { kind: "word" }, { reading: "spent" });
}

// Which of some words gets the largest share of each cell: { winners: indices, shares: the winner's }. `maps` are shares.
export function winnersOf(maps, tokens) {
  const winners = new Uint8Array(tokens);
  const shares = new Float32Array(tokens);
  maps.forEach((map, word) => {
    for (let i = 0; i < tokens; i++) {
      if (map[i] <= shares[i]) continue;
      winners[i] = word;
      shares[i] = map[i];
    }
  });
  return { winners, shares };
}
