// The panel that shuffles the cells: pictures of the outputs, and a verdict on each. `desk`: see paint.js.

import { h } from "../dom.js";
import { canvasOfPicture } from "./paint.js";

const VERDICTS = {
  attention: (gap) =>
    `Attention: largest difference ${gap.toExponential(1)}. ` +
    (gap < 1e-3 ? "On its own, it has no notion of position." : "Position terms tell this block where each cell is."),
  convolution: (gap) =>
    `A 3×3 convolution of this network: largest difference ${gap.toFixed(2)}. It knows which cells are neighbours.`,
};

export function fillShuffle({ ui, lesson }) {
  const figure = (name, text) => h("figure", {}, canvasOfPicture(lesson.tensors.get(name)), h("figcaption", {}, text));
  const parts = Object.entries(lesson.gaps).flatMap(([name, gap]) => [
    h("p", { class: "pl-sentence" }, VERDICTS[name](gap)),
    h(
      "div",
      { class: "pl-figures" },
      figure("shuffled", "the shuffled input"),
      figure(`${name}/first`, "shuffle → layer"),
      figure(`${name}/after`, "layer → shuffle"),
    ),
  ]);
  ui.shuffle.shown.replaceChildren(...parts);
}
