// The texts of the viewer: what was drawn, and what the chosen map shows.

import { describeProof } from "../core/proof.js";
import { isWordQuery } from "../core/query.js";
import { describeWord } from "../core/word_sentences.js";
import { describeMap } from "../core/words.js";
import { h } from "../dom.js";

// The line above the picture: caption, recipe, and what was verified.
export function describeTrace(ui, trace) {
  const { caption, seed, steps, guidance } = trace.recipe;
  ui.title.textContent = typeof caption === "string" ? caption : "";
  const isPlain = (value) => ["number", "string"].includes(typeof value); // a file may hold anything
  const parts = [
    isPlain(seed) && `seed ${seed}`,
    isPlain(steps) && `${steps} steps`,
    isPlain(guidance) && `guidance ${guidance}`,
    trace.branch !== "conditional" && trace.branch,
    trace.remote && "too large for the browser; the server computes the maps",
  ];
  ui.recipe.textContent = parts.filter(Boolean).join(" · ");
  showProof(ui.proof, describeProof(trace));
}

function showProof({ node, summary, more }, { badge, isProved, details, missing }) {
  node.open = false;
  summary.textContent = `${isProved ? "✓ " : ""}${badge}`;
  node.classList.toggle("pg-unproved", !isProved);
  const entries = missing.map(([name, text]) => h("li", {}, h("strong", {}, name), `: ${text}`));
  const sentences = [...details, ...(entries.length ? ["Not shown, and why:"] : ["No layer was left out."])];
  more.replaceChildren(...sentences.map((text) => h("p", {}, text)), ...(entries.length ? [h("ul", {}, ...entries)] : []));
}

const withStress = (parts) => parts.map((part, i) => (i % 2 ? h("strong", {}, part) : part));

// Writes the sentence under the picture and the list of numbers. `spends`, what the query spends on words, are the parts of a
// second sentence; null if there is none.
export function showDescription(desk, spends) {
  const { ui, trace, state, query, layer } = desk;
  const map = desk.known ? desk.map.subarray(0, desk.mapGrid().tokens) : null;
  const { subject, where, parts, numbers } = isWordQuery(query)
    ? describeWord(trace, state, query, layer, desk.gap, map)
    : describeMap(trace, state, query, layer, map);
  ui.where.textContent = where;
  if (parts) {
    ui.sentence.replaceChildren(`${subject} `, ...withStress(parts), ...(spends ? [" ", ...withStress(spends)] : []));
    showNumbers(ui.numbers, numbers);
  } else {
    const arrives = desk.isArriving(layer, state.step);
    ui.sentence.replaceChildren(arrives ? `${subject} … This map is still arriving.` : `${subject} …`);
    for (const value of ui.numbers.querySelectorAll("dd")) value.textContent = "…";
  }
}

// Reuses the nodes and writes only what has changed.
function showNumbers(list, numbers) {
  while (list.childNodes.length < numbers.length) list.append(h("div", {}, h("dt"), h("dd")));
  while (list.childNodes.length > numbers.length) list.lastChild.remove();
  numbers.forEach(([name, value], i) => {
    const { firstChild, lastChild } = list.childNodes[i];
    if (firstChild.textContent !== name) firstChild.textContent = name;
    lastChild.textContent = value;
  });
}
