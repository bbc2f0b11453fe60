// Paints the atlas, a map over a picture, and outlines of queries. Nothing here knows the viewer's state.

import { startPixels } from "../core/pixels.js";
import { decodeMask, tokenAt } from "../core/query.js";

export const GAP = 2; // between the maps of the atlas, in CSS pixels
// For a map that is not computed yet: grey with a paler band across it, which moves on whenever others have been computed.
const WAITING = { low: 0x38, high: 0x70, band: 0.35, speed: 0.12 }; // opacities of 255; a share of its way; maps in 100 ms
const ARRIVING = 0x28808080; // the same, paler, for a map whose numbers have not arrived
const HATCH = 0xff8a8a8a; // grey that is visible on a light and a dark page, for a map that does not exist
const HATCH_STEP = 6; // from one line of the hatch to the next, in CSS pixels
// Okabe and Ito's colour-blind-safe palette; pins carry numbers as well.
export const PIN_COLORS = ["#e69f00", "#56b4e9", "#009e73", "#cc79a7"];

// Paints a map with one pixel per cell; the page scales the canvas up without smoothing.
export function paintMap(canvas, { height, width, tokens }, colors) {
  if (canvas.width !== width || canvas.height !== height) {
    canvas.width = width;
    canvas.height = height;
  }
  const image = new ImageData(new Uint8ClampedArray(colors.buffer, 0, 4 * tokens), width, height);
  canvas.getContext("2d").putImageData(image, 0, 0);
}

// Writes all maps of an atlas into one bitmap of device pixels, which is put on the canvas at once.
export class AtlasPainter {
  constructor(canvas) {
    this.canvas = canvas;
    this.bitmap = startPixels();
    this.smoothed = []; // maps that the canvas scales, after all others are painted
    this.small = document.createElement("canvas");
  }

  // Sets the size of a map: its longer side is `length` CSS pixels; its shape is the picture's, [height, width].
  measure(length, [height, width]) {
    this.ratio = Math.min(3, devicePixelRatio || 1);
    const longer = Math.max(height, width);
    const [gap, side] = [Math.round(GAP * this.ratio), (n) => Math.max(1, Math.round((length * this.ratio * n) / longer))];
    this.side = { x: side(width), y: side(height) };
    this.pitch = { x: this.side.x + gap, y: this.side.y + gap };
    this.lookups = new WeakMap(); // {grid: what `nearest` returns}
    this.still = matchMedia("(prefers-reduced-motion: reduce)").matches;
  }

  // In CSS pixels: a map's sides, and the distance from one map to the next.
  get css() {
    const scaled = ({ x, y }) => ({ x: x / this.ratio, y: y / this.ratio });
    return { side: scaled(this.side), pitch: scaled(this.pitch) };
  }

  resize(rows, columns) {
    const { canvas, pitch, ratio } = this;
    canvas.width = columns * pitch.x;
    canvas.height = rows * pitch.y;
    canvas.style.width = `${canvas.width / ratio}px`;
    canvas.style.height = `${canvas.height / ratio}px`;
    this.context = canvas.getContext("2d");
    const bytes = this.bitmap?.resize(canvas.width * canvas.height);
    this.image = bytes
      ? new ImageData(bytes, canvas.width, canvas.height)
      : this.context.createImageData(canvas.width, canvas.height);
    const { data } = this.image;
    this.pixels = new Uint32Array(data.buffer, data.byteOffset, data.length / 4);
  }

  // For each pixel row and column of a painted map, the row and column of the map's grid that it shows.
  nearest(grid) {
    const known = this.lookups.get(grid);
    if (known) return known;
    const { height, width } = grid;
    const table = (n, side) => Uint16Array.from({ length: side }, (_, i) => Math.floor(((i + 0.5) * n) / side));
    const lookup = { down: table(height, this.side.y), across: table(width, this.side.x), height, width };
    this.lookups.set(grid, lookup);
    return lookup;
  }

  // Paints one map of numbers in the colours of a table (scale.js). False where that is not possible: call `paint`.
  paintNumbers(row, column, grid, numbers, table) {
    const { width } = this.image;
    const start = row * this.pitch.y * width + column * this.pitch.x;
    return this.bitmap?.paint(start, width, this.nearest(grid), numbers, table) ?? false;
  }

