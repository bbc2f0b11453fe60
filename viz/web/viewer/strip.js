// The strip: the caption word by word, with a bar under each for what the pixel spends on it. `desk`: see desk.js.
//
// Words are buttons: pointing at one shows its map, a click pins it. The arrow keys move among them, so that the strip is one
// stop of the Tab key.

import { isOfCaption, isQueryOf, nameOfWord } from "../core/captions.js";
import { DIFFERENCE, isWordQuery } from "../core/query.js";
import { barsText, describeShares, formatShare, sharesOf, stripLayer } from "../core/shares.js";
import { h, makeButton } from "../dom.js";
import { colorOf } from "./areas.js";
import { pinOfWord, tapWord } from "./pins.js";

const FULL = [0.02, 0.05, 0.1, 0.25, 0.5, 1]; // what a full bar stands for: the least that holds the largest

export function buildStrip(choices) {
  const rows = h("div", { class: "pg-words" });
  const note = h("p", { class: "pg-strip-note" });
  const controls = h(
    "div",
    { class: "pg-strip-tools" },
    choices.segment("reading", "What a word's map shows", {}),
    choices.toggle("winner", "Which word wins", "Colour each cell by the word on which it spends most"),
    choices.segment("bars", "What the bars show", { layer: "Bars: this layer", grid: "all on this grid" }),
    choices.segment("branch", "Half of the guided batch", {}),
  );
  const node = h("section", { class: "pg-strip", hidden: true, "aria-label": "Words of the caption" }, rows);
  return { node, rows, controls, note, chips: [] };
}

// Fits the strip to a trace.
export function openStrip(desk) {
  const { ui, trace, state } = desk;
  const { strip, choices } = ui;
  strip.words = null;
  strip.node.hidden = strip.controls.hidden = strip.note.hidden = !trace.wordLayers.length;
  ui.main.classList.toggle("pg-has-words", !strip.node.hidden);
  ui.main.classList.remove("pg-has-caption");
  const looks = trace.askingLayers.length ? { looks: "What it looks at" } : {};
  choices.offer("reading", { spent: "Spent on it", used: "Where it is used", ...looks });
  const names = [...trace.branches, ...(trace.difference ? [trace.difference] : [])];
  choices.offer("branch", names.length > 1 ? Object.fromEntries(names.map((name) => [name, name])) : {});
  if (!names.includes(state.branch)) state.branch = trace.branch;
  if (state.reading === "looks" && !trace.askingLayers.length) state.reading = "spent";
  state.word = null;
  const layer = stripLayer(trace, trace.all[state.layer]);
  if (layer) buildWords(desk, layer);
}

// Refreshes the bars; returns the parts of the sentence that ranks the words, or null.
export function showBars(desk) {
  const { ui, trace, state, answers } = desk;
  const layer = stripLayer(trace, trace.all[state.layer]);
  if (!layer) return null;
  buildWords(desk, layer);
  const query = desk.pictureQuery;
  const words = layer.words(state.branch);
  const shares = sharesOf(answers, trace, state, layer, query);
  const signed = state.branch === DIFFERENCE;
  const full = fullBar(words, shares);
  ui.strip.chips.forEach((chip, i) => showBar(chip, shares ? shares[i] : null, full, signed));
  const subject = { pixel: "pixel", box: "rectangle", region: "region" }[query.kind];
  const text = `Bars: what the ${subject} spends on each word; ${barsText(trace, state, layer)}. A full bar is ${100 * full}%.`;
  if (ui.strip.note.textContent !== text) ui.strip.note.textContent = text;
  return isWordQuery(desk.query) ? null : describeShares(words, shares, state, { isJoint: Boolean(layer.keyGrid), isPlural: query.kind !== "pixel" });
}

function fullBar(words, shares) {
  const largest = Math.max(0, ...words.map((word, i) => (isOfCaption(word) ? Math.abs(shares?.[i] || 0) : 0)));
  return FULL.find((share) => share >= largest) ?? 1;
}

// Touches only what differs from what the chip shows: a hover comes here for every word.
function showBar({ fill, share, shown }, value, full, signed) {
  const size = Math.min(1, Math.abs(value || 0) / full).toFixed(2); // of some 20 pixels; 0 for null and NaN
  if (size !== shown.size) fill.style.transform = `scaleY(${size})`;
  const [less, over] = [value < 0, Math.abs(value) > full];
  if (less !== shown.less) fill.classList.toggle("pg-less", less);
  if (over !== shown.over) fill.classList.toggle("pg-over", over);
  const text = value === null ? "…" : formatShare(value, signed);
  if (text !== shown.text) share.firstChild.data = text;
  Object.assign(shown, { size, less, over, text });
}

