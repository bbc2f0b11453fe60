// The frames of the GIF over the steps.

import { largestOf } from "../core/scale.js";
import { formatStep } from "../core/words.js";
import { FONT, fontOf, wrapText } from "./text.js";

const WIDTH = 384;
const NOTE = { size: 10 };

// One canvas per step, with the step and the note on the scale below the picture.
export function stepFrames(source) {
  const { viewer, layer, where } = source;
  const { trace } = viewer;
  const { head } = viewer.viewNow();
  const notes = trace.steps.map((_, stepIndex) => {
    const map = viewer.mapOf(layer, stepIndex, head);
    const note = map ? source.bar(largestOf(map, map.length)).note : `no map: ${layer.gaps.get(stepIndex)}.`;
    return wrapText(`${where}: ${note}`, NOTE, WIDTH - 20, 5);
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
