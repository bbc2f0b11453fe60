// Two panels: where heads look, layer by layer, and how much of a score is content and how much position. `desk` is as in
// paint.js.

import { layerLabel } from "../core/trace.js";
import { h, labelledCanvas } from "../dom.js";
import { canvasOfCells, drawGrid, largestMagnitude, once, signedColor } from "./paint.js";
import { dot, rowOf } from "./panels.js";

const HUES = ["#56b4e9", "#e69f00", "#009e73", "#f0e442", "#0072b2", "#d55e00", "#cc79a7", "#999999", "#ffffff"]; // Okabe, Ito 2008

const SUM = "their sum, the scores";

// The four parts of one query's scaled scores, as models/classic/relative.py's `terms`: {name: Float64Array of one a key}.
function termsOf(lesson, index, head) {
  const { u, rows, columns } = lesson.position;
  const { heads, width, height, count, d } = lesson;
  const { scale } = lesson.layer;
  const size = u.length / heads;
  const own = rowOf(u, head, size);
  const query = rowOf(lesson.query, head * count + index, d); // W_q x + u, then (W_q x + v)·Ŵ_k r for every row and column
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

// Makes the figures before anything is drawn: widths are measured once, when all figures are there.
export function placeTerms({ ui, lesson, panels, state }) {
  ui.terms.card.hidden = !lesson.position;
  if (!lesson.position) return;
  panels.terms ??= termsOf(lesson, state.query, state.head);
  figuresFor(ui.terms.body, [...Object.keys(panels.terms), SUM], "pl-terms");
}

// Under the panel's sentence, one small map a term, and their sum.
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
  ui.terms.sentence.textContent =
    `This block knows where cells are: each score is the sum of four terms, which compare the content or the position of the ` +
    `query with those of the key. All share one colour scale; their sum and the scores differ by ` +
    `${gap.toExponential(1)} at most.`;
  const nodes = figuresIn(ui.terms.body);
  maps.forEach(([name, values], i) => {
    const cells = () => canvasOfCells(lesson.width, lesson.height, (j) => signedColor(values[j], largest));
    drawGrid(desk, nodes[i].canvas, once(panels, name, cells));
    nodes[i].caption.textContent = maps[i][0];
  });
}

// A figure with a canvas for each label, made when their number changes.
function figuresFor(body, labels, className) {
  if (body.childElementCount === labels.length) return;
  body.className = `pl-body ${className}`;
  body.replaceChildren(...labels.map((label) => h("figure", {}, labelledCanvas(label), h("figcaption", {}, label))));
}

const figuresIn = (body) => [...body.children].map((box) => ({ canvas: box.firstChild, caption: box.lastChild }));

// The cell of another layer's grid at the query's place.
function cellIn({ lesson, state }, [height, width]) {
  const y = Math.floor(state.query / lesson.width) + 0.5;
  const x = (state.query % lesson.width) + 0.5;
  return Math.floor((y / lesson.height) * height) * width + Math.floor((x / lesson.width) * width);
}

export function placeAround({ ui, lesson: { around } }) {
  ui.around.card.hidden = !around.length;
  if (around.length) figuresFor(ui.around.body, around.map(({ name }) => layerLabel(name)), "pl-layers");
}

// Each head of a layer as a dot where it looks on average, and an ellipse of one standard deviation.
export function drawAround(desk) {
  const { ui, lesson, state } = desk;
  const { around } = lesson;
  if (!around.length) return;
  const nodes = figuresIn(ui.around.body);
  const far = around.map((layer, i) => drawLayerAround(desk, layer, nodes[i]));
  const here = around.findIndex(({ name }) => name === lesson.layer.name);
  ui.around.sentence.textContent =
    `Seen from this cell: each head's average target (dot; head ${state.head} is thick) and one standard deviation around it ` +
    `(ellipse). ${here < 0 ? "" : `In this layer the mean distance is ${percent(far[here])} of the picture's width. `}` +
    `Nearest: ${layerLabel(around[far.indexOf(Math.min(...far))].name)}; farthest: ` +
    `${layerLabel(around[far.indexOf(Math.max(...far))].name)}.`;
}

const percent = (share) => `${(100 * share).toFixed(0)}%`;

// Returns how far the heads look on average, as a share of the picture's width: the root of the mean squared distance.
function drawLayerAround(desk, { name, grid, heads, places }, { canvas, caption }) {
  const { lesson, state } = desk;
  const { pen, width, height } = drawGrid(desk, canvas, lesson.cells.picture, 0.62);
  const query = cellIn(desk, grid);
  const [y, x] = [(Math.floor(query / grid[1]) + 0.5) / grid[0], ((query % grid[1]) + 0.5) / grid[1]];
  const mine = name === lesson.layer.name;
  let sum = 0;
  for (let h = 0; h < heads; h++) {
    const [down, right, dd, dr, rr] = rowOf(places, h * grid[0] * grid[1] + query, 5);
    sum += Math.sqrt(down * down + right * right + dd + rr);
    const [middle, half] = [(dd + rr) / 2, Math.hypot((dd - rr) / 2, dr)];
    pen.strokeStyle = pen.fillStyle = HUES[h % HUES.length];
    pen.lineWidth = mine && h === state.head ? 4 : 1.5;
    const [long, short] = [middle + half, middle - half].map((variance) => Math.sqrt(Math.max(0, variance)));
    pen.beginPath();
    pen.ellipse((x + right) * width, (y + down) * height, long * width, short * width, Math.atan2(2 * dr, rr - dd) / 2, 0, 7);
    pen.stroke();
    pen.beginPath();
    pen.arc((x + right) * width, (y + down) * height, 3, 0, 7);
    pen.fill();
  }
  caption.textContent = `${layerLabel(name)}\nmean distance ${percent(sum / heads)}`;
  caption.classList.toggle("pl-at", mine);
  return sum / heads;
}
