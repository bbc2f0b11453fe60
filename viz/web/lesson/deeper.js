// "Go deeper": folded cards below the story. Each is drawn only while it is open.
//
//   const deeper = buildDeeper()           // { node, around, terms, cross, nine }; a card is { card, sentence, body }
//   wireDeeper(desk, actions)              // hovering and clicking, as on the stage; actions.draw when a card is opened

import { h } from "../dom.js";
import { drawCross } from "./cross.js";
import { buildAround, buildTerms, drawAround, drawTerms } from "./heads.js";
import { measure } from "./paint.js";

const CARDS = {
  around: "Where heads look, layer by layer",
  terms: "Splitting the scores: content and position",
  cross: "Cross-attention: cells that look at words",
  nine: "A 3×3 convolution from nine heads",
};

export function buildDeeper() {
  const cards = Object.fromEntries(Object.entries(CARDS).map(([name, text]) => [name, buildCard(text, `pl-${name}`)]));
  cards.around.legend = h("p", { class: "pl-legend" });
  cards.around.card.append(cards.around.legend);
  const node = h("section", { class: "pl-deeper" }, h("h2", {}, "Go deeper"), ...Object.values(cards).map(({ card }) => card));
  return { node, ...cards };
}

function buildCard(text, className) {
  const sentence = h("p", { class: "pl-sentence" });
  const body = h("div", { class: "pl-body" });
  return { card: h("details", { class: `pg-card pl-card ${className}` }, h("summary", {}, text), sentence, body), sentence, body };
}

// Draws the cards that are open.
export function drawDeeper(desk, nine) {
  const { ui } = desk;
  for (const build of [buildAround, buildTerms]) build(desk);
  measure(ui.node);
  for (const [card, draw] of [[ui.around, drawAround], [ui.terms, drawTerms], [ui.cross, drawCross]]) {
    if (card.card.open && !card.card.hidden) draw(desk);
  }
  if (ui.nine.card.open) nine.draw();
}

const clamp = (t, count) => Math.max(0, Math.min(count - 1, Math.floor(t * count)));

export function wireDeeper(desk, { hover, ask, draw }) {
  const { ui } = desk;
  for (const { card } of [ui.around, ui.terms, ui.cross, ui.nine]) card.addEventListener("toggle", draw);
  for (const { body } of [ui.around, ui.terms, ui.cross]) {
    const cell = ({ target, clientX, clientY }) => {
      if (target.tagName !== "CANVAS") return -1;
      const { left, top, width, height } = target.getBoundingClientRect();
      const { lesson } = desk;
      return clamp((clientY - top) / height, lesson.height) * lesson.width + clamp((clientX - left) / width, lesson.width);
    };
    body.addEventListener("pointermove", (event) => hover(cell(event)));
    body.addEventListener("pointerleave", () => hover(-1));
    body.addEventListener("click", (event) => ask(cell(event)));
  }
}
