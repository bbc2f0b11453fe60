// Links: a recipe and a view as the text of an address. viz/page/links.py has the format, and reads them.

import fflate from "../vendor/fflate.js";

const VERSION = 1;
const MAX_LINK = 16_000; // characters; viz/page/links.py has the same limit
const HEAD = 7; // bytes: version, length, checksum

// The text of a link. `recipe`: as the server has checked it; `view`: as Viewer.viewNow returns it.
// Throws an Error to show to the user if it would be too long.
export function encodeLink(recipe, view) {
  const payload = fflate.deflateSync(new TextEncoder().encode(JSON.stringify({ recipe, view })), { level: 9 });
  const message = new Uint8Array(HEAD + payload.length);
  const head = new DataView(message.buffer);
  head.setUint8(0, VERSION);
  head.setUint16(1, payload.length);
  head.setUint32(3, checksum(payload));
  message.set(payload, HEAD);
  const text = btoa(Array.from(message, (byte) => String.fromCharCode(byte)).join(""));
  if (text.length > MAX_LINK) throw new Error("This view does not fit into a link: its painted regions are too intricate.");
  return text.replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", "");
}

// CRC-32, as in zip files (ISO 3309).
function checksum(bytes) {
  let rest = 0xffffffff;
  for (const byte of bytes) {
    rest ^= byte;
    for (let bit = 0; bit < 8; bit++) rest = rest & 1 ? (rest >>> 1) ^ 0xedb88320 : rest >>> 1;
  }
  return ~rest >>> 0;
}
