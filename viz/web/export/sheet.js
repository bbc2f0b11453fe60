// The sheet that is taken away as PNG or SVG: picture, atlas with labels, colour bar and a line that says what is shown.
//
// It is laid out once, as a list of texts, bitmaps and boxes, and then drawn twice: on a canvas, or as SVG with real text.

import { largestOf } from "../core/scale.js";
import { formatTimestep, nameOf } from "../core/words.js";
import { PIN_COLORS, imageOf, paintPicture, paintQuery } from "../viewer/paint.js";

const SHEET = { margin: 24, cell: 44, gap: 3, labels: 148, picture: [280, 520], foot: 64, width: 640 };
export const FONT = "system-ui, 'Segoe UI', 'DejaVu Sans', sans-serif";

function canvasOf(image) {
  const canvas = document.createElement("canvas");
  [canvas.width, canvas.height] = [image.width, image.height];
  canvas.getContext("2d").putImageData(imageOf(image), 0, 0);
  return canvas;
}

function mapCanvas(colors, { width, height }) {
  return canvasOf(new ImageData(new Uint8ClampedArray(colors), width, height));
}

// The picture of a step with the chosen map and the pins over it, `pixels` wide.
export function pictureCanvas(desk, stepIndex, pixels, base) {
  const { viewer } = desk;
  const { trace } = viewer;
  const view = viewer.viewNow();
  const layer = trace.layers.find(({ name }) => name === view.layer);
  const canvas = document.createElement("canvas");
  [canvas.width, canvas.height] = [pixels, Math.round((pixels * trace.size[0]) / trace.size[1])];
  const shown = (base === "preview" && trace.previews[stepIndex]) || trace.picture;
  const under = shown ? canvasOf(shown) : canvasOf(new ImageData(trace.size[1], trace.size[0]));
  const map = viewer.mapOf(layer, stepIndex, view.head);
  paintPicture(canvas, under, mapCanvas(desk.colorsOf(map, "veil"), layer), view.smooth);
  view.pins.forEach((pin, i) => i !== view.active && paintQuery(canvas, layer, pin, i, false));
  const query = view.active < 0 ? { kind: "pixel", point: view.point } : view.pins[view.active];
  paintQuery(canvas, layer, query, view.active < 0 ? null : view.active, true);
  return canvas;
}

// The sheet's sides and places, in CSS pixels.
function measureSheet({ viewer }, atlas) {
  const { margin, cell, gap, labels, picture } = SHEET;
  const { trace, columns } = viewer;
  const longer = Math.max(...trace.size);
  const side = { x: (cell * trace.size[1]) / longer, y: (cell * trace.size[0]) / longer };
  const high = trace.layers.length * (side.y + gap) - gap;
  const wide = atlas ? 0 : Math.min(picture[1], Math.max(picture[0], (high * trace.size[1]) / trace.size[0]));
  const left = atlas ? margin : 2 * margin + wide;
  const width = Math.max(SHEET.width, left + labels + columns.length * (side.x + gap) + margin);
  return { side, left, width, high, picture: { x: margin, width: wide, height: (wide * trace.size[0]) / trace.size[1] } };
}

// What is on the sheet: { width, height, items }, in CSS pixels. Without `scale` it is the atlas alone; with it the picture
// stands beside it, in as many pixels as it will be shown with.
export function layOutSheet(desk, scale) {
  const { viewer } = desk;
  const { trace } = viewer;
  const view = viewer.viewNow();
  const sheet = measureSheet(desk, !scale);
  const titles = headings(desk, sheet.width);
  const top = titles[titles.length - 1].y + 18;
  const pins = pinItems(desk, sheet, top + sheet.high + 44);
  const below = view.pins.length ? 36 + view.pins.length * (sheet.side.y + SHEET.gap) : 0;
  const bar = colorBar(desk, sheet);
  const foot = SHEET.foot + 13 * bar.lines;
  const height = top + Math.max(sheet.high + 26 + below, sheet.picture.height) + foot;
  const items = [{ kind: "box", x: 0, y: 0, width: sheet.width, height, fill: "#ffffff" }, ...titles];
  if (scale) {
    const canvas = pictureCanvas(desk, trace.steps.indexOf(view.step), Math.round(sheet.picture.width * scale), view.base);
    items.push({ kind: "bitmap", canvas, y: top, ...sheet.picture });
  }
  items.push(...atlasItems(desk, sheet, top), ...tickItems(viewer, sheet, top + sheet.high + 15));
  items.push(...pins, ...bar.items(sheet.left, height - foot + 16));
  return { width: sheet.width, height, items };
}

