// The stage: a figure that stays in place, a narration beside it, and the ways from scene to scene.
//
//   const stage = new Stage(desk, SCENES, { ask, hover, move, onscene, … })
//   stage.show(4, { announce: false })     // a scene, without telling onscene
//   stage.draw()                           // the figure of this scene; stage.tell() writes its narration
//
// A scene is { title, tell(desk): nodes, describe(desk): text, draw(desk, pen, size, t), and optionally seconds, scrub (the
// label of its slider), controls(desk, actions): nodes, overlay(desk, actions): nodes over the figure }. t goes from 0 to 1 as the scene plays.

import { ARROWS, h, labelledCanvas, makeButton } from "../dom.js";
import { readTones } from "./ink.js";

const KEYS = { ArrowLeft: -1, ArrowRight: 1, PageUp: -1, PageDown: 1 };
const SECONDS = 1.6;
const MARGIN = 16; // between the stage and the lower edge of the window
const BRIGHT = { q: "#63a9ff", k: "#ff77c8", v: "#34d8c4" }; // outlines on dark maps

const isStill = () => matchMedia("(prefers-reduced-motion: reduce)").matches;

export class Stage {
  scene = 0;
  t = 1;
  #desk;
  #scenes;
  #actions;
  #ui;
  #frame = 0;
  #playing = null; // { began, from }

  constructor(desk, scenes, actions) {
    this.#desk = desk;
    this.#scenes = scenes;
    this.#actions = actions;
    this.#ui = buildStage(scenes);
    this.node = this.#ui.stage;
    this.heads = this.#ui.heads;
    this.title = this.#ui.title;
    this.note("");
    desk.bright = BRIGHT;
    this.#wire();
  }

  // The boxes of the figure's parts that can be pointed at, in CSS pixels of the figure.
  get parts() {
    return this.#desk.areas.map(({ box }) => box);
  }

  get count() {
    return this.#scenes.length;
  }

  // Goes to a scene and plays it, or shows its end at once where motion is not wanted.
  show(index, { announce = true, play = true } = {}) {
    const next = Math.max(0, Math.min(this.count - 1, index));
    const isNew = next !== this.scene;
    this.scene = next;
    this.#stop();
    this.t = play && !isStill() && this.node.clientWidth ? 0 : 1;
    this.#markDots();
    this.tell();
    if (this.t === 0) this.play();
    if (announce && isNew) this.#actions.onscene(next);
    this.redraw();
  }

  play() {
    if (isStill()) {
      this.#set(1);
      return;
    }
    const from = this.t < 1 ? this.t : 0;
    this.#playing = { began: performance.now(), from };
    this.#ui.play.textContent = "❚❚ Pause";
    this.#set(from);
  }

