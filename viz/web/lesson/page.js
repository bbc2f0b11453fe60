// The lesson: follows one cell through one attention layer, with the layer's own numbers, as a story in nine scenes.
//
//   const lesson = new Lesson(root, { colormap })    // 256 [r, g, b], dark to light
//   lesson.open(buffer, { point, head })             // the bytes of a file from viz/lesson/file.py, and the query
//   lesson.look(point, head)                         // moves the query to [row, column] in 0..1 of the picture
//   lesson.stage.show(4)                             // a scene
//   lesson.on({ shown, hidden, scene, choose, leave })   // what the page around it should do

import { layerLabel } from "../core/trace.js";
import { formatTimestep } from "../core/words.js";
import { h, makeButton } from "../dom.js";
import { buildDeeper, drawDeeper, wireDeeper } from "./deeper.js";
import { readTones } from "./ink.js";
import { NineHeads } from "./nine.js";
import { canvasOfPicture, largestMagnitude } from "./paint.js";
import { openLesson, panelsOf } from "./panels.js";
import { SCENES } from "./scenes/all.js";
import { Stage } from "./stage.js";

export class Lesson {
  state = { query: 0, point: null, head: 0, temperature: 1, hover: -1, word: null };
  #desk;
  #main;
  #message;
  #waiting = 0; // the requested animation frame
  #opened = -1; // the query that the lesson was opened with, if that is the eye of scene 0
  #calls = { shown() {}, hidden() {}, scene() {}, choose() {}, leave() {} };

