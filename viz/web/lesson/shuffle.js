// The panel that shuffles the cells: pictures of the outputs, and what they say. `desk` is as in paint.js.

import { h } from "../dom.js";
import { canvasOfPicture } from "./paint.js";

const VERDICTS = {
  attention: (gap) =>
    `Attention: largest difference ${gap.toExponential(1)}. ` +
    (gap < 1e-3 ? "Alone it has no idea where anything is." : "Position terms tell this block where each cell is."),
  convolution: (gap) => `A 3×3 convolution of this network: ${gap.toFixed(2)}. It knows who its neighbours are.`,
};

export function fillShuffle({ ui, lesson }) {
  const figure = (name, text) => h("figure", {}, canvasOfPicture(lesson.tensors.get(name)), h("figcaption", {}, text));
  const parts = Object.entries(lesson.gaps).flatMap(([name, gap]) => [
    h("p", { class: "pl-sentence" }, VERDICTS[name](gap)),
    h(
      "div",
      { class: "pl-figures" },
      figure("shuffled", "its input, shuffled"),
      figure(`${name}/first`, "shuffle → layer"),
      figure(`${name}/after`, "layer → shuffle"),
    ),
  ]);
  ui.shuffle.shown.replaceChildren(...parts);
}
