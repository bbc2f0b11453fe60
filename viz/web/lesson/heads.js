// Two cards: where the heads of every layer look, and how scores split into content and position. `desk`: see paint.js.

import { layerLabel } from "../core/trace.js";
import { h, labelledCanvas } from "../dom.js";
import { power, rich } from "./rich.js";
import { cached, canvasOfCells, drawGrid, largestMagnitude, signedColor } from "./paint.js";
import { dot, rowOf } from "./panels.js";

const HUES = ["#56b4e9", "#e69f00", "#009e73", "#f0e442", "#0072b2", "#d55e00", "#cc79a7", "#999999", "#ffffff"]; // Okabe, Ito 2008

const SUM = "their sum, the scores";

// The four terms of one query's scaled scores, as `terms` of models/classic/relative.py: { name: one number per key }.
function termsOf(lesson, index, head) {
  const { u, rows, columns } = lesson.position;
  const { heads, width, height, count, d } = lesson;
  const { scale } = lesson.layer;
  const size = u.length / heads;
  const own = rowOf(u, head, size);
  const query = rowOf(lesson.query, head * count + index, d); // W_q x + u, then (W_q x + v)·Ŵ_k r for each row and column
  const content = query.subarray(0, size).map((x, c) => x - own[c]);
  const parts = ["content·content", "content·position", "position·content", "position·position"];
  const terms = Object.fromEntries(parts.map((name) => [name, new Float64Array(count)]));
  const [down, right] = [rowOf(rows, head, 2 * height - 1), rowOf(columns, head, 2 * width - 1)];
  const [y, x] = [Math.floor(index / width), index % width];
  for (let j = 0; j < count; j++) {
    const key = rowOf(lesson.key, head * count + j, d).subarray(0, size);
    const [v, w] = [Math.floor(j / width), j % width];
    const place = down[v - y + height - 1] + right[w - x + width - 1];
    terms["content·content"][j] = scale * dot(content, key);
    terms["content·position"][j] = scale * (query[size + v] + query[size + height + w] - place);
    terms["position·content"][j] = scale * dot(own, key);
    terms["position·position"][j] = scale * place;
  }
  return terms;
}

// Creates the figures. All panels do so before anything is drawn, since widths are measured once.
export function buildTerms({ ui, lesson, panels, state }) {
  ui.terms.card.hidden = !lesson.position;
  if (!lesson.position) return;
  panels.terms ??= termsOf(lesson, state.query, state.head);
  figuresFor(ui.terms.body, [...Object.keys(panels.terms), SUM], "pl-terms");
}

// Draws one small map per term, and their sum.
export function drawTerms(desk) {
  const { ui, lesson, panels } = desk;
  if (!lesson.position) return;
  const { terms } = panels;
  const maps = [...Object.entries(terms), [SUM, panels.scores]];
  const largest = Math.max(...maps.map(([, values]) => largestMagnitude(values)));
  const gap = panels.scores.reduce((worst, score, j) => {
    const sum = Object.values(terms).reduce((all, term) => all + term[j], 0);
    return Math.max(worst, Math.abs(sum - score));
  }, 0);
  ui.terms.sentence.replaceChildren(
    ...rich(
      "This block knows where cells are: each score is the sum of four terms, which compare the [q:query’s] content or position " +
        `with the [k:key’s]. All maps share one colour scale, violet above zero. Their sum differs from the scores by at most ${power(gap)}.`,
    ),
  );
  const nodes = figuresIn(ui.terms.body);
  maps.forEach(([name, values], i) => {
    const cells = () => canvasOfCells(lesson.width, lesson.height, (j) => signedColor(values[j], largest));
    drawGrid(desk, nodes[i].canvas, cached(panels, name, cells));
    nodes[i].caption.textContent = maps[i][0];
  });
}

// Creates a figure with a canvas for each label, unless there are that many already.
function figuresFor(body, labels, className) {
  if (body.childElementCount === labels.length) return;
  body.className = `pl-body ${className}`;
  body.replaceChildren(...labels.map((label) => h("figure", {}, labelledCanvas(label), h("figcaption", {}, label))));
}

