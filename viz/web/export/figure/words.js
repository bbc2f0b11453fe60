// The words of a figure, as in viz/figure_content.py: ticks, names, the caption, and the reference. Nothing here touches the DOM.

import { DIFFERENCE, isWordQuery, queryOf } from "../../core/query.js";
import { scaleOf } from "../../core/scale.js";
import { formatGrid, formatGrids, formatHead, formatTick, nameOf } from "../../core/words.js";
import { gridOf } from "./content.js";

export const BIBTEX = `@software{pixelgaze,
  title = {PixelGaze: where a pixel looks in a diffusion network},
  version = {0.1.0},
  year = {2026}
}
`;

// The ticks of the colour bar: positions 0 to 1, and texts; on own scales shares of a map's largest.
export function ticksOf(view) {
  const { log } = view;
  const own = view.range === "own";
  const spread = (texts) => texts.map((text, i) => [i / (texts.length - 1), text]);
  if (scaleOf(view).special) {
    if (own) return [[0, "−max"], [0.5, "0"], [1, "+max"]];
    if (!log) return spread(["−4×", "−2×", "0", "+2×", "+4×"]);
    const places = [0, 0.2, 0.4, 0.5, 0.6, 0.8, 1];
    return ["−31×", "−7×", "−1×", "0", "+1×", "+7×", "+31×"].map((text, i) => [places[i], text]);
  }
  if (own) return log ? [[0, "1/128"], [3 / 7, "1/16"], [5 / 7, "1/4"], [1, "max"]] : [[0, "0"], [0.5, "½"], [1, "max"]];
  return spread(log ? ["¼×", "½×", "1×", "2×", "4×", "8×", "16×", "32×"] : ["0", "2×", "4×", "6×", "8×"]);
}

// What the colours measure.
export function unitOf(view) {
  const each = view.range === "own" ? "; each map on its own scale" : "";
  return `${subjectOf(view)}${each}`;
}

function subjectOf(view) {
  if (isWordQuery(queryOf(view)) && view.reading === "used") return "Attention spent on the word, relative to its mean (1× = mean)";
  if (view.branch === DIFFERENCE) return "Attention of the last branch minus the first's, relative to uniform";
  if (scaleOf(view).special) return "Attention minus that of the average cell, relative to uniform";
  return "Attention relative to uniform (1× = chance)";
}

// A query in a few words: "row 5, column 9", "rectangle, 12 cells", "“red”".
export const shownName = (query, grid) => (isWordQuery(query) ? `“${query.text}”` : nameOf(query, grid));

// The caption of a content: what is asked of which cell, in which layer, head and step, and what the colours mean.
export function captionOf({ trace, view, query, layer, step }) {
  const where = `layer ${layer.name} (${formatGrids(layer)}), ${formatHead(layer, view.head)}, ${momentOf(trace, view, step)}`;
  const measured = unitOf(view);
  const colours = measured[0].toLowerCase() + measured.slice(1);
  return `${askedOf(view, query, layer)}: ${where}. Colours: ${colours}, ${view.log ? "logarithmic" : "linear"} scale.${pictureOf(trace.recipe)}`;
}

function askedOf(view, query, layer) {
  const grid = gridOf(layer, view.mode);
  const name = shownName(query, grid);
  if (isWordQuery(query)) {
    const subject = `the word ${name}`;
    const asked = { used: `Where ${subject} is used`, spent: `What each cell spends on ${subject}` };
    return asked[view.reading] ?? `What ${subject} looks at`;
  }
  const subject = `the ${query.kind === "pixel" ? `cell in ${name}` : name} of the ${formatGrid(grid)} grid`;
  return view.mode === "column" ? `Who looks at ${subject}` : `What ${subject} looks at`;
}

// Step, timestep and, where there are several, the branch.
function momentOf(trace, view, step) {
  const timestep = trace.timesteps[step] === null ? "" : `, timestep ${formatTick(trace, step)}`;
  return `step ${view.step}${timestep}${branchOf(trace, view)}`;
}

function branchOf({ branches, branch: last }, { branch }) {
  if (branch === DIFFERENCE) return `, branch “${branches[1]}” minus “${branches[0]}”`;
  return branches.length < 2 ? "" : `, branch “${branch || last}”`;
}

// Which picture it is, as far as the recipe says.
function pictureOf({ caption, seed }) {
  const quoted = typeof caption === "string" && caption ? `“${caption}”` : "";
  const sown = Number.isInteger(seed) ? `seed ${seed}` : "";
  const found = [quoted, sown].filter(Boolean).join(", ");
  return found ? ` Picture: ${found}.` : "";
}
