// A trace that is still arriving: the line over the atlas that says how much of it is here, and what waits for the rest.
// `desk`: see desk.js; `arrival`: { received, total }, in bytes.

import { h, makeButton } from "../dom.js";
import { labelAtlas } from "./layout.js";
import { drawBase } from "./repaint.js";

const TURN = 3000; // ms for which the line belongs to the next trace, if both arrive: it would flicker otherwise

const megabytes = (bytes) => (bytes / 1e6).toFixed(1);

// "4.1 of 10.9 MB"
export const formatArrival = ({ received, total }) => `${megabytes(received)} of ${megabytes(total)} MB`;

// Before another trace is opened: what waits for the rest of the one on screen waits in vain.
export function startArrival(desk) {
  lineOf(desk).remove();
  desk.nextArrived = -Infinity;
  failWaiting(desk, "Another recording was opened.");
}

// Shows the pictures that have arrived, and how much has. With `retry`, which fetches the rest, it says that the connection broke,
// or the `problem`; with `isNext`, it is another trace that arrives, which will take this one's place, or a `problem` of that one.
export function showArrival(desk, arrival, { retry = null, problem = "", isNext = false } = {}) {
  const { trace } = desk;
  if (isNext) {
    desk.nextArrived = performance.now();
    return lineOf(desk).replaceChildren(problem || `Opening the next: ${formatArrival(arrival)}`);
  }
  if (trace.refresh()) {
    drawBase(desk);
    if (desk.columns.length) labelAtlas(desk);
  }
  const line = lineOf(desk);
  if (!trace.arriving) {
    line.remove();
    desk.waiting.splice(0).forEach(({ done }) => done());
  } else if (retry) showInterruption(desk, line, arrival, retry, problem);
  else if (!(performance.now() < desk.nextArrived + TURN)) line.replaceChildren(`Arriving: ${formatArrival(arrival)}`);
}

// The line lies over the atlas, so that nothing moves when it comes and goes.
function lineOf({ ui }) {
  const { maps } = ui.atlas;
  return maps.querySelector(".pg-arriving") ?? maps.appendChild(h("div", { class: "pg-arriving" }));
}

function showInterruption(desk, line, arrival, retry, problem) {
  const again = () => {
    showArrival(desk, arrival);
    retry();
  };
  const sentence = problem || `The connection broke at ${formatArrival(arrival)}.`;
  line.replaceChildren(
    h("span", { role: "status" }, `${sentence} What has arrived can be used.`),
    makeButton("Try again", { class: "pg-toggle", onclick: again }),
  );
  failWaiting(desk, `This needs the whole recording. ${sentence} Press “Try again” in the atlas first.`);
}

function failWaiting(desk, problem) {
  desk.waiting.splice(0).forEach(({ fail }) => fail(new Error(problem)));
}

// Resolves once the whole trace has arrived; rejects if the connection breaks, or if another trace is opened.
export function whenArrived(desk) {
  if (!desk.trace?.arriving) return Promise.resolve();
  return new Promise((done, fail) => desk.waiting.push({ done, fail }));
}

// What another trace opens with: the layer's name, and the step as a share of all; null before the first.
export function placeOf(desk) {
  const { trace, state } = desk;
  if (!trace) return null;
  const last = trace.steps.length - 1;
  return { layer: desk.layer.name, step: last ? state.step / last : 1 };
}

// The indices of the layer and the step that a trace opens with: those of the view, otherwise those of `place`.
export function placeIn(trace, { layer: name, step: recorded } = {}, place = null) {
  const indexOf = (wanted) => trace.all.findIndex((layer) => layer.name === wanted);
  const layer = [indexOf(name), indexOf(place?.layer), trace.layers[trace.layers.length - 1].index].find((index) => index >= 0);
  const step = trace.steps.indexOf(recorded);
  return { layer, step: step >= 0 ? step : Math.round((place?.step ?? 1) * (trace.steps.length - 1)) };
}
