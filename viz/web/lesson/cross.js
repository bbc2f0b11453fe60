// The card on cross-attention: the words of the caption, and which cells look at one of them.

import { h, labelledCanvas, makeButton } from "../dom.js";
import { heatOf } from "./ink.js";
import { cached, canvasOfCells, drawGrid, placeOf } from "./paint.js";
import { isWord } from "./panels.js";
import { paragraph, percent, rich } from "./rich.js";

// The cross-attention layer of the same block as the present one, or the first of the network; undefined if it has none.
export function crossLayerOf({ layer, layers }) {
  const crossing = layers.filter((name) => /attn2$|cross$/.test(name));
  const block = layer.name.slice(0, layer.name.lastIndexOf("."));
  return crossing.find((name) => name.startsWith(`${block}.`)) ?? crossing[0];
}

export function drawCross(desk) {
  const { ui, lesson } = desk;
  if (lesson.words) return drawWords(desk);
  const name = crossLayerOf(lesson);
  ui.cross.sentence.replaceChildren(
    ...rich(
      "A network that draws from a caption has a second kind of attention. The [q:query] still comes from a cell, but [k:keys] and " +
        "[v:values] are made of the *words*: here no cell sees another, every cell looks up what it should become.",
    ),
  );
  const button = name
    ? makeButton("Follow the story there", { class: "pl-try", onclick: () => desk.actions.choose(name) })
    : paragraph("This network has no such layer. Choose “Multi-head with cross-attention to words” below.");
  ui.cross.body.replaceChildren(button);
}

function drawWords(desk) {
  const { ui, lesson, panels, actions } = desk;
  const isBuilt = ui.cross.body.querySelector(".pl-words");
  if (!isBuilt) {
    const canvas = labelledCanvas("How much each cell looks at the chosen word", { class: "pl-half" });
    ui.cross.body.replaceChildren(h("div", { class: "pl-words pg-segment" }), canvas);
  }
  const [chips, canvas] = ui.cross.body.children;
  const keys = [...lesson.words.keys()].filter((key) => isWord(lesson.words[key]));
  if (chips.childElementCount !== keys.length) {
    chips.replaceChildren(...keys.map((key) => makeButton(lesson.words[key], { onclick: () => actions.chooseWord(key) })));
  }
  keys.forEach((key, i) => {
    chips.children[i].textContent = lesson.words[key];
    chips.children[i].onclick = () => actions.chooseWord(key);
    chips.children[i].setAttribute("aria-pressed", String(key === panels.word));
  });
  const cells = cached(panels, "crossing", () => canvasOfCells(lesson.width, lesson.height, (i) => heatOf(desk, panels.column[i])));
  drawGrid(desk, canvas, cells);
  const [least, most] = panels.column.reduce(([low, high], x) => [Math.min(low, x), Math.max(high, x)], [1, 0]);
  const padding = lesson.words.length - keys.length;
  ui.cross.sentence.replaceChildren(
    ...rich(
      `Choose a word: the map shows how much each cell looks at it, here from ${percent(least)} to ${percent(most)} of its attention. ` +
        `The asking cell, ${placeOf(desk, desk.state.query)}, spends ${percent(panels.row[panels.word])} on [k:“${lesson.words[panels.word]}”].` +
        (padding ? ` The other ${padding} keys are padding after the caption; they take part in the softmax.` : ""),
    ),
  );
}
