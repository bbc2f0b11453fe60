// The texts of the viewer: what was drawn, and what the chosen map shows.

import { describeMap } from "../core/words.js";
import { h } from "../dom.js";

// The line above the picture: caption, recipe, and how closely the recorded numbers were verified.
export function describeTrace(ui, trace) {
  const { caption, seed, steps, guidance } = trace.recipe;
  ui.title.textContent = typeof caption === "string" ? caption : "";
  const isPlain = (value) => ["number", "string"].includes(typeof value); // a file may hold anything
  const parts = [
    isPlain(seed) && `seed ${seed}`,
    isPlain(steps) && `${steps} steps`,
    isPlain(guidance) && `guidance ${guidance}`,
    trace.remote && "too large for the browser; the server computes the maps",
  ];
  ui.recipe.textContent = parts.filter(Boolean).join(" · ");
  ui.proof.textContent = proofOf(trace);
  const meaning = "Largest difference between a module's own output and the one recomputed from its q, k and v.";
  const reasons = Object.entries(trace.skipped).map(([name, reason]) => `${name}: ${reason}`);
  ui.proof.title = [meaning, ...reasons].join("\n");
}

function proofOf({ proved, verified, skipped }) {
  if (proved === null) return "";
  const digits = (error) => error.toExponential(0).replace("-", "\u2011"); // non-breaking hyphen
  const stored = verified > 2 * proved ? `, ${digits(verified)} as stored` : "";
  const count = Object.keys(skipped).length;
  const refused = count ? `; ${count} layer${count > 1 ? "s" : ""} refused` : "";
  return `✓ verified to ${digits(proved)} as recorded${stored}${refused}`;
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
