// Makes nodes. Text from outside reaches the page through text nodes only.

// A node with properties, or attributes where it has no such property, and children: nodes or strings.
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

export function makeButton(text, properties = {}) {
  return h("button", { type: "button", ...properties }, text);
}

// A canvas that is a picture to a screen reader.
export function labelledCanvas(label, properties = {}) {
  return h("canvas", { role: "img", "aria-label": label, ...properties });
}

// A canvas of as many pixels as an image, ImageData or { width, height, data }.
export function imageCanvas({ width, height, data }) {
  const canvas = h("canvas", { width, height });
  canvas.getContext("2d").putImageData(new ImageData(data, width, height), 0, 0);
  return canvas;
}
