// The answers to queries on a trace too big for the browser: what answers.js gives, from the server
// (viz/page/map_server.py). One request is sent at a time and the next asks for what is wanted by then, so that a fast mouse
// builds no queue. Maps the server had no time for come with a later request, and the atlas fills in.
//
//   const answers = new RemoteAnswers(trace, { path, ask }, onNews, onTrouble)    // onTrouble(text): "" when it is over

import { tokenAt } from "./query.js";
import { toFloats } from "./trace.js";

const MAX_FLOATS = 24e6; // kept of maps that are not on screen
const MAX_MAPS = 4000; // in one request; the server answers those it computes in a moment
const PAUSE = 2000; // ms, after the server did not answer

export class RemoteAnswers {
  #path;
  #ask;
  #onNews;
  #onTrouble;
  #page = Math.random().toString(36).slice(2);
  #kept = new Map(); // {key: { map, used }}, the longest unused first
  #names = new WeakMap(); // {rectangle or region: its name in keys}
  #floats = 0; // in #kept
  #moment = 0; // counts repaints
  #turn = 0; // counts requests
  #queries = 0; // counts names
  #wanted = new Map(); // {key: job}
  #orders = []; // of exports, which need all of their maps at once
  #waiting = false; // for a response
  #closed = false;

  constructor(trace, { path, ask }, onNews, onTrouble) {
    this.#path = path;
    this.#ask = ask;
    this.#onNews = onNews;
    this.#onTrouble = onTrouble;
  }

  begin() {
    this.#wanted = new Map();
    this.#moment++;
    this.#forget();
  }

  get whole() {
    return !this.#wanted.size;
  }

  // As in answers.js, but never computed at once: what is needed at once is ordered first.
  read(query, layer, step, head, way, out) {
    const job = this.#jobOf(query, layer, step, head, way);
    const entry = this.#kept.get(job.key);
    if (!entry) {
      this.#wanted.set(job.key, job);
      return false;
    }
    entry.used = this.#moment;
    out.set(entry.map);
    return true;
  }

  // Resolves when all of these maps, [query, layer, step, head], can be read.
  order(maps, way) {
    const jobs = maps.map((map) => this.#jobOf(...map, way));
    return new Promise((done, fail) => {
      this.#orders.push({ jobs, done, fail });
      this.work();
    });
  }

  close() {
    this.#closed = true;
    this.#failOrders(new Error("Another trace was opened."));
  }

  // Sends the next request, unless one is under way.
  work() {
    if (this.#waiting || this.#closed) return;
    const isKept = ({ key }) => this.#kept.has(key);
    while (this.#orders.length && this.#orders[0].jobs.every(isKept)) this.#orders.shift().done();
    const jobs = this.#orders.length ? this.#orders[0].jobs : [...this.#wanted.values()];
    const missing = jobs.filter((job) => !isKept(job));
    if (!missing.length) return;
    this.#waiting = true;
    const { mode, special } = missing[0];
    this.#request(missing.filter((job) => job.mode === mode && job.special === special).slice(0, MAX_MAPS));
  }

  async #request(jobs) {
    const queries = [...new Set(jobs.map(({ query }) => query))];
    const maps = jobs.map(({ query, layer, step, head }) => [queries.indexOf(query), layer.index, step, head]);
    const { mode, special } = jobs[0];
    const request = { path: this.#path, page: this.#page, turn: ++this.#turn, mode, special, queries, maps };
    const response = await this.#ask(request).catch(() => null);
    if (this.#closed) return;
    const trouble = response ? response.error : "The server does not answer; the missing maps are waiting for it.";
    this.#onTrouble(trouble || "");
    if (trouble) {
      this.#failOrders(new Error(trouble));
      await new Promise((done) => setTimeout(done, PAUSE));
    } else if (!response.late) {
      this.#unpack(response, jobs);
    }
    this.#waiting = false;
    this.#onNews();
    if (this.#orders.length) this.work();
  }

  #unpack({ done, numbers }, jobs) {
    const floats = toFloats({ dtype: "F16", bytes: Uint8Array.from(atob(numbers), (character) => character.charCodeAt(0)) });
    let at = 0;
    for (const { key, layer } of jobs.slice(0, done)) {
      const map = floats.slice(at, (at += layer.tokens));
      if (this.#kept.has(key)) continue;
      this.#kept.set(key, { map, used: this.#moment });
      this.#floats += layer.tokens;
    }
  }

  // Keeps what was on screen since the last repaint, and everything while an export waits for the rest of its maps.
  #forget() {
    for (const [key, { map, used }] of this.#kept) {
      if (this.#floats <= MAX_FLOATS || this.#orders.length) return;
      if (used >= this.#moment - 1) continue;
      this.#kept.delete(key);
      this.#floats -= map.length;
    }
  }

  #failOrders(error) {
    for (const { fail } of this.#orders.splice(0)) fail(error);
  }

  #jobOf(query, layer, step, head, { mode, special }) {
    const job = { query, layer, step, head: Math.min(head, layer.heads - 1), mode, special: special && mode === "row" };
    return { ...job, key: this.#keyOf(job) };
  }

  #keyOf({ query, layer, step, head, mode, special }) {
    if (query.kind !== "pixel" && !this.#names.has(query)) this.#names.set(query, `q${this.#queries++}`);
    const place = query.kind === "pixel" ? tokenAt(layer, query.point) : this.#names.get(query);
    return `${layer.index} ${step} ${head} ${mode} ${special} ${place}`;
  }
}
