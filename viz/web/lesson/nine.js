// The interactive panel: nine heads that attend by position, compared with a 3×3 convolution.

import { h, labelledCanvas, makeButton } from "../dom.js";
import { KERNELS, SHIFTS, attendNine, convolve, padPlanes, weightsAlong } from "./convolution.js";
import { labelledSlider } from "./controls.js";
import { canvasOfCells, largestMagnitude, outline, signedColor, surface } from "./paint.js";
import { power, rich } from "./rich.js";

const VIEW = 7; // cells across the stage, with the query in the middle
const CENTRE = 0.3; // a press this near to a head's centre moves the head, in cells
const RIM = 0.2; // a press this near to its rim changes its spread

const spreadOf = (head) => Math.sqrt(1 / (2 * head.alpha)); // one standard deviation, in cells

export class NineHeads {
  state = { kernel: KERNELS["soft edges"], heads: [], gap: 0 };
  #ui;
  #sentence;
  #input = null; // { planes, height, width }
  #results = null; // the two outputs as canvases; null when out of date

  constructor(panel) {
    this.#ui = buildNine(panel);
    this.#sentence = panel.sentence;
    const { slider, inputs, presets, stage } = this.#ui;
    slider.addEventListener("input", () => this.#change(() => this.#setAlphaFromSlider()));
    const readKernel = () => this.#setKernel(inputs.map((node) => Number(node.value) || 0));
    for (const node of inputs) node.addEventListener("input", () => this.#change(readKernel));
    for (const [name, kernel] of Object.entries(KERNELS)) {
      presets.append(makeButton(name, { "aria-pressed": "false", onclick: () => this.#change(() => this.#setKernel(kernel)) }));
    }
    wireStage(stage, this.state, () => this.#change());
  }

  // Sets the input: the layer's feature map as the bytes of a picture.
  open({ shape: [height, width], bytes }) {
    this.#input = { planes: padPlanes(bytes, height, width), height, width };
    this.#results = null;
    this.#setKernel(this.state.kernel);
    this.#setAlphaFromSlider();
  }

  draw() {
    const { stage, outputs } = this.#ui;
    if (!this.#input || !stage.clientWidth) return;
    this.#results ??= this.#compute(this.#input);
    this.#results.forEach((cells, i) => {
      const { pen, width, height } = surface(outputs[i], this.#input.height / this.#input.width);
      pen.drawImage(cells, 0, 0, width, height);
    });
    this.#sentence.replaceChildren(
      ...rich(
        "Let each of nine heads score a cell only by its offset δ from the query, as −α‖δ − Δ‖^{2}, and let its [v:W_{v}] be one entry of " +
          "the kernel. The sharper the heads, the more each looks at one neighbour only: together they are the convolution. " +
          `Largest difference from it: *${power(this.state.gap)}*. Lower α to blur them, or drag a head away, and it breaks.`,
      ),
    );
    drawStage(stage, this.state);
  }

  #change(act) {
    act?.();
    this.#results = null;
    this.draw();
  }

  #setAlphaFromSlider() {
    const alpha = 2 ** Number(this.#ui.slider.value);
    this.state.heads = SHIFTS.map((centre) => ({ centre: [...centre], alpha }));
    this.#ui.alpha.textContent = `sharpness α = ${alpha.toPrecision(3)}`;
  }

  #setKernel(kernel) {
    this.state.kernel = kernel;
    const names = Object.keys(KERNELS);
    [...this.#ui.presets.children].forEach((button, i) => {
      button.setAttribute("aria-pressed", String(KERNELS[names[i]].every((entry, k) => entry === kernel[k])));
    });
    this.#ui.inputs.forEach((node, i) => document.activeElement === node || (node.value = Number(kernel[i].toFixed(4))));
  }

  #compute({ planes, height, width }) {
    const { kernel, heads } = this.state;
    const convolved = planes.map((plane) => convolve(plane, height, width, kernel));
    const cache = {}; // heads in one row or column share their weights
    const along = (...line) => (cache[line] ??= weightsAlong(...line));
    const weights = heads.map(({ centre: [down, right], alpha }) => [along(height, down, alpha), along(width, right, alpha)]);
    const attended = planes.map((plane) => attendNine(plane, height, width, kernel, weights));
    this.state.gap = Math.max(...convolved.map((plane, c) => largestMagnitude(plane.map((x, i) => x - attended[c][i]))));
    const largest = Math.max(...convolved.map(largestMagnitude)) || 1;
    const level = (value) => 128 + (127 * value) / largest;
    return [convolved, attended].map(([red, green, blue]) =>
      canvasOfCells(width, height, (i) => [level(red[i]), level(green[i]), level(blue[i])]),
    );
  }
}

function buildNine({ body, card }) {
  card.classList.add("pl-nine");
  const stage = labelledCanvas("The nine heads around a query; drag a centre or a rim", { class: "pl-half" });
  const inputs = SHIFTS.map(([down, right]) =>
    h("input", { type: "number", step: 0.25, "aria-label": `kernel, ${down} down, ${right} right` }),
  );
  const outputs = ["the convolution", "nine heads"].map((text) => labelledCanvas(text));
  const figures = outputs.map((canvas) => {
    return h("figure", { class: "pl-half" }, canvas, h("figcaption", {}, canvas.getAttribute("aria-label")));
  });
  body.append(stage, h("div", { class: "pl-kernel pl-half" }, ...inputs), ...figures);
  const { label, text: alpha, slider } = labelledSlider({ min: -2, max: 6, step: 0.25, value: 4 });
  const presets = h("div", { class: "pg-segment" });
  card.append(label, presets);
  return { stage, inputs, outputs, alpha, slider, presets };
}

// Draws the cells around a query, and each head as a circle of one standard deviation around its centre.
function drawStage(canvas, { heads, kernel }) {
  const { pen, width } = surface(canvas, 1);
  const side = width / VIEW;
  const largest = largestMagnitude(kernel);
  pen.fillStyle = "#16181d";
  pen.fillRect(0, 0, width, width);
  pen.strokeStyle = "rgb(255 255 255 / 14%)";
  for (let i = 1; i < VIEW; i++) {
    pen.strokeRect(i * side, -1, side * (VIEW + 1), width + 2);
    pen.strokeRect(-1, i * side, width + 2, side * (VIEW + 1));
  }
  outline(pen, ((VIEW - 1) / 2) * side, ((VIEW - 1) / 2) * side, side, side, "#fff");
  heads.forEach((head, i) => {
    const [y, x] = head.centre.map((place) => (place + VIEW / 2) * side);
    pen.strokeStyle = pen.fillStyle = `rgb(${signedColor(kernel[i], largest).join(" ")})`;
    pen.lineWidth = 2;
    pen.beginPath();
    pen.arc(x, y, Math.max(1, spreadOf(head) * side), 0, 7);
    pen.stroke();
    pen.beginPath();
    pen.arc(x, y, 3, 0, 7);
    pen.fill();
  });
}

// Dragging near a head's centre moves the head; dragging near its rim changes its spread.
function wireStage(stage, state, change) {
  let drag = null; // { head, moves }
  const placeOf = (event) => {
    const { left, top, width } = stage.getBoundingClientRect();
    return [event.clientY - top, event.clientX - left].map((place) => (place / width) * VIEW - VIEW / 2);
  };
  const distance = (head, [down, right]) => Math.hypot(head.centre[0] - down, head.centre[1] - right);
  stage.addEventListener("pointerdown", (event) => {
    const place = placeOf(event);
    const centred = state.heads.find((head) => distance(head, place) < CENTRE);
    const rim = state.heads.find((head) => Math.abs(distance(head, place) - spreadOf(head)) < RIM);
    if (!centred && !rim) return;
    stage.setPointerCapture(event.pointerId);
    drag = { head: centred ?? rim, moves: Boolean(centred) };
  });
  stage.addEventListener("pointermove", (event) => {
    if (!drag) return;
    const place = placeOf(event);
    if (drag.moves) drag.head.centre = place;
    else drag.head.alpha = 1 / (2 * Math.max(0.05, distance(drag.head, place)) ** 2);
    change();
  });
  for (const name of ["pointerup", "pointercancel"]) stage.addEventListener(name, () => (drag = null));
}
