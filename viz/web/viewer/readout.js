// The tooltip with the numbers of the cell under the cursor: on the picture, atlas, pins and heads.

import { findWord, nameOfWord } from "../core/captions.js";
import { isWordQuery, tokenAt } from "../core/query.js";
import { formatSigned, formatTimes } from "../core/scale.js";
import { formatShare } from "../core/shares.js";
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
    const cell = cellAt(desk, place, desk.rows.length, desk.painter);
    return cell && { ...cell, layer: desk.rows[cell.row] };
  });
  watch(ui.pins.canvas, (place) => {
    const cell = cellAt(desk, place, desk.state.pins.length, desk.pinPainter);
    const query = cell && desk.state.pins[cell.row];
    return cell && { ...cell, query, layer: desk.layerOf(query) };
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
  const gap = desk.gapAt(layer, step, query);
  if (gap) return `${layer.label}, ${formatStep(desk.trace, step)}\nno map: ${gap}`;
  const numbers = desk.numbers(query, layer, step, head);
  if (!numbers) return desk.isArriving(layer, step) ? "still arriving" : "not computed yet";
  const grid = desk.mapGrid(layer, query);
  const token = tokenAt(grid, place);
  const value = numbers[token];
  const chosen = layer === desk.layer && step === desk.state.step && head === desk.state.head;
  const title = chosen ? "" : `${layer.label}, ${formatStep(desk.trace, step)}, ${formatHead(layer, head)}\n`;
  return `${title}${formatPlace(grid, token)} · ${valueText(desk, query, layer, value)}`;
}

// A number of a map: its weight, or the share that is spent on a word, and how that compares with chance.
function valueText(desk, query, layer, value) {
  const { state } = desk;
  const signed = desk.scaleOf(query).special;
  const times = signed ? formatSigned(value) : formatTimes(value);
  if (isWordQuery(query) && state.reading === "used") return `${times} its mean`;
  const word = isWordQuery(query) && state.reading === "spent" ? findWord(layer.words(state.branch), query) : null;
  if (word) return `${formatShare((value * word.keys.length) / layer.keyCount, signed)} on ${nameOfWord(word)} · ${times} uniform`;
  const weight = `${signed && value > 0 ? "+" : ""}${(value / layer.keyGrid.tokens).toPrecision(3)}`.replace("-", "−");
  return `weight ${weight} · ${times} uniform`;
}

// Shifts the tooltip left in proportion to the cursor's position, so that it never leaves the window.
function placeBeside({ x, y }) {
  const below = y < 80;
  return `translate(${x}px, ${y + (below ? 26 : -16)}px) translate(${(-100 * x) / innerWidth}%, ${below ? 0 : -100}%)`;
}
