// A figure as SVG, and on a canvas, from which a PNG is made; as in viz/figure_files.py. On the canvas, everything but text is
// set pixel by pixel, so that it is the same in every browser and in Python.

import { base64Of, pngOf, withResolution } from "../png.js";
import { escapeXml } from "../text.js";
import { DOTS, enlarged, hundredths, sampled, whole } from "./items.js";

const FAMILIES = {
  sans: "Helvetica, Arial, 'Liberation Sans', sans-serif",
  serif: "Times, 'Times New Roman', 'Liberation Serif', serif",
};
const FINE = 4; // parts of a pixel's side, at a dot's edge
const MAX_SIDE = 16384; // pixels, of a canvas in every browser
const MAX_PIXELS = 2 ** 27;

// One SVG with real text and with its pictures in it.
export function svgOf({ width, height, items, font, title }) {
  const size = `width="${millimetres(width)}mm" height="${millimetres(height)}mm" viewBox="0 0 ${width} ${height}"`;
  const head = `<svg xmlns="http://www.w3.org/2000/svg" ${size} font-family="${escapeXml(FAMILIES[font])}">`;
  return [head, `<title>${escapeXml(title)}</title>`, ...items.map(elementOf), "</svg>\n"].join("\n");
}

const millimetres = (dots) => Number(hundredths((dots * 25.4) / DOTS).toPrecision(6));

function elementOf(item) {
  const { kind, x, y, width, height, fill } = item;
  const place = `x="${x}" y="${y}" width="${width}" height="${height}"`;
  if (kind === "image") {
    const data = base64Of(pngOf(enlarged(item)));
    return `<image ${place} preserveAspectRatio="none" image-rendering="pixelated" href="data:image/png;base64,${data}"/>`;
  }
  if (kind === "box") return `<rect ${place} fill="${fill}"/>`;
  if (kind === "lines") {
    const path = item.strokes.map(([a, b, c, d]) => `M${a} ${b}L${c} ${d}`).join("");
    return `<path d="${path}" fill="none" stroke="${item.stroke}" stroke-width="${item.thick}" stroke-linecap="square"/>`;
  }
  if (kind === "dot") return `<circle cx="${x}" cy="${y}" r="${item.radius}" fill="${fill}"/>`;
  const weight = item.bold ? ' font-weight="700"' : "";
  const anchor = item.anchor === "start" ? "" : ` text-anchor="${item.anchor}"`;
  return `<text x="${x}" y="${y}" font-size="${item.size}" fill="${fill}"${weight}${anchor}>${escapeXml(item.text)}</text>`;
}

// The size in pixels at a resolution: [width, height]. Throws an Error to show to the user if no browser has so large a canvas.
export function pixelsOf({ width, height }, dpi) {
  const size = [width, height].map((side) => Math.max(1, whole((side * dpi) / DOTS)));
  if (Math.max(...size) > MAX_SIDE || size[0] * size[1] > MAX_PIXELS) {
    throw new Error(`At ${dpi} dpi the figure has ${size.join(" × ")} pixels, too many for a browser: choose fewer layers, PDF or SVG.`);
  }
  return size;
}

// Draws a sheet at a resolution.
export function drawSheet(canvas, sheet, dpi) {
  const scale = dpi / DOTS;
  [canvas.width, canvas.height] = pixelsOf(sheet, dpi);
  const context = canvas.getContext("2d", { willReadFrequently: true });
  for (const item of sheet.items) DRAWN[item.kind](context, item, scale, sheet.font);
}

