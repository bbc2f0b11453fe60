// From numbers to colours: scales, colour tables, and the ticks and note of the colour bar.
//
// A scale is { special, range: "common" | "own", log }. Numbers are times uniform; with `special` they are differences from
// the mean row or of two branches, and the colour map is a diverging one with zero in its middle.

import { DIFFERENCE, isWordQuery, queryOf } from "./query.js";

const LOW = -2; // octaves: the common log scale starts at a quarter of uniform
const HIGH = 5; // and ends at 32 times uniform
const LINEAR = 8; // end of the common linear scale
const APART = 4; // end of the common linear scale of differences, in both directions
const OWN = 7; // octaves of a map's own log scale
const FOLD = 31; // end of the log scale of differences: log2(1 + |d|) goes from 0 to 5 as |d| goes from 0 to 31

// The scale of a query, by default the chosen one, in a view or the viewer's state.
export function scaleOf(view, query = queryOf(view)) {
  const { special, mode, range, log, branch } = view;
  return { special: branch === DIFFERENCE || (special && mode === "row" && !isWordQuery(query)), range, log };
}

// A function from numbers to positions on the colour bar, 0..1. With "own", numbers are shares of the map's largest.
export function positionOf({ special, range, log }) {
  const folded = (v) => Math.sign(v) * (Math.log2(1 + Math.abs(v)) / Math.log2(1 + FOLD));
  if (special) {
    const full = range === "own" ? 1 : APART;
    return log ? (v) => 0.5 + 0.5 * folded(range === "own" ? FOLD * v : v) : (v) => 0.5 + (0.5 * v) / full;
  }
  if (range === "own") return log ? (v) => 1 + Math.log2(v) / OWN : (v) => v;
  return log ? (v) => (Math.log2(v) - LOW) / (HIGH - LOW) : (v) => v / LINEAR;
}

// Colour tables, which look up any float without a logarithm: the top 16 bits of a float32 are its sign, its exponent and
// 7 bits of its fraction, fine enough for 256 colours on a log scale. Tables are made when first needed.
//
// Returns f(scale, kind): 65,536 colours, for kind "solid", or "veil" to lie over a picture.
export function colorTables(colormap, diverging) {
  const tables = new Map();
  const packed = (colors) => Uint32Array.from(colors, ([r, g, b]) => (b << 16) | (g << 8) | r);
  const sequential = packed(colormap);
  const around = packed(diverging);
  return (scale, kind) => {
    const key = `${scale.special} ${scale.range} ${scale.log} ${kind}`;
    if (tables.has(key)) return tables.get(key);
    const position = positionOf(scale);
    const colors = scale.special ? around : sequential;
    const table = new Uint32Array(65536);
    const bits = new Uint32Array(1);
    const float = new Float32Array(bits.buffer);
    const colorAt = (at) => {
      const strength = scale.special ? Math.abs(2 * at - 1) : at;
      const alpha = kind === "solid" ? 1 : 0.3 + 0.62 * Math.sqrt(strength); // nearly transparent where the attention is low
      return ((Math.round(255 * alpha) << 24) | colors[Math.round(at * 255)]) >>> 0;
    };
    const count = scale.special ? 65536 : 32768; // then come negative numbers
    for (let i = 0; i < count; i++) {
      bits[0] = (i << 16) | 0x8000;
      const at = Number.isFinite(float[0]) ? position(float[0]) : i < 32768 ? 1 : 0;
      table[i] = colorAt(Math.min(1, Math.max(0, at)));
    }
    table.fill(colorAt(0), count);
    tables.set(key, table);
    return table;
  };
}

// The largest magnitude of a map, where its own scale ends.
export function largestOf(map, count) {
  let largest = 1e-30;
  for (let i = 0; i < count; i++) largest = Math.max(largest, Math.abs(map[i]));
  return largest;
}

const oneFloat = new Float32Array(1);
const oneFloatBits = new Uint32Array(oneFloat.buffer);

