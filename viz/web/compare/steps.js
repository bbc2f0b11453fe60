// The steps of two traces on one axis, by timestep. Nothing here touches the DOM.
//
// Two steps are the same if their timesteps are, to six digits; where a trace gives none, if their indices are. A sampler that calls
// the network several times at one timestep is matched call by call.

import { formatTimestep } from "../core/words.js";

const keysByTrace = new WeakMap();

// A key for each step of a trace; equal keys are the same step.
export function keysOf(trace) {
  if (!keysByTrace.has(trace)) keysByTrace.set(trace, readKeys(trace));
  return keysByTrace.get(trace);
}

function readKeys({ timesteps, steps }) {
  const counts = new Map();
  return timesteps.map((t, i) => {
    const key = t === null ? `step ${steps[i]}` : `t ${Number(t.toPrecision(6))}`;
    const nth = counts.get(key) ?? 0;
    counts.set(key, nth + 1);
    return nth ? `${key} call ${nth + 1}` : key;
  });
}

// The steps of both traces in the order in which they ran: [{ label, steps: [index or null, index or null] }]; null where a
// trace has no such step.
export function mergeSteps(first, second) {
  const traces = [first, second];
  const keys = traces.map(keysOf);
  const [i, j] = [0, 1];
  const at = [0, 0];
  const merged = [];
  const head = (side) => keys[side][at[side]];
  const add = (...sides) => {
    const step = at[sides[0]];
    const { timesteps, steps } = traces[sides[0]];
    merged.push({
      label: formatTimestep(timesteps[step]) || String(steps[step]),
      steps: [i, j].map((side) => (sides.includes(side) ? at[side] : null)),
    });
    for (const side of sides) at[side] += 1;
  };
  while (at[i] < keys[i].length || at[j] < keys[j].length) {
    if (head(i) === undefined) add(j);
    else if (head(j) === undefined) add(i);
    else if (head(i) === head(j)) add(i, j);
    else if (keys[j].includes(head(i), at[j])) add(j);
    else if (keys[i].includes(head(j), at[i])) add(i);
    else add(runsFirst(traces, at) ? i : j);
  }
  return merged;
}

// Of two steps that only one trace has, whether the first trace's comes first: the noisier one, unless timesteps rise.
function runsFirst([first, second], at) {
  const [a, b] = [first.timesteps[at[0]], second.timesteps[at[1]]];
  if (a === null || b === null) return at[0] <= at[1];
  const last = first.timesteps[first.timesteps.length - 1];
  const rises = last !== null && last > first.timesteps[0];
  return rises ? a <= b : a >= b;
}

// The step of `to` that a step of `from` stands for: the same one, otherwise the nearest by timestep; by its share of the run, if a
// trace gives no timesteps. Returns an index into `to.steps`.
export function stepLike(from, step, to) {
  const same = keysOf(to).indexOf(keysOf(from)[step]);
  if (same >= 0) return same;
  const wanted = from.timesteps[step];
  if (wanted === null || to.timesteps.includes(null)) {
    const last = ({ steps }) => Math.max(1, steps.length - 1);
    return Math.min(to.steps.length - 1, Math.round((step / last(from)) * last(to)));
  }
  const distances = to.timesteps.map((t) => Math.abs(t - wanted));
  return distances.indexOf(Math.min(...distances));
}

// Whether two traces are at the same step.
export const isSameStep = (first, i, second, j) => keysOf(first)[i] === keysOf(second)[j];
