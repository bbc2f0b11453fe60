// PNG files (ISO/IEC 15948) of bytes, and the resolution in them. Nothing here touches the DOM.

import fflate from "../vendor/fflate.js";

const SIGNATURE = [0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a];
const HEADER_END = 33; // of the signature and the first chunk, IHDR

const CRC = Uint32Array.from({ length: 256 }, (_, n) => {
  let c = n;
  for (let bit = 0; bit < 8; bit++) c = c & 1 ? 0xedb88320 ^ (c >>> 1) : c >>> 1;
  return c;
});

function chunk(kind, content) {
  const bytes = new Uint8Array(12 + content.length);
  const view = new DataView(bytes.buffer);
  view.setUint32(0, content.length);
  bytes.set(Array.from(kind, (letter) => letter.charCodeAt(0)), 4);
  bytes.set(content, 8);
  let c = 0xffffffff;
  for (let i = 4; i < 8 + content.length; i++) c = CRC[(c ^ bytes[i]) & 255] ^ (c >>> 8);
  view.setUint32(8 + content.length, ~c >>> 0);
  return bytes;
}

// Byte arrays, one after another.
export function concat(parts) {
  const bytes = new Uint8Array(parts.reduce((sum, { length }) => sum + length, 0));
  let at = 0;
  for (const part of parts) {
    bytes.set(part, at);
    at += part.length;
  }
  return bytes;
}

// The file of { width, height, data }, three bytes a pixel.
export function pngOf({ width, height, data }) {
  const header = new Uint8Array(13);
  const view = new DataView(header.buffer);
  view.setUint32(0, width);
  view.setUint32(4, height);
  header.set([8, 2], 8); // bits, and red, green and blue
  const rows = new Uint8Array(height * (3 * width + 1)); // each begins with the number of its filter, 0
  for (let y = 0; y < height; y++) rows.set(data.subarray(3 * width * y, 3 * width * (y + 1)), y * (3 * width + 1) + 1);
  const packed = chunk("IDAT", fflate.zlibSync(rows, { level: 6 }));
  return concat([Uint8Array.from(SIGNATURE), chunk("IHDR", header), packed, chunk("IEND", new Uint8Array())]);
}

// A PNG file with its resolution written in, in dots to the inch; it must not have one already.
export function withResolution(file, dpi) {
  const content = new Uint8Array(9);
  const view = new DataView(content.buffer);
  const perMetre = Math.floor(dpi / 0.0254 + 0.5);
  view.setUint32(0, perMetre);
  view.setUint32(4, perMetre);
  content[8] = 1; // to the metre
  return concat([file.subarray(0, HEADER_END), chunk("pHYs", content), file.subarray(HEADER_END)]);
}

export function base64Of(bytes) {
  const pieces = [];
  for (let i = 0; i < bytes.length; i += 0x8000) pieces.push(String.fromCharCode(...bytes.subarray(i, i + 0x8000)));
  return btoa(pieces.join(""));
}
