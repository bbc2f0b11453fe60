// Nine heads that look at places, beside a 3×3 convolution: models/classic/convolution.py, to be played with.

import { labelledCanvas, labelledSlider, make, plainButton } from "../dom.js";
import { canvasOfCells, largestMagnitude, outline, signedColor, surface } from "./paint.js";
import { dot } from "./panels.js";

const KERNELS = {
  "soft edges": [-1, -1, -1, -1, 8, -1, -1, -1, -1],
  blur: [1, 2, 1, 2, 4, 2, 1, 2, 1].map((x) => x / 16),
  "down to up": [1, 2, 1, 0, 0, 0, -1, -2, -1],
};
const SHIFTS = Array.from({ length: 9 }, (_, i) => [Math.floor(i / 3) - 1, (i % 3) - 1]);
const VIEW = 7; // cells across, around the query of the ellipses' drawing

// `cells` (h, w, 3) in 0..1 with a border of zeros, as 3 planes of (h + 2)×(w + 2).
function padded(cells, height, width) {
  const planes = [0, 1, 2].map(() => new Float64Array((height + 2) * (width + 2)));
  for (let i = 0; i < height * width; i++) {
    const at = (Math.floor(i / width) + 1) * (width + 2) + (i % width) + 1;
    planes.forEach((plane, c) => (plane[at] = cells[3 * i + c] / 255));
  }
  return planes;
}

// The convolution of each plane: Float64Array of h·w.
function convolve(plane, height, width, kernel) {
  const out = new Float64Array(height * width);
  for (let i = 0; i < out.length; i++) {
    const at = (Math.floor(i / width) + 1) * (width + 2) + (i % width) + 1;
    SHIFTS.forEach(([down, right], k) => (out[i] += kernel[k] * plane[at + down * (width + 2) + right]));
  }
  return out;
}

// softmax over positions j of −α (j − i − shift)², for queries i = 1 … size of a line of size + 2: rows that sum to 1.
function lookAlong(size, shift, alpha) {
  return Array.from({ length: size }, (_, i) => {
    const scores = Float64Array.from({ length: size + 2 }, (_, j) => -alpha * (j - i - 1 - shift) ** 2);
    const best = Math.max(...scores);
    const weights = scores.map((score) => Math.exp(score - best));
    const sum = weights.reduce((a, b) => a + b, 0);
    return weights.map((weight) => weight / sum);
  });
}

// The sum of nine heads, each one entry of the kernel as its W_v. −α‖j − i − Δ‖² is a sum over rows and columns, so its
// softmax is a product of one along the rows and one along the columns: `looks`, one pair a head.
function attendNine(plane, height, width, kernel, looks) {
  const out = new Float64Array(height * width);
  const lines = new Map();
  looks.forEach(([rows, columns], h) => {
    if (kernel[h] === 0) return;
    if (!lines.has(columns)) lines.set(columns, alongLines(plane, height, width, columns));
    const across = lines.get(columns);
    for (let r = 0; r < height; r++) {
      for (let c = 0; c < width; c++) {
        let sum = 0;
        for (let j = 0; j < height + 2; j++) sum += rows[r][j] * across[j * width + c];
        out[r * width + c] += kernel[h] * sum;
      }
    }
  });
  return out;
}

// What each column's query takes of each line of `plane`: (h + 2)·w.
function alongLines(plane, height, width, columns) {
  const across = new Float64Array((height + 2) * width);
  for (let r = 0; r < height + 2; r++) {
    const line = plane.subarray(r * (width + 2), (r + 1) * (width + 2));
    for (let c = 0; c < width; c++) across[r * width + c] = dot(columns[c], line);
  }
  return across;
}

function buildNine({ body, card }) {
  card.classList.add("pl-nine");
  const ui = { stage: labelledCanvas(body, "pl-half", "The nine heads around a query; drag a centre or a rim") };
  const grid = make("div", "pl-kernel pl-half", undefined, body);
  ui.inputs = SHIFTS.map(([down, right]) => {
    const input = make("input", "", undefined, grid);
    Object.assign(input, { type: "number", step: 0.25 });
    input.setAttribute("aria-label", `kernel, ${down} down, ${right} right`);
    return input;
  });
  ui.outputs = ["the convolution", "nine heads"].map((text) => {
    const box = make("figure", "pl-half", undefined, body);
    const canvas = labelledCanvas(box, "", text);
    make("figcaption", "", text, box);
    return canvas;
  });
  ({ text: ui.alpha, slider: ui.slider } = labelledSlider(card, { min: -2, max: 6, step: 0.25, value: 0 }));
  ui.presets = make("div", "pg-segment", undefined, card);
  return ui;
}

