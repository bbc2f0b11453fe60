// Shows what the chosen map says: one sentence under the picture, and a list of numbers.

import { describeMap } from "../core/words.js";
import { make } from "../dom.js";

export function describe(ui, trace, state, query, map) {
  const { subject, where, parts, numbers } = describeMap(trace, state, query, map);
  ui.sentence.replaceChildren(`${subject} `);
  ui.where.textContent = where;
  if (!parts) {
    ui.sentence.append("is being computed …");
    for (const value of ui.numbers.querySelectorAll("dd")) value.textContent = "…";
    return;
  }
  parts.forEach((part, i) => (i % 2 ? make("strong", "", part, ui.sentence) : ui.sentence.append(part)));
  showNumbers(ui.numbers, numbers);
}

// Nodes stay where they are: only what has changed is written.
function showNumbers(list, numbers) {
  while (list.childNodes.length > numbers.length) list.lastChild.remove();
  numbers.forEach(([name, value], i) => {
    const item = list.childNodes[i] || make("div", "", undefined, list);
    if (!item.firstChild) for (const tag of ["dt", "dd"]) make(tag, "", "", item);
    if (item.firstChild.textContent !== name) item.firstChild.textContent = name;
    item.lastChild.textContent = value;
  });
}
