// The texts of the viewer: what was drawn, and what the chosen map shows.

import { describeProof } from "../core/proof.js";
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

// Writes the sentence under the picture and the list of numbers. `map` is null while it is being computed.
export function showDescription(ui, trace, state, query, map) {
  const { subject, where, parts, numbers } = describeMap(trace, state, query, map);
  ui.where.textContent = where;
  if (parts) {
    ui.sentence.replaceChildren(`${subject} `, ...parts.map((part, i) => (i % 2 ? h("strong", {}, part) : part)));
    showNumbers(ui.numbers, numbers);
  } else {
    ui.sentence.replaceChildren(`${subject} …`);
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
