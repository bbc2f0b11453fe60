// Scene 4: one query times one key, and so on for every key.

import { formula, paragraph, signed, whole } from "../rich.js";
import { drawBars, drawKeys, panes, write, clamp01 } from "../ink.js";
import { keyName, largestMagnitude, placeOf } from "../paint.js";
import { rowOf } from "../panels.js";

export const DOT = {
  title: "One dot product: how well do they match?",
  seconds: 3,
  scrub: "key by key",

  tell(desk) {
    const { lesson, state, panels } = desk;
    const other = targetOf(desk);
    const what = lesson.words ? "word" : "cell";
    return [
      paragraph(
        `To compare our cell with another ${what}, multiply its [q:query] with the other’s [k:key], number by number, and add up. ` +
          "A large sum means: this is what I was looking for.",
      ),
      formula(`score s_{ij} = [q:q_{i}]·[k:k_{j}]${scaleText(lesson.layer.scale)} = *${signed(panels.scores[other], 3)}*`),
      paragraph(`The numbers shown are those of ${keyName(desk, other)}, scene 0’s answer. ${lesson.words ? "" : "Point at the map to see any other product."}`),
      paragraph(`${whole(lesson.keys)} such sums are row ${state.query} of QK^{T}, laid out ${lesson.words ? "as bars" : "on the grid again"}. All cells together make ${whole(lesson.count)} rows.`),
    ];
  },

  describe(desk) {
    const other = targetOf(desk);
    return `The scores of the cell at ${placeOf(desk, desk.state.query)} with every key; with ${keyName(desk, other)} it is ${desk.panels.scores[other].toFixed(3)}.`;
  },

  draw(desk, pen, size, t) {
    const { lesson, panels, state, tones, colormap } = desk;
    const { first, rest, wide } = panes({ width: size.width, height: size.height - 20 }, 0.52);
    const filled = Math.round(clamp01(t / 0.96) * lesson.keys);
    const other = state.hover >= 0 && !lesson.words ? state.hover : t < 0.96 ? Math.min(lesson.keys - 1, filled) : targetOf(desk);
    const [low, high] = rangeOf(panels.scores);
    const color = (i) => colormap[Math.round((255 * (panels.scores[i] - low)) / (high - low || 1))];
    const box = drawKeys(desk, pen, first, panels.scores, color, { filled, key: other });
    write(desk, pen, `scores, from ${signed(low, 1)} (dark) to ${signed(high, 1)} (bright)`, first.x + first.width / 2, Math.min(size.height - 4, box.y + box.height + 17), { size: 12, color: tones.soft, align: "center", room: first.width });
    drawProduct(desk, pen, rest, other, wide);
  },
};

const targetOf = ({ panels }) => (panels.far >= 0 ? panels.far : panels.top[0]);

function rangeOf(values) {
  let [low, high] = [Infinity, -Infinity];
  for (const value of values) [low, high] = [Math.min(low, value), Math.max(high, value)];
  return [low, high];
}

export const scaleText = (scale) => (Math.abs(scale - 1) > 1e-9 ? ` / √${Math.round(1 / scale ** 2)}` : "");

// q, k and their products as bars, and the sum.
function drawProduct(desk, pen, box, other, wide) {
  const { lesson, panels, state, tones } = desk;
  const key = rowOf(lesson.key, state.head * lesson.keys + other, lesson.d);
  const products = Float64Array.from(panels.query, (x, c) => x * key[c]);
  const sum = products.reduce((a, b) => a + b, 0);
  const parts = [
    [`query q of ${placeOf(desk, state.query)}`, panels.query, tones.q],
    [`key k of ${keyName(desk, other)}`, key, tones.k],
    ["products, number by number", products, tones.ink],
  ];
  const last = 60;
  const room = (box.height - last) / 3;
  parts.forEach(([label, numbers, color], i) => {
    const y = box.y + i * room;
    write(desk, pen, label, box.x, y + 14, { color, bold: true, room: box.width });
    drawBars(desk, pen, numbers, { x: box.x, y: y + 20, width: box.width, height: room - 28 }, color, largestMagnitude(numbers));
  });
  const y = box.y + box.height - last + 22;
  const scaled = sum * lesson.layer.scale;
  const text = Math.abs(lesson.layer.scale - 1) > 1e-9 ? `sum ${signed(sum)}${scaleText(lesson.layer.scale)} = ${signed(scaled, 3)}` : `sum ${signed(sum, 3)}`;
  write(desk, pen, text, box.x, y, { size: wide ? 19 : 16, bold: true, room: box.width });
  const rank = panels.scores.reduce((count, score) => count + (score > panels.scores[other]), 0);
  const place = rank === 0 ? "the largest of all scores" : `number ${whole(rank + 1)} of ${whole(lesson.keys)} scores, largest first`;
  write(desk, pen, place, box.x, y + 20, { size: 12, color: tones.soft, room: box.width });
}
