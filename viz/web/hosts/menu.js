// What the viewer's menu can do on the page only: one HTML file, a link, and opening a saved trace.

const MAX_UPLOAD = 256e6; // bytes; viz/page/menu.py has the same limit

// `gradio` is what Gradio gives js_on_load: { element, props, trigger, server, upload, watch }.
export async function startMenu(gradio) {
  const { element, props, trigger, watch } = gradio;
  const root = await findViewer(element);
  if (!root) return;
  const { exportMenu, viewer } = root;
  let finishSave = null; // called when the server has written the HTML file
  const input = element.querySelector("input");
  const open = (file) => openFile(gradio, file, exportMenu.say);
  const saveHtml = () => {
    trigger("saved", { view: viewer.viewNow() });
    return new Promise((done) => (finishSave = done));
  };
  exportMenu.add("Interactive page (HTML)", [["HTML", "one HTML file that works from disk, without a network", saveHtml]]);
  const linkLabel = "a link that draws the same picture and opens the same view";
  exportMenu.add("Link to this view", [["copy link", linkLabel, () => copyLink(gradio, root)]]);
  const openLabel = "a safetensors file; or drop it anywhere on the page";
  exportMenu.add("Open recording…", [["open…", openLabel, () => (input.click(), " ")]]);
  input.addEventListener("change", () => {
    open(input.files[0]);
    input.value = "";
  });
  wireDrop(element, open);
  watch("value", () => {
    const { file, name, message } = props.value || {};
    if (file) saveFrom(file.url, name);
    if (finishSave) finishSave(message || "Saved.");
    else exportMenu.say(message || "");
    finishSave = null;
  });
}

// The root of the first viewer, once its menu is there; null if this component is removed first.
async function findViewer(element) {
  for (;;) {
    const root = document.querySelector("#viewer .pixelgaze");
    if (root && root.exportMenu) return root;
    if (!element.isConnected) return null;
    await new Promise((done) => setTimeout(done, 100));
  }
}

function saveFrom(address, name) {
  const link = document.createElement("a");
  Object.assign(link, { href: address, download: name });
  link.click();
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
    return `The link is in the address bar now; it could not be copied from here.${note}`;
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
    say(`“${file.name.slice(0, 80)}” could not be sent: ${error.message}`);
  }
}

// A file may be dropped anywhere on the page.
function wireDrop(element, open) {
  const cover = element.querySelector(".pg-drop");
  const hasFiles = (event) => event.dataTransfer && Array.from(event.dataTransfer.types).includes("Files");
  let depth = 0; // of the nodes that the dragged file is over
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
