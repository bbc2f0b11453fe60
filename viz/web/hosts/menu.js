// The entries of the viewer's menu that only the page has: an HTML file, a link, and opening a saved trace.

import { downloadFrom } from "../export/files.js";
import { findViewer } from "./first_viewer.js";

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
    return new Promise((done) => (finishSave = done));
  };
  exportMenu.add("Interactive page (HTML)", [["HTML", "one HTML file that works offline", saveHtml]]);
  const linkLabel = "a link that redraws this picture and opens this view";
  exportMenu.add("Link to this view", [["copy link", linkLabel, () => copyLink(gradio, root)]]);
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

async function copyLink({ server }, { viewer, opened }) {
  const { text, problem } = await server.encode_link({ recipe: viewer.trace.recipe, view: viewer.viewNow() });
  if (problem) throw new Error(problem);
  const address = `${location.origin}${location.pathname}?look=${text}`;
  history.replaceState(null, "", address);
  const note = opened ? " The link doesn't contain your file; it redraws the picture from the file's settings." : "";
  try {
    await navigator.clipboard.writeText(address);
  } catch {
    return `The link is in the address bar; the browser did not allow copying it.${note}`;
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
