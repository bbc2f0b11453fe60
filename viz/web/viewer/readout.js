// The numbers of the one cell under the cursor: over the picture, the atlas, the rows of the pins and the heads.

import { tokenAt } from "../core/query.js";
import { formatSigned, formatTimes } from "../core/scale.js";
import { formatHead, formatPlace, formatStep } from "../core/words.js";
import { placeIn } from "./pointer.js";

export function wireReadout(desk) {
  const { ui } = desk;
  let under = null; // { x, y, find }, while the cursor is over a map; find() says which cell that is
  let waiting = false;

  // The cell of a grid of maps that lies at a place of its canvas; null between two maps.
  function cellAt([row, column], rows, painter) {
    const { pitch, side } = painter.css;
    const inside = (place, count, step, length) => {
      const at = place * count;
      const within = ((at % 1) * step) / length;
      return within < 1 ? [Math.floor(at), within] : null;
    };
    const down = inside(row, rows, pitch.y, side.y);
    const across = inside(column, desk.columns.length, pitch.x, side.x);
    return down && across && { row: down[0], step: desk.columns[across[0]], place: [down[1], across[1]] };
  }

  const places = {
    picture: (place) => ({ place }),
    atlas(place) {
      const cell = cellAt(place, desk.trace.layers.length, desk.painter);
      return cell && { ...cell, layer: desk.trace.layers[cell.row] };
    },
    pins(place) {
      const cell = cellAt(place, desk.state.pins.length, desk.pinPainter);
      return cell && { ...cell, query: desk.state.pins[cell.row] };
    },
  };

  function textFor({ place, query = desk.query, layer = desk.layer, step = desk.state.step, head = desk.state.head }) {
    const numbers = desk.numbers(query, layer, step, head);
    if (!numbers) return "not computed yet";
    const token = tokenAt(layer, place);
    const value = numbers[token];
    const difference = desk.scale.special;
    const weight = `${difference && value > 0 ? "+" : ""}${(value / layer.tokens).toPrecision(3)}`.replace("-", "−");
    const times = difference ? formatSigned(value) : formatTimes(value);
    const where = layer === desk.layer && step === desk.state.step && head === desk.state.head;
    const title = where ? "" : `${layer.label}, ${formatStep(desk.trace, step)}, ${formatHead(layer, head)}\n`;
    return `${title}${formatPlace(layer, token)} · weight ${weight} · ${times} uniform`;
  }

  function refresh() {
    waiting = false;
    const cell = under && desk.trace && under.find();
    ui.readout.hidden = !cell;
    if (!cell) return;
    ui.readout.textContent = textFor(cell);
    const { x, y } = under;
    const below = y < 80;
    // As far left of the cursor as the cursor is into the window: it never leaves the window.
    ui.readout.style.transform = `translate(${x}px, ${y + (below ? 26 : -16)}px) translate(${(-100 * x) / innerWidth}%, ${below ? 0 : -100}%)`;
  }

  function watch(canvas, find) {
    canvas.addEventListener("pointermove", (event) => {
      const place = placeIn(event, canvas);
      under = { x: event.clientX, y: event.clientY, find: () => find(place) };
      if (!waiting) requestAnimationFrame(refresh); // after the repaint that the same move may have asked for
      waiting = true;
    });
    canvas.addEventListener("pointerleave", () => {
      under = null;
      refresh();
    });
  }

  watch(ui.picture.canvas, places.picture);
  watch(ui.atlas.canvas, places.atlas);
  watch(ui.pins.canvas, places.pins);
  desk.watchHead = (canvas, head) => watch(canvas, (place) => ({ place, head }));
  return refresh;
}
