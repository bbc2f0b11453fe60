// The strip of words on a sheet: each word over a bar for what the pixel spends on it, in the colour of its pin or area.

import { isOfCaption } from "../core/captions.js";
import { formatShare } from "../core/shares.js";
import { textWidth, wrapText } from "./text.js";

const CHIP = { height: 48, track: 15, gap: 5, least: 30 };
const NAME = { size: 11, weight: 700 };
const SMALL = { size: 9 };
const NOTE = { size: 10 };

// `shown`: the strip as it is on show, viewer.exported.words. Returns { height, items: (x, y) => items }, in CSS pixels, for a strip `room` wide.
export function layOutStrip(shown, { signed }, room) {
  const chips = [];
  let [x, y, encoder] = [0, 0, shown.words[0]?.word.encoder];
  for (const entry of shown.words) {
    const text = textOf(entry);
    const width = Math.max(CHIP.least, Math.ceil(textWidth(text, NAME)) + 7);
    const isOther = entry.word.encoder !== encoder;
    if (isOther || (x && x + width > room)) [x, y, encoder] = [0, y + CHIP.height, entry.word.encoder];
    chips.push({ ...entry, text, x, y, width });
    x += width + CHIP.gap;
  }
  const note = wrapText(shown.note, NOTE, room, 2);
  const high = y + CHIP.height;
  const items = (left, top) => [
    ...chips.flatMap((chip) => chipItems(chip, left + chip.x, top + chip.y, shown.full, signed)),
    ...note.map((text, i) => ({ kind: "text", text, x: left, y: top + high + 10 + 13 * i, size: 10, soft: true })),
  ];
  return { height: high + 13 * note.length + 4, items };
}

function textOf({ word, name }) {
  const count = word.tokens.length;
  if (isOfCaption(word)) return word.of === "word" ? word.text : name;
  return count > 1 ? `${name} ×${count}` : name;
}

function chipItems({ word, text, width, share, color, pin }, x, y, full, signed) {
  const isAdded = !isOfCaption(word);
  const middle = x + width / 2;
  const filled = share === null ? 0 : CHIP.track * Math.min(1, Math.abs(share) / full);
  const fill = color ?? (isAdded ? "#565d6b" : "#c2410c");
  const bar = { kind: "box", x, width };
  return [
    { kind: "text", text, x: middle, y: y + 11, ...NAME, weight: isAdded ? 400 : 700, soft: isAdded, middle: true },
    { ...bar, y: y + 16, height: CHIP.track, fill: "#e4e7ec" },
    ...(filled ? [{ ...bar, y: y + 16 + CHIP.track - filled, height: filled, fill }] : []),
    { kind: "text", text: share === null ? "–" : formatShare(share, signed), x: middle, y: y + 41, ...SMALL, soft: true, middle: true },
    ...(pin === null ? [] : pinItems(pin, color, x + width - 2, y + 4)),
  ];
}

function pinItems(pin, fill, x, y) {
  const number = { kind: "text", text: String(pin + 1), x, y: y + 3, size: 9, weight: 700, middle: true };
  return [{ kind: "dot", x, y, radius: 6, fill }, number];
}
