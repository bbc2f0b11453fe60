// The lesson: follows one cell through one attention layer, with the layer's own numbers.
//
//   const lesson = new Lesson(root, { colormap })    // 256 [r, g, b], dark to light
//   lesson.open(buffer, { point, head })             // the bytes of a file from viz/lesson/file.py, and the query
//   lesson.look(point, head)                         // moves the query to [row, column] in 0..1 of the picture

import { layerLabel } from "../core/trace.js";
import { formatTimestep } from "../core/words.js";
import { makeButton } from "../dom.js";
import { DRAW_PANELS, drawList } from "./drawing.js";
import { buildAround, buildTerms, drawAround, drawTerms } from "./heads.js";
import { NineHeads } from "./nine.js";
import { LINE, canvasOfPicture, largestMagnitude, measure } from "./paint.js";
import { openLesson, panelsOf } from "./panels.js";
import { wireLesson } from "./pointer.js";
import { fillShuffle } from "./shuffle.js";
import { SHUFFLE, buildLesson } from "./skeleton.js";

export class Lesson {
  state = { query: 0, point: null, head: 0, temperature: 1, hover: -1, scrolled: false };
  #desk;
  #waiting = 0; // the requested animation frame
  #onshown = () => {};

  constructor(root, { colormap }) {
    this.#desk = { root, colormap, state: this.state, ui: buildLesson(root), lesson: null, panels: null };
    this.nine = new NineHeads(this.#desk.ui.nine);
    wireLesson(this.#desk, {
      hover: (index) => this.#hover(index),
      ask: (index) => this.ask(index),
      scroll: () => this.#scroll(),
      setTemperature: (temperature) => {
        this.state.temperature = temperature;
        this.#compute();
      },
      toggleShuffle: () => this.#toggleShuffle(),
    });
    this.#watchWidth();
  }

  panels() {
    return this.#desk.panels;
  }

  lesson() {
    return this.#desk.lesson;
  }

  // Calls `act` whenever the hidden lesson is shown.
  onshown(act) {
    this.#onshown = act;
  }

  open(buffer, view) {
    const desk = this.#desk;
    const { ui, state } = desk;
    const lesson = (desk.lesson = openLesson(buffer));
    const features = lesson.tensors.get("features");
    [lesson.colors, lesson.tokenScale] = [features.bytes, largestMagnitude(lesson.tokens)];
    lesson.cells = { picture: canvasOfPicture(lesson.tensors.get("picture")), features: canvasOfPicture(features) };
    [ui.message.hidden, ui.main.hidden, state.hover, state.scrolled] = [true, false, -1, false];
    nameParts(desk);
    this.#fillHeads(lesson.heads);
    if (!ui.shuffle.shown.hidden) fillShuffle(desk);
    this.nine.open(features);
    ui.flat.spacer.style.height = `${lesson.count * LINE}px`;
    const [y, x] = view?.point ?? state.point ?? [0.5, 0.5];
    this.#pressHead(Math.max(0, Math.min(lesson.heads - 1, view?.head ?? state.head)));
    this.ask(Math.floor(y * lesson.height) * lesson.width + Math.floor(x * lesson.width));
  }

  say(text) {
    const { message, main } = this.#desk.ui;
    [message.textContent, message.hidden, main.hidden] = [text, false, true];
  }

  // Makes a cell the query.
  ask(index) {
    if (index < 0) return;
    const { width, height } = this.#desk.lesson;
    this.state.query = index;
    this.state.point = [(Math.floor(index / width) + 0.5) / height, ((index % width) + 0.5) / width];
    this.#scrollToQuery();
    this.#compute();
  }

