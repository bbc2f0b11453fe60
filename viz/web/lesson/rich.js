// Text with colours and formulas: the lesson's sentences and numbers.
//
//   rich("Its [q:query] q_{i} is W_{q}·x_{i}")   // text and nodes: a word in the colour of queries, subscripts
//
// [q:…], [k:…], [v:…] colour words as queries, keys and values; _{…} and ^{…} lower and raise; *…* is emphasis.

import { h } from "../dom.js";

const MARK = /\[([qkv]):([^\]]+)\]|([_^])\{([^}]+)\}|\*([^*]+)\*/g;

export function rich(text) {
  const nodes = [];
  let from = 0;
  for (const match of text.matchAll(MARK)) {
    const [whole, part, word, shift, small, strong] = match;
    nodes.push(text.slice(from, match.index));
    if (part) nodes.push(h("b", { class: `pl-${part}` }, ...rich(word)));
    else if (shift) nodes.push(h(shift === "_" ? "sub" : "sup", {}, small));
    else nodes.push(h("b", {}, strong));
    from = match.index + whole.length;
  }
  return [...nodes, text.slice(from)];
}

export const paragraph = (text) => h("p", {}, ...rich(text));
export const formula = (text) => h("p", { class: "pl-formula" }, ...rich(text));

const RAISED = { "-": "⁻", ...Object.fromEntries([..."⁰¹²³⁴⁵⁶⁷⁸⁹"].map((sign, digit) => [digit, sign])) };

// A small number as people write it: 4×10⁻⁷; 0 stays 0.
export function power(value) {
  if (!value) return "0";
  const [digits, exponent] = value.toExponential(0).split("e");
  if (Math.abs(exponent) < 3) return String(Number(value.toPrecision(2)));
  return `${digits}×10${[...String(Number(exponent))].map((sign) => RAISED[sign]).join("")}`;
}

export const whole = (count) => count.toLocaleString("en");
export const percent = (share, digits = 1) => `${(100 * share).toFixed(digits)}%`;
export const signed = (value, digits = 2) => `${value < 0 ? "−" : ""}${Math.abs(value).toFixed(digits)}`;
