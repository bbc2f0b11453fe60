// The same layer, looked at from different sides: by pixels or by words, which are then its cells. Nothing here touches the DOM.
//
// attention.js computes rows and columns of the keys that are cells. For a word's column its keys must be cells, too; for a
// word's row its queries must be. `sideOf` returns such a layer, and `cellsOn` a query's cells in it.

import { findWord } from "./captions.js";
import { cellsOf, isWordQuery, modeOf, queryGrid } from "./query.js";

const made = new WeakMap(); // {layer: { words, asking, matrix }}

// "pixels": the layer itself. "words": all keys are cells, so a column is a word's, and a row holds the share of every key.
// "asking": cells of the queries are counted from the first query, so that words can ask. "matrix": both.
export function sideOf(layer, side) {
  if (side === "pixels") return layer;
  if (!made.has(layer)) {
    const allKeys = { keyGrid: { height: 1, width: layer.keyCount, tokens: layer.keyCount }, firstKey: 0 };
    const asking = { ...layer, firstQuery: 0 };
    made.set(layer, { words: { ...layer, ...allKeys }, asking, matrix: { ...asking, ...allKeys } });
  }
  return made.get(layer)[side];
}

// What a query is on a layer: { side, cells, mode }, "row" or "column", as attention.js needs them; null if the layer has no
// such word in this branch. Sums over a word's column are those of its tokens: in times uniform, their mean.
export function askedOf(layer, query, options, branch) {
  const mode = modeOf(query, options);
  if (!isWordQuery(query)) return { side: "pixels", mode, cells: cellsOf(query, queryGrid(layer, mode)) };
  const word = findWord(layer.words(branch), query);
  const tokens = word && (mode === "row" ? queriesOf(layer, word) : word.keys);
  if (!tokens) return null;
  const weights = Array(tokens.length).fill(1 / tokens.length);
  return { side: mode === "row" ? "asking" : "words", mode, cells: { tokens, weights } };
}

// The queries of a layer that are a word's, which follow one another as its keys do; null if the word doesn't ask in it.
export function queriesOf({ wordKeys, wordQueries }, { keys }) {
  const queries = keys.map((key) => {
    const at = wordKeys.findIndex(({ first, tokens }) => key >= first && key < first + tokens);
    const first = wordQueries?.[at] ?? null;
    return first === null ? null : first + key - wordKeys[at].first;
  });
  return queries.includes(null) ? null : queries;
}
