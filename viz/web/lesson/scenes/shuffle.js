// Scene 7: the cells change places. Attention's output follows them, a convolution's does not.

import { paragraph, percent, power } from "../rich.js";
import { clamp01, cellBox, fill, fit, frame, mix, write } from "../ink.js";
import { cached, canvasOfCells, placeOf } from "../paint.js";
import { convolutionsNeeded } from "../panels.js";
import { shareInside } from "./softmax.js";

export const SHUFFLE = {
  title: "Shuffle the cells. Does the layer notice?",
  seconds: 3,
  scrub: "shuffle",

  tell(desk) {
    const { lesson, panels, state } = desk;
    const { attention, convolution } = lesson.gaps;
    const blind = attention < 1e-3;
    const texts = [
      paragraph("Feed this very layer the same cells in another order. Does its output simply move with them?"),
      paragraph(
        blind
          ? `*Attention: yes.* The outputs differ by at most ${power(attention)}. On its own it has no notion of place.`
          : `*This attention: no*, by ${power(attention)}. Its position terms tell it where each cell is.`,
      ),
    ];
    if (convolution !== undefined) {
      texts.push(paragraph(`*A 3×3 convolution of this network: no*, by ${convolution.toFixed(2)}. It knows which cells are neighbours.`));
    }
    if (lesson.words) return [...texts, paragraph("No stack of convolutions ever sees a word: the caption enters through cross-attention only.")];
    const inside = shareInside(lesson, panels.row, state.query);
    const needed = panels.far < 0 ? "" : ` To reach ${placeOf(desk, panels.far)}, it would take ${convolutionsNeeded(lesson, state.query, panels.far)} such layers in a row.`;
    texts.push(paragraph(`A convolution sees nine cells; for ours they hold ${percent(inside)} of the attention.${needed}`));
    return texts;
  },

  describe({ lesson }) {
    const { attention, convolution } = lesson.gaps;
    const other = convolution === undefined ? "" : ` and the convolution's by ${convolution.toFixed(2)}`;
    return `Shuffled cells: attention's output differs from its shuffled output by ${power(attention)}${other}.`;
  },

  draw(desk, pen, size, t) {
    const { lesson, tones, bright, state } = desk;
    const names = ["attention", "convolution"].filter((name) => name in lesson.gaps);
    const cells = 1 + names.length;
    const wide = size.width > 1.1 * size.height;
    const column = size.width / cells;
    const [head, foot] = [24, 20];
    const row = wide ? (size.height - 2 * (head + foot)) / 2 : (size.height - 2 * (head + foot)) / 2;
    const boxes = Array.from({ length: cells }, (_, i) => fit({ x: i * column + 4, y: head, width: column - 8, height: row }, lesson.width, lesson.height));
    const place = placesOf(lesson);
    ["cells, in", ...names.map((name) => (name === "attention" ? "attention, out" : "3×3 convolution, out"))].forEach((label, i) => {
      const box = boxes[i];
      write(desk, pen, label, box.x + box.width / 2, 14, { bold: true, align: "center", room: column - 8 });
      const plain = i ? plainOutput(lesson, names[i - 1]) : lesson.givenColors;
      fill(pen, box, tones.line);
      scatter(pen, lesson, box, plain, place, t);
      const cell = movedBox(lesson, state.query, place, box, t);
      frame(pen, cell, bright.q, 2);
      if (i === cells - 1 && names[i - 1] === "convolution" && t === 0) outlineWindow(desk, pen, box);
    });
    const below = names.map((name, i) => {
      const from = boxes[i + 1];
      return { name, box: { ...from, y: from.y + from.height + head + foot } };
    });
    drawAnswers(desk, pen, boxes[0], below, t, size);
  },
};

// The second line: what the layer itself makes of the shuffled cells.
function drawAnswers(desk, pen, input, below, t, size) {
  const { lesson, tones } = desk;
  const shown = clamp01((t - 0.75) * 4);
  const text = ["what the layer", "makes of the", "shuffled cells"];
  const y = input.y + input.height + 44 + input.height / 2 - 20;
  pen.globalAlpha = shown;
  text.forEach((line, i) => write(desk, pen, line, input.x + input.width / 2, y + 19 * i, { align: "center", bold: true, room: input.width }));
  write(desk, pen, "→", input.x + input.width - 14, y + 64, { size: 18, bold: true });
  for (const { name, box } of below) {
    const gap = lesson.gaps[name];
    const same = gap < 1e-3;
    pen.drawImage(cached(lesson, `${name} first`, () => pictureOf(lesson, `${name}/first`)), box.x, box.y, box.width, box.height);
    write(desk, pen, same ? `= the same, to ${power(gap)}` : `≠ differs by up to ${gap.toFixed(2)}`, box.x + box.width / 2, Math.min(size.height - 4, box.y + box.height + 17), {
      align: "center",
      bold: true,
      color: same ? tones.v : tones.k,
      room: size.width / 3,
    });
  }
  pen.globalAlpha = 1;
}

const pictureOf = (lesson, name) => {
  const { bytes } = lesson.tensors.get(name);
  return canvasOfCells(lesson.width, lesson.height, (i) => bytes.subarray(3 * i, 3 * i + 3));
};

// Where each cell goes: its index in the shuffled map.
const placesOf = (lesson) =>
  cached(lesson, "places", () => {
    const places = new Int32Array(lesson.count);
    lesson.order.forEach((cell, place) => (places[cell] = place));
    return places;
  });

// A layer's output in order, from its output shuffled afterwards.
function plainOutput(lesson, name) {
  return cached(lesson, `${name} plain`, () => {
    const { bytes } = lesson.tensors.get(`${name}/after`);
    const plain = new Uint8Array(bytes.length);
    lesson.order.forEach((cell, place) => plain.set(bytes.subarray(3 * place, 3 * place + 3), 3 * cell));
    return plain;
  });
}

const ease = (t) => t * t * (3 - 2 * t);

function movedBox(lesson, cell, places, box, t) {
  const [from, to] = [cellBox(lesson, cell, box), cellBox(lesson, places[cell], box)];
  const way = ease(clamp01(t / 0.75));
  return { ...from, x: mix(from.x, to.x, way), y: mix(from.y, to.y, way) };
}

// Draws all cells on their way to their new places.
function scatter(pen, lesson, box, colors, places, t) {
  const way = ease(clamp01(t / 0.75));
  const [across, down] = [box.width / lesson.width, box.height / lesson.height];
  const grow = way === 0 || way === 1 ? 0.5 : 0; // closes the seams between cells that stand still
  for (let i = 0; i < lesson.count; i++) {
    const to = places[i];
    const x = mix(i % lesson.width, to % lesson.width, way);
    const y = mix(Math.floor(i / lesson.width), Math.floor(to / lesson.width), way);
    pen.fillStyle = `rgb(${colors[3 * i]} ${colors[3 * i + 1]} ${colors[3 * i + 2]})`;
    pen.fillRect(box.x + x * across, box.y + y * down, across + grow, down + grow);
  }
}

function outlineWindow(desk, pen, box) {
  const cell = cellBox(desk.lesson, desk.state.query, box);
  const window = { x: cell.x - cell.width, y: cell.y - cell.height, width: 3 * cell.width, height: 3 * cell.height };
  frame(pen, window, "#fff", 1.5);
}
