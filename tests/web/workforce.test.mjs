import assert from "node:assert/strict";
import test from "node:test";

import { compute } from "../../viz/web/core/attention.js";
import { Workforce } from "../../viz/web/core/workforce.js";

// Stands in for a browser's worker. It computes what it is sent when the test says so, or fails.
class FakeWorker {
  static all = [];

  constructor() {
    this.messages = [];
    this.ended = false;
    FakeWorker.all.push(this);
  }

  postMessage(message) {
    this.messages.push(structuredClone(message));
  }

  terminate() {
    this.ended = true;
  }

  finish() {
    this.onmessage({ data: compute(this.messages.shift()) });
  }
}

const GRID = { height: 3, width: 3, tokens: 9 };
const LAYER = { heads: 1, headDim: 2, scale: 1, ...GRID, firstQuery: 0, queryCount: 9, keyGrid: GRID, firstKey: 0, keyCount: 9 };

const makeJobs = (count, layer = LAYER) => Array.from({ length: count }, (_, number) => ({ number, layer }));
const toMessage = ({ number }) => ({ layer: LAYER, q: new Float32Array(18).fill(number), k: new Float32Array(18).fill(1), withMeans: false });
const nextOf = (jobs) => () => jobs.shift() ?? null;

// All keys are the same: a row's log sum is its score, 2 · number, and log 9.
const isResult = (number, { logSums }) => logSums.every((value) => Math.abs(value - 2 * number - Math.log(9)) < 1e-4);

function start({ cores, worker = FakeWorker }) {
  FakeWorker.all = [];
  globalThis.Worker = worker;
  Object.defineProperty(globalThis, "navigator", { value: { hardwareConcurrency: cores }, configurable: true });
  const finished = [];
  const workforce = new Workforce(toMessage, (job, result) => finished.push([job.number, isResult(job.number, result)]));
  return { workforce, finished };
}

test("workers are started when there is work for them, and each has one job more than it works on", () => {
  const { workforce } = start({ cores: 8 });
  assert.equal(FakeWorker.all.length, 1);
  workforce.employ(nextOf(makeJobs(1)));
  assert.equal(FakeWorker.all.length, 1);
  const waiting = makeJobs(20);
  workforce.employ(nextOf(waiting));
  assert.deepEqual(FakeWorker.all.map(({ messages }) => messages.length), [2, 2, 2, 2]);
  assert.equal(workforce.jobs.length, 8);
  assert.equal(waiting.length, 13);
});

test("every result belongs to its job, in whatever order workers are done", () => {
  const { workforce, finished } = start({ cores: 2 });
  const jobs = makeJobs(9);
  workforce.employ(nextOf(jobs));
  while (workforce.jobs.length) {
    FakeWorker.all.filter(({ messages }) => messages.length).at(-1).finish();
    workforce.employ(nextOf(jobs));
  }
  assert.deepEqual(finished.map(([number]) => number).sort(), [0, 1, 2, 3, 4, 5, 6, 7, 8]);
  assert(finished.every(([, isRight]) => isRight));
});

test("a long job has none waiting behind it", () => {
  const { workforce } = start({ cores: 1 });
  workforce.employ(nextOf(makeJobs(3, { ...LAYER, tokens: 4096, keyCount: 4096, headDim: 64 })));
  assert.equal(FakeWorker.all[0].messages.length, 1);
});

test("what workers that fail leave behind is computed here", async () => {
  const { workforce, finished } = start({ cores: 2 });
  const jobs = makeJobs(6);
  workforce.employ(nextOf(jobs));
  FakeWorker.all.forEach((worker) => worker.onerror());
  assert(FakeWorker.all.every(({ ended }) => ended));
  for (let i = 0; i < 50 && finished.length < 6; i++) {
    workforce.employ(nextOf(jobs));
    await new Promise((done) => setTimeout(done, 5));
  }
  assert.deepEqual(finished.sort(), makeJobs(6).map(({ number }) => [number, true]));
});

test("without workers jobs are computed here, and none after it was closed", async () => {
  const { workforce, finished } = start({ cores: 2, worker: null });
  const jobs = makeJobs(3);
  const next = nextOf(jobs);
  for (let i = 0; i < 50 && finished.length < 2; i++) {
    workforce.employ(next);
    await new Promise((done) => setTimeout(done, 5));
  }
  workforce.employ(next);
  workforce.close();
  await new Promise((done) => setTimeout(done, 20));
  assert.deepEqual(finished, [[0, true], [1, true]]);
});
