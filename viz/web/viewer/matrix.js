// Joint attention: what each word spends on each word, as a table under the strip. `desk`: see desk.js.

import { nameOfWord } from "../core/captions.js";
import { DIFFERENCE } from "../core/query.js";
import { colorize, scaleOf } from "../core/scale.js";
import { formatShare, matrixOf } from "../core/shares.js";
import { formatHead, formatStep } from "../core/words.js";
import { h } from "../dom.js";

const LARGEST = 48; // words; larger tables cannot be read

export function buildMatrix() {
  const table = h("div", { class: "pg-matrix-table", tabIndex: 0, role: "region", "aria-label": "What each word spends on each word" });
  const summary = h("summary", {}, "What words spend on words");
  const node = h("details", { class: "pg-matrix", hidden: true }, summary, table);
  return { node, table, key: "" };
}

// Refreshes the table while it is open. Only joint attention has one: in cross-attention, words are no queries.
export function showMatrix(desk) {
  const { ui, trace, state } = desk;
  const { matrix } = ui;
  const layer = trace.askingLayers.length ? desk.layerOf({ kind: "word" }) : null;
  const shown = layer?.wordQueries ? layer : trace.askingLayers[trace.askingLayers.length - 1];
  matrix.node.hidden = !shown;
  if (!shown || !matrix.node.open) return;
  const key = JSON.stringify([shown.index, state.step, state.head, state.branch, state.range, state.log]);
  if (matrix.key === key && matrix.trace === trace) return;
  Object.assign(matrix, { key, trace });
  matrix.table.replaceChildren(...contentOf(desk, shown));
}

function contentOf(desk, layer) {
  const { trace, state } = desk;
  const gap = layer.gaps.get(state.step);
  if (gap) return [h("p", { class: "pg-note" }, `No table: ${gap}.`)];
  const words = layer.words(state.branch);
  if (words.length > LARGEST) return [h("p", { class: "pg-note" }, `No table: ${words.length} words are too many for one.`)];
  const shares = matrixOf(desk.answers, trace, state, layer);
  if (!shares) return [h("p", { class: "pg-note" }, "No table: this trace is too large for the browser.")];
  const isAlone = words.every(({ encoder }) => encoder === words[0].encoder);
  const names = words.map((word) => `${isAlone || !word.name ? "" : `${word.name}: `}${nameOfWord(word, words)}`);
  const head = h("tr", {}, h("td"), ...names.map((name) => h("th", { scope: "col" }, h("span", {}, name))));
  const rows = words.map((_, row) => {
    const cells = words.map((word, column) => cellOf(desk, shares[row * words.length + column], layer.keyCount / word.keys.length));
    return h("tr", {}, h("th", { scope: "row" }, names[row]), ...cells);
  });
  const apart = state.branch === DIFFERENCE ? "; the difference of the branches" : "";
  const place = `${layer.label}, ${formatHead(layer, state.head)}, ${formatStep(trace, state.step)}${apart}`;
  const note = `What the word of a row spends on that of a column: ${place}. Pixels take the rest of a row.`;
  return [h("table", {}, h("thead", {}, head), h("tbody", {}, ...rows)), h("p", { class: "pg-note" }, note)];
}

function cellOf(desk, share, chance) {
  if (Number.isNaN(share)) return h("td", { title: "this word doesn't look, or only one of the captions has both" }, formatShare(share));
  const scale = { ...scaleOf(desk.state, { kind: "word" }), range: "common" };
  const colors = colorize(desk.tableOf(scale, "solid"), scale, Float32Array.of(share * chance), 1, new Uint32Array(1));
  const [red, green, blue] = new Uint8ClampedArray(colors.buffer);
  const cell = h("td", {}, formatShare(share, scale.special));
  cell.style.background = `rgb(${red} ${green} ${blue})`;
  cell.style.color = 0.299 * red + 0.587 * green + 0.114 * blue > 140 ? "#000000" : "#ffffff";
  return cell;
}
