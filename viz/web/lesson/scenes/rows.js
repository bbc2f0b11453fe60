// Scene 2: cells lift off their grid and line up as rows of a list.

import { formula, paragraph, whole } from "../rich.js";
import { cellBox, clamp01, drawCells, fill, fit, frame, inset, mix, panes, signedTone, stamp, write } from "../ink.js";
import { cached, canvasOfCells, placeOf } from "../paint.js";
import { rowOf } from "../panels.js";

export const ROWS = {
  title: "The grid becomes a list",
  seconds: 2.6,
  scrub: "flatten",

  tell(desk) {
    const { lesson, state, panels } = desk;
    const { width } = lesson;
    const [row, column] = [Math.floor(state.query / width), state.query % width];
    return [
      paragraph(
        `Attention knows no grid. Its input is a list, so the ${lesson.height}×${width} cells line up, line after line: ` +
          `${whole(lesson.count)} rows, and *one row is one cell*, with its ${panels.pixel.length} numbers, one per channel.`,
      ),
      formula(`row = ${row} × ${width} + ${column} = *${state.query}*`),
      paragraph("No values are mixed; going back to the grid just reverses this. Such a row is what a language model calls a *token*."),
      paragraph("Point at either side: the cell and its row light up together. Colours are three principal components of the numbers."),
    ];
  },

  describe(desk) {
    const { lesson, state } = desk;
    return `The feature map, and its ${lesson.count} cells as rows of a list. Cell ${placeOf(desk, state.query)} is row ${state.query}.`;
  },

  draw(desk, pen, size, t) {
    const { lesson, tones } = desk;
    const { first, rest } = panes({ width: size.width, height: size.height - 24 }, 0.5, 24);
    const grid = fit(first, lesson.width, lesson.height);
    const list = { x: rest.x, y: rest.y + 4, width: Math.min(70, rest.width * 0.22), height: rest.height - 8 };
    drawCells(desk, pen, lesson.cells.features, grid, { dim: 0.5 * clamp01(2 * t), marks: false });
    fill(pen, list, tones.line);
    fly(desk, pen, grid, list, t);
    desk.areas.push({ box: grid, cellAt: (x, y) => Math.floor(y * lesson.height) * lesson.width + Math.floor(x * lesson.width) });
    desk.areas.push({ box: inset(list, -1), cellAt: (_, y) => Math.min(lesson.count - 1, Math.floor(y * lesson.count)) });
    mark(desk, pen, grid, list, t);
    const side = { x: list.x + list.width + 34, y: list.y, width: rest.x + rest.width - list.x - list.width - 34, height: list.height };
    pen.globalAlpha = clamp01(3 * t - 2);
    drawLens(desk, pen, list, side);
    pen.globalAlpha = 1;
    const size12 = { size: 12, color: tones.soft, align: "center" };
    write(desk, pen, `feature map, ${lesson.height} × ${lesson.width}`, grid.x + grid.width / 2, Math.min(size.height - 6, grid.y + grid.height + 18), size12);
    write(desk, pen, `all ${whole(lesson.count)} rows`, list.x, size.height - 6, { ...size12, align: "left" });
  },
};

const LINE = 18;

// Every cell on its way: those of the first line of the grid leave first.
function fly(desk, pen, grid, list, t) {
  const { lesson, colors = lesson.colors } = desk;
  const [across, down] = [grid.width / lesson.width, grid.height / lesson.height];
  const thin = list.height / lesson.count;
  if (t >= 1) {
    const whole = cached(lesson, "rows", () => canvasOfCells(1, lesson.count, (i) => colors.subarray(3 * i, 3 * i + 3)));
    stamp(pen, whole, list);
    return;
  }
  for (let i = 0; i < lesson.count; i++) {
    const own = clamp01(2 * t - i / lesson.count);
    if (own === 0) continue;
    const ease = own * own * (3 - 2 * own);
    const from = { x: grid.x + (i % lesson.width) * across, y: grid.y + Math.floor(i / lesson.width) * down };
    const to = { x: list.x, y: list.y + i * thin };
    pen.fillStyle = `rgb(${colors[3 * i]} ${colors[3 * i + 1]} ${colors[3 * i + 2]})`;
    pen.fillRect(mix(from.x, to.x, ease), mix(from.y, to.y, ease), mix(across, list.width, ease), Math.max(0.8, mix(down, thin, ease)));
  }
}

