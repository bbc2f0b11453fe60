// The answers to queries: maps, computed when they are read, and kept for pins. A worker computes what takes long, one map
// at a time and the most wanted first, so that pointing stays quick.
//
//   const answers = new Answers(trace, onNews)           // onNews() is called when something missing has been computed
//   answers.begin(pins)                                  // before a repaint: nothing is wanted any more
//   answers.read(query, layer, step, head, way, out)     // false: not known yet, and wanted from now on
//   answers.work()                                       // after a repaint: compute what is wanted

import { answer, compute, workerSource } from "./attention.js";
import { cellsOf } from "./query.js";

export class Answers {
  #trace;
  #onNews;
  #sums; // [layer][step]: what `normalise` returns, and the mean row averaged over heads
  #pinned = new Map(); // {pin: {row: [layer][step], column: [layer][step]}}, maps of all heads
  #wanted = [];
  #current = null; // the job being computed
  #worker;

  constructor(trace, onNews) {
    this.#trace = trace;
    this.#onNews = onNews;
    this.#sums = trace.layers.map(() => []);
    this.#worker = startWorker(
      (result) => this.#finish(result),
      () => {
        this.#worker = null; // the page's policy forbids it
        if (this.#current) this.#computeHere();
      },
    );
  }

  begin(pins) {
    this.#wanted = [];
    for (const pin of this.#pinned.keys()) if (!pins.includes(pin)) this.#pinned.delete(pin);
    const empty = () => this.#trace.layers.map(() => []);
    for (const pin of pins) if (!this.#pinned.has(pin)) this.#pinned.set(pin, { row: empty(), column: empty() });
  }

  work() {
    if (this.#current) return;
    this.#current = this.#wanted.find((job) => !this.#known(job)) || null;
    if (!this.#current) return;
    if (this.#worker) this.#worker.postMessage(messageOf(this.#current));
    else this.#computeHere();
  }

  // Whether everything read since `begin` was known.
  get whole() {
    return !this.#wanted.length;
  }

  // Writes the map of a query to out, in times uniform; with `special`, the difference to the mean row. `way` is
  // { mode: "row" | "column", special }. With `now` it is computed at once, however long that takes.
  read(query, layer, step, head, { mode, special }, out, now = false) {
    const minusMean = special && mode === "row";
    const sum = mode === "column" || minusMean ? this.#sumOf(layer, step, now) : null;
    if (!sum && (mode === "column" || minusMean)) return false;
    const one = Math.min(head, layer.heads - 1);
    const logSums = mode === "column" ? sum.logSums : null;
    if (this.#pinned.has(query) || query.kind !== "pixel") {
      const maps = this.#mapsOf({ query, layer, step, mode, logSums }, now);
      if (!maps) return false;
      headOf(layer, maps, one, out);
    } else {
      answer(layer, layer.queries[step], layer.keys[step], cellsOf(query, layer), logSums, one, out);
    }
    if (minusMean) subtract(layer.tokens, one < 0 ? sum.meanOfHeads : sum.means, one < 0 ? 0 : one * layer.tokens, out);
    return true;
  }

  // As in remote_answers.js. There is nothing to wait for here: missing maps are computed when they are read.
  async order() {}

  close() {
    this.#worker?.terminate();
    this.#wanted = [];
    this.#current = null;
  }

  #sumOf(layer, step, now) {
    const job = { layer, step };
    if (!this.#known(job)) {
      if (now) this.#store(job, compute(messageOf(job)));
      else this.#wanted.push(job);
    }
    return this.#sums[layer.index][step];
  }

  #mapsOf(job, now) {
    const { query, layer, step, mode } = job;
    const known = this.#pinned.get(query)?.[mode][layer.index][step];
    if (known) return known;
    job.cells = cellsOf(query, layer);
    if (job.cells.tokens.length > 1 && !now) {
      this.#wanted.push(job);
      return null;
    }
    const maps = compute(messageOf(job));
    this.#store(job, maps);
    return maps;
  }

  #known({ layer, step, query, mode }) {
    if (!query) return this.#sums[layer.index][step];
    return !this.#pinned.has(query) || this.#pinned.get(query)[mode][layer.index][step];
  }

  #store({ layer, step, query, mode }, result) {
    if (!query) {
      const meanOfHeads = headOf(layer, result.means, -1, new Float32Array(layer.tokens));
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
    this.#onNews();
  }
}

// What a worker needs of a job: a layer's own numbers, without those of its other steps.
function messageOf({ layer, step, cells, logSums }) {
  const { tokens, heads, headDim, scale, extra } = layer;
  const sizes = { tokens, heads, headDim, scale, extra };
  return { layer: sizes, q: layer.queries[step], k: layer.keys[step], cells, logSums };
}

// Writes one head of the maps of all, or their mean where head is -1, to out.
function headOf({ tokens, heads }, maps, head, out) {
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

// Null where there are no workers; maps are then computed here, between frames.
function startWorker(onResult, onFailure) {
  try {
    const address = URL.createObjectURL(new Blob([workerSource()], { type: "text/javascript" }));
    const worker = new Worker(address);
    worker.onmessage = ({ data }) => onResult(data);
    worker.onerror = onFailure;
    return worker;
  } catch {
    return null;
  }
}
