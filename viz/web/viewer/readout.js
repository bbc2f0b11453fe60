// The tooltip with the numbers of the cell under the cursor: on the picture, atlas, pins and heads. Where the cursor rests on a
// map of the atlas or the pins, it shows that map enlarged, and from then on every other one as long as it stays among them.

import { findWord, nameOfWord } from "../core/captions.js";
import { isWordQuery, queryOf, tokenAt } from "../core/query.js";
import { formatSigned, formatTimes } from "../core/scale.js";
import { formatShare } from "../core/shares.js";
import { formatHead, formatPlace, formatStep } from "../core/words.js";
import { h } from "../dom.js";
import { boxOf, paintMap } from "./paint.js";
import { placeIn } from "./pointer.js";
import { shade } from "./repaint.js";

const NEAR = 24; // from the cursor to the tooltip, in CSS pixels
const CLEAR = 12; // from the query's outline to the tooltip
const LINE = 18; // height of a line of the tooltip
const LETTER = 7.5; // at most the width of a letter
const REST = 400; // ms after which the cursor rests on a map
const LARGE = 192; // longer side of an enlarged map, and width of what is said of it
const PADDING = 16; // of the tooltip, left and right

// `desk`: see desk.js. Returns a function to call after every repaint.
export function wireReadout(desk) {
  const { ui } = desk;
  const [large, words] = ui.readout.children;
  let cursor = null; // { x, y, find } while over a map; find() returns the cell under the cursor
  let waiting = false;
  const rest = watchRest(() => refresh());

  function refresh() {
    waiting = false;
    const cell = cursor && desk.trace && cursor.find();
    ui.readout.hidden = !cell;
    if (!cell) return;
    const text = textFor(desk, cell);
    const shown = rest.on(cell.row === undefined ? "" : `${cell.row} ${cell.step}`) ? enlarge(desk, cell, large) : null;
    words.replaceChildren(...(shown ? unbroken(text) : [text]));
    large.hidden = !shown;
    ui.readout.style.width = shown ? `${LARGE + PADDING}px` : "";
    ui.readout.style.transform = placeBeside(cursor, sizeOf(text, shown), cell.onPicture ? queryOnScreen(desk) : null);
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
      rest.end();
      refresh();
    });
  }

  watch(ui.picture.canvas, (place) => ({ place, onPicture: true }));
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

// A text under an enlarged map, which breaks only where a part of it ends.
const unbroken = (text) => text.split(/((?<=[,·]) |\n)/).map((part, i) => (i % 2 ? part : h("span", {}, part)));

// Whether the cursor rests: `on(map)` is told which map it is on, "" for none, and `rested` is called once it has been on one long
// enough.
function watchRest(rested) {
  let [last, rests, timer] = ["", false, 0];
  const end = () => {
    clearTimeout(timer);
    [last, rests] = ["", false];
  };
  const begin = () => {
    rests = true;
    rested();
  };
  const on = (map) => {
    if (map !== last) clearTimeout(timer);
    if (map && map !== last && !rests) timer = setTimeout(begin, REST);
    last = map;
    return rests && map !== "";
  };
  return { on, end };
}

// Paints a map; returns the size at which it is shown, or null where there is none, or not yet.
function enlarge(desk, { query = desk.query, layer, step }, canvas) {
  const isThere = !desk.gapAt(layer, step, query) && !desk.isArriving(layer, step);
  const colors = isThere ? shade(desk, query, layer, step, desk.state.head) : null;
  if (!colors) return null;
  paintMap(canvas, desk.mapGrid(layer, query), colors);
  const [height, width] = desk.trace.size.map((side) => (LARGE * side) / Math.max(...desk.trace.size));
  Object.assign(canvas.style, { width: `${width}px`, height: `${height}px` });
  return { height, width };
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

// While nothing is pinned, the cell under the cursor is the query itself, and the tooltip only says which one it is.
function textFor(desk, cell) {
  const { place, query = desk.query, layer = desk.layer, step = desk.state.step, head = desk.state.head } = cell;
  const gap = desk.gapAt(layer, step, query);
  if (gap) return `${layer.label}${step === null ? "" : `, ${formatStep(desk.trace, step)}`}\nno map: ${gap}`;
  const numbers = desk.numbers(query, layer, step, head);
  if (!numbers) return desk.isArriving(layer, step) ? "still arriving" : "not computed yet";
  if (cell.onPicture && query.kind === "pixel" && desk.state.active < 0) return formatPlace(desk.grid, tokenAt(desk.grid, place));
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

// At most the size of the tooltip, without asking the page to lay it out; `map` is the size of the enlarged one in it.
function sizeOf(text, map) {
  const lengths = text.split("\n").map(({ length }) => LETTER * length);
  if (!map) return { height: lengths.length * LINE + 6, width: Math.max(...lengths) + PADDING };
  const lines = lengths.reduce((sum, length) => sum + Math.ceil(length / LARGE), 0);
  return { height: map.height + lines * LINE + 14, width: LARGE + PADDING };
}

// Where the cell that is asked about is on the screen; null for other queries, which are large, or words.
function queryOnScreen(desk) {
  const query = desk.state.word ?? queryOf(desk.state);
  if (query.kind !== "pixel") return null;
  const box = desk.ui.picture.canvas.getBoundingClientRect();
  const [x, y, width, height] = boxOf(box, desk.grid, query);
  return { left: box.left + x, right: box.left + x + width, top: box.top + y, bottom: box.top + y + height };
}

// Above the cursor, or else below it, where there is room and the query is not covered. Shifted left in proportion to the
// cursor's position, so that it never leaves the window.
function placeBeside({ x, y }, { width, height }, query) {
  const left = x - (width * x) / innerWidth;
  const isBeside = !query || left > query.right + CLEAR || left + width < query.left - CLEAR;
  const covers = (top) => !isBeside && top < query.bottom + CLEAR && top + height > query.top - CLEAR;
  const above = [y - NEAR - height, ...(isBeside ? [] : [query.top - CLEAR - height])].find((top) => top >= 0 && !covers(top));
  const below = [y + NEAR, ...(isBeside ? [] : [query.bottom + CLEAR])].find((top) => !covers(top));
  const [at, share] = above === undefined ? [below, 0] : [above + height, -100];
  return `translate(${x}px, ${at}px) translate(${(-100 * x) / innerWidth}%, ${share}%)`;
}
