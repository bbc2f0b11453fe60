// Brings the viewer into sight when a run of the model box has ended: the box above it is higher than many screens.

import { findViewer } from "./first_viewer.js";

const BUTTONS = "#model-draw, #model-look";

// `element` is that of any component on the page.
export async function showResults(element) {
  const root = await findViewer(element, ({ viewer }) => viewer);
  if (!root) return;
  let isAwaited = false;
  addEventListener("click", ({ target }) => (isAwaited ||= target.closest(BUTTONS) !== null));
  root.viewer.onchange((change) => {
    if (change !== "open" || !isAwaited) return;
    isAwaited = false;
    const isTyping = document.activeElement?.matches("#model-box :is(input, textarea)");
    const { top, bottom } = root.querySelector(".pg-picture").getBoundingClientRect();
    if (isTyping || (top >= 0 && bottom <= innerHeight)) return;
    const isCalm = matchMedia("(prefers-reduced-motion: reduce)").matches;
    root.scrollIntoView({ block: "start", behavior: isCalm ? "auto" : "smooth" });
  });
}
