// Scene 5: softmax turns scores into weights that sum to 1.

import { labelledSlider } from "../controls.js";
import { formula, paragraph, percent, signed, whole } from "../rich.js";
import { drawKeys, during, fill, heatOf, mix, panes, write } from "../ink.js";
import { keyName, placeOf } from "../paint.js";
import { convolutionsNeeded } from "../panels.js";

export const SOFTMAX = {
  title: "Softmax: scores become shares",
  seconds: 1.6,
  scrub: "from scores to weights",

  tell(desk) {
    const { lesson, panels, state } = desk;
    const [first] = panels.top;
    return [
      paragraph(
        `Raise e to each score s and divide by the total: ${whole(lesson.keys)} *weights* above zero that sum to ${Number(panels.total.toFixed(6))}. ` +
          "Small leads in score become large leads in weight.",
      ),
      formula("a_{ij} = exp(s_{ij}) / Σ_{j′} exp(s_{ij′})"),
      paragraph(
        `The largest share goes to ${keyName(desk, first)}: ${percent(panels.row[first])}, or ${(panels.row[first] * lesson.keys).toFixed(0)} times chance.`,
      ),
      paragraph(
        `A *temperature* divides the scores first. This network’s own is 1; lower sharpens, higher evens out. ` +
          (state.temperature === 1 ? "" : `Now it is ${signed(state.temperature)}.`),
      ),
    ];
  },

  describe(desk) {
    const { panels, state } = desk;
    const list = panels.top.map((key) => `${keyName(desk, key)}: ${panels.row[key].toFixed(4)}`).join("; ");
    return `The weights of the cell at ${placeOf(desk, state.query)}, temperature ${state.temperature}. The largest: ${list}.`;
  },

  controls(desk, { setTemperature }) {
    const name = (octaves) => `temperature ${(2 ** octaves).toFixed(2)}`;
    const value = Math.log2(desk.state.temperature);
    const { label, text, slider } = labelledSlider({ min: -4, max: 4, step: 0.25, value, class: "pl-temperature" });
    text.textContent = name(value);
    slider.addEventListener("input", () => {
      text.textContent = name(Number(slider.value));
      setTemperature(2 ** Number(slider.value));
    });
    return [label];
  },

  draw(desk, pen, size, t) {
    const { lesson, panels, tones, colormap } = desk;
    const { first, rest } = panes({ width: size.width, height: size.height - 20 }, 0.5);
    const done = during(t, 0.1, 0.9);
    const [low, high] = [panels.scores[panels.order[panels.order.length - 1]], panels.scores[panels.order[0]]];
    const before = (i) => colormap[Math.round((255 * (panels.scores[i] - low)) / (high - low || 1))];
    const color = (i) => {
      const [from, to] = [before(i), heatOf(desk, panels.row[i])];
      return from.map((part, c) => Math.round(mix(part, to[c], done)));
    };
    const box = drawKeys(desk, pen, first, panels.row, color, { key: panels.far });
    write(desk, pen, done > 0.5 ? "weights, times chance, log scale" : "scores", first.x + first.width / 2, Math.min(size.height - 4, box.y + box.height + 17), { size: 12, color: tones.soft, align: "center", room: first.width });
    drawSorted(desk, pen, rest, done);
    if (lesson.words) return;
    desk.areas.push({ box: rest, cellAt: (_, y) => panels.order[Math.min(shownIn(desk, rest) - 1, Math.max(0, Math.floor((y * rest.height - HEAD) / LINE)))] });
  },
};

const [LINE, HEAD] = [21, 26];
const shownIn = ({ panels }, box) => Math.min(panels.order.length, Math.max(3, Math.floor((box.height - HEAD - 36) / LINE)));

// The largest keys as bars, largest first, and what is left for all others.
function drawSorted(desk, pen, box, done) {
  const { lesson, panels, state, tones } = desk;
  const shown = shownIn(desk, box);
  const left = Math.min(lesson.words ? 96 : 72, box.width * 0.3);
  const room = box.width - left - 62;
  const top = panels.order[0];
  const low = panels.scores[panels.order[Math.min(panels.order.length - 1, 4 * shown)]];
  write(desk, pen, lesson.words ? "word" : "row, col.", box.x, box.y + 12, { size: 12, color: tones.soft });
  write(desk, pen, done > 0.5 ? "weight, sorted" : "score, sorted", box.x + left, box.y + 12, { size: 12, color: tones.soft });
  let rest = 1;
  panels.order.slice(0, shown).forEach((key, i) => {
    const y = box.y + HEAD + i * LINE;
    const [isFar, isHovered] = [key === panels.far, !lesson.words && key === state.hover];
    const isOwn = !lesson.words && key === state.query;
    const color = isFar ? tones.k : isOwn ? tones.q : tones.ink;
    rest -= panels.row[key];
    write(desk, pen, shortName(lesson, key), box.x, y + 13, { size: 12, color, bold: isFar || isHovered || isOwn, room: left - 8 });
    const score = (panels.scores[key] - low) / (panels.scores[top] - low || 1);
    const length = Math.max(1, mix(Math.max(0, score), panels.row[key] / panels.row[top], done) * room);
    fill(pen, { x: box.x + left, y: y + 2, width: length, height: LINE - 7 }, isHovered ? tones.soft : color);
    write(desk, pen, done > 0.5 ? percent(panels.row[key]) : signed(panels.scores[key]), box.x + left + length + 6, y + 14, { size: 12 });
  });
  const y = box.y + HEAD + shown * LINE + 16;
  const others = panels.order.length - shown;
  if (others > 0 && done > 0.5) write(desk, pen, `all ${whole(others)} others together: ${percent(Math.max(0, rest))}`, box.x, y, { size: 12, color: tones.soft, room: box.width });
}

const shortName = ({ words, width }, key) => (words ? words[key] : `${Math.floor(key / width)}, ${key % width}`);

// The share of a row's weight inside the 3×3 window around the query.
export const shareInside = (lesson, row, query) =>
  row.reduce((sum, weight, key) => sum + (convolutionsNeeded(lesson, query, key) === 1 ? weight : 0), 0);
