// The answers to queries: maps, computed when they are read, and cached for pins and words. Workers compute the slow ones,
// in the order in which they were read, so that pointing stays fast; when nothing is asked for, they prepare what words need,
// and what takes less than a frame is prepared here while the page is idle.
//
//   const answers = new Answers(trace, onResult)           // onResult() is called when a missing map has been computed
//   answers.begin(kept)                                    // before a repaint: empties the queue; what is cached of other queries
//   answers.read(query, layer, step, head, options, out)   // false: not computed yet; the map is queued
//   answers.shares(query, layer, step, head, options, out) // the same of what a query spends on every key that is a word
//   answers.work()                                         // after a repaint: computes what is queued
//
// While a trace arrives, maps of Q and K that have not arrived are not computed yet, and nothing is queued for them; what has
// arrived is prepared meanwhile.

import { answer, compute } from "./attention.js";
import { DIFFERENCE, cellsOf, isWordQuery, mapGrid, modeOf } from "./query.js";
import { askedOf, queriesOf, sideOf } from "./sides.js";
import { Workforce, productsOf } from "./workforce.js";

const MOMENT = 80; // ms of a repaint that words' maps may take; the worker computes the others
const SHORT = 1e7; // products of q and k that take a moment's small part
const PAUSE = 60; // ms between repaints while results arrive
const BRIEF = 8; // ms of preparing at a time where the browser does not say when it is idle
const PREPARED = 2e9; // products of q and k; words of larger traces are prepared when they are asked for

export class Answers {
  #trace;
  #onResult;
  #sums = new Map(); // {key: what `normalise` returns, and the mean row averaged over heads}
  #kept = new Map(); // {query: {key: maps of all heads}}
  #queue = [];
  #later; // what words need, as jobs
  #steps = new Set(); // those read since `begin`
  #idle = null; // what cancels the next preparation
  #began = 0; // when the repaint began
  #told = 0; // when a result was last told
  #workforce;

  constructor(trace, onResult) {
    this.#trace = trace;
    this.#onResult = onResult;
    this.#later = preparations(trace);
    this.#workforce = new Workforce(messageOf, (job, result) => this.#finish(job, result));
  }

