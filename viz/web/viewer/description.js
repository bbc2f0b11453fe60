// The texts of the viewer: what was drawn, and what the chosen map shows.

import { describeProof } from "../core/proof.js";
import { isWordQuery } from "../core/query.js";
import { describeWord } from "../core/word_sentences.js";
import { describeMap } from "../core/words.js";
import { h } from "../dom.js";

// The line above the picture: caption, model and recipe, and what was verified.
export function describeTrace(ui, trace) {
  const { caption } = trace.recipe;
  ui.title.textContent = typeof caption === "string" ? caption : "";
  ui.recipe.textContent = recipeParts(trace).join(" · ");
  showProof(ui.proof, describeProof(trace));
}

// What the recipe of an open trace says, without what does not apply. A file may hold anything in its fields.
export function recipeParts({ recipe, branch, remote, steps: recorded }) {
  const text = (value) => (typeof value === "string" && value ? value : null);
  const number = (value) => (typeof value === "number" ? value : null);
  const [seed, steps, guidance] = [recipe.seed, recipe.steps, recipe.guidance].map(number);
  const photo = text(recipe.photo) && `a photo at ${recorded.length} noise level${recorded.length > 1 ? "s" : ""}`;
  return [
    text(recipe.model),
    photo,
    seed !== null && `seed ${seed}`,
    text(recipe.sampler)?.replace(/Scheduler$/, ""),
    !photo && steps !== null && formatRun(steps, recorded.length),
    guidance !== null && `guidance ${guidance}`,
    text(recipe.negative) && "negative prompt",
    branch !== "conditional" && branch,
    remote && "too large for the browser; the server computes the maps",
  ].filter(Boolean);
}

// "25 steps", "9 of 25 steps recorded", "10 steps, 11 calls": some samplers call the network more than once in a step.
function formatRun(steps, recorded) {
  if (recorded < steps) return `${recorded} of ${steps} steps recorded`;
  const run = `${steps} step${steps === 1 ? "" : "s"}`;
  return recorded > steps ? `${run}, ${recorded} calls` : run;
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
    : describeMap(trace, state, query, layer, map, desk.gap);
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
