// The answers to queries: maps, computed when asked for, and kept for pins. What takes long is done by a worker, one map
// at a time and the most wanted first, so that pointing stays as quick as it is without.
//
//   const answers = createAnswers(trace, onNews)         // onNews() is called when something that was missing has come
//   answers.begin(pins)                                  // before a repaint: what was wanted before is wanted no more
//   answers.read(query, layer, step, head, way, out)     // false: not known yet, and now on its way

import { arithmetic, attention } from "./attention.js";
import { cellsOf } from "./query.js";

export function createAnswers(trace, onNews) {
  const sums = trace.layers.map(() => []); // [layer][step] = what attention.normalise gives, and its means' mean of heads
  const kept = new Map(); // {pin: {row: [layer][step], column: [layer][step]}}, maps of all heads
  let wanted = [];
  let current = null;
  let worker = startWorker(
    (result) => finish(result),
    () => {
      worker = null; // the page it stands in forbids it
      if (current) runHere();
    },
  );

  function run({ layer, step, cells, logSums }) {
    const [q, k] = [layer.queries[step], layer.keys[step]];
    return cells ? attention.allHeads(layer, q, k, cells, logSums) : attention.normalise(layer, q, k);
  }

  function store({ layer, step, query, mode }, result) {
    if (query) {
      if (kept.has(query)) kept.get(query)[mode][layer.index][step] = result;
      return;
    }
    const meanOfHeads = headOf(layer, result.means, -1, new Float32Array(layer.tokens));
    sums[layer.index][step] = { ...result, meanOfHeads };
  }

  function known({ layer, step, query, mode }) {
    return query ? !kept.has(query) || kept.get(query)[mode][layer.index][step] : sums[layer.index][step];
  }

  function next() {
    if (current) return;
    current = wanted.find((job) => !known(job)) || null;
    if (!current) return;
    const { layer, step, cells, logSums } = current;
    const { tokens, heads, headDim, scale, extra } = layer;
    const job = { layer: { tokens, heads, headDim, scale, extra }, q: layer.queries[step], k: layer.keys[step], cells, logSums };
    if (worker) worker.postMessage(job);
    else runHere();
  }

  function runHere() {
    setTimeout(() => current && finish(run(current)));
  }

  function finish(result) {
    store(current, result);
    current = null;
    next();
    onNews();
  }

  function mapsOf(query, layer, step, mode, logSums, now) {
    const pin = kept.get(query);
    const known = pin && pin[mode][layer.index][step];
    if (known) return known;
    const cells = cellsOf(query, layer);
    const job = { layer, step, query, mode, cells, logSums };
    if (cells.tokens.length > 1 && !now) {
      wanted.push(job);
      return null;
    }
    const maps = run(job);
    store(job, maps);
    return maps;
  }

  return {
    begin(pins) {
      wanted = [];
      for (const pin of kept.keys()) if (!pins.includes(pin)) kept.delete(pin);
      const empty = () => trace.layers.map(() => []);
      for (const pin of pins) if (!kept.has(pin)) kept.set(pin, { row: empty(), column: empty() });
    },
    work: next,
    // Whether all that was asked for since `begin` was there.
    get whole() {
      return !wanted.length;
    },
    // The map of a query into out, in times uniform; with `special` the difference to the mean row. `way` is
    // { mode: "row" | "column", special }. With `now` it is computed here and now, however long it takes.
    read(query, layer, step, head, { mode, special }, out, now = false) {
      const minus = special && mode === "row";
      let sum = null;
      if (mode === "column" || minus) {
        sum = sums[layer.index][step];
        if (!sum && now) {
          store({ layer, step }, run({ layer, step }));
          sum = sums[layer.index][step];
        }
        if (!sum) wanted.push({ layer, step });
        if (!sum) return false;
      }
      const one = Math.min(head, layer.heads - 1);
      const logSums = mode === "column" ? sum.logSums : null;
      if (kept.has(query) || query.kind !== "pixel") {
        const maps = mapsOf(query, layer, step, mode, logSums, now);
        if (!maps) return false;
        headOf(layer, maps, one, out);
      } else {
        attention.answer(layer, layer.queries[step], layer.keys[step], cellsOf(query, layer), logSums, one, out);
      }
      if (minus) subtract(layer.tokens, one < 0 ? sum.meanOfHeads : sum.means, one < 0 ? 0 : one * layer.tokens, out);
      return true;
    },
    // Nothing has to be waited for: what is missing is computed when it is read.
    order: async () => {},
    close() {
      if (worker) worker.terminate();
      wanted = [];
      current = null;
    },
  };
}

// One head of the maps of all, or their mean when head is -1, into out.
function headOf(layer, maps, head, out) {
  const { tokens, heads } = layer;
  const [first, last] = head < 0 ? [0, heads] : [head, head + 1];
  out.fill(0, 0, tokens);
  for (let h = first, at = first * tokens; h < last; h++, at += tokens) {
    for (let i = 0; i < tokens; i++) out[i] += maps[at + i] / (last - first);
  }
  return out;
}

function subtract(tokens, mean, at, out) {
  for (let i = 0; i < tokens; i++) out[i] -= mean[at + i];
}

// A worker that runs the text of `arithmetic`, so that a file opened from disk needs no second file. Null where there
// are none: the same is then done here, between frames.
function startWorker(onResult, onFailure) {
  const source = `
    const attention = (${arithmetic})();
    onmessage = ({ data: { layer, q, k, cells, logSums } }) =>
      postMessage(cells ? attention.allHeads(layer, q, k, cells, logSums) : attention.normalise(layer, q, k));`;
  try {
    const address = URL.createObjectURL(new Blob([source], { type: "text/javascript" }));
    const worker = new Worker(address);
    worker.onmessage = ({ data }) => onResult(data);
    worker.onerror = onFailure;
    return worker;
  } catch {
    return null;
  }
}
