// Text on sheets and frames: its font, wrapping or cutting to a width, and XML. A style is { size, weight }.

export const FONT = "system-ui, 'Segoe UI', 'DejaVu Sans', sans-serif";

export const fontOf = ({ size, weight }) => `${weight || 400} ${size}px ${FONT}`;

function penFor(style) {
  const pen = document.createElement("canvas").getContext("2d");
  pen.font = fontOf(style);
  return pen;
}

export const textWidth = (text, style) => penFor(style).measureText(text).width;

// Wraps text to at most `most` lines; if there are more, the last ends in "…".
export function wrapText(text, style, width, most = 3) {
  const pen = penFor(style);
  const lines = [""];
  for (const word of text.slice(0, 600).split(/\s+/)) {
    const last = lines[lines.length - 1];
    const longer = last ? `${last} ${word}` : word;
    if (pen.measureText(longer).width <= width || !last) lines[lines.length - 1] = longer;
    else if (lines.length < most) lines.push(word);
    else return [...lines.slice(0, -1), `${last} …`];
  }
  return lines;
}

// The text, cut to fit `width`; whole if there is no width.
export function cutText(text, style, width) {
  if (!width) return text;
  const pen = penFor(style);
  let cut = text.length > 400 ? `${text.slice(0, 400)}…` : text;
  while (cut.length > 2 && pen.measureText(cut).width > width) cut = `${cut.slice(0, -2)}…`;
  return cut;
}

// XML forbids control characters, even escaped.
export function escapeXml(text) {
  const isAllowed = (character) => character >= " " && !/[\ufffe\uffff\ud800-\udfff]/.test(character);
  const names = { "&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;", "'": "&#39;" };
  const clean = Array.from(String(text)).filter(isAllowed).join("");
  return clean.replace(/[&<>"']/g, (character) => names[character]);
}
