// The tooltip with the numbers of the cell under the cursor: on the picture, atlas, pins and heads.

import { tokenAt } from "../core/query.js";
import { formatSigned, formatTimes } from "../core/scale.js";
import { formatHead, formatPlace, formatStep } from "../core/words.js";
import { placeIn } from "./pointer.js";

// `desk`: see desk.js. Returns a function to call after every repaint.
export function wireReadout(desk) {
  const { ui } = desk;
  let cursor = null; // { x, y, find } while over a map; find() returns the cell under the cursor
  let waiting = false;

  function refresh() {
    waiting = false;
    const cell = cursor && desk.trace && cursor.find();
    ui.readout.hidden = !cell;
    if (!cell) return;
    ui.readout.textContent = textFor(desk, cell);
    ui.readout.style.transform = placeBeside(cursor);
  }

  function watch(canvas, find) {
    canvas.addEventListener("pointermove", (event) => {
      const place = placeIn(event, canvas);
      cursor = { x: event.clientX, y: event.clientY, find: () => find(place) };
      if (!waiting) requestAnimationFrame(refresh); // after the repaint that the same move may have caused
      waiting = true;
    });
    canvas.addEventListener("pointerleave", () => {
      cursor = null;
      refresh();
    });
  }

  watch(ui.picture.canvas, (place) => ({ place }));
  watch(ui.atlas.canvas, (place) => {
    const cell = cellAt(desk, place, desk.trace.layers.length, desk.painter);
    return cell && { ...cell, layer: desk.trace.layers[cell.row] };
  });
  watch(ui.pins.canvas, (place) => {
    const cell = cellAt(desk, place, desk.state.pins.length, desk.pinPainter);
    return cell && { ...cell, query: desk.state.pins[cell.row] };
  });
  desk.watchHead = (canvas, head) => watch(canvas, (place) => ({ place, head }));
  return refresh;
}

// The map and cell at a position on an atlas; null between two maps.
function cellAt({ columns }, [row, column], rows, { css: { pitch, side } }) {
  const inside = (place, count, step, length) => {
    const at = place * count;
    const within = ((at % 1) * step) / length;
    return within < 1 ? [Math.floor(at), within] : null;
  };
  const down = inside(row, rows, pitch.y, side.y);
  const across = inside(column, columns.length, pitch.x, side.x);
  return down && across && { row: down[0], step: columns[across[0]], place: [down[1], across[1]] };
}

function textFor(desk, { place, query = desk.query, layer = desk.layer, step = desk.state.step, head = desk.state.head }) {
  const gap = layer.gaps.get(step);
  if (gap) return `${layer.label}, ${formatStep(desk.trace, step)}\nno map: ${gap}`;
  const numbers = desk.numbers(query, layer, step, head);
  if (!numbers) return "not computed yet";
  const grid = desk.mapGrid(layer);
  const token = tokenAt(grid, place);
  const value = numbers[token];
  const difference = desk.scale.special;
  const weight = `${difference && value > 0 ? "+" : ""}${(value / layer.keyGrid.tokens).toPrecision(3)}`.replace("-", "−");
  const times = difference ? formatSigned(value) : formatTimes(value);
  const chosen = layer === desk.layer && step === desk.state.step && head === desk.state.head;
  const title = chosen ? "" : `${layer.label}, ${formatStep(desk.trace, step)}, ${formatHead(layer, head)}\n`;
  return `${title}${formatPlace(grid, token)} · weight ${weight} · ${times} uniform`;
}

// Shifts the tooltip left in proportion to the cursor's position, so that it never leaves the window.
function placeBeside({ x, y }) {
  const below = y < 80;
  return `translate(${x}px, ${y + (below ? 26 : -16)}px) translate(${(-100 * x) / innerWidth}%, ${below ? 0 : -100}%)`;
}
