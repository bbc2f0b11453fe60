// Reads a trace (the safetensors file of viz/trace_file.py). Nothing here touches the DOM.
//
//   const trace = openTrace(buffer)     // throws an Error to show to the user
//   trace.all                           // every layer that can be shown; a layer's `index` is its place here
//   trace.layers, trace.wordLayers      // those with keys that are pixels, and words; joint attention has both
//   trace.askingLayers                  // those in which words look, too
//   const { q, k } = trace.layers[0].numbers(stepIndex, branch)    // (heads, queryCount, headDim) numbers, and keys; either may
//                                                                  // still be as in the file: see floatsOf in compact.js
//   trace.layers[0].gaps.get(stepIndex) // why this layer has no Q and K at this step; undefined if it has
//   trace.layers[0].words(branch)       // the words among its keys: see captions.js
//   trace.buffer                        // the file's own bytes
//
// A trace may be opened while it arrives, once `headerEnd` of its bytes have: openTrace(buffer, null, arrival), with a buffer as
// long as the file will be and { received }, the number of its bytes that have arrived, which grows.
//
//   trace.arriving                      // whether some are missing; numbers() is null where they are, and so are pictures
//   trace.refresh()                     // call when more has arrived: true if there are new pictures
//
// `branch` is one of trace.branches; anything else stands for the last of them. trace.difference is its name for the last of two
// minus the first, or null. With `remote`, the buffer is the outline of a trace too large to send: it has no queries and
// keys; see remote_answers.js.

import { readCaption, wordsOfLayer } from "./captions.js";
import { floatsOf, packedBytes } from "./compact.js";
import { readLayer } from "./layer.js";
import { DIFFERENCE } from "./query.js";

const TRACE_FORMAT = "pixelgaze-trace";
const TRACE_VERSIONS = ["1", "2"];
const ONLY_SOME =
  "This trace keeps only the queries that were asked for, so one cannot point anywhere in it. Python reads it: Trace.load(…).rows(…).";

// How many bytes of a safetensors file its header and what precedes it take; its first eight bytes say it.
export const headerEnd = (buffer) => 8 + Number(new DataView(buffer).getBigUint64(0, true));

export function readSafetensors(buffer) {
  const fail = (why) => new Error(`This is not a complete trace file: ${why}.`);
  if (buffer.byteLength < 8) throw fail("it is shorter than its own header");
  const headerLength = headerEnd(buffer) - 8;
  if (headerLength > buffer.byteLength - 8) throw fail("it ends inside its header");
  let header;
  try {
    header = JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(new Uint8Array(buffer, 8, headerLength)));
  } catch {
    throw fail("its header is not JSON");
  }
  const { __metadata__: metadata = {}, ...entries } = header;
  const start = 8 + headerLength;
  const tensors = new Map();
  for (const [name, { dtype, shape, data_offsets: [from, to] }] of Object.entries(entries)) {
    if (start + to > buffer.byteLength) throw fail(`it ends before “${name.slice(0, 80)}”`);
    tensors.set(name, { dtype, shape, bytes: new Uint8Array(buffer, start + from, to - from) });
  }
  return { metadata, tensors };
}

// The numbers of a tensor, copied into a Float32Array.
export function toFloats(tensor) {
  const { dtype, bytes } = tensor;
  if (dtype === "F16") return floatsOf(toHalves(bytes));
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  const floats = new Float32Array(bytes.length / (dtype === "F32" ? 4 : 2));
  if (dtype === "BF16") {
    const bits = new Uint32Array(floats.buffer);
    for (let i = 0; i < floats.length; i++) bits[i] = view.getUint16(2 * i, true) << 16;
  } else if (dtype === "F32") {
    for (let i = 0; i < floats.length; i++) floats[i] = view.getFloat32(4 * i, true);
  } else {
    throw new Error(`This trace holds numbers of type ${dtype}; expected F16, BF16 or F32.`);
  }
  return floats;
}

