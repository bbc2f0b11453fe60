// Reads the packed queries of cross-attention in compact files, as viz/compact.py writes them. Nothing here touches the DOM.

const BITS = 10;
const ZERO = 512;

const vectorBytes = (headDim) => 5 * Math.ceil(headDim / 4); // four numbers in five bytes

// How many bytes the packed queries of a layer take.
export const packedBytes = ({ heads, headDim, queryCount }) => heads * (4 * headDim + queryCount * vectorBytes(headDim));

// The numbers, (heads, queryCount, headDim). `toFloats` reads the scales.
export function unpackQueries({ bytes }, { heads, headDim, queryCount }, toFloats) {
  const numbers = new Float32Array(heads * queryCount * headDim);
  const size = vectorBytes(headDim);
  let from = 0;
  let at = 0;
  for (let head = 0; head < heads; head++) {
    const scales = toFloats({ dtype: "F32", bytes: bytes.slice(from, from + 4 * headDim) });
    from += 4 * headDim;
    for (let token = 0; token < queryCount; token++, from += size) {
      let bits = 0; // those read and not used, `held` of them
      let held = 0;
      for (let i = 0, next = from; i < headDim; i++) {
        while (held < BITS) {
          bits = ((bits & ((1 << held) - 1)) << 8) | bytes[next++];
          held += 8;
        }
        held -= BITS;
        numbers[at++] = (((bits >> held) & ((1 << BITS) - 1)) - ZERO) * scales[i];
      }
    }
  }
  return numbers;
}
