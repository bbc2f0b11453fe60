// Writes and downloads files in the browser: NPZ archives and GIFs. Nothing here knows the viewer.

import fflate from "../vendor/fflate.js";
import gifenc from "../vendor/gifenc.js";

// The bytes of an NPY file (NEP 1). `values`: a Float32Array, Int32Array or Float64Array, or a list of strings.
export function npy(values, shape) {
  const kinds = [[Float32Array, "<f4"], [Int32Array, "<i4"], [Float64Array, "<f8"]];
  let [descr, numbers] = [(kinds.find(([type]) => values instanceof type) || [])[1], values];
  if (!descr) {
    const points = values.map((text) => Array.from(text, (character) => character.codePointAt(0)));
    const longest = Math.max(1, ...points.map((each) => each.length));
    numbers = new Uint32Array(values.length * longest);
    points.forEach((each, i) => numbers.set(each, i * longest));
    descr = `<U${longest}`;
  }
  const sides = shape.length === 1 ? `${shape[0]},` : shape.join(", ");
  const fields = `{'descr': '${descr}', 'fortran_order': False, 'shape': (${sides}), }`;
  const header = fields.padEnd(Math.ceil((fields.length + 11) / 64) * 64 - 11) + "\n"; // 10 bytes precede it
  const bytes = new Uint8Array(10 + header.length + numbers.byteLength);
  bytes.set([0x93, 0x4e, 0x55, 0x4d, 0x50, 0x59, 1, 0, header.length & 255, header.length >> 8]);
  bytes.set(new TextEncoder().encode(header), 10);
  bytes.set(new Uint8Array(numbers.buffer, numbers.byteOffset, numbers.byteLength), 10 + header.length);
  return bytes;
}

// The bytes of an NPZ file from { name: [values, shape] }.
export function npz(arrays) {
  const files = Object.entries(arrays).map(([name, [values, shape]]) => [`${name}.npy`, npy(values, shape)]);
  return fflate.zipSync(Object.fromEntries(files), { level: 6 });
}

export const FRAME = 350; // ms for each frame of an animation
export const HOLD = 2000; // ms for the last one

// The bytes of a looping GIF from canvases of one size; the last frame is held.
export async function gif(canvases) {
  const encoder = gifenc.GIFEncoder();
  for (const [i, canvas] of canvases.entries()) {
    const { data, width, height } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
    const palette = gifenc.quantize(data, 256);
    const delay = i < canvases.length - 1 ? FRAME : HOLD;
    encoder.writeFrame(gifenc.applyPalette(data, palette), width, height, { palette, delay });
    await new Promise((done) => setTimeout(done)); // keeps the page responsive
  }
  encoder.finish();
  return encoder.bytes();
}

// Starts a download. `content` is bytes, text or a Blob.
export function download(name, type, content) {
  const address = URL.createObjectURL(content instanceof Blob ? content : new Blob([content], { type }));
  downloadFrom(address, name);
  setTimeout(() => URL.revokeObjectURL(address), 60_000);
}

export function downloadFrom(address, name) {
  const link = document.createElement("a");
  Object.assign(link, { href: address, download: name });
  link.click();
}

// A file name from the caption and the seed: only ASCII letters, digits and dashes.
export function fileName(trace, ending) {
  const { caption, seed } = trace.recipe;
  const words = typeof caption === "string" ? caption.toLowerCase().match(/[a-z0-9]+/g) || [] : [];
  const short = words.join("-").slice(0, 60).replace(/-+$/, "");
  return `pixelgaze-${[short, Number.isInteger(seed) && `seed-${seed}`].filter(Boolean).join("-") || "trace"}${ending}`;
}

// The same with the chosen layer, step and head, so that files of different views have different names.
export function viewName(trace, { layer, step, head }, ending) {
  const place = layer.label.toLowerCase().match(/[a-z0-9]+/g)?.join("-") ?? "layer";
  return fileName(trace, `-${place}-step-${step}-head-${head < 0 ? "mean" : head}${ending}`);
}
