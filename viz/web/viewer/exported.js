// What exports need of the words, at any step; for exports of large traces, ordered first. `desk`: see desk.js.
//
//   words                              the strip as it is on show: see strip.js; null without words
//   layer                              the layer of the strip and of the areas; null without words
//   sharesAt(layer, step)              what the query of the picture spends on each word of one of trace.wordLayers; null at a gap
//   await orderShares(layers, steps)   call before sharesAt
//   areasAt(step)                      which word wins where: see areas.js; null at a gap
//   await orderAreas(steps)            call before areasAt

import { sharesOf, stripLayer } from "../core/shares.js";
import { areaWords, areasOf } from "./areas.js";
import { wordsOnShow } from "./strip.js";

export function exportedFrom(desk) {
  const { answers, trace, state, pictureQuery } = desk;
  return {
    words: wordsOnShow(desk),
    layer: stripLayer(trace, trace.all[state.layer]),
    sharesAt: (layer, step) => sharesOf(answers, trace, { ...state, step, bars: "layer" }, layer, pictureQuery),
    orderShares(layers, steps) {
      const each = layers.flatMap((layer) => steps.map((step) => [pictureQuery, layer, step, state.head]));
      const known = each.filter(([, layer, step]) => !layer.gaps.has(step));
      const branches = state.branch === trace.difference ? trace.branches : [state.branch];
      return Promise.all(branches.map((branch) => answers.order(known, { mode: "shares", special: false, branch })));
    },
    areasAt: (step) => areasOf(desk, step, true),
    orderAreas(steps) {
      const layer = stripLayer(trace, trace.all[state.layer]);
      const each = areaWords(desk).flatMap(({ query }) => steps.map((step) => [query, layer, step, state.head]));
      const known = each.filter(([, , step]) => !layer.gaps.has(step));
      const branch = state.branch === trace.difference ? trace.branch : state.branch;
      const reading = state.reading === "used" ? "used" : "spent";
      return answers.order(known, { mode: "column", special: false, reading, branch });
    },
  };
}
