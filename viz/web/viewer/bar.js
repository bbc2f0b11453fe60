// The colour bar: its ticks, as many as there is room for, and its note.

import { barTicks, scaleWords } from "../core/scale.js";
import { h } from "../dom.js";

const APART = 6; // least space between two ticks, in CSS pixels

// Writes the colour bar's ticks and note. `largest` belongs to the chosen map.
export function showScale(ui, scale, largest, state, query) {
  const ticks = barTicks(scale, largest);
  const key = JSON.stringify([ticks, scale, state.mode, state.smooth, state.reading, state.branch, query.kind]);
  if (ui.ticks.dataset.shown === key) return;
  ui.ticks.dataset.shown = key;
  while (ui.ticks.childNodes.length < ticks.length) ui.ticks.append(h("span"));
  while (ui.ticks.childNodes.length > ticks.length) ui.ticks.lastChild.remove();
  ticks.forEach(([at, text], i) => {
    ui.ticks.childNodes[i].style.left = `${100 * at}%`;
    ui.ticks.childNodes[i].textContent = text;
  });
  fitTicks(ui.ticks);
  ui.scaleNote.textContent = scaleWords(scale, largest, state, query);
  ui.gradient.dataset.kind = scale.special ? "diverging" : "sequential";
}

// Fits the ticks whenever the bar's width changes.
export function watchBar({ ticks }) {
  new ResizeObserver(() => fitTicks(ticks)).observe(ticks);
  document.fonts?.ready.then(() => fitTicks(ticks));
}

// Hides ticks that would touch: of all, every second, every third, … the first choice that fits. A bar with a middle keeps it.
export function fitTicks(node) {
  const ticks = [...node.childNodes];
  for (const tick of ticks) tick.hidden = false;
  const { width } = node.getBoundingClientRect();
  if (!width || ticks.length < 3) return;
  const boxes = ticks.map((tick) => tick.getBoundingClientRect());
  const last = ticks.length - 1;
  const half = last % 2 ? last : last / 2;
  const strides = ticks.map((_, i) => i + 1).filter((stride) => stride === last || last % 2 || half % stride === 0);
  const chosen = strides.map((stride) => keep(boxes, stride)).find((kept) => kept !== null) ?? [0, last];
  ticks.forEach((tick, i) => (tick.hidden = !chosen.includes(i)));
}

// Every `stride`-th box and the last; one that would touch the last goes. Null if others touch.
function keep(boxes, stride) {
  const last = boxes.length - 1;
  const isFree = (a, b) => boxes[a].right + APART <= boxes[b].left;
  const kept = [...boxes.keys()].filter((i) => i % stride === 0 && i < last && (i === 0 || isFree(i, last)));
  return kept.every((i, at) => !at || isFree(kept[at - 1], i)) ? [...kept, last] : null;
}
