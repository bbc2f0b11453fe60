// A line at the lower edge of the window that says what was lost, with a button that brings it back. `desk`: see desk.js.

import { h, makeButton } from "../dom.js";

const SHOWN = 10_000; // ms; what was lost can be brought back by key afterwards, too

// The text is announced when it changes, so its node is there from the start.
export function buildNotice() {
  const text = h("span", { role: "status" });
  const undo = makeButton("Undo", { class: "pg-undo", title: "Ctrl+Z while the viewer has the focus" });
  return { node: h("div", { class: "pg-notice", hidden: true }, text, undo), text, undo, timer: 0 };
}

// Shows a sentence for some seconds, longer while the focus is in it. `undo` is called if the button is pressed.
export function showNotice({ ui }, sentence, undo) {
  const { notice } = ui;
  const hide = () => {
    if (notice.node.contains(document.activeElement)) wait();
    else hideNotice({ ui });
  };
  const wait = () => {
    clearTimeout(notice.timer);
    notice.timer = setTimeout(hide, SHOWN);
  };
  notice.node.hidden = false;
  notice.text.textContent = sentence;
  notice.undo.onclick = () => {
    undo();
    ui.picture.canvas.focus({ preventScroll: true }); // the button is gone
  };
  wait();
}

export function hideNotice({ ui }) {
  clearTimeout(ui.notice.timer);
  ui.notice.node.hidden = true;
  ui.notice.text.textContent = "";
}