// Half-precision numbers as they are, see compact.js; their bytes may begin anywhere in the file.
function toHalves(bytes) {
  const aligned = bytes.byteOffset % 2 ? bytes.slice() : bytes;
  return { halves: new Uint16Array(aligned.buffer, aligned.byteOffset, bytes.length / 2) };
}

// The numbers of Q or K, in the form that takes least, see compact.js.
function toNumbers({ dtype, bytes }) {
  if (dtype === "U8") return { packed: bytes };
  return dtype === "F16" ? toHalves(bytes) : toFloats({ dtype, bytes });
}

// A picture as { width, height, data }: four bytes per pixel, as in ImageData.
function toPicture({ shape: [height, width], bytes }) {
  const data = new Uint8ClampedArray(4 * width * height);
  for (let i = 0; i < width * height; i++) {
    data.set(bytes.subarray(3 * i, 3 * i + 3), 4 * i);
    data[4 * i + 3] = 255;
  }
  return { width, height, data };
}

// "up_blocks.2.attentions.1.transformer_blocks.0.attn1" is "up 2 · attention 1", or "up 2 · 1" where space is tight;
// "transformer_blocks.7.attn" is "block 7".
export function layerLabel(name, word = "attention ") {
  const block = /(?:^|\.)(down|up)_blocks\.(\d+)/.exec(name);
  const place = /(?:^|\.)mid_block(?:\.|$)/.test(name) ? "middle" : block && `${block[1]} ${block[2]}`;
  const attention = /attentions\.(\d+)/.exec(name);
  const inner = /transformer_blocks\.([1-9]\d*)/.exec(name);
  const room = word ? 26 : 12;
  const [, number, second] = /^transformer_blocks\.(\d+)\.attn(2?)/.exec(name) ?? [];
  if (number) return `block ${number}${second && ` · attn${second}`}`;
  if (!place) return name.length > room ? `…${name.slice(1 - room)}` : name;
  return place + (attention ? ` · ${word}${attention[1]}` : "") + (inner ? `.${inner[1]}` : "");
}

export function openTrace(buffer, remote = null, arrival = null) {
  const { metadata, tensors } = readSafetensors(buffer);
  const isHere = ({ bytes }) => !arrival || bytes.byteOffset + bytes.length <= arrival.received;
  if (metadata.format !== TRACE_FORMAT || !TRACE_VERSIONS.includes(metadata.version)) {
    throw new Error(`This file is not a version ${TRACE_VERSIONS.join(" or ")} trace of PixelGaze.`);
  }
  const description = JSON.parse(metadata.trace);
  const { size, recipe, skipped, branches, timesteps } = description;
  if (Object.keys(description.kept_queries ?? {}).length) throw new Error(ONLY_SOME);
  const steps = timesteps.map(([step]) => step);
  const gapsOf = (name) => new Map((own(description.gaps, name) ?? []).map(([step, reason]) => [steps.indexOf(step), reason]));
  const shapes = description.layers.map((entry) => readLayer(entry, metadata.version)).filter(Boolean);
  const captions = new Map(Object.entries(description.words ?? {}).map(([name, entry]) => [name, readCaption(entry)]));
  const branch = branches[branches.length - 1];
  const branchOf = (name) => (branches.includes(name) ? name : branch);
  const all = shapes.map((shape, index) => {
    const gaps = gapsOf(shape.name);
    const layer = { ...shape, index, gaps, label: layerLabel(shape.name), shortLabel: layerLabel(shape.name, "") };
    const numbers = remote ? () => null : numbersOf(tensors, layer, steps, branches, isHere);
    const words = remembered((name) => wordsOfLayer(shape.wordKeys, captions.get(name)));
    return { ...layer, numbers: (step, name) => numbers(step, branchOf(name)), words: (name) => words(branchOf(name)) };
  });
  const layers = all.filter(({ keyGrid }) => keyGrid);
  if (!layers.length || !steps.length) throw new Error("This trace contains no self-attention to show.");
  const trace = {
    ...{ buffer, remote, all, layers, steps, size, recipe, skipped, branch, branches },
    previews: steps.map(() => null),
    picture: null,
    refresh: () => addPictures(trace, tensors, isHere),
    get arriving() {
      return arrival !== null && arrival.received < buffer.byteLength;
    },
    captionOf: (name) => captions.get(branchOf(name)),
    wordLayers: all.filter(({ wordKeys }) => wordKeys.length),
    askingLayers: all.filter(({ wordQueries }) => wordQueries),
    difference: branches.length === 2 ? DIFFERENCE : null,
    timesteps: timesteps.map(([, timestep]) => timestep),
    calls: new Map((description.calls ?? []).map(([step, ...call]) => [steps.indexOf(step), call])),
    proof: proofOf(description, all),
  };
  trace.refresh();
  return trace;
}

