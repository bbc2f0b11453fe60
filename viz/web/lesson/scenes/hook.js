// Scene 0: one cell is asked, and the network's answer appears over the picture.

import { paragraph, percent } from "../rich.js";
import { arrow, centreOf, drawCells, during, fit, frame, cellBox, heatOf, stamp, write } from "../ink.js";
import { canvasOfCells, cached, keyName, placeOf } from "../paint.js";
import { rowFor } from "../panels.js";

export const HOOK = {
  title: "Point at one eye. The network looks at the other.",
  seconds: 2.2,
  scrub: "fade the map in",

  tell(desk) {
    const { lesson, panels, state } = desk;
    if (lesson.words) return tellWords(desk);
    const { far } = panels;
    const times = far < 0 ? 0 : panels.row[far] * lesson.keys;
    return [
      paragraph(
        desk.isEye
          ? "While a diffusion network draws this picture, every cell of its feature map asks: *where else should I look?* " +
              "Nobody told the network what an eye is. It found the pair."
          : "While a diffusion network draws a picture, every cell of its feature map asks: *where else should I look?*",
      ),
      paragraph(
        `The [q:blue] frame is the cell that asks, its [q:query] at ${placeOf(desk, state.query)}. ` +
          (far < 0 ? "" : `Of all cells farther away, it looks most at the [k:pink] one, ${placeOf(desk, far)}: ${times.toFixed(1)} times chance.`),
      ),
      paragraph("The brighter, the more it looks there. Move over the picture to ask other cells; click to keep one for the whole story."),
      paragraph("The next eight scenes show how this map is computed, with this network’s own numbers."),
    ];
  },

  describe(desk) {
    const far = desk.panels.far >= 0 ? `; farther away it looks most at ${placeOf(desk, desk.panels.far)}` : "";
    return `The picture, and where its cell at ${placeOf(desk, desk.state.query)} looks${far}. Shift and the arrow keys move the cell.`;
  },

  draw(desk, pen, size, t) {
    const { lesson, panels, state } = desk;
    const room = { x: 0, y: 0, width: size.width, height: size.height - 22 };
    const box = fit(room, lesson.width, lesson.height);
    drawCells(desk, pen, lesson.cells.picture, box, { marks: false });
    const asked = state.hover >= 0 ? state.hover : state.query;
    const isQuery = asked === state.query;
    const map = isQuery ? cached(panels, "hook", () => veil(desk, mapOf(desk, asked))) : veil(desk, mapOf(desk, asked));
    stamp(pen, map, box, during(t, 0.15, 0.75));
    desk.areas.push({ box, cellAt: (x, y) => Math.floor(y * lesson.height) * lesson.width + Math.floor(x * lesson.width) });
    frame(pen, cellBox(lesson, asked, box), desk.bright.q, 3);
    const { far } = panels;
    if (isQuery && far >= 0 && !lesson.words && t > 0.6) {
      pen.globalAlpha = during(t, 0.6, 1);
      frame(pen, cellBox(lesson, far, box), desk.bright.k, 3);
      arrow(pen, centreOf(lesson, asked, box), centreOf(lesson, far, box), desk.bright.k, 2.5);
      pen.globalAlpha = 1;
    }
    const legend = lesson.words ? `how much each cell looks at ${keyName(desk, panels.word)}` : `where ${placeOf(desk, asked)} looks`;
    write(desk, pen, `${legend}; times chance, log scale`, size.width / 2, size.height - 4, { size: 12, color: desk.tones.soft, align: "center", room: size.width });
  },
};

const mapOf = ({ lesson, panels, state }, asked) => panels.column ?? rowFor(lesson, asked, state.head, state.temperature);

// The map as colours to lie over the picture: nearly transparent where the attention is low.
function veil(desk, row) {
  const { width, height } = desk.lesson;
  const cells = canvasOfCells(width, height, (i) => heatOf(desk, row[i]));
  const pen = cells.getContext("2d");
  const image = pen.getImageData(0, 0, width, height);
  for (let i = 0; i < width * height; i++) {
    const [red, green, blue] = image.data.subarray(4 * i, 4 * i + 3);
    image.data[4 * i + 3] = Math.round(255 * (0.35 + 0.57 * (Math.max(red, green, blue) / 255)));
  }
  pen.putImageData(image, 0, 0);
  return cells;
}

function tellWords(desk) {
  const { lesson, panels, state } = desk;
  return [
    paragraph("In this layer the cells of the picture look at the *words* of the caption: cross-attention."),
    paragraph(
      `The [q:query] comes from the cell at ${placeOf(desk, state.query)}, the [k:keys] from ${lesson.keys} words. Of these it looks most at ` +
        `[k:${keyName(desk, panels.word)}] (${percent(panels.row[panels.word])}); the map shows how much every cell looks at this word.`,
    ),
    paragraph("The next eight scenes show how these numbers come about."),
  ];
}
