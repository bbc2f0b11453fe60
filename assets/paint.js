// Paints maps: colours for numbers, the atlas, and a map over a picture. Nothing here knows what was chosen or why.

const GAP = 2; // between the cells of the atlas, in CSS pixels
const SCALES = {
  // One range for every map of every trace, so that a colour always means the same.
  common: { label: "one for all", note: "times uniform, log scale, the same in every map" },
  own: { label: "each its own", note: "each map from 0 to its own largest value; maps cannot be compared" },
};
const LOW = -2; // octaves: from a quarter of uniform
const HIGH = 5; // to 32 times uniform, and more

// A colour for every float without a logarithm: the top 16 bits of a positive float32 are its exponent and 7 bits of its
// fraction, fine enough for 256 colours on a log scale.
//
// Returns { scale: { solid, veil } }: for each scale one table of opaque colours, and one for laying over a picture.
function colorTables(colormap) {
  const pack = ([r, g, b], alpha) => ((alpha << 24) | (b << 16) | (g << 8) | r) >>> 0;
  const build = (position, alphaOf) => {
    const table = new Uint32Array(65536);
    const bits = new Uint32Array(1);
    const float = new Float32Array(bits.buffer);
    for (let i = 0; i < 32768; i++) {
      bits[0] = (i << 16) | 0x8000;
      const at = Math.min(1, Math.max(0, Number.isFinite(float[0]) ? position(float[0]) : 1));
      table[i] = pack(colormap[Math.round(at * 255)], Math.round(255 * alphaOf(at)));
    }
    return table;
  };
  const log = (value) => (Math.log2(value) - LOW) / (HIGH - LOW);
  const solid = () => 1;
  const veil = (at) => 0.3 + 0.62 * Math.sqrt(at); // over the picture: hardly there where nothing is looked at
  return {
    common: { solid: build(log, solid), veil: build(log, veil) },
    own: { solid: build((v) => v, solid), veil: build((v) => v, veil) },
  };
}

// The colours of one map, in times uniform, into `out`. `scale` is an entry of SCALES, `kind` "solid" or "veil".
function colorize(tables, scale, kind, map, count, out) {
  const table = tables[scale][kind];
  let largest = 1;
  if (scale === "own") {
    largest = 1e-30;
    for (let i = 0; i < count; i++) largest = Math.max(largest, map[i]);
  }
  for (let i = 0; i < count; i++) {
    oneFloat[0] = map[i] / largest;
    out[i] = table[oneFloatBits[0] >>> 16];
  }
  return out;
}

const oneFloat = new Float32Array(1);
const oneFloatBits = new Uint32Array(oneFloat.buffer);

// A canvas of as many pixels as the map has cells; the page scales it up without smoothing.
function paintMap(canvas, layer, colors) {
  if (canvas.width !== layer.width || canvas.height !== layer.height) {
    canvas.width = layer.width;
    canvas.height = layer.height;
  }
  const image = new ImageData(new Uint8ClampedArray(colors.buffer, 0, 4 * layer.tokens), layer.width, layer.height);
  canvas.getContext("2d").putImageData(image, 0, 0);
}

// All maps of the atlas in one bitmap of device pixels, written straight and put on the canvas at once.
class AtlasPainter {
  constructor(canvas) {
    this.canvas = canvas;
    this.lookups = new Map();
  }

  // The longer side of a cell is `cell` CSS pixels; its shape is the picture's, [height, width].
  measure(cell, [height, width]) {
    this.ratio = Math.min(3, devicePixelRatio || 1);
    const longer = Math.max(height, width);
    const [gap, side] = [Math.round(GAP * this.ratio), (n) => Math.max(1, Math.round((cell * this.ratio * n) / longer))];
    this.side = { x: side(width), y: side(height) };
    this.pitch = { x: this.side.x + gap, y: this.side.y + gap };
  }

  // The same in CSS pixels: the sides of a cell, and the way from one to the next.
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
    this.image = this.context.createImageData(canvas.width, canvas.height);
    this.pixels = new Uint32Array(this.image.data.buffer);
  }

  // Which row and column of a map each row and column of a cell's pixels shows.
  nearest(layer) {
    const { x, y } = this.side;
    const key = `${layer.height} ${layer.width} ${y} ${x}`;
    if (!this.lookups.has(key)) {
      const table = (n, side) => Uint16Array.from({ length: side }, (_, i) => Math.floor(((i + 0.5) * n) / side));
      this.lookups.set(key, { down: table(layer.height, y), across: table(layer.width, x) });
    }
    return this.lookups.get(key);
  }

  paint(row, column, layer, colors) {
    const { pixels, side, pitch } = this;
    const { width } = this.image;
    const { down, across } = this.nearest(layer);
    let start = row * pitch.y * width + column * pitch.x;
    for (let y = 0; y < side.y; y++, start += width) {
      if (y && down[y] === down[y - 1]) {
        pixels.copyWithin(start, start - width, start - width + side.x);
        continue;
      }
      const from = down[y] * layer.width;
      for (let x = 0; x < side.x; x++) pixels[start + x] = colors[from + across[x]];
    }
  }

  show() {
    this.context.putImageData(this.image, 0, 0);
  }
}

// The picture, dimmed, with the map over it. `base` and `overlay` are canvases of their own size.
function paintPicture(canvas, base, overlay) {
  const context = canvas.getContext("2d");
  const { width, height } = canvas;
  context.imageSmoothingEnabled = false;
  context.drawImage(base, 0, 0, width, height);
  context.fillStyle = "rgba(8, 6, 14, 0.35)";
  context.fillRect(0, 0, width, height);
  context.drawImage(overlay, 0, 0, width, height);
}

// The cell that looks, outlined, with lines from the picture's edges to it.
function paintQuery(canvas, layer, token, pinned) {
  const context = canvas.getContext("2d");
  const { width, height } = canvas;
  const [w, h] = [width / layer.width, height / layer.height];
  const [x, y] = [(token % layer.width) * w, Math.floor(token / layer.width) * h];
  const line = Math.max(1, Math.round(width / 400));
  context.fillStyle = "rgba(255, 255, 255, 0.4)";
  context.fillRect(0, y + h / 2 - line / 2, x, line);
  context.fillRect(x + w, y + h / 2 - line / 2, width - x - w, line);
  context.fillRect(x + w / 2 - line / 2, 0, line, y);
  context.fillRect(x + w / 2 - line / 2, y + h, line, height - y - h);
  for (const [grow, color] of [
    [3 * line, "rgba(0, 0, 0, 0.9)"],
    [1.5 * line, pinned ? "#ffb454" : "#ffffff"],
  ]) {
    context.strokeStyle = color;
    context.lineWidth = 2 * line;
    context.strokeRect(x - grow, y - grow, w + 2 * grow, h + 2 * grow);
  }
}
