// A figure as a PDF of one page, with real text in Helvetica or Times and its pictures as they are; as in viz/figure_pdf.py,
// after ISO 32000-1. Nothing here touches the DOM.

import fflate from "../../vendor/fflate.js";
import { concat } from "../png.js";
import { DOTS, enlarged, hundredths, widthOf } from "./items.js";

const FONTS = { sans: ["Helvetica", "Helvetica-Bold"], serif: ["Times-Roman", "Times-Bold"] };
const ROUND = 0.5523; // of the radius: from a quarter circle's ends to the control points of its Bézier curve
// These fonts have no glyphs for what is written on the left.
const INSTEAD = { "−": "–", "₂": "2", "→": "to", "≥": ">=", "≤": "<=" };
// WinAnsi's characters from 0x80 to 0x9f; those it leaves out are spaces here. Others have the number that they have in Unicode.
const WIN_ANSI = "€ ‚ƒ„…†‡ˆ‰Š‹Œ Ž  ‘’“”•–—˜™š›œ žŸ";
const SCALE = 72 / DOTS;

// The bytes of the file. Characters that the fonts lack become "?".
export function pdfOf({ width, height, items, font, title }) {
  const images = items.filter(({ kind }) => kind === "image");
  const size = `[0 0 ${numberOf(width * SCALE)} ${numberOf(height * SCALE)}]`;
  const named = images.map((_, i) => `/I${i} ${i + 7} 0 R`).join(" ");
  const drawn = `${SCALE} 0 0 -${SCALE} 0 ${numberOf(height * SCALE)} cm\n${operatorsOf(items, font).join("\n")}`;
  return joined([
    latin("<</Type/Catalog/Pages 2 0 R>>"),
    latin("<</Type/Pages/Kids[3 0 R]/Count 1>>"),
    latin(`<</Type/Page/Parent 2 0 R/MediaBox${size}/Resources<</Font<</F0 5 0 R/F1 6 0 R>>/XObject<<${named}>>>>/Contents 4 0 R>>`),
    streamOf("", latin(drawn)),
    ...FONTS[font].map((name) => latin(`<</Type/Font/Subtype/Type1/BaseFont/${name}/Encoding/WinAnsiEncoding>>`)),
    ...images.map(pictureOf),
    latin(`<</Title<feff${utf16(title)}>/Creator(PixelGaze)>>`),
  ]);
}

const latin = (text) => Uint8Array.from(text, (character) => character.charCodeAt(0));

const utf16 = (text) => text.replace(/[\s\S]/g, (unit) => unit.charCodeAt(0).toString(16).padStart(4, "0"));

// The file of some objects, the first of which is the catalog and the last the document's information.
function joined(objects) {
  const parts = [latin("%PDF-1.4\n%\xe2\xe3\xcf\xd3\n")];
  let at = parts[0].length;
  const places = objects.map((content, i) => {
    const place = at;
    const part = concat([latin(`${i + 1} 0 obj\n`), content, latin("\nendobj\n")]);
    parts.push(part);
    at += part.length;
    return place;
  });
  const table = places.map((place) => `${String(place).padStart(10, "0")} 00000 n \n`).join("");
  const count = objects.length + 1;
  const tail = `trailer\n<</Size ${count}/Root 1 0 R/Info ${count - 1} 0 R>>\nstartxref\n${at}\n%%EOF\n`;
  return concat([...parts, latin(`xref\n0 ${count}\n0000000000 65535 f \n${table}${tail}`)]);
}

function streamOf(entries, content) {
  const packed = fflate.zlibSync(content, { level: 9 });
  return concat([latin(`<<${entries}/Filter/FlateDecode/Length ${packed.length}>>\nstream\n`), packed, latin("\nendstream")]);
}

function pictureOf(item) {
  const { width, height, data } = enlarged(item);
  const shape = `/Type/XObject/Subtype/Image/Width ${width}/Height ${height}`;
  return streamOf(`${shape}/ColorSpace/DeviceRGB/BitsPerComponent 8`, data);
}

function operatorsOf(items, font) {
  let count = 0;
  return items.map((item) => {
    const { kind, x, y, width, height } = item;
    if (kind === "image") return `q ${width} 0 0 ${-height} ${x} ${y + height} cm /I${count++} Do Q`;
    if (kind === "box") return `${colorOf(item.fill)} rg ${x} ${y} ${width} ${height} re f`;
    if (kind === "dot") return `${colorOf(item.fill)} rg ${circle(x, y, item.radius)} f`;
    if (kind === "lines") {
      const path = item.strokes.map(([a, b, c, d]) => `${a} ${b} m ${c} ${d} l`).join(" ");
      return `${colorOf(item.stroke)} RG ${item.thick} w 2 J ${path} S`;
    }
    const before = { start: 0, middle: 0.5, end: 1 }[item.anchor] * widthOf(item.text, item.size, font);
    const style = `${colorOf(item.fill)} rg /F${Number(item.bold)} ${item.size} Tf`;
    return `BT ${style} 1 0 0 -1 ${numberOf(x - before)} ${y} Tm (${stringOf(item.text)}) Tj ET`;
  });
}

function circle(x, y, r) {
  const c = r * ROUND;
  const curves = [
    [x + r, y + c, x + c, y + r, x, y + r],
    [x - c, y + r, x - r, y + c, x - r, y],
    [x - r, y - c, x - c, y - r, x, y - r],
    [x + c, y - r, x + r, y - c, x + r, y],
  ];
  return `${x + r} ${y} m ${curves.map((curve) => `${curve.map(numberOf).join(" ")} c`).join(" ")}`;
}

const numberOf = (value) => hundredths(value).toFixed(2).replace(/\.?0+$/, "");

const colorOf = (fill) => [1, 3, 5].map((i) => numberOf(parseInt(fill.slice(i, i + 2), 16) / 255)).join(" ");

// A text between parentheses, its characters numbered as in WinAnsi.
function stringOf(text) {
  const characters = Array.from(text).flatMap((each) => Array.from(INSTEAD[each] ?? each));
  return characters.map(byteOf).join("").replace(/[\\()]/g, "\\$&");
}

function byteOf(character) {
  const code = character.codePointAt(0);
  const at = character === " " ? -1 : WIN_ANSI.indexOf(character);
  if (at >= 0) return String.fromCharCode(0x80 + at);
  if (code < 32) return " ";
  return code < 0x80 || (code >= 0xa0 && code < 0x100) ? character : "?";
}