function atlasItems(desk, { side, left }, top) {
  const { viewer } = desk;
  const { trace } = viewer;
  const view = viewer.viewNow();
  return trace.layers.flatMap((layer, row) => {
    const y = top + row * (side.y + SHEET.gap);
    const middle = y + side.y / 2;
    const weight = layer.name === view.layer ? 700 : 400;
    const label = { kind: "text", text: layer.label, x: left, y: middle, size: 12, weight, room: SHEET.labels - 8 };
    const grid = { kind: "text", text: `${layer.height}×${layer.width}`, x: left, y: middle + 14, size: 10, soft: true };
    const maps = viewer.columns.flatMap((stepIndex, column) => {
      const numbers = viewer.mapOf(layer, stepIndex, view.head);
      const box = { x: left + SHEET.labels + column * (side.x + SHEET.gap), y, width: side.x, height: side.y };
      const canvas = mapCanvas(desk.colorsOf(numbers, "solid"), layer);
      const map = { kind: "bitmap", canvas, smooth: view.smooth, ...box };
      const chosen = layer.name === view.layer && trace.steps[stepIndex] === view.step;
      return chosen ? [map, { kind: "frame", ...box }] : [map];
    });
    return [label, grid, ...maps];
  });
}

// The rows of the pins, each with its colour and number, under the atlas.
function pinItems(desk, { side, left }, y) {
  const { viewer } = desk;
  const view = viewer.viewNow();
  const layer = viewer.trace.layers.find(({ name }) => name === view.layer);
  const rows = view.pins.flatMap((pin, i) => {
    const top = y + 14 + i * (side.y + SHEET.gap);
    const middle = top + side.y / 2;
    const dot = { kind: "dot", x: left + 8, y: middle, radius: 8, fill: PIN_COLORS[i] };
    const number = { kind: "text", text: String(i + 1), x: left + 8, y: middle + 4, size: 11, weight: 700, middle: true };
    const label = { kind: "text", text: nameOf(pin, layer), x: left + 22, y: middle + 4, size: 10, room: SHEET.labels - 26 };
    const maps = viewer.columns.map((stepIndex, column) => {
      const canvas = mapCanvas(desk.colorsOf(viewer.mapOf(layer, stepIndex, view.head, pin), "solid"), layer);
      const x = left + SHEET.labels + column * (side.x + SHEET.gap);
      return { kind: "bitmap", canvas, smooth: view.smooth, x, y: top, width: side.x, height: side.y };
    });
    return [dot, number, label, ...maps];
  });
  const text = `Pins, each in ${layer.label}`;
  return rows.length ? [{ kind: "text", text, x: left, y, size: 12, weight: 700 }, ...rows] : [];
}

function tickItems({ trace, columns }, { side, left }, y) {
  const ticks = columns.map((stepIndex, column) => {
    const x = left + SHEET.labels + column * (side.x + SHEET.gap) + side.x / 2;
    const text = formatTimestep(trace.timesteps[stepIndex]) || String(trace.steps[stepIndex]);
    return { kind: "text", text, x, y, size: 10, soft: true, middle: true };
  });
  return [{ kind: "text", text: "timestep t", x: left, y, size: 10, soft: true }, ...ticks];
}

function headings({ viewer, sentence, where }, width) {
  const { caption } = viewer.trace.recipe;
  const room = width - 2 * SHEET.margin;
  const items = [];
  let y = 10;
  for (const [text, size, weight] of [
    [typeof caption === "string" ? caption : "", 15, 700],
    [sentence, 12, 400],
    [where, 10, 400],
  ]) {
    for (const line of linesOf(text, { size, weight }, room)) {
      y += size + 6;
      items.push({ kind: "text", text: line, x: SHEET.margin, y, size, weight, soft: weight === 400, room });
    }
  }
  return items;
}

// At most so many lines that fit; of more, the last ends in "…".
export function linesOf(text, style, room, most = 3) {
  const pen = document.createElement("canvas").getContext("2d");
  pen.font = fontOf(style);
  const lines = [""];
  for (const word of text.slice(0, 600).split(/\s+/)) {
    const longer = lines[lines.length - 1] ? `${lines[lines.length - 1]} ${word}` : word;
    if (pen.measureText(longer).width <= room || !lines[lines.length - 1]) lines[lines.length - 1] = longer;
    else if (lines.length < most) lines.push(word);
    else return [...lines.slice(0, -1), `${lines[most - 1]} …`];
  }
  return lines;
}

