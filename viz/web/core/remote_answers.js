// The answers to queries on a trace too large for the browser: as answers.js, but from the server (viz/page/map_server.py).
// One request is sent at a time, and the next asks only for what is needed by then, so that a fast mouse causes no backlog.
// Maps that the server had no time for arrive with a later request, and the atlas fills in.
//
//   const answers = new RemoteAnswers(trace, { path, ask }, onResult, onProblem)    // onProblem(text): "" once it is over

import { Answers } from "./answers.js";
import { mapGrid, modeOf, queryGrid, tokenAt } from "./query.js";
import { toFloats } from "./trace.js";

const MAX_FLOATS = 24e6; // cached, beyond maps on screen
const MAX_MAPS = 4000; // per request; the server returns those it can compute in a moment
const PAUSE = 2000; // ms to wait when the server did not answer

// The answers to queries on a trace, from wherever it says.
export function answersOf(trace, onResult, onProblem) {
  return trace.remote ? new RemoteAnswers(trace, trace.remote, onResult, onProblem) : new Answers(trace, onResult);
}

export class RemoteAnswers {
  #path;
  #ask;
  #onResult;
  #onProblem;
  #page = Math.random().toString(36).slice(2);
  #cache = new Map(); // {key: { map, usedAt }}, least recently added first
  #names = new WeakMap(); // {rectangle or region: its name in keys}
  #floats = 0; // in #cache
  #repaints = 0;
  #turn = 0; // the number of the latest request
  #nameCount = 0; // of #names
  #queue = new Map(); // {key: job}
  #problem = ""; // why maps on screen are missing for good
  #told = ""; // the latest problem
  #refused = new Map(); // {kind of maps: why the server does not compute them}
  #orders = []; // of exports, which need all of their maps at once
  #waiting = false; // for a response
  #closed = false;

  constructor(trace, { path, ask }, onResult, onProblem) {
    this.#path = path;
    this.#ask = ask;
    this.#onResult = onResult;
    this.#onProblem = onProblem;
  }

  begin() {
    this.#queue = new Map();
    this.#problem = "";
    this.#repaints++;
    this.#forget();
  }

  get whole() {
    return !this.#queue.size;
  }

