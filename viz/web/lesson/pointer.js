// Pointing at the lesson: hovering over a cell in one panel outlines it in every panel; a click makes it the query.
// `desk`: see paint.js. `actions`: { hover(cell), ask(cell), scroll, setTemperature, toggleShuffle }; no cell is -1.

import { ARROWS } from "../dom.js";
import { LINE } from "./paint.js";

const clamp = (t, count) => Math.max(0, Math.min(count - 1, Math.floor(t * count)));

export function wireLesson(desk, actions) {
  const { ui } = desk;
  const { hover, scroll, setTemperature, toggleShuffle } = actions;
  wireGrids(desk, actions);
  wireSmallGrids(desk, actions);
  const { scroller } = ui.flat;
  scroller.addEventListener("scroll", scroll);
  ui.top.forEach((entry, i) => {
    entry.addEventListener("pointerenter", () => hover(desk.lesson.words ? -1 : desk.panels.top[i]));
  });
  ui.grids.features.addEventListener("keydown", (event) => pressArrow(desk, event, actions.ask));
  ui.slider.addEventListener("input", () => setTemperature(2 ** Number(ui.slider.value)));
  ui.shuffle.button.addEventListener("click", toggleShuffle);
}

// The cell under the pointer, in a grid that fills `box`.
function cellAt({ lesson }, { clientX, clientY }, { left, top, width, height }) {
  const row = clamp((clientY - top) / height, lesson.height);
  return row * lesson.width + clamp((clientX - left) / width, lesson.width);
}

function wireGrids(desk, { hover, ask }) {
  const { ui } = desk;
  const wire = (node, find) => {
    const cell = (event) => find(event, node.getBoundingClientRect());
    node.addEventListener("pointermove", (event) => hover(cell(event)));
    node.addEventListener("pointerleave", () => hover(-1));
    node.addEventListener("click", (event) => ask(cell(event)));
  };
  const onGrid = (event, box) => cellAt(desk, event, box);
  const unlessWords = (find) => (event, box) => (desk.lesson.words ? -1 : find(event, box)); // a word is not a cell
  const { scores, row, ...grids } = ui.grids;
  for (const node of Object.values(grids)) wire(node, onGrid);
  for (const node of [scores, row]) wire(node, unlessWords(onGrid));
  const { scroller } = ui.flat;
  wire(scroller, ({ clientY }, { top }) => {
    const { count } = desk.lesson;
    return clamp((clientY - top + scroller.scrollTop) / LINE / count, count);
  });
  wire(ui.strips.keys, unlessWords(({ clientY }, { top, height }) => clamp((clientY - top) / height, desk.lesson.count)));
}

// The canvases in these panels are replaced, so the panel listens for them.
function wireSmallGrids(desk, { hover, ask }) {
  for (const { body } of [desk.ui.around, desk.ui.terms]) {
    const cell = (event) =>
      event.target.tagName === "CANVAS" ? cellAt(desk, event, event.target.getBoundingClientRect()) : -1;
    body.addEventListener("pointermove", (event) => hover(cell(event)));
    body.addEventListener("pointerleave", () => hover(-1));
    body.addEventListener("click", (event) => ask(cell(event)));
  }
}

function pressArrow({ lesson, state }, event, ask) {
  if (!Object.hasOwn(ARROWS, event.key)) return;
  event.preventDefault();
  const [down, right] = ARROWS[event.key];
  const { width, height } = lesson;
  const [y, x] = [Math.floor(state.query / width) + down, (state.query % width) + right];
  if (y >= 0 && y < height && x >= 0 && x < width) ask(y * width + x);
}
