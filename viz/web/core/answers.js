// The answers to queries: maps, computed when they are read, and cached for pins. A worker computes the slow ones, one at a
// time and in the order in which they were read, so that pointing stays fast.
//
//   const answers = new Answers(trace, onResult)           // onResult() is called when a missing map has been computed
//   answers.begin(pins)                                    // before a repaint: empties the queue
//   answers.read(query, layer, step, head, options, out)   // false: not computed yet; the map is queued
//   answers.work()                                         // after a repaint: computes what is queued

import { answer, compute, workerSource } from "./attention.js";
import { cellsOf, mapGrid, queryGrid } from "./query.js";

export class Answers {
  #trace;
  #onResult;
  #sums; // [layer][step]: what `normalise` returns, and the mean row averaged over heads
  #pinned = new Map(); // {pin: {row: [layer][step], column: [layer][step]}}, maps of all heads
  #queue = [];
  #current = null; // the job being computed
  #worker;

  constructor(trace, onResult) {
    this.#trace = trace;
    this.#onResult = onResult;
    this.#sums = trace.layers.map(() => []);
    this.#worker = startWorker(
      (result) => this.#finish(result),
      () => {
        this.#worker = null; // the page's security policy forbids it
        if (this.#current) this.#computeHere();
      },
    );
  }

  begin(pins) {
    this.#queue = [];
    for (const pin of this.#pinned.keys()) if (!pins.includes(pin)) this.#pinned.delete(pin);
    const empty = () => this.#trace.layers.map(() => []);
    for (const pin of pins) if (!this.#pinned.has(pin)) this.#pinned.set(pin, { row: empty(), column: empty() });
  }

  work() {
    if (this.#current) return;
    this.#current = this.#queue.find((job) => !this.#isDone(job)) || null;
    if (!this.#current) return;
    if (this.#worker) this.#worker.postMessage(messageOf(this.#current));
    else this.#computeHere();
  }

  // Whether everything read since `begin` was computed.
  get whole() {
    return !this.#queue.length;
  }

  // The layer must have Q and K at this step: no gap. Writes the map of a query to `out`, in times uniform; with `special`, its difference from the mean row. `mode` is "row" or
  // "column". With `now` it is computed at once, however long that takes.
  read(query, layer, step, head, { mode, special }, out, now = false) {
    const minusMean = special && mode === "row";
    const sum = mode === "column" || minusMean ? this.#sumOf(layer, step, now) : null;
    if (!sum && (mode === "column" || minusMean)) return false;
    const headIndex = Math.min(head, layer.heads - 1);
    const logSums = mode === "column" ? sum.logSums : null;
    if (this.#pinned.has(query) || query.kind !== "pixel") {
      const maps = this.#mapsOf({ query, layer, step, mode, logSums }, now);
      if (!maps) return false;
      headOf(layer.heads, mapGrid(layer, mode), maps, headIndex, out);
    } else {
      const cells = cellsOf(query, queryGrid(layer, mode));
      answer(layer, layer.queries[step], layer.keys[step], cells, logSums, headIndex, out);
    }
    const { tokens } = layer.keyGrid;
    if (minusMean && headIndex < 0) subtract(tokens, sum.meanOfHeads, 0, out);
    else if (minusMean) subtract(tokens, sum.means, headIndex * tokens, out);
    return true;
  }

  // As in remote_answers.js. There is nothing to wait for: missing maps are computed when they are read.
  async order() {}

  close() {
    this.#worker?.terminate();
    this.#queue = [];
    this.#current = null;
  }

  #sumOf(layer, step, now) {
    const job = { layer, step };
    if (!this.#isDone(job)) {
      if (now) this.#store(job, compute(messageOf(job)));
      else this.#queue.push(job);
    }
    return this.#sums[layer.index][step];
  }

  #mapsOf(job, now) {
    const { query, layer, step, mode } = job;
    const cached = this.#pinned.get(query)?.[mode][layer.index][step];
    if (cached) return cached;
    job.cells = cellsOf(query, queryGrid(layer, mode));
    if (job.cells.tokens.length > 1 && !now) {
      this.#queue.push(job);
      return null;
    }
    const maps = compute(messageOf(job));
    this.#store(job, maps);
    return maps;
  }

  #isDone({ layer, step, query, mode }) {
    if (!query) return this.#sums[layer.index][step];
    return !this.#pinned.has(query) || this.#pinned.get(query)[mode][layer.index][step];
  }

  #store({ layer, step, query, mode }, result) {
    if (!query) {
      const { heads, keyGrid } = layer;
      const meanOfHeads = headOf(heads, keyGrid, result.means, -1, new Float32Array(keyGrid.tokens));
      this.#sums[layer.index][step] = { ...result, meanOfHeads };
    } else if (this.#pinned.has(query)) {
      this.#pinned.get(query)[mode][layer.index][step] = result;
    }
  }

  #computeHere() {
    setTimeout(() => this.#current && this.#finish(compute(messageOf(this.#current))));
  }

  #finish(result) {
    this.#store(this.#current, result);
    this.#current = null;
    this.work();
    this.#onResult();
  }
}

// The part of a job that a worker needs: without the numbers of the layer's other steps.
function messageOf({ layer, step, cells, logSums }) {
  const { heads, headDim, scale, tokens, firstQuery, queryCount, keyGrid, firstKey, keyCount } = layer;
  const shape = { heads, headDim, scale, tokens, firstQuery, queryCount, keyGrid, firstKey, keyCount };
  return { layer: shape, q: layer.queries[step], k: layer.keys[step], cells, logSums };
}

// Writes one head of the maps of all heads to `out`, or their mean if `head` is -1.
function headOf(heads, { tokens }, maps, head, out) {
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

// Null if there are no workers; maps are then computed here, between frames.
function startWorker(onMessage, onFailure) {
  try {
    const address = URL.createObjectURL(new Blob([workerSource()], { type: "text/javascript" }));
    const worker = new Worker(address);
    worker.onmessage = ({ data }) => onMessage(data);
    worker.onerror = onFailure;
    return worker;
  } catch {
    return null;
  }
}