  constructor(root, { colormap }) {
    const ui = buildDeeper();
    const desk = (this.#desk = { root, colormap, state: this.state, ui, lesson: null, panels: null, areas: [] });
    desk.actions = this.#actions();
    this.stage = new Stage(desk, SCENES, desk.actions);
    desk.overlay = this.stage.node.querySelector(".pl-overlay");
    this.nine = new NineHeads(ui.nine);
    this.#main = h("div", { class: "pl-main", hidden: true }, this.stage.node, ui.node);
    this.#message = h("p", { class: "pg-message" }, "Loading the lesson…");
    root.replaceChildren(this.#message, this.#main);
    wireDeeper(desk, { ...desk.actions, draw: () => this.#redraw() });
    this.#watchWidth();
  }

  panels() {
    return this.#desk.panels;
  }

  lesson() {
    return this.#desk.lesson;
  }

  on(calls) {
    Object.assign(this.#calls, calls);
  }

  open(buffer, view) {
    const desk = this.#desk;
    const { state } = desk;
    const lesson = (desk.lesson = openLesson(buffer));
    const features = lesson.tensors.get("features");
    [lesson.colors, lesson.tokenScale] = [features.bytes, largestMagnitude(lesson.tokens)];
    lesson.cells = { picture: canvasOfPicture(lesson.tensors.get("picture")), features: canvasOfPicture(features) };
    lesson.givenColors = inOrder(lesson, lesson.tensors.get("shuffled").bytes);
    [this.#message.hidden, this.#main.hidden, state.hover, state.word] = [true, false, -1, null];
    this.waiting(false);
    this.stage.title.textContent = titleOf(lesson);
    this.stage.heads.hidden = lesson.heads === 1;
    this.#fillHeads(lesson.heads);
    this.nine.open(features);
    const [y, x] = view?.point ?? state.point ?? [0.5, 0.5];
    this.#pressHead(Math.max(0, Math.min(lesson.heads - 1, view?.head ?? state.head)));
    const query = Math.floor(y * lesson.height) * lesson.width + Math.floor(x * lesson.width);
    this.#opened = view?.eyes ? query : -1;
    this.ask(query);
    if (this.#desk.root.clientWidth) this.stage.show(this.stage.scene, { announce: false });
  }

  say(text) {
    [this.#message.textContent, this.#message.hidden, this.#main.hidden] = [text, false, true];
  }

  // Says above the figure why what is on show is not what was asked for; an empty text says nothing.
  note(text) {
    this.stage.note(text);
  }

  // While another layer is being computed, what is on show is faded and says so.
  waiting(isWaiting) {
    this.#main.classList.toggle("pl-waiting", isWaiting);
    if (isWaiting) this.stage.title.textContent = "Running the network once for this layer…";
    else if (this.#desk.lesson) this.stage.title.textContent = titleOf(this.#desk.lesson);
  }

  // Makes a cell the query.
  ask(index) {
    if (index < 0) return;
    const { width, height } = this.#desk.lesson;
    this.state.query = index;
    this.state.point = [(Math.floor(index / width) + 0.5) / height, ((index % width) + 0.5) / width];
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

  #actions() {
    return {
      hover: (index) => this.#hover(index),
      ask: (index) => this.ask(index),
      move: ([down, right]) => this.#move(down, right),
      setTemperature: (temperature) => {
        this.state.temperature = temperature;
        this.#compute();
      },
      chooseWord: (key) => {
        this.state.word = key;
        this.#compute();
      },
      choose: (layer) => this.#calls.choose(layer),
      leave: () => this.#calls.leave(),
      onscene: (scene) => this.#calls.scene(scene),
    };
  }

  #move(down, right) {
    const { width, height } = this.#desk.lesson;
    const [y, x] = [Math.floor(this.state.query / width) + down, (this.state.query % width) + right];
    if (y >= 0 && y < height && x >= 0 && x < width) this.ask(y * width + x);
  }

  #draw() {
    const desk = this.#desk;
    if (!desk.panels || !desk.root.clientWidth) return;
    desk.tones = readTones(this.stage.node);
    this.stage.draw();
    drawDeeper(desk, this.nine);
  }

  #redraw() {
    cancelAnimationFrame(this.#waiting);
    this.#waiting = requestAnimationFrame(() => this.#draw());
  }

  #compute() {
    const desk = this.#desk;
    const { query, head, temperature, word } = this.state;
    desk.panels = panelsOf(desk.lesson, query, head, temperature, word);
    desk.isEye = query === this.#opened && temperature === 1;
    this.stage.tell();
    this.#redraw();
  }

  #hover(index) {
    if (index === this.state.hover) return;
    this.state.hover = index;
    this.#redraw();
  }

  #pressHead(head) {
    this.state.head = head;
    [...this.stage.heads.children].forEach((button, i) => button.setAttribute("aria-pressed", String(i === head)));
  }

  // Reuses existing buttons, so that choosing another layer does not take away the keyboard's focus.
  #fillHeads(count) {
    const { heads } = this.stage;
    while (heads.childElementCount > count) heads.lastChild.remove();
    for (let head = heads.childElementCount; head < count; head++) {
      const choose = () => {
        this.#pressHead(head);
        this.#compute();
      };
      heads.append(makeButton(`head ${head}`, { onclick: choose }));
    }
  }

  #watchWidth() {
    const { root } = this.#desk;
    let [wide, isFirst] = [0, true];
    new ResizeObserver(() => {
      if (root.clientWidth === wide) return;
      const [before, now] = [wide, root.clientWidth];
      wide = now;
      if (!now) this.#calls.hidden();
      else if (!before) this.#calls.shown();
      if (now && !before && isFirst && this.#desk.panels) {
        isFirst = false;
        this.stage.show(this.stage.scene, { announce: false });
      }
      this.#redraw();
    }).observe(root);
    addEventListener("resize", () => this.#redraw());
  }
}

// The colours of shuffled cells, in order again.
function inOrder({ order }, shuffled) {
  if (!order) return shuffled;
  const bytes = new Uint8Array(shuffled.length);
  order.forEach((cell, place) => bytes.set(shuffled.subarray(3 * place, 3 * place + 3), 3 * cell));
  return bytes;
}

function titleOf({ timestep, step, layer, words }) {
  const noise = timestep === null ? "" : `, step ${step}, t = ${formatTimestep(timestep)}`;
  return `${layerLabel(layer.name)}${words ? " · cross-attention" : ""}${noise}`;
}
