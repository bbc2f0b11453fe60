// Scene 3: every cell makes a query, a key and a value.

import { formula, paragraph, whole } from "../rich.js";
import { arrow, clamp01, drawStrip, fill, frame, signedTone, stamp, write, writeWeight } from "../ink.js";
import { cached, canvasOfCells, largestMagnitude } from "../paint.js";
import { rowOf } from "../panels.js";

export const THREE = {
  title: "Each cell makes three: a query, a key and a value",
  seconds: 2.4,
  scrub: "row by row",

  tell(desk) {
    const { lesson, state, panels } = desk;
    const { words, heads, d, dv, count, keys } = lesson;
    const bias = lesson.query_bias?.some((x) => x) ? " + b" : "";
    const query = lesson.query_weight ? `[q:q_{i}] = W_{q} x_{i}${bias}` : "[q:q_{i}] from x_{i} and its position";
    const shared = words
      ? `The same W_{q} serves all ${whole(count)} cells. The [k:keys] and [v:values] come from the ${keys} words of the caption.`
      : `The same three matrices serve all ${whole(count)} cells, like 1×1 convolutions.`;
    return [
      paragraph(
        `Row ${state.query}, the ${panels.pixel.length} numbers x_{i} of our cell, is multiplied by three learned matrices. ` +
          "The [q:query] says what this cell looks for, the [k:key] what it offers to others, the [v:value] what it hands over.",
      ),
      formula(words ? `${query}   [k:k_{j}] = W_{k} y_{j}   [v:v_{j}] = W_{v} y_{j}` : `${query}   [k:k_{i}] = W_{k} x_{i}   [v:v_{i}] = W_{v} x_{i}`),
      paragraph(shared),
      paragraph(
        `${heads > 1 ? `With ${heads} heads, each gets its own ${d}${dv === d ? "" : ` and ${dv}`} numbers; shown is head ${state.head}. ` : ""}` +
          "*A row of Q is a cell*, not a channel and not a line of the picture.",
      ),
    ];
  },

  describe({ lesson, state }) {
    const { count, keys, d, dv } = lesson;
    const channels = lesson.tokens.length / count;
    return `Matrices: X, ${count} by ${channels}; Q, ${count} by ${d}; K, ${keys} by ${d}; V, ${keys} by ${dv}. Row ${state.query} is outlined.`;
  },

  draw(desk, pen, size, t) {
    const { lesson, state, panels, tones } = desk;
    const columns = matricesOf(desk, size);
    const [x, ...made] = columns;
    const done = Math.round(clamp01(t / 0.85) * lesson.count);
    drawMatrix(desk, pen, x, lesson.count);
    for (const column of made) {
      arrow(pen, [x.box.x + x.box.width + 8, column.middle], [column.box.x - 8, column.middle], tones[column.tone], 2);
      writeWeight(desk, pen, column.tone, column.weightAt - 10, column.middle - 9, tones[column.tone]);
      drawMatrix(desk, pen, column, column.rows === lesson.count ? done : Math.round(clamp01(t / 0.85) * column.rows));
    }
    const strips = [[x, panels.pixel], [made[0], panels.query]];
    if (!lesson.words) {
      strips.push([made[1], rowOf(lesson.key, state.head * lesson.keys + state.query, lesson.d)]);
      strips.push([made[2], rowOf(lesson.value, state.head * lesson.keys + state.query, lesson.dv)]);
    }
    for (const [column, numbers] of strips) {
      const { strip } = column;
      write(desk, pen, `${column.letter}, row ${state.query}`, strip.x, strip.y - 6, { size: 12, color: tones[column.tone], room: strip.width });
      drawStrip(desk, pen, numbers, strip, column.tone, column.largest);
      frame(pen, strip, desk.bright.q, 1.5);
    }
    write(desk, pen, "colour: above zero; grey: below", x.box.x, size.height - 4, { size: 12, color: tones.soft, room: size.width });
  },
};

// Where X, Q, K and V stand: X at the left over the whole height, the others to its right, one below the other.
function matricesOf(desk, { width, height }) {
  const { lesson, state, tones } = desk;
  const { count, keys, d, dv, tokens, heads } = lesson;
  const channels = tokens.length / count;
  const all = [["X", "ink", tokens, count, channels], ["Q", "q", lesson.query, count, d], ["K", "k", lesson.key, keys, d], ["V", "v", lesson.value, keys, dv]];
  const [left, gap] = [Math.min(190, width * 0.27), Math.min(90, width * 0.13)];
  const room = (height - 22) / 3;
  const matrices = all.map(([letter, tone, numbers, rows, columns], i) => {
    const own = i ? rowOf(numbers, state.head, rows * columns) : numbers;
    const largest = cached(lesson, `${letter}${i ? state.head : ""} largest`, () => largestMagnitude(own));
    const y = i ? (i - 1) * room : 0;
    const x = i ? left + gap : 0;
    const box = i ? { x, y: y + 24, width: Math.min(150, (width - x) * 0.42), height: room - 38 } : { x, y: 24, width: left, height: height - 100 };
    const strip = i ? { x: box.x + box.width + 22, y: box.y + box.height / 2 - 4, width: width - box.x - box.width - 24, height: 18 } : { x, y: height - 44, width: left, height: 18 };
    const label = i && heads > 1 ? `${letter} of head ${state.head}: ${whole(rows)} × ${columns}` : `${letter}: ${whole(rows)} × ${columns}`;
    return { letter, tone, own, rows, columns, box, strip, largest, label, middle: box.y + box.height / 2, weightAt: left + gap / 2, key: `${letter} ${i ? state.head : ""} ${tones.surface}` };
  });
  return matrices;
}

// A matrix as a picture, its first `done` rows; the query's row is outlined, and all rows can be pointed at.
function drawMatrix(desk, pen, { own, rows, columns, box, tone, largest, label, key }, done) {
  const { lesson, state, tones } = desk;
  const color = signedTone(desk, tone, largest);
  const picture = cached(lesson, key, () => canvasOfCells(columns, rows, (i) => color(own[i])));
  fill(pen, box, tones.line);
  pen.save();
  pen.beginPath();
  pen.rect(box.x, box.y, box.width, (box.height * done) / rows);
  pen.clip();
  stamp(pen, picture, box);
  pen.restore();
  write(desk, pen, label, box.x, box.y - 8, { bold: true, color: tones[tone] });
  if (rows !== lesson.count) return;
  desk.areas.push({ box, cellAt: (_, y) => Math.min(rows - 1, Math.floor(y * rows)) });
  const line = box.height / rows;
  for (const [cell, mark] of [[state.hover, "#ffffff"], [state.query, desk.bright.q]]) {
    if (cell < 0) continue;
    const tall = Math.max(3, line);
    frame(pen, { x: box.x - 3, y: box.y + (cell + 0.5) * line - tall / 2 - 1, width: box.width + 6, height: tall + 2 }, mark, 1.5);
  }
}
