// How far the atlas is computed, where that takes longer than a frame: columns, means, and regions. `desk`: see desk.js.

import { h } from "../dom.js";

const PATIENCE = 250; // ms before it is shown

// Shows how many of the atlas's maps are computed; nothing once all are. The line lies over the atlas, so that nothing moves.
export function showComputed(desk, done, total) {
  const { maps, canvas } = desk.ui.atlas;
  const line = maps.querySelector(".pg-computing");
  canvas.setAttribute("aria-busy", String(done < total));
  if (done >= total) {
    clearTimeout(desk.patience?.timer);
    desk.patience = null;
    return line?.remove();
  }
  desk.patience ??= { since: performance.now(), timer: setTimeout(desk.repaint, PATIENCE + 20) };
  if (performance.now() - desk.patience.since < PATIENCE) return;
  const text = `Computing ${done + 1} of ${total}…`;
  if (line) line.textContent = text;
  else maps.append(h("div", { class: "pg-computing" }, text));
}
