// Workers that compute the maps which take longer than a frame. Nothing here touches the DOM.
//
//   const workforce = new Workforce(toMessage, onResult)    // toMessage(job): what `compute` takes; onResult(job, result)
//   workforce.employ(next)        // hands out jobs while someone is free; next() returns the next one, or null
//   workforce.jobs                // those handed out
//
// The first worker starts at once, others when there is more to do than it can take. Where the page's security policy allows
// no worker, jobs are computed here, one at a time, between frames.

import { compute, workerSource } from "./attention.js";

const MOST = 4; // workers
const AHEAD = 1e8; // products of q and k of a job that is short enough for the next one to wait behind it

export class Workforce {
  #toMessage;
  #onResult;
  #hands = []; // { worker: null if it works here, jobs: handed out, in their order }
  #most = Math.min(MOST, globalThis.navigator?.hardwareConcurrency ?? 1);
  #closed = false;

  constructor(toMessage, onResult) {
    this.#toMessage = toMessage;
    this.#onResult = onResult;
    this.#hire();
  }

  get jobs() {
    return this.#hands.flatMap(({ jobs }) => jobs);
  }

  employ(next) {
    while (!this.#closed && (this.#hands.some(mayTake) || this.#mayHire)) {
      const job = next();
      if (!job) return;
      const idle = this.#hands.find(({ jobs }) => !jobs.length);
      this.#give(idle ?? (this.#mayHire ? this.#hire() : this.#hands.find(mayTake)), job);
    }
  }

  close() {
    this.#closed = true;
    for (const { worker } of this.#hands) worker?.terminate();
  }

  get #mayHire() {
    return this.#hands[0].worker !== null && this.#hands.length < this.#most;
  }

  #hire() {
    const hand = { jobs: [] };
    const onMessage = ({ data }) => this.#finish(hand, data);
    hand.worker = startWorker(onMessage, () => this.#bringHome(hand));
    this.#hands.push(hand);
    return hand;
  }

  #give(hand, job) {
    hand.jobs.push(job);
    if (hand.worker) hand.worker.postMessage(toSend(this.#toMessage(job)));
    else if (hand.jobs.length === 1) this.#computeHere(hand);
  }

  #computeHere(hand) {
    setTimeout(() => !this.#closed && hand.jobs.length && this.#finish(hand, compute(this.#toMessage(hand.jobs[0]))));
  }

  #finish(hand, result) {
    if (this.#closed) return;
    this.#onResult(hand.jobs.shift(), result);
    if (!hand.worker && hand.jobs.length) this.#computeHere(hand);
  }

  // A worker that could not start leaves its jobs to be computed here.
  #bringHome(hand) {
    hand.worker?.terminate();
    hand.worker = null;
    this.#hands = [hand, ...this.#hands.filter((other) => other !== hand)];
    if (hand.jobs.length) this.#computeHere(hand);
  }
}

const mayTake = ({ worker, jobs }) => !jobs.length || (worker && jobs.length === 1 && productsOf(jobs[0].layer) < AHEAD);

// The products of numbers of q and k that all rows of a layer at one step take.
export const productsOf = ({ heads, headDim, tokens, keyCount }) => heads * headDim * tokens * keyCount;

const toSend = ({ q, k, ...message }) => ({ q: apart(q), k: apart(k), ...message });

// Numbers as the file holds them are part of its buffer, all of which would be sent with them.
function apart(numbers) {
  const { packed, halves } = numbers;
  if (packed) return { packed: packed.slice() };
  return halves ? { halves: halves.slice() } : numbers;
}

// Null if there are no workers.
function startWorker(onMessage, onFailure) {
  try {
    const address = URL.createObjectURL(new Blob([workerSource()], { type: "text/javascript" }));
    const worker = new Worker(address);
    worker.onmessage = onMessage;
    worker.onerror = onFailure;
    return worker;
  } catch {
    return null;
  }
}