  begin(kept) {
    this.#queue = [];
    this.#steps.clear();
    this.#began = performance.now();
    for (const query of this.#kept.keys()) if (!kept.includes(query)) this.#kept.delete(query);
    for (const query of kept) if (!this.#kept.has(query)) this.#kept.set(query, new Map());
  }

  work() {
    while (this.#later.length && this.#isDone(this.#later[0])) this.#later.shift();
    this.#workforce.employ(() => {
      const { jobs } = this.#workforce;
      const isOpen = (job) => !this.#isDone(job) && !jobs.some((other) => isSame(job, other));
      const isReady = (job) => isOpen(job) && job.layer.numbers(job.step, job.branch) !== null;
      const isSoon = (job) => this.#steps.has(job.step) && isReady(job);
      return this.#queue.find(isOpen) ?? this.#later.find(isSoon) ?? this.#later.find(isReady) ?? null;
    });
    this.#idle ??= whenIdle((remaining) => this.#prepare(remaining));
  }

  // Whether everything read since `begin` was computed.
  get whole() {
    return !this.#queue.length && !this.#trace.arriving;
  }

  // The layer must have Q and K at this step: no gap. Writes the map of a query to `out`, in times uniform; where it is used,
  // relative to its own mean; with `special`, its difference from the mean row. `options` are { mode: "row" or "column",
  // special, reading, branch }. With `now` it is computed at once, however long that takes. A word must be one of the layer's.
  read(query, layer, step, head, options, out, now = false) {
    const { difference, branches } = this.#trace;
    if (!difference || options.branch !== DIFFERENCE) return this.#read(query, layer, step, head, options, out, now);
    const [first, last] = branches.map((branch) => ({ ...options, branch }));
    const other = new Float32Array(out.length);
    const known = [this.#read(query, layer, step, head, last, out, now), this.#read(query, layer, step, head, first, other, now)];
    subtract(mapGrid(layer, modeOf(query, options)).tokens, other, 0, out);
    return known.every(Boolean);
  }

  // The shares that a query of the picture spends on the keys that are words, in their order, in one branch.
  shares(query, layer, step, head, { branch }, out) {
    const numbers = layer.numbers(step, branch);
    if (!numbers) return false;
    const { q, k } = numbers;
    const row = new Float32Array(layer.keyCount);
    answer(sideOf(layer, "words"), q, k, cellsOf(query, layer), null, Math.min(head, layer.heads - 1), row);
    let slot = 0;
    for (const { first, tokens } of layer.wordKeys) {
      for (let i = 0; i < tokens; i++) out[slot++] = row[first + i] / layer.keyCount;
    }
    return true;
  }

  // What each word spends on each word in joint attention, in one branch: the mean of its tokens' rows, summed over those of the
  // other. (W, W) shares, in the order of the layer's words; NaN for words that don't ask.
  wordMatrix(layer, step, head, { branch }) {
    const numbers = layer.numbers(step, branch);
    if (!numbers) return null;
    const { q, k } = numbers;
    const row = new Float32Array(layer.keyCount);
    const words = layer.words(branch);
    const rows = words.map((word) => {
      const tokens = queriesOf(layer, word);
      if (!tokens) return words.map(() => NaN);
      const weights = Array(tokens.length).fill(1 / tokens.length);
      answer(sideOf(layer, "matrix"), q, k, { tokens, weights }, null, Math.min(head, layer.heads - 1), row);
      return words.map(({ keys }) => keys.reduce((sum, key) => sum + row[key] / layer.keyCount, 0));
    });
    return Float32Array.from(rows.flat());
  }

  // As in remote_answers.js. There is nothing to wait for: missing maps are computed when they are read.
  async order() {}

  close() {
    this.#workforce.close();
    this.#idle?.();
    this.#idle = () => {}; // nothing is prepared any more
    this.#queue = this.#later = [];
  }

  #read(query, layer, step, head, options, out, now) {
    const branch = this.#branchOf(options);
    const numbers = layer.numbers(step, branch);
    if (!numbers) return false;
    this.#steps.add(step);
    const asked = askedOf(layer, query, options, branch);
    const { side, mode, cells } = asked;
    const shape = sideOf(layer, side);
    const isWord = isWordQuery(query);
    const minusMean = options.special && mode === "row" && !isWord;
    const needs = minusMean ? "means" : "sums";
    const sum = mode === "column" || minusMean ? this.#sumOf({ layer, step, branch, side, mode: needs }, now) : null;
    if (!sum && (mode === "column" || minusMean)) return false;
    const headIndex = Math.min(head, layer.heads - 1);
    const logSums = mode === "column" ? sum.logSums : null;
    if (this.#kept.has(query) || query.kind !== "pixel") {
      const maps = this.#mapsOf({ query, layer, step, branch, side, mode, cells, logSums }, now);
      if (!maps) return false;
      headOf(layer.heads, mapGrid(shape, mode), maps, headIndex, out);
    } else {
      answer(shape, numbers.q, numbers.k, cells, logSums, headIndex, out);
    }
    if (isWord && options.reading === "used") divideByMean(layer.tokens, out);
    const { tokens } = shape.keyGrid;
    if (minusMean && headIndex < 0) subtract(tokens, sum.meanOfHeads, 0, out);
    else if (minusMean) subtract(tokens, sum.means, headIndex * tokens, out);
    return true;
  }

  #branchOf({ branch }) {
    const { branches } = this.#trace;
    return branches.includes(branch) ? branch : branches[branches.length - 1];
  }

