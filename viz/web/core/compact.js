// Numbers as a file holds them: in half precision, or packed, as viz/compact.py writes the queries of cross-attention. Nothing
// here touches the DOM.
//
// They stay as they are, { halves: Uint16Array } or { packed: bytes }, until someone needs floats: WebAssembly reads both itself,
// see simd.js.
//
// A worker runs the same functions from their source text, so they may use only one another and the variable below.

let halfTable = null;

// All 65,536 half-precision numbers: a lookup is faster than arithmetic, and works without Float16Array.
export function halfPrecision() {
  if (halfTable) return halfTable;
  halfTable = new Float32Array(65536);
  for (let bits = 0; bits < 65536; bits++) {
    const sign = bits & 0x8000 ? -1 : 1;
    const exponent = (bits >> 10) & 31;
    const fraction = bits & 1023;
    if (exponent === 0) halfTable[bits] = sign * fraction * 2 ** -24;
    else if (exponent === 31) halfTable[bits] = fraction ? NaN : sign * Infinity;
    else halfTable[bits] = sign * (1 + fraction / 1024) * 2 ** (exponent - 15);
  }
  return halfTable;
}

// How many bytes a packed vector takes: five for every four numbers.
export function vectorBytes(headDim) {
  return 5 * Math.ceil(headDim / 4);
}

// How many bytes the packed queries of a layer take.
export function packedBytes({ heads, headDim, queryCount }) {
  return heads * (4 * headDim + queryCount * vectorBytes(headDim));
}

// The numbers of Q or K as floats: (heads, queryCount or keyCount, headDim). They are made once.
export function floatsOf(numbers, layer) {
  const { packed, halves } = numbers;
  if (packed) numbers.floats ??= unpackQueries(packed, layer);
  else if (halves) numbers.floats ??= widen(halves);
  return numbers.floats ?? numbers;
}

function widen(halves) {
  const table = halfPrecision();
  const floats = new Float32Array(halves.length);
  for (let i = 0; i < floats.length; i++) floats[i] = table[halves[i]];
  return floats;
}

// Four numbers of ten bits each, the highest bit first, are five bytes; the least number is 512 below zero.
function unpackQueries(bytes, { heads, headDim, queryCount }) {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  const numbers = new Float32Array(heads * queryCount * headDim);
  const size = vectorBytes(headDim);
  let from = 0;
  let at = 0;
  for (let head = 0; head < heads; head++) {
    const scales = Float32Array.from({ length: headDim }, (_, i) => view.getFloat32(from + 4 * i, true));
    from += 4 * headDim;
    for (let token = 0; token < queryCount; token++, from += size) {
      for (let i = 0, next = from; i < headDim; i++) {
        const place = i & 3; // a number begins in this byte of the five, 2 · place bits after the byte's highest
        const bits = (bytes[next + place] << 8) | bytes[next + place + 1];
        numbers[at++] = (((bits >> (6 - 2 * place)) & 1023) - 512) * scales[i];
        if (place === 3) next += 5;
      }
    }
  }
  return numbers;
}

// The source text of all this, for a worker.
export function compactSource() {
  const functions = [halfPrecision, vectorBytes, packedBytes, floatsOf, widen, unpackQueries];
  return ["let halfTable = null;", ...functions.map(String)].join("\n");
}