  // Moves the query to a point of the picture and chooses a head; -1, the mean of all heads, keeps the current one.
  look(point, head) {
    const { state } = this;
    const { lesson } = this.#desk;
    const next = head >= 0 ? head : state.head;
    if (lesson) {
      const query = Math.floor(point[0] * lesson.height) * lesson.width + Math.floor(point[1] * lesson.width);
      const available = Math.min(lesson.heads - 1, next);
      const isSame = query === state.query && available === state.head;
      this.#pressHead(available);
      if (!isSame) this.ask(query);
    } else {
      state.head = next;
    }
    state.point = point; // not the cell's centre, which may lie in another cell of a finer layer
  }

  #draw() {
    const desk = this.#desk;
    if (!desk.panels || !desk.root.clientWidth) return;
    if (!this.state.scrolled) this.#scrollToQuery();
    for (const build of [buildAround, buildTerms]) build(desk);
    measure(desk);
    for (const draw of [...DRAW_PANELS, drawAround, drawTerms]) draw(desk);
    this.nine.draw();
  }

  #redraw() {
    cancelAnimationFrame(this.#waiting);
    this.#waiting = requestAnimationFrame(() => this.#draw());
  }

  // Redraws only the list, after scrolling.
  #scroll() {
    const desk = this.#desk;
    requestAnimationFrame(() => {
      if (!desk.panels || !desk.root.clientWidth) return;
      measure(desk);
      drawList(desk);
    });
  }

  #compute() {
    const { lesson } = this.#desk;
    const { query, head, temperature } = this.state;
    this.#desk.panels = panelsOf(lesson, query, head, temperature);
    this.#redraw();
  }

  #hover(index) {
    if (index === this.state.hover) return;
    this.state.hover = index;
    this.#redraw();
  }

  // Has an effect only while the list is visible.
  #scrollToQuery() {
    const { scroller } = this.#desk.ui.flat;
    scroller.scrollTop = (this.state.query - 6) * LINE;
    this.state.scrolled = scroller.clientHeight > 0;
  }

  #pressHead(head) {
    this.state.head = head;
    [...this.#desk.ui.heads.children].forEach((button, i) => button.setAttribute("aria-pressed", String(i === head)));
  }

  // Reuses existing buttons, so that choosing another layer does not take away the keyboard's focus.
  #fillHeads(count) {
    const { heads } = this.#desk.ui;
    while (heads.childElementCount > count) heads.lastChild.remove();
    for (let head = heads.childElementCount; head < count; head++) {
      const choose = () => {
        this.#pressHead(head);
        this.#compute();
      };
      heads.append(makeButton(`head ${head}`, { onclick: choose }));
    }
  }

  #toggleShuffle() {
    const { button, shown } = this.#desk.ui.shuffle;
    shown.hidden = !shown.hidden;
    if (!shown.hidden) fillShuffle(this.#desk);
    button.textContent = shown.hidden ? SHUFFLE : "Put them back";
  }

  #watchWidth() {
    const { root } = this.#desk;
    let wide = 0;
    new ResizeObserver(() => {
      if (root.clientWidth === wide) return;
      if (!root.clientWidth) this.state.scrolled = false; // a hidden list loses its scroll position
      else if (!wide) this.#onshown();
      wide = root.clientWidth;
      this.#redraw();
    }).observe(root);
  }
}

// Writes the titles and labels that depend on whether the keys are cells or words.
function nameParts({ ui, lesson }) {
  const { words, timestep, step, layer } = lesson;
  ui.query.heading.textContent = words ? "One query, a key for every word" : "One query, every key";
  ui.scores.heading.textContent = `One cell against ${words ? "every word" : "every cell"}`;
  ui.grids.scores.setAttribute("aria-label", words ? "The score of every word" : "The scores, laid out on the grid");
  ui.grids.row.setAttribute("aria-label", words ? "The weight of every word" : "The softmax, laid out on the grid");
  const noise = timestep === null ? "" : `, step ${step}, t = ${formatTimestep(timestep)}`;
  ui.title.textContent = layerLabel(layer.name) + noise;
  ui.shuffle.sentence.textContent =
    "Feed this layer the same cells in a different order. Does the output simply move with them?";
}