  // Paints one map; its place if `colors` is null.
  paint(row, column, grid, colors, smooth) {
    if (smooth && colors) return this.smoothed.push([row, column, grid, colors.slice(0, grid.tokens)]);
    if (!colors) return this.#paintWaiting(row, column);
    const { pixels, side, pitch } = this;
    const { width } = this.image;
    const { down, across } = this.nearest(grid);
    let start = row * pitch.y * width + column * pitch.x;
    for (let y = 0; y < side.y; y++, start += width) {
      if (y && down[y] === down[y - 1]) {
        pixels.copyWithin(start, start - width, start - width + side.x);
        continue;
      }
      const from = down[y] * grid.width;
      for (let x = 0; x < side.x; x++) pixels[start + x] = colors[from + across[x]];
    }
  }

  #paintWaiting(row, column) {
    const { pixels, side, pitch } = this;
    const { width } = this.image;
    const period = 4 * pitch.x;
    const moved = this.still ? 0 : Math.round((performance.now() / 100) * WAITING.speed * pitch.x);
    const line = Uint32Array.from({ length: side.x + side.y }, (_, i) => {
      const at = (((column * pitch.x + i - moved) % period) + period) % period;
      const near = Math.max(0, 1 - Math.abs(at / period - 0.5) / (WAITING.band / 2));
      return ((Math.round(WAITING.low + (WAITING.high - WAITING.low) * near) << 24) | 0x808080) >>> 0;
    });
    for (let y = 0; y < side.y; y++) {
      const start = (row * pitch.y + y) * width + column * pitch.x;
      pixels.set(line.subarray(y, y + side.x), start);
    }
  }

  // Leaves the place of a map whose numbers have not arrived pale, with three dots.
  paintArriving(row, column) {
    const { pixels, side, pitch, ratio } = this;
    const { width } = this.image;
    const dot = Math.max(1, Math.round(2 * ratio));
    const [top, left] = [Math.round((side.y - dot) / 2), Math.round(side.x / 2 - 3.5 * dot)];
    for (let y = 0; y < side.y; y++) {
      const start = (row * pitch.y + y) * width + column * pitch.x;
      pixels.fill(ARRIVING, start, start + side.x);
      if (y < top || y >= top + dot || left < 0) continue;
      for (const at of [0, 3, 6]) pixels.fill(HATCH, start + left + at * dot, start + left + (at + 1) * dot);
    }
  }

  // Hatches the place of a map that does not exist.
  paintGap(row, column) {
    const { pixels, side, pitch, ratio } = this;
    const { width } = this.image;
    const [line, period] = [Math.max(1, Math.round(ratio)), Math.round(HATCH_STEP * ratio)];
    const inside = (at, length) => at >= line && at < length - line;
    for (let y = 0; y < side.y; y++) {
      const start = (row * pitch.y + y) * width + column * pitch.x;
      for (let x = 0; x < side.x; x++) {
        const isEmpty = inside(x, side.x) && inside(y, side.y) && (x + y) % period >= line;
        pixels[start + x] = isEmpty ? 0 : HATCH;
      }
    }
  }

  show() {
    this.context.putImageData(this.image, 0, 0);
    for (const [row, column, grid, colors] of this.smoothed) {
      paintMap(this.small, grid, colors);
      this.context.drawImage(this.small, column * this.pitch.x, row * this.pitch.y, this.side.x, this.side.y);
    }
    this.smoothed = [];
  }
}

// Paints the dimmed picture with the map over it. `base` and `overlay` are canvases of any size; `opacity` is that of the map and
// of what dims the picture, 0 to 1.
export function paintPicture(canvas, base, overlay, smooth, opacity = 1) {
  const context = canvas.getContext("2d");
  const { width, height } = canvas;
  context.imageSmoothingEnabled = false;
  context.drawImage(base, 0, 0, width, height);
  context.globalAlpha = opacity;
  context.fillStyle = "rgba(8, 6, 14, 0.35)";
  context.fillRect(0, 0, width, height);
  context.imageSmoothingEnabled = smooth;
  if (overlay) context.drawImage(overlay, 0, 0, width, height);
  context.globalAlpha = 1;
}

// Paints crosshairs from the picture's edges to the query's cell.
function paintCrosshairs(context, [x, y, w, h], line) {
  const { width, height } = context.canvas;
  context.fillStyle = "rgba(255, 255, 255, 0.4)";
  context.fillRect(0, y + h / 2 - line / 2, x, line);
  context.fillRect(x + w, y + h / 2 - line / 2, width - x - w, line);
  context.fillRect(x + w / 2 - line / 2, 0, line, y);
  context.fillRect(x + w / 2 - line / 2, y + h, line, height - y - h);
}

