// Where everything stands in a figure, as in viz/figure_layout.py: in whole dots, so that every format holds the same one.
// Nothing here touches the DOM.

import { MILLIMETRE, POINT, hundredths, whole, wrap } from "./items.js";
import { atlasBlock, headsBlock, pinsBlock } from "./maps.js";
import { picturesBlock } from "./pictures.js";
import { captionOf, ticksOf, unitOf } from "./words.js";

export const WIDTHS = { single: 84, double: 174, slide: 254 }; // mm: a column, a page of two columns, a slide of 16:9
export const DEFAULTS = {
  ...{ parts: ["picture", "atlas", "bar"], layers: "grids", steps: "five", width: "double" },
  ...{ theme: "light", font: "sans", size: 7, caption: false },
};

const MARGIN = 12; // dots, around the figure
const SPACE = 36; // dots, between blocks
const WIDE = 1400; // dots: from here on pictures stand beside the atlas
const BAR = { height: 24, width: 1100 }; // dots: its height and greatest width
const THEMES = {
  light: ["#16181d", "#565d6b", "#ffffff"],
  dark: ["#f2f4f8", "#a9b0bd", "#0f1116"],
  transparent: ["#16181d", "#565d6b", null],
};
const BLOCKS = { atlas: atlasBlock, pins: pinsBlock, heads: headsBlock, bar: barBlock };

// The figure of a content: a sheet. `options`: as DEFAULTS. Throws an Error to show to the user if the maps do not fit.
export function layOut(content, options) {
  const [ink, soft, paper] = THEMES[options.theme];
  const size = hundredths(options.size * POINT);
  const pen = { ink, soft, font: options.font, size, small: hundredths(size * 0.85), line: whole(size * 1.25) };
  const width = whole(WIDTHS[options.width] * MILLIMETRE);
  let [height, inner] = [0, width - 2 * MARGIN];
  if (options.width === "slide") {
    height = whole((width * 9) / 16);
    while (bodyOf(content, options, pen, 0, inner).height > height - 2 * MARGIN && inner > WIDE) inner -= 40;
  }
  const body = bodyOf(content, options, pen, Math.floor((width - inner) / 2), inner);
  height = Math.max(height, body.height + 2 * MARGIN);
  const back = paper ? [{ kind: "box", x: 0, y: 0, width, height, fill: paper }] : [];
  return { width, height, items: [...back, ...body.items], font: options.font, title: captionOf(content) };
}

// Pictures, maps, colour bar and caption, from the upper margin down: a block, { height, items }.
function bodyOf(content, options, pen, x, width) {
  const { parts } = options;
  const has = (part) => parts.includes(part);
  const count = ["picture", "plain"].filter(has).length;
  const hasMaps = ["atlas", "pins", "heads"].some(has);
  const beside = count > 0 && hasMaps && width >= WIDE;
  const left = hasMaps ? whole(width * (beside ? 0.28 : 0.6)) : width;
  const pictures = picturesBlock(content, parts, pen, x, MARGIN, beside || count < 2 ? left : width, beside);
  const items = [...pictures.items];
  const start = beside ? x + left + SPACE : x;
  let y = beside || !count ? MARGIN : MARGIN + pictures.height + SPACE;
  for (const [part, block] of Object.entries(BLOCKS)) {
    if (!has(part)) continue;
    const drawn = block(content, options, pen, start, y, x + width - start);
    items.push(...drawn.items);
    y += drawn.height && drawn.height + SPACE;
  }
  let bottom = Math.max(y - SPACE, MARGIN + pictures.height);
  if (options.caption) {
    const lines = wrap(captionOf(content), width, pen.size, pen.font);
    const top = bottom + SPACE / 2;
    lines.forEach((text, i) => items.push(textItem(x, top + pen.line * (i + 1), text, pen.size, pen.ink)));
    bottom = top + pen.line * lines.length + whole(pen.size * 0.3);
  }
  return { height: bottom - MARGIN, items };
}

const textItem = (x, y, text, size, fill, anchor = "start") => ({ kind: "text", x, y, text, size, fill, bold: false, anchor });

// The colours, their ticks, and what they measure.
function barBlock({ view, colors }, options, pen, x, y, width) {
  const inset = whole(pen.size * 1.2); // room for half of the first and the last tick
  const [start, long] = [x + inset, Math.min(BAR.width, width - 2 * inset)];
  const pixels = { width: colors.length, height: 1, data: Uint8Array.from(colors.flat()) };
  const items = [{ kind: "image", x: start, y, width: long, height: BAR.height, pixels }];
  const baseline = y + BAR.height + whole(pen.small * 1.2);
  for (const [place, text] of ticksOf(view)) items.push(textItem(start + whole(place * long), baseline, text, pen.small, pen.soft, "middle"));
  const lines = wrap(unitOf(view), width, pen.small, pen.font);
  const pitch = whole(pen.small * 1.3);
  lines.forEach((text, i) => items.push(textItem(x, baseline + pitch * (i + 1), text, pen.small, pen.soft)));
  return { height: BAR.height + whole(pen.small * 1.5) + pitch * lines.length, items };
}
