// The viewer alone on the whole screen, for a talk; on the page with the place of a second one. `desk`: see desk.js.

import { makeButton, svg } from "../dom.js";

const NAME = "Full screen";
const CORNERS = "M2 5.5V2h3.5M10.5 2H14v3.5M14 10.5V14h-3.5M5.5 14H2v-3.5"; // of a square of 16

// Hidden where the browser does not let a page fill the screen: on an iPhone, and in a frame that is not allowed to.
export function buildFullScreen() {
  const hidden = !document.fullscreenEnabled;
  const button = makeButton("", { class: "pg-toggle pg-ask pg-full", title: `${NAME} (f)`, "aria-label": NAME, hidden });
  button.append(svg("svg", { viewBox: "0 0 16 16", "aria-hidden": "true" }, svg("path", { d: CORNERS })));
  return button;
}

const isFull = (root) => document.fullscreenElement?.contains(root) ?? false;

// Fills the screen, or leaves it. What is shown stays.
export function toggleFullScreen({ root }) {
  if (!document.fullscreenEnabled) return;
  const done = isFull(root) ? document.exitFullscreen() : (root.closest("#pair") ?? root).requestFullscreen();
  done.catch(() => {}); // refused, as without a click or a key of the visitor's
}

export function wireFullScreen(desk) {
  const { root, ui } = desk;
  ui.full.addEventListener("click", () => toggleFullScreen(desk));
  document.addEventListener("fullscreenchange", function change() {
    if (!root.isConnected) return document.removeEventListener("fullscreenchange", change);
    ui.full.setAttribute("aria-pressed", String(isFull(root)));
    desk.layOut();
  });
}
