// The frames of the GIF over the steps.

import { isWordQuery } from "../core/query.js";
import { largestOf } from "../core/scale.js";
import { READINGS } from "../core/word_sentences.js";
import { formatStep, nameOf } from "../core/words.js";
import { FONT, fontOf, wrapText } from "./text.js";

const WIDTH = 384;
const NOTE = { size: 10 };

// One canvas per step, with the step and the note on the scale below the picture.
export function stepFrames(source) {
  const { viewer, layer, where, query, areasNote } = source;
  const { trace } = viewer;
  const { head, reading } = viewer.viewNow();
  const word = isWordQuery(query) && !areasNote ? `${nameOf(query)}, ${READINGS[reading]}; ` : "";
  const notes = trace.steps.map((_, stepIndex) => {
    const map = areasNote ? null : viewer.mapOf(layer, stepIndex, head, query);
    const reason = viewer.gapAt(layer, stepIndex, query);
    const note = map ? source.bar(largestOf(map, map.length)).note : `no map: ${reason}.`;
    return wrapText(areasNote || `${word}${where}: ${note}`, NOTE, WIDTH - 20, 6);
  });
  const foot = 28 + 13 * Math.max(...notes.map(({ length }) => length));
  return trace.steps.map((_, stepIndex) => {
    const picture = source.pictureCanvas(stepIndex, WIDTH, "preview");
    const canvas = document.createElement("canvas");
    [canvas.width, canvas.height] = [picture.width, picture.height + foot];
    const context = canvas.getContext("2d");
    context.fillStyle = "#16181d";
    context.fillRect(0, 0, canvas.width, canvas.height);
    context.drawImage(picture, 0, 0);
    context.font = `13px ${FONT}`;
    context.fillStyle = "#ffffff";
    context.fillText(formatStep(trace, stepIndex), 10, picture.height + 18);
    context.font = fontOf(NOTE);
    notes[stepIndex].forEach((line, i) => context.fillText(line, 10, picture.height + 33 + 13 * i));
    return canvas;
  });
}