const DRAWN = {
  image(context, { x, y, width, height, pixels }, scale) {
    const [left, top, right, bottom] = [x, y, x + width, y + height].map((v) => whole(v * scale));
    const { data, ...size } = sampled(pixels, Math.max(1, right - left), Math.max(1, bottom - top));
    const image = context.createImageData(size.width, size.height);
    for (let i = 0, at = 0; at < data.length; i += 4) {
      image.data[i] = data[at++];
      image.data[i + 1] = data[at++];
      image.data[i + 2] = data[at++];
      image.data[i + 3] = 255;
    }
    context.putImageData(image, left, top);
  },
  box(context, { fill }) {
    context.fillStyle = fill; // the ground, the only box
    context.fillRect(0, 0, context.canvas.width, context.canvas.height);
  },
  lines(context, { strokes, stroke, thick }, scale) {
    context.fillStyle = stroke;
    for (const line of strokes) {
      const [a, b, c, d] = line;
      if (a === c || b === d) fillLine(context, line, thick / 2, scale);
      else fillDiagonal(context, line.map((v) => v * scale), Math.max(1, thick * scale) / 2);
    }
  },
  dot(context, { x, y, radius, fill }, scale) {
    fillDot(context, [x * scale, y * scale], radius * scale, [1, 3, 5].map((i) => parseInt(fill.slice(i, i + 2), 16)));
  },
  text(context, { x, y, text, size, fill, bold, anchor }, scale, font) {
    context.font = `${bold ? 700 : 400} ${size * scale}px ${FAMILIES[font]}`;
    context.textAlign = { start: "left", middle: "center", end: "right" }[anchor];
    context.fillStyle = fill;
    context.fillText(text, x * scale, y * scale);
  },
};

function fillLine(context, [a, b, c, d], half, scale) {
  const box = [Math.min(a, c) - half, Math.min(b, d) - half, Math.max(a, c) + half, Math.max(b, d) + half];
  const [left, top, right, bottom] = box.map((v) => whole(v * scale));
  context.fillRect(left, top, Math.max(1, right - left), Math.max(1, bottom - top));
}

// The pixels whose middle is no farther than `half` from the line.
function fillDiagonal(context, [a, b, c, d], half) {
  const [across, down] = [c - a, d - b];
  const long = across * across + down * down;
  for (let y = Math.floor(Math.min(b, d)); y <= Math.max(b, d); y++) {
    for (let x = Math.floor(Math.min(a, c)); x <= Math.max(a, c); x++) {
      const [right, below] = [x + 0.5 - a, y + 0.5 - b];
      const along = right * across + below * down;
      const aside = right * down - below * across;
      if (along >= 0 && along <= long && aside * aside <= half * half * long) context.fillRect(x, y, 1, 1);
    }
  }
}

// A circle, whose edge covers a pixel by as many of its parts as lie inside.
function fillDot(context, [x, y], radius, color) {
  const [left, top, side] = [Math.floor(x - radius) - 1, Math.floor(y - radius) - 1, Math.floor(2 * radius) + 4];
  const image = context.getImageData(left, top, side, side);
  const { data } = image;
  for (let i = 0; i < side * side; i++) {
    const alpha = whole((255 * partsInside(left + (i % side) - x, top + Math.floor(i / side) - y, radius)) / (FINE * FINE));
    if (!alpha) continue;
    const isEmpty = data[4 * i + 3] === 0;
    for (let channel = 0; channel < 3; channel++) {
      const under = data[4 * i + channel];
      data[4 * i + channel] = isEmpty ? color[channel] : whole((under * (255 - alpha) + color[channel] * alpha) / 255);
    }
    data[4 * i + 3] = Math.max(data[4 * i + 3], alpha);
  }
  context.putImageData(image, left, top);
}

function partsInside(x, y, radius) {
  let count = 0;
  for (let i = 0; i < FINE * FINE; i++) {
    const [right, down] = [x + ((i % FINE) + 0.5) / FINE, y + (Math.floor(i / FINE) + 0.5) / FINE];
    if (right * right + down * down <= radius * radius) count += 1;
  }
  return count;
}

// The bytes of a PNG with its resolution written in.
export async function pngFile(sheet, dpi) {
  const canvas = document.createElement("canvas");
  drawSheet(canvas, sheet, dpi);
  const file = await new Promise((done) => canvas.toBlob(done, "image/png"));
  if (!file) throw new Error(`The browser could not write ${canvas.width} × ${canvas.height} pixels; choose 300 dpi, PDF or SVG.`);
  return withResolution(new Uint8Array(await file.arrayBuffer()), dpi);
}