// Outlines a query on a grid. `number` is the index of its pin; null for the pixel under the pointer.
export function paintQuery(canvas, grid, query, number, active) {
  const context = canvas.getContext("2d");
  const line = Math.max(1, Math.round(canvas.width / 400));
  const box = boxOf(canvas, grid, query);
  if (active && query.kind === "pixel") paintCrosshairs(context, box, line);
  const color = number === null ? "#ffffff" : PIN_COLORS[number];
  for (const [grow, width, stroke] of [
    [3 * line, active ? 4 * line : 2 * line, "rgba(0, 0, 0, 0.9)"],
    [1.5 * line, 2 * line, color],
  ]) {
    context.strokeStyle = stroke;
    context.lineWidth = width;
    if (query.kind === "region") {
      context.lineWidth = stroke === color ? 2 * line : 5 * line;
      context.stroke(edgeOf(query, canvas));
    } else {
      const [x, y, w, h] = box;
      context.strokeRect(x - grow, y - grow, w + 2 * grow, h + 2 * grow);
    }
  }
  if (number === null) return;
  const right = query.kind === "region" ? boundsOf(query).corner * canvas.width : box[0] + box[2];
  paintNumber(context, [right, box[1]], number, color, line);
}

// Paints the pin's number at its upper right corner, kept inside the picture.
function paintNumber(context, [right, top], number, color, line) {
  const radius = 7 * line + 2;
  const at = [
    Math.min(context.canvas.width - radius - 1, right + radius + 2 * line),
    Math.max(radius + 1, top - radius),
  ];
  context.beginPath();
  context.arc(...at, radius, 0, 2 * Math.PI);
  context.fillStyle = color;
  context.fill();
  context.fillStyle = "#000000";
  context.font = `700 ${1.4 * radius}px Inter, system-ui, sans-serif`;
  context.textAlign = "center";
  context.textBaseline = "middle";
  context.fillText(String(number + 1), at[0], at[1] + 0.5);
}

// [x, y, w, h] of a query on a canvas of this size: its cell, its rectangle, or the bounds of its region.
export function boxOf({ width, height }, grid, query) {
  if (query.kind === "pixel") {
    const [w, h] = [width / grid.width, height / grid.height];
    const token = tokenAt(grid, query.point);
    return [(token % grid.width) * w, Math.floor(token / grid.width) * h, w, h];
  }
  const { from, to } = query.kind === "box" ? query : boundsOf(query);
  return [from[1] * width, from[0] * height, (to[1] - from[1]) * width, (to[0] - from[0]) * height];
}

const bounds = new WeakMap(); // {region: its bounding rectangle}

function boundsOf(query) {
  if (bounds.has(query)) return bounds.get(query);
  const [height, width] = query.grid;
  const mask = decodeMask(query);
  const box = { from: [1, 1], to: [0, 0], corner: 0 }; // `corner`: right end of its top row
  for (let i = 0; i < mask.length; i++) {
    if (!mask[i]) continue;
    const [y, x] = [Math.floor(i / width), i % width];
    if (y / height <= box.from[0]) box.corner = (x + 1) / width;
    box.from = [Math.min(box.from[0], y / height), Math.min(box.from[1], x / width)];
    box.to = [Math.max(box.to[0], (y + 1) / height), Math.max(box.to[1], (x + 1) / width)];
  }
  bounds.set(query, box);
  return box;
}

const edges = new WeakMap(); // {region: { size of the canvas, path }}

// The outline of a region on a canvas of this size.
function edgeOf(query, canvas) {
  const size = `${canvas.width} ${canvas.height}`;
  if (edges.has(query) && edges.get(query).size === size) return edges.get(query).path;
  const [height, width] = query.grid;
  const mask = decodeMask(query);
  const on = (y, x) => y >= 0 && y < height && x >= 0 && x < width && mask[y * width + x];
  const path = new Path2D();
  const line = (y, x, down, right) => {
    path.moveTo((x * canvas.width) / width, (y * canvas.height) / height);
    path.lineTo(((x + right) * canvas.width) / width, ((y + down) * canvas.height) / height);
  };
  for (let y = 0; y <= height; y++) {
    for (let x = 0; x <= width; x++) {
      if (Boolean(on(y, x)) !== Boolean(on(y - 1, x))) line(y, x, 0, 1);
      if (Boolean(on(y, x)) !== Boolean(on(y, x - 1))) line(y, x, 1, 0);
    }
  }
  edges.set(query, { size, path });
  return path;
}
