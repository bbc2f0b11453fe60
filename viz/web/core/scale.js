// From numbers to colours: the scales, their tables, and the ticks and words of the colour bar.
//
// A scale is { special, range: "common" | "own", log }. Numbers are times uniform; with `special` they are differences to
// the mean row, and the colours are a diverging map with zero in its middle.

const LOW = -2; // octaves: from a quarter of uniform
const HIGH = 5; // to 32 times uniform, and more
const LINEAR = 8; // the common linear scale ends here
const DIFFERENCE = 4; // and the one of differences here, both ways
const OWN = 7; // octaves of a map's own log scale
const FOLD = 31; // differences on a log scale: log2(1 + |d|) goes from 0 to 5 where |d| goes from 0 to 31

// The position of a number on the colour bar, 0..1. With "own", numbers are shares of the map's largest.
export function positionOf({ special, range, log }) {
  const folded = (v) => Math.sign(v) * (Math.log2(1 + Math.abs(v)) / Math.log2(1 + FOLD));
  if (special) {
    const full = range === "own" ? 1 : DIFFERENCE;
    return log ? (v) => 0.5 + 0.5 * folded(range === "own" ? FOLD * v : v) : (v) => 0.5 + (0.5 * v) / full;
  }
  if (range === "own") return log ? (v) => 1 + Math.log2(v) / OWN : (v) => v;
  return log ? (v) => (Math.log2(v) - LOW) / (HIGH - LOW) : (v) => v / LINEAR;
}

// A colour for every float without a logarithm: the top 16 bits of a float32 are its sign, its exponent and 7 bits of its
// fraction, fine enough for 256 colours on a log scale. Tables are made when first needed.
//
// Returns f(scale, kind): 65,536 colours, for kind "solid", or "veil", which lies over a picture.
export function colorTables(colormap, diverging) {
  const tables = new Map();
  const pack = ([r, g, b], alpha) => ((alpha << 24) | (b << 16) | (g << 8) | r) >>> 0;
  return (scale, kind) => {
    const key = `${scale.special} ${scale.range} ${scale.log} ${kind}`;
    if (tables.has(key)) return tables.get(key);
    const position = positionOf(scale);
    const colors = scale.special ? diverging : colormap;
    const table = new Uint32Array(65536);
    const bits = new Uint32Array(1);
    const float = new Float32Array(bits.buffer);
    for (let i = 0; i < 65536; i++) {
      bits[0] = (i << 16) | 0x8000;
      const finite = Number.isFinite(float[0]) ? position(float[0]) : i < 32768 ? 1 : 0;
      const at = Math.min(1, Math.max(0, Number.isNaN(finite) ? 0 : finite)); // the logarithm of a negative number
      const strength = scale.special ? Math.abs(2 * at - 1) : at;
      const alpha = kind === "solid" ? 1 : 0.3 + 0.62 * Math.sqrt(strength); // nearly transparent where the attention is low
      table[i] = pack(colors[Math.round(at * 255)], Math.round(255 * alpha));
    }
    tables.set(key, table);
    return table;
  };
}

// The largest magnitude of a map: its own scale ends there.
export function largestOf(map, count) {
  let largest = 1e-30;
  for (let i = 0; i < count; i++) largest = Math.max(largest, Math.abs(map[i]));
  return largest;
}

const oneFloat = new Float32Array(1);
const oneFloatBits = new Uint32Array(oneFloat.buffer);

// Writes the colours of one map to out; `table` is one of colorTables, for this scale.
export function colorize(table, scale, map, count, out) {
  const factor = scale.range === "own" ? 1 / largestOf(map, count) : 1;
  for (let i = 0; i < count; i++) {
    oneFloat[0] = map[i] * factor;
    out[i] = table[oneFloatBits[0] >>> 16];
  }
  return out;
}

// The ticks of the colour bar, [place in 0..1, text]; `largest` is that of the chosen map.
export function ticksOf(scale, largest) {
  const { special, range, log } = scale;
  const own = range === "own";
  if (special) {
    const full = own ? largest : log ? FOLD : DIFFERENCE;
    const shares = log ? [-1, -7 / 31, -1 / 31, 0, 1 / 31, 7 / 31, 1] : [-1, -0.5, 0, 0.5, 1];
    const position = positionOf({ special, range: "own", log });
    return shares.map((share) => [position(share), formatSigned(share * full)]);
  }
  if (!log) return [0, 0.25, 0.5, 0.75, 1].map((share) => [share, formatTimes(share * (own ? largest : LINEAR))]);
  if (own) return [0, 3, 5, OWN].map((octave) => [octave / OWN, formatTimes(largest * 2 ** (octave - OWN))]);
  const octaves = Array.from({ length: HIGH - LOW + 1 }, (_, i) => LOW + i);
  return octaves.map((octave, i) => [i / (HIGH - LOW), { [-2]: "¼×", [-1]: "½×" }[octave] || `${2 ** octave}×`]);
}

// What stands under the colour bar. `largest` is that of the chosen map, `state` a view or the viewer's state.
export function scaleWords(scale, largest, { mode, smooth }) {
  const { special, range, log } = scale;
  const ticks = ticksOf(scale, largest);
  const [from, to] = [ticks[0][1], ticks[ticks.length - 1][1]];
  const subject = special
    ? "Attention minus that of the average pixel, relative to uniform"
    : "Attention relative to uniform (1× = chance)";
  const ends =
    range === "own"
      ? `scaled to each map's maximum (this map ${from} to ${to}); don't compare colours between maps`
      : `${special ? "≤ " : ""}${from} to ≥ ${to}, shared by all maps`;
  const column = mode === "column" ? " Columns don't sum to one, so they are not probabilities." : "";
  return `${subject}. ${log ? "Log" : "Linear"} scale, ${ends}${smooth ? "; interpolated for display only" : ""}.${column}`;
}

export function formatTimes(value) {
  if (value === 0) return "0×";
  return `${value >= 9.95 ? Math.round(value) : Number(value.toPrecision(2))}×`;
}

export function formatSigned(value) {
  return value === 0 ? "0" : `${value > 0 ? "+" : "−"}${formatTimes(Math.abs(value))}`;
}

// Colours as one text of hexadecimal digits, as viz/colors.py's `in_hex` writes them: [[r, g, b], …].
export function fromHex(text) {
  const channel = (i) => parseInt(text.slice(2 * i, 2 * i + 2), 16);
  return Array.from({ length: text.length / 6 }, (_, i) => [channel(3 * i), channel(3 * i + 1), channel(3 * i + 2)]);
}
