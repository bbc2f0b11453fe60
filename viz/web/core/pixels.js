// A bitmap in WebAssembly's memory, in which maps are painted. Nothing here touches the DOM.
//
//   const pixels = startPixels()            // null where WebAssembly or its SIMD is missing, or forbidden by the page's policy
//   const bytes = pixels.resize(count)      // so many pixels, all transparent: four bytes of each, until it is called again
//   pixels.paint(start, width, lookup, numbers, table)    // one map, from pixel `start` of a bitmap that is `width` wide;
//                                                         // false: it has too many numbers, or no room
//
// A lookup, { down, across, height, width }, says for each pixel row and column of the painted map which row and column of the
// map's grid it shows, and how large that grid is. The table is one of scale.js: it has the colours of all numbers.

import { PAINTING_WASM } from "./painting_wasm.js";

const [TABLE, NUMBERS, LOOKUPS, BITMAP] = [0, 2 ** 18, 2 ** 19, 2 ** 19 + 2 ** 16]; // where each begins, in bytes
const MOST = (LOOKUPS - NUMBERS) / 4; // numbers of a map

class Pixels {
  #code;
  #table = null; // the one that was copied last
  #lookups = new WeakMap(); // {lookup: the addresses of `down` and `across`}
  #used = LOOKUPS;
  #count = 0; // pixels

  constructor() {
    const bytes = Uint8Array.from(atob(PAINTING_WASM), (character) => character.charCodeAt(0));
    this.#code = new WebAssembly.Instance(new WebAssembly.Module(bytes)).exports;
  }

  resize(count) {
    this.#count = count;
    const missing = BITMAP + 4 * count - this.#buffer.byteLength;
    if (missing > 0) this.#code.memory.grow(Math.ceil(missing / 65536));
    return new Uint8ClampedArray(this.#buffer, BITMAP, 4 * count).fill(0);
  }

  paint(start, width, lookup, numbers, table) {
    const { down, across } = lookup;
    const count = lookup.width * lookup.height;
    const last = start + (down.length - 1) * width + across.length; // the pixel after the map's
    if (count > MOST || last > this.#count || 4 * (down.length + across.length) > BITMAP - LOOKUPS) return false;
    if (this.#table !== table) {
      new Uint32Array(this.#buffer, TABLE, table.length).set(table);
      this.#table = table;
    }
    new Float32Array(this.#buffer, NUMBERS, count).set(numbers.subarray(0, count));
    const [rows, columns] = this.#addressesOf(lookup);
    this.#code.paint(TABLE, NUMBERS, rows, columns, across.length, down.length, BITMAP + 4 * start, 4 * width);
    return true;
  }

  get #buffer() {
    return this.#code.memory.buffer;
  }

  // When lookups fill their memory, they are all written again as they are needed.
  #addressesOf(lookup) {
    if (this.#lookups.has(lookup)) return this.#lookups.get(lookup);
    const { down, across, width } = lookup;
    const size = 4 * (down.length + across.length);
    if (this.#used + size > BITMAP) {
      this.#used = LOOKUPS;
      this.#lookups = new WeakMap();
    }
    const at = this.#used;
    const offsets = new Uint32Array(this.#buffer, at, down.length + across.length);
    offsets.set(Array.from(down, (row) => 4 * row * width));
    offsets.set(Array.from(across, (column) => 4 * column), down.length);
    this.#used += size;
    const addresses = [at, at + 4 * down.length];
    this.#lookups.set(lookup, addresses);
    return addresses;
  }
}

export function startPixels() {
  try {
    return new Pixels();
  } catch {
    return null;
  }
}