// Writes the colours of one map to `out`; `table` is this scale's, from colorTables.
export function colorize(table, scale, map, count, out) {
  if (scale.range === "common") {
    const bits = new Uint32Array(map.buffer, map.byteOffset, count);
    for (let i = 0; i < count; i++) out[i] = table[bits[i] >>> 16];
    return out;
  }
  const factor = 1 / largestOf(map, count);
  for (let i = 0; i < count; i++) {
    oneFloat[0] = map[i] * factor;
    out[i] = table[oneFloatBits[0] >>> 16];
  }
  return out;
}

// The ticks of the colour bar: [position in 0..1, text]. `largest` belongs to the chosen map.
export function ticksOf(scale, largest) {
  const { special, range, log } = scale;
  const own = range === "own";
  if (special) {
    const full = own ? largest : log ? FOLD : APART;
    const shares = log ? [-1, -7 / 31, -1 / 31, 0, 1 / 31, 7 / 31, 1] : [-1, -0.5, 0, 0.5, 1];
    const position = positionOf({ special, range: "own", log });
    return shares.map((share) => [position(share), formatSigned(share * full)]);
  }
  if (!log) return [0, 0.25, 0.5, 0.75, 1].map((share) => [share, formatTimes(share * (own ? largest : LINEAR))]);
  if (own) return [0, 3, 5, OWN].map((octave) => [octave / OWN, formatTimes(largest * 2 ** (octave - OWN))]);
  const octaves = Array.from({ length: HIGH - LOW + 1 }, (_, i) => LOW + i);
  return octaves.map((octave, i) => [i / (HIGH - LOW), { [-2]: "¼×", [-1]: "½×" }[octave] || `${2 ** octave}×`]);
}

// The same for a bar that says where its ends are open.
export function barTicks(scale, largest) {
  const ticks = ticksOf(scale, largest);
  if (scale.range === "own") return ticks;
  const last = ticks.length - 1;
  return ticks.map(([at, text], i) => [at, i === last ? `≥ ${text}` : !i && scale.special ? `≤ ${text}` : text]);
}

// The note under the colour bar. `largest` belongs to the chosen map; the third argument is a view or the viewer's state.
export function scaleWords(scale, largest, view, query = queryOf(view)) {
  const { special, range, log } = scale;
  const ticks = ticksOf(scale, largest);
  const [from, to] = [ticks[0][1], ticks[ticks.length - 1][1]];
  const ends =
    range === "own"
      ? `scaled to each map's maximum (this map ${from} to ${to}); don't compare colours between maps`
      : `${special ? "≤ " : ""}${from} to ≥ ${to}, shared by all maps`;
  const column = view.mode === "column" && !isWordQuery(query) ? " Columns don't sum to one, so they are not probabilities." : "";
  const subject = subjectOf(scale, view, query);
  return `${subject}. ${log ? "Log" : "Linear"} scale, ${ends}${view.smooth ? "; interpolated for display only" : ""}.${column}`;
}

function subjectOf({ special }, { branch, reading }, query) {
  const uniform = "relative to uniform";
  if (isWordQuery(query) && reading === "used") {
    if (branch === DIFFERENCE) return "Difference of the branches, each relative to its own mean";
    return "The share spent on the word, relative to its mean (1× = mean)";
  }
  if (branch === DIFFERENCE) return `The last branch's attention minus the first's, ${uniform}`;
  if (special) return `Attention minus that of the average cell, ${uniform}`;
  return `Attention ${uniform} (1× = chance)`;
}

export function formatTimes(value) {
  if (value === 0) return "0×";
  return `${value >= 9.95 ? Math.round(value) : Number(value.toPrecision(2))}×`;
}

export function formatSigned(value) {
  return value === 0 ? "0" : `${value > 0 ? "+" : "−"}${formatTimes(Math.abs(value))}`;
}

// [[r, g, b], …] from the hexadecimal digits that `in_hex` of viz/colors.py writes.
export function fromHex(text) {
  const channel = (i) => parseInt(text.slice(2 * i, 2 * i + 2), 16);
  return Array.from({ length: text.length / 6 }, (_, i) => [channel(3 * i), channel(3 * i + 1), channel(3 * i + 2)]);
}
