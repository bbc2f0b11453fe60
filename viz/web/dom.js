// Makes nodes. Text from outside reaches the page through textContent only.

export function make(tag, className, text, parent) {
  const node = document.createElement(tag);
  if (className) node.className = className;
  if (text !== undefined) node.textContent = text;
  if (parent) parent.append(node);
  return node;
}

export function makeButton(className, text, parent, label) {
  const button = make("button", className, text, parent);
  button.type = "button";
  if (label) button.setAttribute("aria-label", label);
  return button;
}

export function labelledCanvas(parent, className, label) {
  const node = make("canvas", className, undefined, parent);
  node.setAttribute("role", "img");
  node.setAttribute("aria-label", label);
  return node;
}

export function plainButton(text, parent, className = "") {
  return makeButton(className, text, parent);
}

export function labelledSlider(parent, options) {
  const label = make("label", "pl-heat", undefined, parent);
  const text = make("span", "", "", label);
  const slider = make("input", "", undefined, label);
  Object.assign(slider, { type: "range", ...options });
  return { text, slider };
}