// The query and the hovered cell, on the grid and in the list, joined by a line.
function mark(desk, pen, grid, list, t) {
  const { lesson, state } = desk;
  for (const [cell, color] of [[state.hover, "#ffffff"], [state.query, desk.bright.q]]) {
    if (cell < 0) continue;
    const box = cellBox(lesson, cell, grid);
    const thin = list.height / lesson.count;
    const row = { x: list.x - 2, y: list.y + cell * thin - Math.max(0, 2 - thin / 2), width: list.width + 4, height: Math.max(4, thin) };
    frame(pen, box, color);
    if (t < 1) continue;
    frame(pen, row, color, 1.5);
    [pen.strokeStyle, pen.lineWidth] = [color === "#ffffff" ? desk.tones.soft : desk.tones.q, 1.5];
    pen.beginPath();
    pen.moveTo(box.x + box.width, box.y + box.height / 2);
    pen.lineTo(row.x, row.y + row.height / 2);
    pen.stroke();
  }
}

// The rows around the hovered cell or the query, enlarged: their numbers, a colour for each.
function drawLens(desk, pen, list, box) {
  const { lesson, state, tones } = desk;
  const at = state.hover >= 0 ? state.hover : state.query;
  const shown = Math.max(3, Math.min(13, Math.floor((box.height - 40) / LINE)) | 1);
  const before = desk.lens ?? -Infinity; // rows stay where they are while one of them is pointed at
  const isInside = at >= before && at < before + shown && before + shown <= lesson.count;
  const first = isInside ? before : Math.max(0, Math.min(lesson.count - shown, at - (shown >> 1)));
  desk.lens = first;
  const top = box.y + (box.height - shown * LINE) / 2;
  const [from, to] = [first, first + shown].map((row) => list.y + (row / lesson.count) * list.height);
  pen.strokeStyle = tones.soft;
  pen.lineWidth = 1;
  pen.beginPath();
  for (const [row, end] of [[from, top], [to, top + shown * LINE]]) {
    pen.moveTo(list.x + list.width + 3, row);
    pen.lineTo(box.x - 4, end);
  }
  pen.stroke();
  const size = lesson.tokens.length / lesson.count;
  const color = signedTone(desk, "ink", lesson.tokenScale);
  const strip = { x: box.x + 40, width: box.width - 42 };
  write(desk, pen, `row of ${size} numbers`, strip.x, top - 8, { size: 12, color: tones.soft, room: strip.width });
  for (let i = first; i < Math.min(lesson.count, first + shown); i++) {
    const y = top + (i - first) * LINE;
    const isQuery = i === state.query;
    write(desk, pen, String(i), box.x + 34, y + 13, { size: 12, align: "right", bold: isQuery, color: isQuery ? tones.q : tones.soft });
    const numbers = rowOf(lesson.tokens, i, size);
    stamp(pen, canvasOfCells(size, 1, (c) => color(numbers[c])), { x: strip.x, y: y + 2, width: strip.width, height: LINE - 4 });
    if (isQuery || i === state.hover) frame(pen, { x: strip.x, y: y + 1, width: strip.width, height: LINE - 2 }, isQuery ? desk.bright.q : "#fff", 1.5);
  }
  desk.areas.push({ box: { x: box.x, y: top, width: box.width, height: shown * LINE }, cellAt: (_, y) => Math.min(lesson.count - 1, first + Math.floor(y * shown)) });
}
