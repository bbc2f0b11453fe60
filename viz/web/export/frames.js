// The frames of the animations over the steps.

import { isWordQuery } from "../core/query.js";
import { largestOf } from "../core/scale.js";
import { READINGS } from "../core/word_sentences.js";
import { formatGrid, formatHead, formatStep, nameOf } from "../core/words.js";
import { gridOf } from "./figure/content.js";
import { FONT, fontOf, textWidth, wrapText } from "./text.js";

const WIDTH = 384;
const ROOM = WIDTH - 20;
const NAME = { size: 12, weight: 600 };
const NOTE = { size: 10 };
const BAR = 8; // height of the colour bar

// One canvas per step: the picture with the map, and below it the step, the query with its layer and head, the colour bar, and
// the note on the scale. `scale` enlarges all of it; the sides are even numbers of pixels, as videos need them.
export function stepFrames(source, scale = 1) {
  const { viewer, areasNote } = source;
  const { trace } = viewer;
  const frames = trace.steps.map((_, stepIndex) => describeFrame(source, stepIndex));
  const most = (lines) => Math.max(...frames.map((frame) => frame[lines].length));
  const names = most("name");
  const bar = areasNote ? 0 : BAR + 18;
  const foot = 28 + 15 * names + bar + 13 * most("note");
  const even = (length) => 2 * Math.round(length / 2);
  return frames.map((frame, stepIndex) => {
    const picture = source.pictureCanvas(stepIndex, WIDTH * scale, "preview");
    const canvas = document.createElement("canvas");
    [canvas.width, canvas.height] = [picture.width, even(picture.height + foot * scale)];
    const context = canvas.getContext("2d");
    context.fillStyle = "#16181d";
    context.fillRect(0, 0, canvas.width, canvas.height);
    context.drawImage(picture, 0, 0);
    context.translate(0, picture.height);
    context.scale(scale, scale);
    context.fillStyle = "#ffffff";
    context.font = `13px ${FONT}`;
    context.fillText(formatStep(trace, stepIndex), 10, 18);
    context.font = fontOf(NAME);
    frame.name.forEach((line, i) => context.fillText(line, 10, 34 + 15 * i));
    const top = 26 + 15 * names;
    if (frame.bar) paintBar(context, frame.bar, top);
    context.font = fontOf(NOTE);
    context.textAlign = "left";
    frame.note.forEach((line, i) => context.fillText(line, 10, top + bar + 9 + 13 * i));
    return canvas;
  });
}

// What stands below a step's picture: { name, note: lines; bar: as of SheetSource, null without a map }.
function describeFrame(source, stepIndex) {
  const { viewer, layer, query, areasNote } = source;
  const view = viewer.viewNow();
  if (areasNote) return { name: [], note: wrapText(areasNote, NOTE, ROOM, 6), bar: null };
  const asked = nameOf(query, gridOf(layer, view.mode));
  const relation = isWordQuery(query) ? READINGS[view.reading] : view.mode === "column" ? "who looks at it" : "what it looks at";
  const name = `${asked}: ${relation}, ${layer.label} (${formatGrid(layer)}), ${formatHead(layer, view.head)}`;
  const map = viewer.mapOf(layer, stepIndex, view.head, query);
  const bar = map ? source.bar(largestOf(map, map.length)) : null;
  const note = bar ? bar.note : `No map: ${viewer.gapAt(layer, stepIndex, query)}.`;
  return { name: wrapText(name, NAME, ROOM, 3), note: wrapText(note, NOTE, ROOM, 6), bar };
}

// The colours with their ticks, as many as there is room for.
function paintBar(context, { colors, ticks }, top) {
  const share = ROOM / colors.length;
  colors.forEach((rgb, i) => {
    context.fillStyle = `rgb(${rgb})`;
    context.fillRect(10 + i * share, top, share + 0.5, BAR);
  });
  context.fillStyle = "#ffffff";
  context.font = fontOf(NOTE);
  let free = 0; // where the next text may begin
  for (const [place, text] of ticks) {
    const wide = textWidth(text, NOTE);
    const left = Math.min(WIDTH - 4 - wide, Math.max(4, 10 + place * ROOM - wide / 2));
    if (left < free) continue;
    context.fillText(text, left, top + BAR + 11);
    free = left + wide + 6;
  }
}
