// The shape of a layer as the file describes it, in either version of the format. Nothing here touches the DOM.

const KINDS = ["pixels", "words", "registers", "image prompt", "objects", "frames", "unknown"];

// A layer of a file's description:
//
//   { name, heads, headDim, scale,
//     height, width, tokens, firstQuery, queryCount,     the grid of the queries, and how many come before it and in all
//     keyGrid: { height, width, tokens }, firstKey, keyCount,     the same of the keys; no grid if none of them is a pixel
//     otherKeys: { kind: count },     the keys that are not cells
//     wordKeys: [{ kind, tokens, first }],     the segments of the keys that may be words, and the first key of each
//     wordQueries: [the first query, or null], of each of these, where words are queries of the same softmax; null if none is }
//
// Null if its keys are neither pixels nor words. Throws an Error to show to the user if the description contradicts itself.
export function readLayer(entry, version) {
  const { name, queries, keys, heads, head_dim: headDim, scale } = version === "1" ? toSegments(entry) : entry;
  const damaged = new Error(`This trace is damaged: layer “${String(name).slice(0, 80)}” is not as it should be.`);
  const isFit = isPositive(heads) && isPositive(headDim) && Number.isFinite(scale);
  if (!isFit || ![queries, keys].every((side) => Array.isArray(side) && side.length && side.every(isSegment))) throw damaged;
  const [among, looked] = [findPixels(queries), findPixels(keys)];
  if (among.length !== 1 || looked.length > 1) throw damaged;
  const [wordKeys, asking] = [keys, queries].map(findWords);
  if (!looked.length && !wordKeys.length) return null;
  return {
    ...{ name, heads, headDim, scale },
    ...{ ...among[0].grid, firstQuery: among[0].before, queryCount: countTokens(queries) },
    ...{ keyGrid: looked[0]?.grid ?? null, firstKey: looked[0]?.before ?? 0, keyCount: countTokens(keys) },
    ...{ wordKeys, wordQueries: looked.length ? pairUp(wordKeys, asking) : null },
    otherKeys: countKinds(keys.filter(({ kind }) => kind !== "pixels")),
  };
}

// Version 1 knew a grid, a number of extra keys before those of the pixels, and a kind.
function toSegments({ kind, grid, keys: count, extra = 0, ...layer }) {
  const tokens = grid[0] * grid[1];
  const pixels = { kind: "pixels", tokens, grid };
  const others = extra ? [{ kind: "registers", tokens: extra, grid: null }] : [];
  const keys = kind === "self" ? [...others, pixels] : [{ kind: "words", tokens: count, grid: null }];
  return { ...layer, queries: [pixels], keys: kind === "self" && count !== tokens + extra ? [] : keys };
}

const isPositive = (number) => Number.isInteger(number) && number > 0;

function isSegment({ kind, tokens, grid }) {
  if (!KINDS.includes(kind) || !isPositive(tokens)) return false;
  if (kind !== "pixels") return grid === null;
  return Array.isArray(grid) && grid.length === 2 && grid.every(isPositive) && grid[0] * grid[1] === tokens;
}

// Segments with the number of tokens before each.
function placed(segments) {
  let before = 0;
  return segments.map((segment) => {
    const first = before;
    before += segment.tokens;
    return { ...segment, first };
  });
}

function findPixels(segments) {
  const pixels = placed(segments).filter(({ kind }) => kind === "pixels");
  return pixels.map(({ grid, tokens, first }) => ({ before: first, grid: { height: grid[0], width: grid[1], tokens } }));
}

function findWords(segments) {
  const words = placed(segments).filter(({ kind }) => !["pixels", "registers", "frames"].includes(kind));
  return words.map(({ kind, tokens, first }) => ({ kind, tokens, first }));
}

// The first query of each segment of keys: the segments are alike, in the same order; otherwise a segment's is the one of its
// kind and size, if there is one alone on either side. Null if no segment has any.
function pairUp(keys, queries) {
  const shapeOf = ({ kind, tokens }) => `${kind} ${tokens}`;
  const [shapes, others] = [keys, queries].map((segments) => segments.map(shapeOf));
  if (keys.length && shapes.join() === others.join()) return queries.map(({ first }) => first);
  const isAlone = (shape) => [shapes, others].every((list) => list.filter((other) => other === shape).length === 1);
  const found = shapes.map((shape) => (isAlone(shape) ? queries[others.indexOf(shape)].first : null));
  return found.some((first) => first !== null) ? found : null;
}

const countTokens = (segments) => segments.reduce((sum, { tokens }) => sum + tokens, 0);

function countKinds(segments) {
  const counts = {};
  for (const { kind, tokens } of segments) counts[kind] = (counts[kind] || 0) + tokens;
  return counts;
}
