// The answers to queries on a trace that is too big for the browser: the same as answers.js gives, from the server
// (viz/page/map_server.py). One request is on its way at a time. What comes next is what is wanted then, so that a fast mouse never
// builds a queue; what was not computed in time comes with the answer after, and the atlas fills in.
//
//   const answers = createRemoteAnswers(trace, { path, ask }, onNews, onTrouble)    // onTrouble(text): "" when it is over

import { tokenAt } from "./query.js";
import { toFloats } from "./trace.js";

const REMOTE_FLOATS = 24e6; // that are kept of what is not on show
const REMOTE_MAPS = 4000; // asked for in one request; the server answers those that it computes in a moment
const REMOTE_PAUSE = 2000; // ms, after the server did not answer

export function createRemoteAnswers(trace, { path, ask }, onNews, onTrouble) {
  const page = Math.random().toString(36).slice(2);
  const kept = new Map(); // {key: { map, used }}, the longest unused first
  const names = new WeakMap(); // {region or rectangle: its name in keys}
  let [turn, moment, floats, count] = [0, 0, 0, 0];
  let wanted = new Map(); // {key: job}
  const orders = []; // of exports, which need all of their maps at once
  let asking = false;
  let closed = false;

  function keyOf({ query, layer, step, head, mode, special }) {
    if (query.kind !== "pixel" && !names.has(query)) names.set(query, `q${count++}`);
    const who = query.kind === "pixel" ? tokenAt(layer, query.point) : names.get(query);
    return `${layer.index} ${step} ${head} ${mode} ${special} ${who}`;
  }

  function jobOf(query, layer, step, head, { mode, special }) {
    const job = { query, layer, step, head: Math.min(head, layer.heads - 1), mode, special: special && mode === "row" };
    return { ...job, key: keyOf(job) };
  }

  function store({ key, layer }, map) {
    if (kept.has(key)) return;
    kept.set(key, { map, used: moment });
    floats += layer.tokens;
  }

  // What was on show since the last repaint stays, and so does everything while an export is waiting for the rest.
  function forget() {
    for (const [key, { map, used }] of kept) {
      if (floats <= REMOTE_FLOATS || orders.length) return;
      if (used >= moment - 1) continue;
      kept.delete(key);
      floats -= map.length;
    }
  }

  function next() {
    if (asking || closed) return;
    while (orders.length && orders[0].jobs.every(({ key }) => kept.has(key))) orders.shift().done();
    const jobs = (orders.length ? orders[0].jobs : [...wanted.values()]).filter(({ key }) => !kept.has(key));
    if (!jobs.length) return;
    asking = true;
    const { mode, special } = jobs[0];
    request(jobs.filter((job) => job.mode === mode && job.special === special).slice(0, REMOTE_MAPS));
  }

  async function request(jobs) {
    const queries = [...new Set(jobs.map(({ query }) => query))];
    const maps = jobs.map(({ query, layer, step, head }) => [queries.indexOf(query), layer.index, step, head]);
    const { mode, special } = jobs[0];
    let found;
    try {
      found = await ask({ path, page, turn: ++turn, mode, special, queries, maps });
    } catch {
      found = null; // the server is not there
    }
    if (closed) return;
    const trouble = found ? found.error : "The server does not answer; the maps that are missing wait for it.";
    onTrouble(trouble || "");
    if (trouble) {
      for (const { fail } of orders.splice(0)) fail(new Error(trouble));
      await new Promise((done) => setTimeout(done, REMOTE_PAUSE));
    } else if (!found.late) {
      unpack(found, jobs);
    }
    asking = false;
    onNews();
    if (orders.length) next();
  }

  function unpack({ done, numbers }, jobs) {
    const floats = toFloats({ dtype: "F16", bytes: Uint8Array.from(atob(numbers), (letter) => letter.charCodeAt(0)) });
    let at = 0;
    for (const job of jobs.slice(0, done)) store(job, floats.slice(at, (at += job.layer.tokens)));
  }

  return {
    begin() {
      wanted = new Map();
      moment++;
      forget();
    },
    work: next,
    get whole() {
      return !wanted.size;
    },
    // As in answers.js. There is no now: what is needed at once is ordered first.
    read(query, layer, step, head, how, out) {
      const job = jobOf(query, layer, step, head, how);
      const found = kept.get(job.key);
      if (!found) wanted.set(job.key, job);
      if (!found) return false;
      found.used = moment;
      out.set(found.map);
      return true;
    },
    // Resolves when these maps, [query, layer, step, head], can all be read.
    order(maps, how) {
      const jobs = maps.map((each) => jobOf(...each, how));
      return new Promise((done, fail) => {
        orders.push({ jobs, done, fail });
        next();
      });
    },
    close() {
      closed = true;
      for (const { fail } of orders.splice(0)) fail(new Error("Another trace was opened."));
    },
  };
}