  #sumOf(job, now) {
    if (!this.#isDone(job)) {
      const isShort = job.side === "words" && productsOf(job.layer) < SHORT && this.#hasMoment;
      if (now || isShort) this.#store(job, compute(messageOf(job)));
      else this.#queue.push(job);
    }
    return this.#sums.get(keyOf(job));
  }

  #mapsOf(job, now) {
    const cached = this.#kept.get(job.query)?.get(keyOf(job));
    if (cached) return cached;
    const isShort = isWordQuery(job.query) && job.mode === "column" && this.#hasMoment;
    if (job.cells.tokens.length > 1 && !isShort && !now) {
      this.#queue.push(job);
      return null;
    }
    const maps = compute(messageOf(job));
    this.#store(job, maps);
    return maps;
  }

  // Makes the short sums that a word's atlas needs at the steps on show, one after another while nothing else is to be done.
  #prepare(remaining) {
    this.#idle = null;
    if (this.#queue.length) return; // `work` is called again
    for (const step of this.#steps) {
      for (const layer of this.#trace.wordLayers) {
        const job = { layer, step, branch: this.#trace.branch, side: "words", mode: "sums" };
        if (productsOf(layer) >= SHORT || this.#isDone(job) || !layer.numbers(step, job.branch)) continue;
        if (remaining() < 1) return void (this.#idle = whenIdle((left) => this.#prepare(left)));
        this.#store(job, compute(messageOf(job)));
      }
    }
  }

  get #hasMoment() {
    return performance.now() - this.#began < MOMENT;
  }

  #isDone(job) {
    if (!job.query) return this.#sums.has(keyOf(job));
    return !this.#kept.has(job.query) || this.#kept.get(job.query).has(keyOf(job));
  }

  #store(job, result) {
    if (!job.query) {
      const { heads } = job.layer;
      const { keyGrid } = sideOf(job.layer, job.side);
      const { means } = result;
      const meanOfHeads = means && headOf(heads, keyGrid, means, -1, new Float32Array(keyGrid.tokens));
      this.#sums.set(keyOf(job), { ...result, meanOfHeads });
    } else this.#kept.get(job.query)?.set(keyOf(job), result);
  }

  // The first result is shown at once, the others in groups: a repaint for each would take longer than they do.
  #finish(job, result) {
    const isAwaited = this.#queue.some((other) => isSame(job, other));
    this.#store(job, result);
    this.work();
    const isDue = isSame(job, this.#queue[0] ?? {}) || performance.now() - this.#told > PAUSE;
    if (!isAwaited || !(isDue || this.#queue.every((other) => this.#isDone(other)))) return;
    this.#told = performance.now();
    this.#onResult();
  }
}

// Calls f(remaining) once the page has nothing else to do; remaining() is how many ms f may take. Returns what cancels it.
function whenIdle(f) {
  if (globalThis.requestIdleCallback) {
    const id = globalThis.requestIdleCallback((deadline) => f(() => deadline.timeRemaining()));
    return () => globalThis.cancelIdleCallback(id);
  }
  const id = setTimeout(() => {
    const until = performance.now() + BRIEF;
    f(() => until - performance.now());
  }, PAUSE);
  return () => clearTimeout(id);
}

// The name of a job's result among the sums, or among the maps of its query.
const keyOf = ({ layer, step, branch, side, mode }) => `${layer.index} ${step} ${side} ${mode} ${branch}`;

const isSame = (job, other) => job.layer === other.layer && job.query === other.query && keyOf(job) === keyOf(other);

// The sums of every row over a layer's words, at every step of the branch shown first, where they take long; none if there are
// too many.
function preparations({ wordLayers, steps, branch }) {
  const slow = wordLayers.filter((layer) => productsOf(layer) >= SHORT);
  if (slow.reduce((sum, layer) => sum + productsOf(layer), 0) * steps.length > PREPARED) return [];
  return steps.flatMap((_, step) =>
    slow.filter(({ gaps }) => !gaps.has(step)).map((layer) => ({ layer, step, branch, side: "words", mode: "sums" })),
  );
}

// The part of a job that a worker needs: without the numbers of the layer's other steps.
function messageOf({ layer, step, branch, side, mode, cells, logSums }) {
  const { heads, headDim, scale, tokens, firstQuery, queryCount, keyGrid, firstKey, keyCount } = sideOf(layer, side);
  const shape = { heads, headDim, scale, tokens, firstQuery, queryCount, keyGrid, firstKey, keyCount };
  return { layer: shape, ...layer.numbers(step, branch), cells, logSums, withMeans: mode === "means" };
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

function divideByMean(tokens, out) {
  let sum = 0;
  for (let i = 0; i < tokens; i++) sum += out[i];
  for (let i = 0; i < tokens; i++) out[i] *= tokens / (sum || 1);
}
