// The picture of a comparison: both pictures, both maps and their difference, with titles and colour bars. It is laid out as items
// in CSS pixels, which export/sheet_files.js draws.

import { isWordQuery, queryGrid } from "../core/query.js";
import { barTicks, colorTables, largestOf } from "../core/scale.js";
import { formatStep } from "../core/words.js";
import { h, imageCanvas } from "../dom.js";
import { download, fileName } from "../export/files.js";
import { sheetCanvas } from "../export/sheet_files.js";
import { SheetSource } from "../export/source.js";
import { textWidth, wrapText } from "../export/text.js";
import { paintPicture, paintQuery } from "../viewer/paint.js";
import { differenceCanvas, scaleOfDifference } from "./band.js";
import { describeGains, differenceOf, placeOf } from "./difference.js";

const [MARGIN, TILE, GAP, SCALE] = [24, 280, 24, 2];
const TITLE = { size: 13, weight: 700 };
const TEXT = { size: 12 };
const SMALL = { size: 10, soft: true };
const TICK = { size: 9, soft: true };

// Writes the file; returns a sentence about it. `colors`: as for a Viewer.
export async function saveComparison(viewers, colors) {
  if (viewers.some(({ trace }) => !trace)) throw new Error("Choose a recording to compare with first.");
  await Promise.all(viewers.map((viewer) => viewer.arrived()));
  const sides = viewers.map((viewer) => new SheetSource(viewer.root, viewer, colors));
  await Promise.all(sides.map(({ viewer, layer, query }) => viewer.order([layer], [viewer.state.step], [query])));
  const sheet = sheetCanvas(layOutComparison(sides, colors), SCALE);
  const file = await new Promise((done) => sheet.toBlob(done, "image/png"));
  const [left, right] = viewers.map(({ trace }) => fileName(trace, ""));
  download(`${left}-and-${right.replace(/^pixelgaze-/, "")}.png`, "image/png", file);
  return `Saved, ${sheet.width} × ${sheet.height} pixels.`;
}

function layOutComparison(sides, colors) {
  const viewers = sides.map(({ viewer }) => viewer);
  const maps = sides.map(({ viewer, layer, query }) => viewer.mapOf(layer, viewer.state.step, viewer.state.head, query));
  const shown = differenceOf(...viewers, maps);
  const titles = [...viewers.map(({ trace }) => captionOf(trace)), "Right minus left"].map((text) => wrapText(text, TITLE, TILE, 3));
  const notes = [...viewers.map(noteOf), placeOf(viewers[0])].map((text) => wrapText(text, SMALL, TILE, 2));
  const head = MARGIN + 18 * Math.max(...titles.map(({ length }) => length)) + 14 * Math.max(...notes.map(({ length }) => length)) + 8;
  const tall = Math.max(...viewers.map(({ trace }) => (TILE * trace.size[0]) / trace.size[1]));
  const below = head + tall + GAP;
  const bars = [...sides.map((side, i) => barOf(side, maps[i])), barOfDifference(viewers[0], shown, colors)];
  const foot = 40 + 13 * Math.max(...bars.map((bar) => bar?.lines.length ?? 0));
  const [width, height] = [2 * MARGIN + 3 * TILE + 2 * GAP, below + tall + foot + MARGIN];
  const at = (column) => MARGIN + column * (TILE + GAP);
  const items = [0, 1, 2].flatMap((column) => [
    ...lines(titles[column], { ...TITLE }, at(column), MARGIN + 4, 18),
    ...lines(notes[column], SMALL, at(column), MARGIN + 2 + 18 * titles[column].length, 14),
    ...(bars[column] ? barItems(bars[column], at(column), below + tall + 10) : []),
  ]);
  sides.forEach((side, i) => {
    const [down, across] = side.viewer.trace.size;
    const box = { x: at(i), width: TILE, height: (TILE * down) / across };
    items.push({ kind: "bitmap", canvas: pictureOf(side), y: head, ...box }, mapItem(side, maps[i], { y: below, ...box }));
  });
  const parts = shown.map ? describeGains(viewers[0], shown) : [shown.reason];
  items.push(...lines(wrapText(parts.join(""), TEXT, TILE, 8), TEXT, at(2), head + 12, 17));
  if (shown.map) {
    const canvas = differenceCanvas(colorTables(colors.colormap, colors.diverging), viewers[0].state, shown.map, shown.grid);
    items.push({ kind: "bitmap", canvas, x: at(2), y: below, width: TILE, height: tall, smooth: viewers[0].state.smooth });
  }
  return { width, height, items: [{ kind: "box", x: 0, y: 0, width, height, fill: "#ffffff" }, ...items] };
}

const lines = (texts, style, x, y, pitch) => texts.map((text, i) => ({ kind: "text", text, x, y: y + pitch * i, ...style }));

const captionOf = ({ recipe }) => (typeof recipe.caption === "string" && recipe.caption ? recipe.caption : "Recording");

function noteOf({ trace, state }) {
  const { seed } = trace.recipe;
  return `${typeof seed === "number" ? `seed ${seed}, ` : ""}${formatStep(trace, state.step)}`;
}

// The picture without the map, with the query's outline.
function pictureOf({ viewer, layer, query }) {
  const { trace, state } = viewer;
  const image = (state.base === "preview" && trace.previews[state.step]) || trace.picture;
  const canvas = h("canvas", { width: TILE * SCALE, height: Math.round((TILE * SCALE * trace.size[0]) / trace.size[1]) });
  if (image) paintPicture(canvas, imageCanvas(image), null, false, 0);
  const grid = layer.keyGrid ? queryGrid(layer, state.mode) : layer;
  if (!isWordQuery(query)) paintQuery(canvas, grid, query, state.active < 0 ? null : state.active, false);
  return canvas;
}

function mapItem(source, map, box) {
  const { viewer, layer, query } = source;
  if (!map) return { kind: "gap", reason: viewer.gapAt(layer, viewer.state.step, query), ...box };
  return { kind: "bitmap", canvas: source.mapCanvas(map, layer, "solid", query), smooth: viewer.state.smooth, ...box };
}

function barOf(source, map) {
  if (!map) return null;
  const { colors, ticks, note } = source.bar(largestOf(map, map.length));
  return { colors, ticks, lines: wrapText(note, SMALL, TILE, 4) };
}

function barOfDifference({ state }, { map }, { diverging }) {
  if (!map) return null;
  const ticks = barTicks(scaleOfDifference(state), largestOf(map, map.length));
  const note = "Blue: more on the left. Red: more on the right. Differences of multiples of uniform attention.";
  return { colors: diverging, ticks, lines: wrapText(note, SMALL, TILE, 4) };
}

function barItems({ colors, ticks, lines: note }, x, y) {
  const canvas = h("canvas", { width: 256, height: 1 });
  const context = canvas.getContext("2d");
  colors.forEach((rgb, i) => {
    context.fillStyle = `rgb(${rgb})`;
    context.fillRect(i, 0, 1, 1);
  });
  return [
    { kind: "bitmap", canvas, x, y, width: TILE, height: 10 },
    ...ticks.map(([at, text]) => {
      const half = textWidth(text, TICK) / 2; // those at the ends stay within the bar
      return { kind: "text", ...TICK, text, x: x + Math.min(TILE - half, Math.max(half, at * TILE)), y: y + 22, middle: true };
    }),
    ...lines(note, SMALL, x, y + 38, 13),
  ];
}
