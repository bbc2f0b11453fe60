// The plain picture: without the map while a key is held, or once the mouse has left the picture. `desk`: see desk.js.

const AWAY = 250; // ms after which the mouse has left the picture, and is not on its way to a map
const OTHERS = "canvas, button, input, label, summary, .pg-words"; // the parts of a viewer that are about the map

// Whether the picture is shown without the map: while the key is held; or since the mouse left, as long as nothing else is asked.
export const isPlain = ({ held, left, state }) => held || (left !== null && left === state.point && state.active < 0 && !state.word);

// Shows the plain picture as long as the key is held.
export function holdPlain(desk) {
  if (desk.held) return;
  desk.held = true;
  desk.repaint();
}

export function wirePlain(desk) {
  const { root, ui } = desk;
  let timer = 0;
  const set = (left) => {
    clearTimeout(timer);
    if (desk.left === left) return;
    desk.left = left;
    desk.repaint();
  };
  const release = () => {
    if (desk.held) desk.repaint();
    desk.held = false;
  };
  ui.picture.canvas.addEventListener("pointerleave", ({ pointerType, buttons }) => {
    if (pointerType === "mouse" && !buttons) timer = setTimeout(() => set(desk.state.point), AWAY);
  });
  root.addEventListener("pointerover", ({ target }) => target.closest(OTHERS) && set(null));
  root.addEventListener("keydown", () => set(null));
  addEventListener("keyup", ({ key }) => key.toLowerCase() === "o" && release());
  addEventListener("blur", release);
}
