// What the "Take away" menu can do on the page only: one HTML file, a link, and opening a trace. Ends in `start()`.
//
// Runs where Gradio gives `element, trigger, props, server, upload, watch`; nothing else of the page is needed.

const MAX_UPLOAD = 256e6; // bytes; the server has the same limit

async function findViewer() {
  for (;;) {
    const root = document.querySelector("#viewer .pixelgaze");
    if (root && root.takeaway) return root;
    if (!element.isConnected) return null;
    await new Promise((done) => setTimeout(done, 100));
  }
}

function saveFrom(address, name) {
  const link = document.createElement("a");
  Object.assign(link, { href: address, download: name });
  link.click();
}

async function copyLink({ viewer, opened }) {
  const { text, problem } = await server.link({ recipe: viewer.trace.recipe, view: viewer.viewNow() });
  if (problem) throw new Error(problem);
  const address = `${location.origin}${location.pathname}?look=${text}`;
  history.replaceState(null, "", address);
  const unheld = " It does not hold the file that was opened: whoever follows it has the file's recipe drawn again.";
  const honest = opened ? unheld : "";
  try {
    await navigator.clipboard.writeText(address);
  } catch {
    return `The link is in the address bar now; it could not be copied from here.${honest}`;
  }
  return `Copied; it is in the address bar, too.${honest}`;
}

async function openFile(file, say) {
  if (!file) return;
  if (file.size > MAX_UPLOAD) return say(`“${file.name}” is too large: ${Math.round(file.size / 1e6)} MB, at most 256.`);
  say(`Reading “${file.name.slice(0, 80)}”…`);
  try {
    const { path } = await upload(file);
    trigger("dropped", { path });
  } catch (error) {
    say(`“${file.name.slice(0, 80)}” could not be sent: ${error.message}`);
  }
}

// A file dragged from the desktop may be let go anywhere.
function wireDrop(cover, say) {
  const holds = (event) => event.dataTransfer && Array.from(event.dataTransfer.types).includes("Files");
  let inside = 0;
  const on = (name, act) => {
    const listener = (event) => {
      if (!element.isConnected) return window.removeEventListener(name, listener);
      if (!holds(event)) return;
      event.preventDefault();
      act(event);
      cover.hidden = inside <= 0;
    };
    window.addEventListener(name, listener);
  };
  on("dragenter", () => inside++);
  on("dragleave", () => inside--);
  on("dragover", () => {});
  on("drop", (event) => {
    inside = 0;
    openFile(event.dataTransfer.files[0], say);
  });
}

async function start() {
  const root = await findViewer();
  if (!root) return;
  const { takeaway, viewer } = root;
  let saved = null; // resolves when the server has written the HTML file
  const cover = element.querySelector(".pg-drop");
  const input = element.querySelector("input");
  takeaway.add("The viewer with this trace", [
    [
      "HTML",
      "one HTML file that works from disk, without a network",
      () => {
        trigger("saved", { view: viewer.viewNow() });
        return new Promise((done) => (saved = done));
      },
    ],
  ]);
  takeaway.add("This view", [["copy link", "a link that draws the same picture and opens the same view", () => copyLink(root)]]);
  takeaway.add("A saved trace", [["open…", "a safetensors file; or drop it anywhere on the page", () => (input.click(), " ")]]);
  input.addEventListener("change", () => {
    openFile(input.files[0], takeaway.say);
    input.value = "";
  });
  wireDrop(cover, takeaway.say);
  watch("value", () => {
    const { file, name, said } = props.value || {};
    if (file) saveFrom(file.url, name);
    if (saved) saved(said || "Saved.");
    else takeaway.say(said || "");
    saved = null;
  });
}

start();
