// Draws a sheet on a canvas, for PNG, or as SVG with real text. `items`: see sheet.js.

import { FONT, cutText, escapeXml, fontOf } from "./text.js";

const inkOf = (item) => (item.soft ? "#565d6b" : "#16181d");
const FRAME = { stroke: "#c2410c", width: 2 }; // around the chosen map

const GAP = { stroke: "#8a8a8a", width: 1 }; // where a layer has no map: a frame, crossed out

const gapPath = ({ x, y, width, height }) => `M${x} ${y}h${width}v${height}h${-width}z l${width} ${height}`;

export function sheetCanvas({ width, height, items }, scale) {
  const canvas = document.createElement("canvas");
  [canvas.width, canvas.height] = [Math.round(width * scale), Math.round(height * scale)];
  const context = canvas.getContext("2d");
  context.scale(scale, scale);
  for (const item of items) drawItem(context, item);
  return canvas;
}

function drawItem(context, item) {
  const { kind, x, y, width, height } = item;
  context.imageSmoothingEnabled = Boolean(item.smooth);
  if (kind === "bitmap") context.drawImage(item.canvas, x, y, width, height);
  else if (kind === "gap") {
    [context.strokeStyle, context.lineWidth] = [GAP.stroke, GAP.width];
    context.stroke(new Path2D(gapPath(item)));
  } else if (kind === "dot") {
    context.beginPath();
    context.arc(x, y, item.radius, 0, 2 * Math.PI);
    context.fillStyle = item.fill;
    context.fill();
  } else if (kind === "box") {
    context.fillStyle = item.fill;
    context.fillRect(x, y, width, height);
  } else if (kind === "frame") {
    [context.strokeStyle, context.lineWidth] = [FRAME.stroke, FRAME.width];
    context.strokeRect(x, y, width, height);
  } else {
    [context.font, context.fillStyle, context.textAlign] = [fontOf(item), inkOf(item), item.middle ? "center" : "left"];
    context.fillText(cutText(item.text, item, item.room), x, y);
  }
}

export function sheetSvg({ width, height, items }) {
  const size = `width="${width}" height="${height}" viewBox="0 0 ${width} ${height}"`;
  const open = `<svg xmlns="http://www.w3.org/2000/svg" ${size} font-family="${escapeXml(FONT)}">`;
  return `${open}\n${items.map(svgItem).join("\n")}\n</svg>\n`;
}

function svgItem(item) {
  const place = `x="${item.x}" y="${item.y}" width="${item.width}" height="${item.height}"`;
  if (item.kind === "bitmap") {
    const rendering = item.smooth ? "auto" : "pixelated";
    const style = `preserveAspectRatio="none" style="image-rendering:${rendering}"`;
    return `<image ${place} ${style} href="${item.canvas.toDataURL()}"/>`;
  }
  if (item.kind === "gap") {
    const stroke = `fill="none" stroke="${GAP.stroke}" stroke-width="${GAP.width}"`;
    return `<path d="${gapPath(item)}" ${stroke}><title>no map: ${escapeXml(item.reason)}</title></path>`;
  }
  if (item.kind === "dot") return `<circle cx="${item.x}" cy="${item.y}" r="${item.radius}" fill="${item.fill}"/>`;
  if (item.kind === "box") return `<rect ${place} fill="${item.fill}"/>`;
  if (item.kind === "frame") return `<rect ${place} fill="none" stroke="${FRAME.stroke}" stroke-width="${FRAME.width}"/>`;
  const anchor = item.middle ? ' text-anchor="middle"' : "";
  const style = `font-size="${item.size}" font-weight="${item.weight || 400}" fill="${inkOf(item)}"${anchor}`;
  return `<text x="${item.x}" y="${item.y}" ${style}>${escapeXml(cutText(item.text, item, item.room))}</text>`;
}
