// The sheet that is taken away as PNG or SVG: picture, atlas with labels, colour bar and a line that says what is shown.
//
// It is laid out once, as a list of texts, bitmaps and boxes, and then drawn twice: on a canvas, or as SVG with real text.

const SHEET = { margin: 24, cell: 44, gap: 3, labels: 148, picture: 380, head: 66, foot: 74, width: 640 };
const FONT = "system-ui, 'Segoe UI', 'DejaVu Sans', sans-serif";

function canvasOf(image) {
  const canvas = document.createElement("canvas");
  [canvas.width, canvas.height] = [image.width, image.height];
  canvas.getContext("2d").putImageData(image, 0, 0);
  return canvas;
}

function mapCanvas(colors, { width, height }) {
  return canvasOf(new ImageData(new Uint8ClampedArray(colors), width, height));
}

// The picture of a step with the chosen map and the pins over it, `pixels` wide.
function pictureCanvas(desk, stepIndex, pixels, base) {
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

// What is on the sheet: { width, height, items }, in CSS pixels. `atlas` alone leaves the picture out.
function layOutSheet(desk, { atlas = false, pixels = SHEET.picture } = {}) {
  const { viewer } = desk;
  const { margin, cell, gap, labels, picture, head, foot } = SHEET;
  const { trace, columns } = viewer;
  const view = viewer.viewNow();
  const longer = Math.max(...trace.size);
  const side = { x: (cell * trace.size[1]) / longer, y: (cell * trace.size[0]) / longer };
  const left = atlas ? margin : 2 * margin + picture;
  const width = Math.max(SHEET.width, left + labels + columns.length * (side.x + gap) + margin);
  const high = trace.layers.length * (side.y + gap) + 26;
  const shown = atlas ? 0 : (picture * trace.size[0]) / trace.size[1];
  const height = head + Math.max(high, shown) + foot;
  const items = [{ kind: "box", x: 0, y: 0, width, height, fill: "#ffffff" }, ...headings(desk, width)];
  const chosen = trace.steps.indexOf(view.step);
  if (!atlas) {
    const canvas = pictureCanvas(desk, chosen, pixels, view.base);
    items.push({ kind: "bitmap", canvas, x: margin, y: head, width: picture, height: shown });
  }
  trace.layers.forEach((layer, row) => {
    const y = head + row * (side.y + gap);
    const weight = layer.name === view.layer ? 700 : 400;
    items.push({ kind: "text", text: `${layer.label}`, x: left, y: y + side.y / 2, size: 12, weight, room: labels - 8 });
    items.push({ kind: "text", text: `${layer.height}×${layer.width}`, x: left, y: y + side.y / 2 + 14, size: 10, soft: true });
    columns.forEach((stepIndex, column) => {
      const canvas = mapCanvas(desk.colorsOf(viewer.mapOf(layer, stepIndex, view.head), "solid"), layer);
      const x = left + labels + column * (side.x + gap);
      items.push({ kind: "bitmap", canvas, x, y, width: side.x, height: side.y });
      if (layer.name === view.layer && stepIndex === chosen) items.push({ kind: "frame", x, y, width: side.x, height: side.y });
    });
  });
  columns.forEach((stepIndex, column) => {
    const x = left + labels + column * (side.x + gap) + side.x / 2;
    const text = formatTimestep(trace.timesteps[stepIndex]) || String(trace.steps[stepIndex]);
    items.push({ kind: "text", text, x, y: head + high - 12, size: 10, soft: true, middle: true });
  });
  items.push({ kind: "text", text: "timestep t", x: left, y: head + high - 12, size: 10, soft: true });
  items.push(...colorBar(desk, left, height - foot + 16, Math.min(420, width - left - margin)));
  return { width, height, items };
}

function headings({ viewer, sentence }, width) {
  const { recipe } = viewer.trace;
  const room = width - 2 * SHEET.margin;
  const title = typeof recipe.caption === "string" ? recipe.caption : "";
  return [
    { kind: "text", text: title, x: SHEET.margin, y: 28, size: 15, weight: 700, room },
    { kind: "text", text: sentence, x: SHEET.margin, y: 48, size: 12, soft: true, room },
  ];
}

function colorBar(desk, x, y, width) {
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
  return [
    { kind: "bitmap", canvas, x, y, width, height: 10 },
    ...ticks.map(([at, text]) => ({ kind: "text", text, x: x + at * width, y: y + 24, size: 10, soft: true, middle: true })),
    { kind: "text", text: note, x, y: y + 42, size: 10, soft: true, room: width * 1.8 },
  ];
}

const ink = (item) => (item.soft ? "#565d6b" : "#16181d");
const fontOf = (item) => `${item.weight || 400} ${item.size}px ${FONT}`;

// The text that fits into an item's room.
function fitted(item) {
  if (!item.room) return item.text;
  const pen = document.createElement("canvas").getContext("2d");
  pen.font = fontOf(item);
  let text = item.text.length > 400 ? `${item.text.slice(0, 400)}…` : item.text;
  while (text.length > 2 && pen.measureText(text).width > item.room) text = `${text.slice(0, -2)}…`;
  return text;
}

function sheetCanvas({ width, height, items }, scale) {
  const canvas = document.createElement("canvas");
  [canvas.width, canvas.height] = [Math.round(width * scale), Math.round(height * scale)];
  const context = canvas.getContext("2d");
  context.scale(scale, scale);
  context.imageSmoothingEnabled = false;
  for (const item of items) {
    const { x, y } = item;
    if (item.kind === "bitmap") context.drawImage(item.canvas, x, y, item.width, item.height);
    else if (item.kind === "box") {
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

function sheetSvg({ width, height, items }) {
  const place = ({ x, y, width, height }) => `x="${x}" y="${y}" width="${width}" height="${height}"`;
  const drawn = items.map((item) => {
    if (item.kind === "bitmap") {
      const stretched = `preserveAspectRatio="none" style="image-rendering:pixelated" href="${item.canvas.toDataURL()}"`;
      return `<image ${place(item)} ${stretched}/>`;
    }
    if (item.kind === "box") return `<rect ${place(item)} fill="${item.fill}"/>`;
    if (item.kind === "frame") return `<rect ${place(item)} fill="none" stroke="#c2410c" stroke-width="2"/>`;
    const anchor = item.middle ? ' text-anchor="middle"' : "";
    const style = `font-size="${item.size}" font-weight="${item.weight || 400}" fill="${ink(item)}"${anchor}`;
    return `<text x="${item.x}" y="${item.y}" ${style}>${escapeXml(fitted(item))}</text>`;
  });
  const open = `<svg xmlns="http://www.w3.org/2000/svg" width="${width}" height="${height}" viewBox="0 0 ${width} ${height}"`;
  return `${open} font-family="${escapeXml(FONT)}">\n${drawn.join("\n")}\n</svg>\n`;
}
