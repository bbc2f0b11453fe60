// The entries of the viewer's menu that only the page has: an HTML file, a link, and opening a saved trace.

import { h } from "../dom.js";
import { downloadFrom } from "../export/files.js";
import { findViewer } from "./first_viewer.js";

const PATIENCE = 120_000; // milliseconds for the server to write the HTML file
const MAX_UPLOAD = 256e6; // bytes; viz/page/menu.py has the same limit

// `gradio` is what Gradio gives js_on_load: { element, props, trigger, server, upload, watch }.
export async function startMenu(gradio) {
  const { element, props, trigger, watch } = gradio;
  const root = await findViewer(element, ({ exportMenu }) => exportMenu);
  if (!root) return;
  const { exportMenu, viewer } = root;
  let finishSave = null; // called when the server has written the HTML file
  const input = element.querySelector("input");
  const open = (file) => openFile(gradio, file, exportMenu.say);
  const saveHtml = () => {
    trigger("saved", { view: viewer.viewNow() });
    return new Promise((done, fail) => {
      finishSave = done;
      setTimeout(() => {
        if (finishSave !== done) return;
        finishSave = null;
        fail(new Error("The server has not answered. Try again later, or save the recording itself."));
      }, PATIENCE);
    });
  };
  exportMenu.add("Interactive page (HTML)", [["HTML", "one HTML file that works offline", saveHtml]]);
  addLink(gradio, root);
  const openLabel = "a safetensors file; you can also drop it anywhere on the page";
  exportMenu.add("Open recording…", [["open…", openLabel, () => (input.click(), " ")]]);
  input.addEventListener("change", () => {
    open(input.files[0]);
    input.value = "";
  });
  wireDrop(element, open);
  watch("value", () => {
    const { file, name, message } = props.value || {};
    if (file) downloadFrom(file.url, name);
    if (finishSave) finishSave(message || "Saved.");
    else exportMenu.say(message || "");
    finishSave = null;
  });
}

// Adds the entry that copies a link, and below it why the address holds none.
function addLink({ server }, root) {
  const { exportMenu, look } = root;
  const note = h("p", { class: "pg-export-note", hidden: true });
  const tell = (problem) => Object.assign(note, { textContent: problem, hidden: !problem });
  look.connect((recipe) => server.check_recipe(recipe), tell);
  const label = "a link that redraws this picture and opens this view";
  exportMenu.add("Link to this view", [["copy link", label, () => copyLink(root)]]).after(note);
}

// Copies a link; returns what to say, with a field to copy it from where the browser does not allow copying.
async function copyLink({ look, opened }) {
  const link = `${location.origin}${location.pathname}?${await look.query()}`;
  const note = opened ? " The link doesn't contain your file; it redraws the picture from the file's settings." : "";
  try {
    await navigator.clipboard.writeText(link);
  } catch {
    const field = h("input", { class: "pg-link", readOnly: true, value: link, "aria-label": "Link to this view" });
    return h("span", {}, `Your browser doesn't allow this page to copy. Copy the link from here:${note}`, field);
  }
  return `Link copied.${note}`;
}

async function openFile({ upload, trigger }, file, say) {
  if (!file) return;
  if (file.size > MAX_UPLOAD) return say(`“${file.name}” is too large: ${Math.round(file.size / 1e6)} MB; the limit is 256 MB.`);
  say(`Reading “${file.name.slice(0, 80)}”…`);
  try {
    const { path } = await upload(file);
    trigger("dropped", { path });
  } catch (error) {
    say(`“${file.name.slice(0, 80)}” could not be uploaded: ${error.message}`);
  }
}

// Accepts a file dropped anywhere on the page.
function wireDrop(element, open) {
  const cover = element.querySelector(".pg-drop");
  const hasFiles = (event) => event.dataTransfer && Array.from(event.dataTransfer.types).includes("Files");
  let depth = 0; // of nested nodes under the dragged file
  const on = (name, act) => {
    const listener = (event) => {
      if (!element.isConnected) return window.removeEventListener(name, listener);
      if (!hasFiles(event)) return;
      event.preventDefault();
      act(event);
      cover.hidden = depth <= 0;
    };
    window.addEventListener(name, listener);
  };
  on("dragenter", () => depth++);
  on("dragleave", () => depth--);
  on("dragover", () => {});
  on("drop", (event) => {
    depth = 0;
    open(event.dataTransfer.files[0]);
  });
}