  // As in answers.js, but never computed at once: call `order` first for maps that are needed at once.
  read(query, layer, step, head, options, out) {
    const job = this.#jobOf(query, layer, step, head, options);
    const entry = this.#cache.get(job.key);
    if (!entry) {
      if (this.#refused.has(job.kind)) this.#problem = this.#refused.get(job.kind);
      else this.#queue.set(job.key, job);
      return false;
    }
    entry.usedAt = this.#repaints;
    out.set(entry.map);
    return true;
  }

  // Why the server does not compute the maps of a query in a layer, for people; undefined if it does, as far as is known.
  refusal(query, layer, options) {
    const problem = this.#refused.get(this.#jobOf(query, layer, 0, -1, options).kind);
    this.#problem = problem ?? this.#problem;
    return problem && "it takes more than the server computes";
  }

  // As in answers.js, but false while they are under way.
  shares(query, layer, step, head, { branch }, out) {
    return this.read(query, layer, step, head, { mode: "shares", special: false, branch }, out);
  }

  // The server has no such answer.
  wordMatrix() {
    return null;
  }

  // Resolves once all of these maps, [query, layer, step, head], can be read.
  order(maps, options) {
    const jobs = maps.map((map) => this.#jobOf(...map, options));
    const refused = jobs.find(({ kind }) => this.#refused.has(kind));
    if (refused) return Promise.reject(new Error(this.#refused.get(refused.kind)));
    return new Promise((done, fail) => {
      this.#orders.push({ jobs, done, fail });
      this.work();
    });
  }

  close() {
    this.#closed = true;
    this.#failOrders(new Error("Another trace was opened."));
  }

  // Sends the next request, unless one is in progress.
  work() {
    if (this.#waiting || this.#closed) return;
    const isCached = ({ key }) => this.#cache.has(key);
    while (this.#orders.length && this.#orders[0].jobs.every(isCached)) this.#orders.shift().done();
    const jobs = this.#orders.length ? this.#orders[0].jobs : [...this.#queue.values()];
    const missing = jobs.filter((job) => !isCached(job));
    if (!missing.length) return void this.#tell(this.#problem);
    this.#waiting = true;
    const kindOf = ({ mode, special, reading, branch }) => `${mode} ${special} ${reading} ${branch}`;
    const kind = kindOf(missing[0]);
    this.#request(missing.filter((job) => kindOf(job) === kind).slice(0, MAX_MAPS));
  }

  async #request(jobs) {
    const queries = [...new Set(jobs.map(({ query }) => query))];
    const maps = jobs.map(({ query, layer, step, head }) => [queries.indexOf(query), layer.index, step, head]);
    const { mode, special, reading, branch } = jobs[0];
    const choices = { mode, special, reading, branch };
    const request = { path: this.#path, page: this.#page, turn: ++this.#turn, ...choices, queries, maps };
    const response = await this.#ask(request).catch(() => null);
    if (this.#closed) return;
    const problem = response ? response.error : "The server is not responding; missing maps will appear when it does.";
    this.#tell(problem || this.#problem);
    if (problem) {
      this.#failOrders(new Error(problem));
      if (jobs[response?.refused]) this.#refused.set(jobs[response.refused].kind, problem);
      else await new Promise((done) => setTimeout(done, PAUSE));
    } else if (!response.late) {
      this.#unpack(response, jobs);
    }
    this.#waiting = false;
    this.#onResult();
    if (this.#orders.length) this.work();
  }

  #tell(problem) {
    if (problem !== this.#told) this.#onProblem((this.#told = problem));
  }

  #unpack({ done, numbers }, jobs) {
    const floats = toFloats({ dtype: "F16", bytes: Uint8Array.from(atob(numbers), (character) => character.charCodeAt(0)) });
    let at = 0;
    for (const { key, count } of jobs.slice(0, done)) {
      const map = floats.slice(at, (at += count));
      if (this.#cache.has(key)) continue;
      this.#cache.set(key, { map, usedAt: this.#repaints });
      this.#floats += map.length;
    }
  }

  // Drops old maps, but none that was on screen at the last repaint, and none while an export waits for its maps.
  #forget() {
    for (const [key, { map, usedAt }] of this.#cache) {
      if (this.#floats <= MAX_FLOATS || this.#orders.length) return;
      if (usedAt >= this.#repaints - 1) continue;
      this.#cache.delete(key);
      this.#floats -= map.length;
    }
  }

  #failOrders(error) {
    for (const { fail } of this.#orders.splice(0)) fail(error);
  }

  #jobOf(query, layer, step, head, { mode, special, reading, branch }) {
    const isWord = query.kind === "word";
    const job = { query, layer, step, head: Math.min(head, layer.heads - 1), mode, branch: branch || undefined };
    job.special = special && mode === "row" && !isWord;
    job.reading = isWord ? reading : undefined;
    job.count = mode === "shares" ? countWords(layer) : mapGrid(layer, modeOf(query, { mode, reading })).tokens;
    const key = this.#keyOf(job);
    // Maps that take the server as long: of one layer, at any step, of any pixel.
    const what = query.kind === "pixel" ? "pixel" : isWord ? "word" : this.#names.get(query);
    return { ...job, key, kind: `${layer.index} ${mode} ${job.special} ${job.reading} ${what}` };
  }

  #keyOf({ query, layer, step, head, mode, special, reading, branch }) {
    const choices = `${layer.index} ${step} ${head} ${special} ${branch}`;
    if (query.kind === "word") return `${choices} ${reading} ${JSON.stringify(query)}`;
    if (query.kind !== "pixel" && !this.#names.has(query)) this.#names.set(query, `q${this.#nameCount++}`);
    const place = query.kind === "pixel" ? tokenAt(queryGrid(layer, mode), query.point) : this.#names.get(query);
    return `${choices} ${mode} ${place}`;
  }
}

const countWords = ({ wordKeys }) => wordKeys.reduce((sum, { tokens }) => sum + tokens, 0);
