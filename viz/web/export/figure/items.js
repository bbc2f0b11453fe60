// What a figure is made of, as in viz/figure_items.py: items at whole dots of 1/300 inch, and how wide text is.
//
//   { kind: "image", x, y, width, height, pixels }     pixels: { width, height, data: three bytes each }
//   { kind: "text", x, y, text, size, fill, bold, anchor }     y: of the baseline; anchor: "start", "middle" or "end"
//   { kind: "box", x, y, width, height, fill }
//   { kind: "lines", strokes: [[x, y, x, y], …], stroke, thick }
//   { kind: "dot", x, y, radius, fill }
//
// A sheet is { width, height, items, font, title }. Nothing here touches the DOM.

export const DOTS = 300; // to the inch
export const POINT = DOTS / 72; // dots
export const MILLIMETRE = DOTS / 25.4; // dots

// Thousandths of the font's size, of the characters from space to ~: Adobe's metrics of Helvetica and Times.
const WIDTHS = {
  sans:
    "278 278 355 556 556 889 667 191 333 333 389 584 278 333 278 278 556 556 556 556 556 556 556 556 556 " +
    "556 278 278 584 584 584 556 1015 667 667 722 722 667 611 778 722 278 500 667 556 833 722 778 667 778 " +
    "722 667 611 722 667 944 667 667 611 278 278 278 469 556 333 556 556 500 556 556 278 556 556 222 222 " +
    "500 222 833 556 556 556 556 333 500 278 556 500 722 500 500 500 334 260 334 584",
  serif:
    "250 333 408 500 500 833 778 180 333 333 500 564 250 333 250 278 500 500 500 500 500 500 500 500 500 " +
    "500 278 278 564 564 564 444 921 722 667 667 722 611 556 722 722 333 389 722 611 889 722 722 556 722 " +
    "667 556 611 722 722 944 722 722 611 333 278 333 469 500 333 444 500 444 500 444 333 500 500 278 278 " +
    "500 278 778 500 500 500 500 333 389 278 500 500 722 500 500 444 480 200 480 541",
};
const METRICS = Object.fromEntries(Object.entries(WIDTHS).map(([font, widths]) => [font, widths.split(" ").map(Number)]));
const OTHER = 556; // any other character
const BOLD = 1.1; // at most, of the width of the same text

// The nearest whole number; halves go up.
export const whole = (value) => Math.floor(value + 0.5);

export const hundredths = (value) => whole(value * 100) / 100;

// The strokes around a box.
export function frame(x, y, width, height) {
  const [right, bottom] = [x + width, y + height];
  return [[x, y, right, y], [right, y, right, bottom], [right, bottom, x, bottom], [x, bottom, x, y]];
}

// The width of text in dots.
export function widthOf(text, size, font, bold = false) {
  const widths = METRICS[font];
  let total = 0;
  for (const each of text) total += each >= " " && each <= "~" ? widths[each.charCodeAt(0) - 32] : OTHER;
  return (total * size * (bold ? BOLD : 1)) / 1000;
}

// The text, or as much of it as fits, with "…" at its end.
export function cut(text, room, size, font, bold = false) {
  if (widthOf(text, size, font, bold) <= room) return text;
  const short = Array.from(text);
  while (short.length && widthOf(`${short.join("")}…`, size, font, bold) > room) short.pop();
  return `${short.join("")}…`;
}

// The text in lines that fit; a word that does not is cut.
export function wrap(text, room, size, font) {
  const lines = [""];
  for (const word of text.split(/\s+/).filter(Boolean)) {
    const last = lines[lines.length - 1];
    const longer = last ? `${last} ${word}` : word;
    if (widthOf(longer, size, font) <= room || !last) lines[lines.length - 1] = longer;
    else lines.push(word);
  }
  return lines.map((line) => cut(line, room, size, font));
}

// Pixels on another grid, each the nearest one.
export function sampled({ width, height, data }, across, down) {
  if (across === width && down === height) return { width, height, data };
  const nearest = (n, have) => Array.from({ length: n }, (_, i) => Math.floor(((i + 0.5) * have) / n));
  const [columns, rows] = [nearest(across, width), nearest(down, height)];
  const channels = data.length / (width * height);
  const out = new Uint8Array(across * down * channels);
  let at = 0;
  for (const row of rows) {
    for (const column of columns) {
      const from = (row * width + column) * channels;
      for (let i = 0; i < channels; i++) out[at++] = data[from + i];
    }
  }
  return { width: across, height: down, data: out };
}

// The pixels of an image, each repeated as often as fits its box, because many programs blur what they enlarge.
export function enlarged({ width, height, pixels }) {
  const times = (room, have) => Math.max(1, Math.floor(room / have));
  return sampled(pixels, pixels.width * times(width, pixels.width), pixels.height * times(height, pixels.height));
}