export function createNine(panel) {
  const ui = buildNine(panel);
  let input = null;
  let held = null;
  let results = null; // of what is set, as cells; worked out when there is somebody to see them
  const state = { kernel: KERNELS["soft edges"], heads: [], gap: 0 };
  const setAlpha = (alpha) => {
    state.heads = SHIFTS.map((centre) => ({ centre: [...centre], alpha }));
    ui.alpha.textContent = `sharpness α = ${alpha.toPrecision(3)}`;
  };
  const fromSlider = () => setAlpha(2 ** Number(ui.slider.value));
  const setKernel = (kernel) => {
    state.kernel = kernel;
    ui.inputs.forEach((node, i) => document.activeElement === node || (node.value = kernel[i]));
  };
  const change = (what) => {
    what?.();
    results = null;
    draw();
  };

  function compute({ planes, height, width }) {
    const wanted = planes.map((plane) => convolve(plane, height, width, state.kernel));
    const known = {}; // heads beside one another look along the same line
    const look = (...asked) => (known[asked] ??= lookAlong(...asked));
    const looks = state.heads.map(({ centre: [down, right], alpha }) => [look(height, down, alpha), look(width, right, alpha)]);
    const made = planes.map((plane) => attendNine(plane, height, width, state.kernel, looks));
    state.gap = Math.max(...wanted.map((plane, c) => largestMagnitude(plane.map((x, i) => x - made[c][i]))));
    const largest = Math.max(...wanted.map(largestMagnitude)) || 1;
    const level = (value) => 128 + (127 * value) / largest;
    return [wanted, made].map(([red, green, blue]) =>
      canvasOfCells(width, height, (i) => [level(red[i]), level(green[i]), level(blue[i])]),
    );
  }

  function draw() {
    if (!input || !ui.stage.clientWidth) return;
    results ??= compute(input);
    results.forEach((cells, k) => {
      const { pen, width, height } = surface(ui.outputs[k], input.height / input.width);
      pen.drawImage(cells, 0, 0, width, height);
    });
    panel.sentence.textContent =
      `Each head looks at one place beside the query, −α‖δ − Δ‖², whatever the pixels hold, and has one entry of the kernel ` +
      `as its W_v. Largest difference to the convolution: ${state.gap.toExponential(1)}. Sharpen them, or drag a head away.`;
    drawHeads(ui.stage, state);
  }

  wireNine(ui, state, { at: () => held, hold: (now) => (held = now), change });
  ui.slider.addEventListener("input", () => change(fromSlider));
  const typed = () => setKernel(ui.inputs.map((node) => Number(node.value) || 0));
  ui.inputs.forEach((node) => node.addEventListener("input", () => change(typed)));
  for (const [name, kernel] of Object.entries(KERNELS)) {
    plainButton(name, ui.presets).addEventListener("click", () => change(() => setKernel(kernel)));
  }
  return {
    state,
    draw,
    open({ shape: [height, width], bytes }) {
      [input, results] = [{ planes: padded(bytes, height, width), height, width }, null];
      setKernel(state.kernel);
      fromSlider();
    },
  };
}

const spreadOf = (head) => Math.sqrt(1 / (2 * head.alpha)); // one standard deviation, in cells

// The cells around a query, and each head as a circle of one standard deviation around its centre.
function drawHeads(canvas, { heads, kernel }) {
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
  heads.forEach((head, h) => {
    const [y, x] = head.centre.map((place) => (place + VIEW / 2) * side);
    pen.strokeStyle = pen.fillStyle = `rgb(${signedColor(kernel[h], largest).join(" ")})`;
    pen.lineWidth = 2;
    pen.beginPath();
    pen.arc(x, y, Math.max(1, spreadOf(head) * side), 0, 7);
    pen.stroke();
    pen.beginPath();
    pen.arc(x, y, 3, 0, 7);
    pen.fill();
  });
}

// Dragging: near a head's centre moves it, near its rim changes how far it spreads.
function wireNine(ui, state, { at, hold, change }) {
  const cells = (event) => {
    const { left, top, width } = ui.stage.getBoundingClientRect();
    return [event.clientY - top, event.clientX - left].map((place) => (place / width) * VIEW - VIEW / 2);
  };
  const away = (head, [down, right]) => Math.hypot(head.centre[0] - down, head.centre[1] - right);
  ui.stage.addEventListener("pointerdown", (event) => {
    const place = cells(event);
    const centred = state.heads.find((head) => away(head, place) < 0.3);
    const rim = state.heads.find((head) => Math.abs(away(head, place) - spreadOf(head)) < 0.2);
    if (!centred && !rim) return;
    ui.stage.setPointerCapture(event.pointerId);
    hold({ head: centred ?? rim, moves: Boolean(centred) });
  });
  ui.stage.addEventListener("pointermove", (event) => {
    const held = at();
    if (!held) return;
    const place = cells(event);
    if (held.moves) held.head.centre = place;
    else held.head.alpha = 1 / (2 * Math.max(0.05, away(held.head, place)) ** 2);
    change();
  });
  for (const end of ["pointerup", "pointercancel"]) ui.stage.addEventListener(end, () => hold(null));
}