  redraw() {
    cancelAnimationFrame(this.#frame);
    this.#frame = requestAnimationFrame(() => this.draw());
  }

  // A sentence above the figure, such as why what is on show is not what was asked for.
  note(text) {
    this.#ui.note.textContent = text;
    this.#ui.note.hidden = !text;
    this.redraw();
  }

  // Writes the narration of this scene.
  tell() {
    const desk = this.#desk;
    const { ui, scene } = { ui: this.#ui, scene: this.#scenes[this.scene] };
    ui.heading.textContent = scene.title;
    ui.count.textContent = this.scene ? `${this.scene} of ${this.count - 1}` : "How attention works";
    ui.scrubText.textContent = scene.scrub ?? "this scene";
    if (!desk.panels) return;
    ui.told.replaceChildren(...scene.tell(desk));
    if (ui.built !== scene || scene.rebuilds) {
      const focused = [...ui.overlay.children, ...ui.controls.children].findIndex((node) => node === document.activeElement);
      ui.controls.replaceChildren(...(scene.controls?.(desk, this.#actions) ?? []));
      ui.overlay.replaceChildren(...(scene.overlay?.(desk, this.#actions) ?? []));
      if (focused >= 0) [...ui.overlay.children, ...ui.controls.children][focused]?.focus();
      ui.built = scene;
    }
    ui.figure.setAttribute("aria-label", scene.describe(desk));
  }

  draw() {
    const desk = this.#desk;
    const { ui, scene } = { ui: this.#ui, scene: this.#scenes[this.scene] };
    if (!desk.panels || !ui.stage.clientWidth) return;
    this.fitWindow();
    if (this.#playing) this.#advance(scene);
    ui.scrub.value = this.t;
    desk.tones = readTones(ui.stage);
    desk.areas = [];
    const { pen, width, height } = clear(ui.figure, ui.box);
    scene.draw(desk, pen, { width, height }, this.t);
    if (this.#playing) this.#frame = requestAnimationFrame(() => this.draw());
  }

  // Makes the stage end where the window does, so that a scene is whole on one screen.
  fitWindow() {
    const { stage } = this.#ui;
    const top = stage.getBoundingClientRect().top + scrollY;
    stage.style.setProperty("--pl-top", `${Math.round(Math.min(top, 260) + MARGIN)}px`);
  }

  #advance(scene) {
    const { began, from } = this.#playing;
    this.t = Math.min(1, from + (performance.now() - began) / 1000 / (scene.seconds ?? SECONDS));
    if (this.t === 1) this.#stop();
  }

  #stop() {
    this.#playing = null;
    this.#ui.play.textContent = "▶ Play";
  }

  #set(t) {
    this.t = t;
    this.redraw();
  }

  #markDots() {
    const { dots, back, next } = this.#ui;
    dots.forEach((dot, i) => {
      if (i === this.scene) dot.setAttribute("aria-current", "step");
      else dot.removeAttribute("aria-current");
    });
    back.disabled = this.scene === 0;
    next.disabled = this.scene === this.count - 1;
  }

  // A press of a button that then cannot be pressed again must not lose the keyboard's focus.
  #go(index) {
    const isInside = this.node.contains(document.activeElement);
    this.show(index);
    if (this.node.getBoundingClientRect().top < 0) this.node.scrollIntoView({ block: "start" });
    if (isInside && (document.activeElement === document.body || document.activeElement.disabled)) this.node.focus({ preventScroll: true });
  }

  #wire() {
    const { stage, dots, back, next, play, scrub, figure } = this.#ui;
    back.addEventListener("click", () => this.#go(this.scene - 1));
    next.addEventListener("click", () => this.#go(this.scene + 1));
    dots.forEach((dot, i) => dot.addEventListener("click", () => this.#go(i)));
    play.addEventListener("click", () => {
      if (!this.#playing) return this.play();
      this.#stop();
      this.redraw();
    });
    scrub.addEventListener("input", () => {
      this.#stop();
      this.#set(Number(scrub.value));
    });
    stage.addEventListener("keydown", (event) => this.#press(event));
    const cell = (event) => this.#cellAt(event);
    figure.addEventListener("pointermove", (event) => this.#actions.hover(cell(event)));
    figure.addEventListener("pointerleave", () => this.#actions.hover(-1));
    figure.addEventListener("click", (event) => this.#actions.ask(cell(event)));
  }

  #press(event) {
    if (event.altKey || event.ctrlKey || event.metaKey || event.target.tagName === "INPUT") return;
    if (event.shiftKey && Object.hasOwn(ARROWS, event.key)) {
      event.preventDefault();
      this.#actions.move(ARROWS[event.key]);
    } else if (!event.shiftKey && Object.hasOwn(KEYS, event.key)) {
      event.preventDefault();
      this.#go(this.scene + KEYS[event.key]);
    }
  }

  // The cell under the pointer; -1 for none.
  #cellAt({ clientX, clientY }) {
    const { left, top } = this.#ui.figure.getBoundingClientRect();
    const [x, y] = [clientX - left, clientY - top];
    for (const { box, cellAt } of this.#desk.areas ?? []) {
      const [across, down] = [(x - box.x) / box.width, (y - box.y) / box.height];
      if (across >= 0 && across < 1 && down >= 0 && down < 1) return cellAt(across, down);
    }
    return -1;
  }
}

// Sets the canvas to its size on the page; coordinates are CSS pixels.
function clear(canvas, box) {
  const [width, height] = [box.clientWidth, box.clientHeight];
  const scale = window.devicePixelRatio || 1;
  const size = [Math.round(width * scale), Math.round(height * scale)];
  const pen = canvas.getContext("2d");
  if (canvas.width === size[0] && canvas.height === size[1]) pen.clearRect(0, 0, ...size);
  else [canvas.width, canvas.height] = size;
  pen.setTransform(scale, 0, 0, scale, 0, 0);
  return { pen, width, height };
}

function buildStage(scenes) {
  const title = h("strong", { class: "pl-title" });
  const heads = h("div", { class: "pg-segment", role: "group", "aria-label": "Head" });
  const note = h("p", { class: "pl-note", role: "status" });
  const figure = labelledCanvas("The figure of this scene", { class: "pl-canvas", role: "application", tabIndex: 0 });
  const overlay = h("div", { class: "pl-overlay" });
  const box = h("div", { class: "pl-figure" }, figure, overlay);
  const [play, scrubText] = [makeButton("▶ Play", { class: "pl-play" }), h("span", { class: "pl-hidden" })];
  const scrub = h("input", { type: "range", min: 0, max: 1, step: 0.002, value: 1 });
  const [count, heading] = [h("p", { class: "pl-count" }), h("h2")];
  const [told, controls] = [h("div", { class: "pl-told", "aria-live": "polite" }), h("div", { class: "pl-controls" })];
  const word = (text) => h("span", { class: "pl-word" }, text);
  const back = h("button", { type: "button", class: "pl-step" }, "← ", word("Back"));
  const next = h("button", { type: "button", class: "pl-step pl-next" }, word("Next"), " →");
  const dots = scenes.map(({ title: name }, i) => makeButton("", { class: "pl-dot", title: name, "aria-label": `Scene ${i}: ${name}` }));
  const stage = h(
    "section",
    { class: "pl-stage", tabIndex: -1, "aria-label": "How attention works: use the left and right arrow keys" },
    h("div", { class: "pl-bar" }, title, heads),
    note,
    box,
    h("div", { class: "pl-scrub" }, play, h("label", {}, scrubText, scrub)),
    h("div", { class: "pl-narration" }, count, heading, told, controls),
    h("nav", { class: "pl-nav", "aria-label": "Scenes" }, back, h("div", { class: "pl-dots" }, ...dots), next),
  );
  return { stage, title, heads, note, figure, overlay, box, play, scrub, scrubText, count, heading, told, controls, back, next, dots };
}
