// Reads the packed queries of cross-attention in compact files, as viz/compact.py writes them. Nothing here touches the DOM.
//
// They stay packed, { packed: bytes }, until someone needs them: WebAssembly unpacks them itself, see simd.js.
//
// A worker runs the same functions from their source text, so they may use only one another.

// How many bytes a packed vector takes: five for every four numbers.
export function vectorBytes(headDim) {
  return 5 * Math.ceil(headDim / 4);
}

// How many bytes the packed queries of a layer take.
export function packedBytes({ heads, headDim, queryCount }) {
  return heads * (4 * headDim + queryCount * vectorBytes(headDim));
}

// The numbers, (heads, queryCount, headDim), of queries that may be packed. They are unpacked once.
export function floatsOf(q, layer) {
  if (!q.packed) return q;
  q.floats ??= unpackQueries(q.packed, layer);
  return q.floats;
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
  return [vectorBytes, packedBytes, floatsOf, unpackQueries].map(String).join("\n");
}
