// Helpers for the DOM. Untrusted text reaches the page only through text nodes.

// The arrow keys as [rows down, columns right].
export const ARROWS = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] };

// Creates a node. A name that is not a property of the node becomes an attribute; children are nodes or strings.
export function h(tag, properties = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name === "class") node.className = value;
    else if (name in node) node[name] = value;
    else node.setAttribute(name, value);
  }
  node.append(...children);
  return node;
}

// Creates a node of a drawing.
export function svg(tag, attributes = {}, ...children) {
  const node = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  node.append(...children);
  return node;
}

export function makeButton(text, properties = {}) {
  return h("button", { type: "button", ...properties }, text);
}

// A canvas that screen readers present as an image.
export function labelledCanvas(label, properties = {}) {
  return h("canvas", { role: "img", "aria-label": label, ...properties });
}

// A canvas with the pixels of an image: ImageData or { width, height, data }.
export function imageCanvas({ width, height, data }) {
  const canvas = h("canvas", { width, height });
  canvas.getContext("2d").putImageData(new ImageData(data, width, height), 0, 0);
  return canvas;
}