const figuresIn = (body) => [...body.children].map((box) => ({ canvas: box.firstChild, caption: box.lastChild }));

// The cell of another layer's grid at the query's position.
function cellIn({ lesson, state }, [height, width]) {
  const y = Math.floor(state.query / lesson.width) + 0.5;
  const x = (state.query % lesson.width) + 0.5;
  return Math.floor((y / lesson.height) * height) * width + Math.floor((x / lesson.width) * width);
}

export function buildAround({ ui, lesson: { around } }) {
  ui.around.card.hidden = !around.length;
  if (around.length) figuresFor(ui.around.body, around.map(({ name }) => layerLabel(name)), "pl-layers");
}

// Draws each head of each layer: a dot where it looks on average, and an ellipse of one standard deviation.
export function drawAround(desk) {
  const { ui, lesson } = desk;
  const { around } = lesson;
  if (!around.length) return;
  const nodes = figuresIn(ui.around.body);
  const distances = around.map((layer, i) => drawLayerAround(desk, layer, nodes[i]));
  const here = around.findIndex(({ name }) => name === lesson.layer.name);
  const nameAt = (distance) => `*${layerLabel(around[distances.indexOf(distance)].name)}*`;
  ui.around.sentence.replaceChildren(
    ...rich(
      "Seen from our cell, in every layer: each head’s average target (dot) and one standard deviation around it (ellipse). " +
        `${here < 0 ? "" : `In this layer (framed) a head looks ${percent(distances[here])} of the picture’s width away on average. `}` +
        `Nearest: ${nameAt(Math.min(...distances))}; farthest: ${nameAt(Math.max(...distances))}.`,
    ),
  );
  drawLegend(desk, Math.max(...around.map(({ heads }) => heads)));
}

// Which colour is which head; the head of the story is bold.
function drawLegend({ ui, state, lesson }, count) {
  const entries = HUES.slice(0, Math.min(count, HUES.length)).map((hue, head) => {
    const swatch = h("span", { class: "pl-swatch" });
    swatch.style.background = hue;
    return h("span", { class: head === state.head ? "pl-at" : "" }, swatch, `head ${head}`);
  });
  ui.around.legend.replaceChildren(...(lesson.around.length ? entries : []));
}

const percent = (share) => `${(100 * share).toFixed(0)}%`;

// Returns the heads' mean distance as a share of the picture's width: the average of each head's root mean square distance.
function drawLayerAround(desk, { name, grid, heads, places }, { canvas, caption }) {
  const { lesson, state } = desk;
  const { pen, width, height } = drawGrid(desk, canvas, lesson.cells.picture, 0.62);
  const query = cellIn(desk, grid);
  const [y, x] = [(Math.floor(query / grid[1]) + 0.5) / grid[0], ((query % grid[1]) + 0.5) / grid[1]];
  const isChosen = name === lesson.layer.name;
  let sum = 0;
  for (let h = 0; h < heads; h++) {
    const [down, right, dd, dr, rr] = rowOf(places, h * grid[0] * grid[1] + query, 5);
    sum += Math.sqrt(down * down + right * right + dd + rr);
    const [middle, half] = [(dd + rr) / 2, Math.hypot((dd - rr) / 2, dr)];
    pen.strokeStyle = pen.fillStyle = HUES[h % HUES.length];
    pen.lineWidth = isChosen && h === state.head ? 4 : 1.5;
    const [long, short] = [middle + half, middle - half].map((variance) => Math.sqrt(Math.max(0, variance)));
    pen.beginPath();
    pen.ellipse((x + right) * width, (y + down) * height, long * width, short * width, Math.atan2(2 * dr, rr - dd) / 2, 0, 7);
    pen.stroke();
    pen.beginPath();
    pen.arc((x + right) * width, (y + down) * height, 3, 0, 7);
    pen.fill();
  }
  caption.textContent = `${layerLabel(name)}\nmean distance ${percent(sum / heads)} of the width`;
  caption.classList.toggle("pl-at", isChosen);
  return sum / heads;
}