// The colour bar and the words of its scale: how many lines these take, and the items for a place.
function colorBar(desk, sheet) {
  const room = sheet.width - sheet.left - SHEET.margin;
  const width = Math.min(420, room);
  const { viewer } = desk;
  const view = viewer.viewNow();
  const layer = viewer.trace.layers.find(({ name }) => name === view.layer);
  const map = viewer.mapOf(layer, viewer.trace.steps.indexOf(view.step), view.head);
  const { colors, ticks, note } = desk.bar(largestOf(map, layer.tokens));
  const canvas = document.createElement("canvas");
  [canvas.width, canvas.height] = [256, 1];
  const context = canvas.getContext("2d");
  colors.forEach((rgb, i) => {
    context.fillStyle = `rgb(${rgb})`;
    context.fillRect(i, 0, 1, 1);
  });
  const soft = { kind: "text", size: 10, soft: true };
  const lines = linesOf(note, soft, room, 5);
  const items = (x, y) => [
    { kind: "bitmap", canvas, x, y, width, height: 10 },
    ...ticks.map(([at, text]) => ({ ...soft, text, x: x + at * width, y: y + 24, middle: true })),
    ...lines.map((text, i) => ({ ...soft, text, x, y: y + 42 + 13 * i })),
  ];
  return { lines: lines.length, items };
}

const ink = (item) => (item.soft ? "#565d6b" : "#16181d");
export const fontOf = (item) => `${item.weight || 400} ${item.size}px ${FONT}`;

// The text that fits into an item's room.
function fitted(item) {
  if (!item.room) return item.text;
  const pen = document.createElement("canvas").getContext("2d");
  pen.font = fontOf(item);
  let text = item.text.length > 400 ? `${item.text.slice(0, 400)}…` : item.text;
  while (text.length > 2 && pen.measureText(text).width > item.room) text = `${text.slice(0, -2)}…`;
  return text;
}

export function sheetCanvas({ width, height, items }, scale) {
  const canvas = document.createElement("canvas");
  [canvas.width, canvas.height] = [Math.round(width * scale), Math.round(height * scale)];
  const context = canvas.getContext("2d");
  context.scale(scale, scale);
  for (const item of items) {
    const { x, y } = item;
    context.imageSmoothingEnabled = Boolean(item.smooth);
    if (item.kind === "bitmap") context.drawImage(item.canvas, x, y, item.width, item.height);
    else if (item.kind === "dot") {
      context.beginPath();
      context.arc(x, y, item.radius, 0, 2 * Math.PI);
      context.fillStyle = item.fill;
      context.fill();
    } else if (item.kind === "box") {
      context.fillStyle = item.fill;
      context.fillRect(x, y, item.width, item.height);
    } else if (item.kind === "frame") {
      [context.strokeStyle, context.lineWidth] = ["#c2410c", 2];
      context.strokeRect(x, y, item.width, item.height);
    } else {
      [context.font, context.fillStyle, context.textAlign] = [fontOf(item), ink(item), item.middle ? "center" : "left"];
      context.fillText(fitted(item), x, y);
    }
  }
  return canvas;
}

// XML holds no control characters, not even escaped.
function escapeXml(text) {
  const clean = Array.from(String(text)).filter((letter) => letter >= " " && !/[\ufffe\uffff\ud800-\udfff]/.test(letter));
  const names = { "&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;", "'": "&#39;" };
  return clean.join("").replace(/[&<>"']/g, (letter) => names[letter]);
}

export function sheetSvg({ width, height, items }) {
  const place = ({ x, y, width, height }) => `x="${x}" y="${y}" width="${width}" height="${height}"`;
  const drawn = items.map((item) => {
    if (item.kind === "bitmap") {
      const rendering = item.smooth ? "auto" : "pixelated";
      const stretched = `preserveAspectRatio="none" style="image-rendering:${rendering}" href="${item.canvas.toDataURL()}"`;
      return `<image ${place(item)} ${stretched}/>`;
    }
    if (item.kind === "dot") return `<circle cx="${item.x}" cy="${item.y}" r="${item.radius}" fill="${item.fill}"/>`;
    if (item.kind === "box") return `<rect ${place(item)} fill="${item.fill}"/>`;
    if (item.kind === "frame") return `<rect ${place(item)} fill="none" stroke="#c2410c" stroke-width="2"/>`;
    const anchor = item.middle ? ' text-anchor="middle"' : "";
    const style = `font-size="${item.size}" font-weight="${item.weight || 400}" fill="${ink(item)}"${anchor}`;
    return `<text x="${item.x}" y="${item.y}" ${style}>${escapeXml(fitted(item))}</text>`;
  });
  const open = `<svg xmlns="http://www.w3.org/2000/svg" width="${width}" height="${height}" viewBox="0 0 ${width} ${height}"`;
  return `${open} font-family="${escapeXml(FONT)}">\n${drawn.join("\n")}\n</svg>\n`;
}