// Adds the pictures that have arrived; returns whether there are any new ones.
function addPictures(trace, tensors, isHere) {
  const { previews, steps } = trace;
  const find = (name) => (tensors.has(name) && isHere(tensors.get(name)) ? toPicture(tensors.get(name)) : null);
  const missing = steps.map((_, i) => i).filter((i) => !previews[i]);
  for (const i of missing) previews[i] = find(`preview/${steps[i]}`);
  const { picture } = trace;
  const last = previews[previews.length - 1]; // stands in for the picture
  if (!picture || picture === last) trace.picture = find("picture") ?? last;
  return picture !== trace.picture || missing.some((i) => previews[i]);
}

// A layer's Q and K by step and branch, null at gaps and where they have not arrived. The shapes of all are checked at once;
// they are taken from the file when they are first read, so that opening a trace takes no longer for its steps that are not on screen.
function numbersOf(tensors, layer, steps, branches, isHere) {
  const { name, heads, headDim, queryCount, keyCount, gaps, keyGrid } = layer;
  const found = new Map();
  for (const branch of branches) {
    let k = null; // a compact file leaves out keys of cross-attention that are the same as at the step before
    steps.forEach((step, i) => {
      if (gaps.has(i)) return;
      const [query, key] = ["query", "key"].map((part) => `${branch}/${part}/${name}/${step}`);
      const isPacked = !keyGrid && tensors.get(query)?.dtype === "U8";
      const q = takeTensor(tensors, query, isPacked ? packedBytes(layer) : heads * headDim * queryCount);
      if (keyGrid || !k || tensors.has(key)) k = takeTensor(tensors, key, heads * headDim * keyCount);
      found.set(`${branch} ${i}`, { q, k });
    });
  }
  const known = new Map();
  const numbersIn = remembered(toNumbers); // steps may share their keys
  return (step, branch) => {
    const key = `${branch} ${step}`;
    const entry = found.get(key);
    if (entry && isHere(entry.q) && isHere(entry.k)) {
      known.set(key, { q: numbersIn(entry.q), k: numbersIn(entry.k) });
      found.delete(key);
    }
    return known.get(key) ?? null;
  };
}

// A function that computes its value for each key once.
function remembered(compute) {
  const values = new Map();
  return (key) => {
    if (!values.has(key)) values.set(key, compute(key));
    return values.get(key);
  };
}

// What was proved of the layers on display: { layers: how many of them, error: the largest difference as recorded, rows: how
// many rows were recomputed, stored: the largest difference as stored, often in half precision }. Numbers that the file does
// not give are null.
function proofOf({ proved, proved_rows: counts, verified }, layers) {
  const names = layers.map(({ name }) => name).filter((name) => own(proved, name) !== undefined);
  const rows = names.reduce((sum, name) => sum + (own(counts, name) ?? NaN), 0);
  return {
    layers: names.length,
    error: names.length ? Math.max(...names.map((name) => proved[name])) : null,
    rows: names.length && rows ? rows : null,
    stored: typeof verified === "number" ? verified : null,
  };
}

// A field of an object, which may be missing, by a name from a file, such as "constructor".
const own = (object, name) => (object && Object.hasOwn(object, name) ? object[name] : undefined);

function takeTensor(tensors, name, count) {
  const tensor = tensors.get(name);
  if (!tensor || tensor.shape.reduce((a, b) => a * b, 1) !== count) {
    throw new Error(`This trace is damaged: “${name}” is not as described.`);
  }
  return tensor;
}
