// The dialog that lists keys and touch gestures.

import { MAX_PINS } from "../core/query.js";
import { h, makeButton } from "../dom.js";

const KEYS = [
  ["← ↑ → ↓", "move the pixel, or the selected pin, by one cell"],
  ["Shift + arrows", "turn it into a rectangle, or enlarge the rectangle"],
  ["Enter", "pin or unpin the pixel; with the brush, paint here"],
  ["[  ]", "previous step, next step"],
  ["Space", "play the steps"],
  ["h", "next head"],
  ["l, Shift + l", "next layer, previous layer"],
  ["o", "hold it to see the picture without the map"],
  ["f", "fill the screen with the viewer, or leave it"],
  ["r", "switch between “Looks at” and “Is looked at by”"],
  ["Tab, then ← →", "move among the words above the picture; Enter pins a word"],
  ["Esc", "deselect the pin; again: remove all pins"],
  ["Ctrl + Z", "bring back the pins as they were"],
];
const FOCUS = "Keys act while the viewer has the focus: click anywhere in it, or reach it with Tab.";
const TOUCH = `Tap the picture to pin a pixel, tap the pin to unpin it, drag to explore; tap a word to pin it. With the rectangle
or the brush, drag to mark a region; with the brush, hold Shift to add to the selected region. You can set up to ${MAX_PINS} pins;
a fifth replaces the newest, and can be undone.`;

// Returns the dialog and the button that opens it.
export function buildHelp() {
  const items = KEYS.map(([key, text]) => h("div", {}, h("dt", {}, key), h("dd", {}, text)));
  const close = makeButton("Close", { class: "pg-toggle", onclick: () => dialog.close() });
  const title = "Keys and touch";
  const dialog = h("dialog", { class: "pg-help" }, h("h2", {}, title), h("p", {}, FOCUS), h("dl", {}, ...items), h("p", {}, TOUCH), close);
  const button = makeButton("?", { class: "pg-toggle pg-ask", "aria-label": title, onclick: () => dialog.showModal() });
  return { button, dialog };
}
