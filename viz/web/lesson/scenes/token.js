// Scene 8: the answer to the question that the lesson began with.

import { makeButton } from "../../dom.js";
import { paragraph, whole } from "../rich.js";
import { arrow, cellBox, clamp01, drawCells, drawStrip, during, fit, frame, heatOf, mix, stamp, write } from "../ink.js";
import { cached, canvasOfCells, placeOf } from "../paint.js";

export const TOKEN = {
  title: "So, is a pixel a token?",
  seconds: 2,
  scrub: "from pixels to a row",

  tell(desk) {
    const { lesson } = desk;
    const covered = coveredBy(lesson);
    const size = covered[0] * covered[1] === 1 ? "exactly one pixel" : `${covered.join("×")} pixels`;
    return [
      paragraph(`Almost. *A token is one cell of the layer’s feature map*; here it covers ${size} of the picture.`),
      paragraph(
        "*“Queries, keys and values are made of the whole picture.”* No: every cell computes its own three, from its own channels, with the same weights.",
      ),
      paragraph(
        "*“A row of Q is a line of pixels, or a channel.”* Neither: it is one cell’s [q:query]. Row *i* of QK^{T} scores cell *i* against every cell.",
      ),
      paragraph(
        "*“Attention replaces convolution.”* No: only the convolutions around it know which cells are neighbours, and they compute the features that attention compares.",
      ),
    ];
  },

  controls(desk, { leave }) {
    return [makeButton("Try it on your own picture →", { class: "pl-try", onclick: leave })];
  },

  describe(desk) {
    const covered = coveredBy(desk.lesson);
    return `The cell at ${placeOf(desk, desk.state.query)} covers ${covered.join(" by ")} pixels and is row ${desk.state.query} of Q.`;
  },

  draw(desk, pen, size, t) {
    const { lesson, state, panels, tones, bright } = desk;
    const wide = size.width > 1.1 * size.height;
    const side = wide ? Math.min(size.height * 0.76, size.width * 0.55) : size.width * 0.52;
    const box = fit({ x: 0, y: 20, width: side, height: side }, lesson.width, lesson.height);
    stamp(pen, lesson.cells.picture, box);
    const cell = cellBox(lesson, state.query, box);
    frame(pen, cell, bright.q, 2);
    write(desk, pen, "the picture", box.x, box.y - 7, { size: 12, color: tones.soft });
    const zoom = { x: side + size.width * 0.08, y: box.y, width: side * 0.5, height: side * 0.5 };
    const moved = during(t, 0.05, 0.5);
    drawZoom(desk, pen, cell, zoom, moved);
    const answer = { x: zoom.x, y: zoom.y + zoom.height + 28, width: side * 0.5, height: side * 0.5 - 28 };
    pen.globalAlpha = clamp01((t - 0.75) * 4);
    if (!lesson.words) drawRowMap(desk, pen, fit(answer, lesson.width, lesson.height));
    pen.globalAlpha = clamp01((t - 0.5) * 4);
    const strip = { x: 0, y: Math.min(size.height - 60, box.y + side + 46), width: size.width - 2, height: 24 };
    write(desk, pen, `row ${state.query} of Q: ${panels.query.length} numbers, one of ${whole(lesson.count)} rows`, 0, strip.y - 9, { color: tones.q, bold: true, room: size.width });
    drawStrip(desk, pen, panels.query, strip, "q");
    frame(pen, strip, bright.q, 1.5);
    pen.globalAlpha = 1;
    desk.areas.push({ box, cellAt: (x, y) => Math.floor(y * lesson.height) * lesson.width + Math.floor(x * lesson.width) });
  },
};

const coveredBy = (lesson) => {
  const [height, width] = lesson.tensors.get("picture").shape;
  return [Math.max(1, Math.round(height / lesson.height)), Math.max(1, Math.round(width / lesson.width))];
};

// The pixels that the query's cell covers, as they grow out of the picture.
function drawZoom(desk, pen, cell, zoom, moved) {
  const { lesson, state, tones, bright } = desk;
  const [height, width] = lesson.tensors.get("picture").shape;
  const [tall, wide] = [height / lesson.height, width / lesson.width];
  const [row, column] = [Math.floor(state.query / lesson.width), state.query % lesson.width];
  const box = { x: mix(cell.x, zoom.x, moved), y: mix(cell.y, zoom.y, moved), width: mix(cell.width, zoom.width, moved), height: mix(cell.height, zoom.height, moved) };
  if (moved > 0.9) arrow(pen, [cell.x + cell.width + 3, cell.y], [zoom.x - 8, zoom.y + zoom.height / 2], tones.q, 1.5);
  pen.imageSmoothingEnabled = false;
  pen.drawImage(lesson.cells.picture, column * wide, row * tall, wide, tall, box.x, box.y, box.width, box.height);
  frame(pen, box, bright.q, 2);
  const covered = coveredBy(lesson);
  if (moved > 0.9) write(desk, pen, `one cell: ${covered.join("×")} pixels`, zoom.x, zoom.y - 7, { size: 12, color: tones.soft });
}

function drawRowMap(desk, pen, box) {
  const { lesson, panels, tones } = desk;
  write(desk, pen, "and its row of the map", box.x, box.y - 7, { size: 12, color: tones.soft });
  drawCells(desk, pen, cached(panels, "row", () => canvasOfCells(lesson.width, lesson.height, (i) => heatOf(desk, panels.row[i]))), box, { key: panels.far });
}
