// Opens a lesson's file (viz/lesson/file.py) and computes its panels for any query. Nothing here touches the DOM.

import { readSafetensors, toFloats } from "../core/trace.js";

export function openLesson(buffer) {
  const { metadata, tensors } = readSafetensors(buffer);
  const description = JSON.parse(metadata.lesson);
  const floats = (name) => (tensors.has(name) ? toFloats(tensors.get(name)) : null);
  const [height, width] = description.layer.grid;
  const { heads } = description.layer;
  const numbers = Object.fromEntries(
    ["before", "tokens", "query", "key", "value", "output", "query_weight", "query_bias", "out_weight", "out_bias"].map(
      (name) => [name, floats(name)],
    ),
  );
  const position = tensors.has("position/u")
    ? Object.fromEntries(["u", "rows", "columns"].map((name) => [name, floats(`position/${name}`)]))
    : null;
  const around = description.around.map((layer, i) => ({ ...layer, places: floats(`around/${i}`) }));
  const order = tensors.has("order") ? Int32Array.from(floats("order")) : null;
  const d = numbers.query.length / (heads * height * width);
  const keys = numbers.key.length / (heads * d);
  const dv = numbers.value.length / (heads * keys);
  const words = description.words ?? null; // the keys' names if they are words, not cells
  return { ...description, ...numbers, position, around, order, tensors, height, width, heads, d, dv, keys, words, count: height * width };
}

// Row `index` of a list of rows of `size` numbers each.
export const rowOf = (list, index, size) => list.subarray(index * size, (index + 1) * size);

export function dot(a, b) {
  let sum = 0;
  for (let i = 0; i < a.length; i++) sum += a[i] * b[i];
  return sum;
}

// One query's attention in one head: { scores, row, total }. `scores` and their softmax, `row`, hold one number per key;
// `total` is the sum of `row`.
function attend(lesson, index, head, temperature) {
  const { count, keys, d } = lesson;
  const query = rowOf(lesson.query, head * count + index, d);
  const scores = new Float64Array(keys);
  for (let j = 0; j < keys; j++) scores[j] = dot(query, rowOf(lesson.key, head * keys + j, d)) * lesson.layer.scale;
  const best = scores.reduce((a, b) => Math.max(a, b), -Infinity);
  const row = scores.map((score) => Math.exp((score - best) / temperature));
  const sum = row.reduce((a, b) => a + b, 0);
  for (let j = 0; j < keys; j++) row[j] /= sum;
  return { scores, row, total: row.reduce((a, b) => a + b, 0) };
}

// The sum of a head's values, weighted by a row: dv numbers.
function gather(lesson, head, row) {
  const { keys, dv } = lesson;
  const sum = new Float64Array(dv);
  for (let j = 0; j < keys; j++) {
    const value = rowOf(lesson.value, head * keys + j, dv);
    for (let c = 0; c < dv; c++) sum[c] += row[j] * value[c];
  }
  return sum;
}

// The weights that one cell gives every key: a row.
export const rowFor = (lesson, index, head, temperature) => attend(lesson, index, head, temperature).row;

// The weight that every cell gives one key: a column.
export const columnOf = (lesson, key, head, temperature) =>
  Float64Array.from({ length: lesson.count }, (_, i) => attend(lesson, i, head, temperature).row[key]);

// Whether a key of cross-attention is a word of the caption, not what fills the list up.
export const isWord = (name) => !/^\(|^key \d/.test(name);

// The numbers of all panels for one query, as viz/lesson/panels.py computes them. `chosenWord` is the key whose column is shown
// where keys are words; by default the word that the query looks at most.
export function panelsOf(lesson, index, head, temperature, chosenWord = null) {
  const { heads, d, dv, count, out_weight: weight, out_bias: bias } = lesson;
  const chosen = attend(lesson, index, head, temperature);
  const joined = new Float64Array(heads * dv);
  for (let h = 0; h < heads; h++) {
    const row = h === head ? chosen.row : attend(lesson, index, h, temperature).row;
    joined.set(gather(lesson, h, row), h * dv);
  }
  const channels = lesson.output.length / count;
  let contribution = joined;
  if (weight) {
    contribution = Float64Array.from({ length: channels }, (_, c) => dot(joined, rowOf(weight, c, joined.length)) + (bias ? bias[c] : 0));
  }
  if (lesson.gamma !== null) contribution = contribution.map((x) => lesson.gamma * x);
  const before = rowOf(lesson.before, index, lesson.before.length / count);
  const output = contribution.map((x, c) => (x + (lesson.residual ? before[c] : 0)) / lesson.rescale);
  const own = rowOf(lesson.output, index, channels);
  const order = Array.from(chosen.row.keys()).sort((a, b) => chosen.row[b] - chosen.row[a]);
  const far = lesson.words ? -1 : (order.find((key) => convolutionsNeeded(lesson, index, key) > 1) ?? -1);
  const word = lesson.words ? (chosenWord ?? order.find((key) => isWord(lesson.words[key])) ?? order[0]) : null;
  return {
    ...chosen,
    word, // the key whose column is shown, if keys are words
    order, // all keys, the largest weight first
    top: order.slice(0, 5),
    far, // the largest outside the 3×3 window around the query; -1 for none
    column: lesson.words && columnOf(lesson, word, head, temperature),
    pixel: rowOf(lesson.tokens, index, lesson.tokens.length / count),
    query: rowOf(lesson.query, head * count + index, d),
    attended: joined.slice(head * dv, (head + 1) * dv),
    joined,
    contribution,
    before,
    output,
    own,
    difference: output.reduce((worst, x, c) => Math.max(worst, Math.abs(x - own[c])), 0),
  };
}

// How many 3×3 convolutions in a row it takes until one cell can depend on the other.
export function convolutionsNeeded(lesson, query, key) {
  const rows = Math.abs(Math.floor(query / lesson.width) - Math.floor(key / lesson.width));
  return Math.max(1, rows, Math.abs((query % lesson.width) - (key % lesson.width)));
}