// Shows which words are pinned, and in which colours.
export function markWords(desk) {
  const { ui, state } = desk;
  for (const { word, button, dot, fill } of ui.strip.chips) {
    const pin = pinOfWord(state, word);
    button.setAttribute("aria-pressed", String(pin >= 0));
    button.classList.toggle("pg-active", pin >= 0 && pin === state.active);
    dot.hidden = pin < 0;
    dot.textContent = pin < 0 ? "" : String(pin + 1);
    const color = colorOf(desk, word);
    dot.style.background = fill.style.background = color ?? "";
    button.style.setProperty("--pg-word", color ?? "transparent");
  }
}

// The chips, one for each word, in a row for each encoder.
function buildWords(desk, layer) {
  const { strip } = desk.ui;
  const words = layer.words(desk.state.branch);
  if (strip.words === words) return;
  const key = JSON.stringify(words.map(({ text, of, encoder, tokens }) => [text, of, encoder, tokens]));
  const isSame = strip.words && strip.key === key;
  Object.assign(strip, { words, key });
  desk.ui.main.classList.toggle("pg-has-caption", words.some(({ of }) => of === "word")); // then it need not be repeated
  if (isSame) return strip.chips.forEach((chip, i) => (chip.word = words[i]));
  strip.chips = words.map((word) => buildChip(desk, word, words));
  const rows = [...new Set(words.map(({ encoder }) => encoder))].map((encoder) => {
    const chips = strip.chips.filter(({ word }) => word.encoder === encoder);
    const [own, added] = [true, false].map((is) => chips.filter(({ word }) => isOfCaption(word) === is).map(({ button }) => button));
    const ends = added.length ? [h("span", { class: "pg-added" }, ...added)] : [];
    return { name: chips[0].word.name, nodes: [...own, ...ends] };
  });
  const labelled = rows.length > 1;
  strip.rows.replaceChildren(
    ...rows.map(({ name, nodes }) => {
      const label = labelled ? [h("span", { class: "pg-encoder" }, name || "other keys")] : [];
      return h("div", { class: "pg-row", role: "toolbar", "aria-label": name ? `Words as ${name} reads them` : "Words" }, ...label, ...nodes);
    }),
  );
  strip.chips.forEach(({ button }, i) => (button.tabIndex = i ? -1 : 0));
  markWords(desk);
}

function buildChip(desk, word, words) {
  const name = nameOfWord(word, words);
  const count = word.tokens.length;
  const isAdded = !isOfCaption(word);
  const text = h("span", { class: "pg-word-text" }, isAdded && count > 1 ? `${name} ×${count}` : isAdded ? name : word.text);
  const fill = h("span", { class: "pg-fill" });
  const share = h("span", { class: "pg-share" }, "…");
  const dot = h("span", { class: "pg-dot", hidden: true });
  const button = makeButton("", { class: "pg-word" });
  button.append(text, h("span", { class: "pg-track" }, fill), share, dot);
  const note = desk.trace.captionOf(desk.state.branch)?.notes.get(word.text);
  const lines = [!isAdded && count > 1 && `${count} tokens, summed`, note];
  if (lines.some(Boolean)) button.title = `${name}: ${lines.filter(Boolean).join("; ")}`;
  const chip = { word, button, fill, share, dot, shown: {} };
  wireChip(desk, chip);
  return chip;
}

function wireChip(desk, chip) {
  const { button } = chip;
  const leave = () => desk.state.word && isQueryOf(desk.state.word, chip.word) && desk.pointAt(null);
  button.addEventListener("pointerenter", ({ pointerType }) => pointerType === "mouse" && desk.pointAt(chip.word.query));
  button.addEventListener("pointerleave", leave);
  button.addEventListener("focus", () => button.matches(":focus-visible") && desk.pointAt(chip.word.query, true));
  button.addEventListener("blur", leave);
  button.addEventListener("click", () => tapWord(desk, chip.word));
  button.addEventListener("keydown", (event) => {
    const by = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (!by) return;
    const { chips } = desk.ui.strip;
    const next = chips[(chips.indexOf(chip) + by + chips.length) % chips.length].button;
    chips.forEach((other) => (other.button.tabIndex = other.button === next ? 0 : -1));
    next.focus();
    event.preventDefault();
    event.stopPropagation(); // the arrow keys would also move the pixel
  });
}

// The strip as exports draw it: { words: [{ word, name, share: null while it is unknown, color: "#rrggbb" or null, pin: an index or null }],
// full: the share of a full bar, note };
// null without words.
export function wordsOnShow(desk) {
  const { ui, trace, state, answers } = desk;
  const layer = stripLayer(trace, trace.all[state.layer]);
  if (!layer) return null;
  const words = layer.words(state.branch);
  const shares = sharesOf(answers, trace, state, layer, desk.pictureQuery);
  const entry = (word, i) => {
    const pin = pinOfWord(state, word);
    const looks = { color: colorOf(desk, word), pin: pin < 0 ? null : pin };
    return { word, name: nameOfWord(word, words), share: shares ? shares[i] : null, ...looks };
  };
  return { words: words.map(entry), full: fullBar(words, shares), note: ui.strip.note.textContent };
}
