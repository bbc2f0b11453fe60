// The Export menu: a figure, the view as PNG, SVG, GIF, video or NPZ, and the recording itself. Works in the page and in the
// HTML file.
//
//   const menu = addExportMenu(root, viewer, { colormap, diverging })
//   menu.add("Link", [["Copy", "a link to this view", async () => "Link copied."]])     // entries that only the page has

import { layersFor, queryOf } from "../core/query.js";
import { h, makeButton } from "../dom.js";
import { FigureDialog } from "./figure/dialog.js";
import { download, downloadFrom, fileName, gif, npz, viewName } from "./files.js";
import { stepFrames } from "./frames.js";
import { displayedMaps } from "./maps.js";
import { layOutSheet } from "./sheet.js";
import { sheetCanvas, sheetSvg } from "./sheet_files.js";
import { SheetSource } from "./source.js";
import { secondsOf, videoOf, videoType } from "./video.js";

export function addExportMenu(root, viewer, colors) {
  const { menu, button: opener, list, say, close } = buildMenu(viewer.slot);
  const source = new SheetSource(root, viewer, colors);

  // Runs a button's action and reports the outcome.
  async function attempt(button, act) {
    if (!viewer.trace || button.disabled) return;
    button.disabled = true;
    say("One moment…");
    await new Promise((done) => setTimeout(done, 20)); // lets the message be painted first
    try {
      if (viewer.trace.arriving) say("Waiting for the rest of the recording…");
      await viewer.arrived();
      say((await act()) || "Saved.");
    } catch (error) {
      say(error.message);
    }
    button.disabled = false;
    if (!menu.hidden && !menu.contains(document.activeElement)) button.focus();
  }

  // Adds a line with a title and buttons, each [text, label, action]; returns it. An action returns what to say: see buildMenu.
  function add(title, entries) {
    const buttons = entries.map(([text, label, act]) => {
      const button = makeButton(text, { class: "pg-toggle", title: label, "aria-label": `${text}: ${title}, ${label}` });
      button.addEventListener("click", () => attempt(button, act));
      return button;
    });
    const line = h("div", { class: "pg-export-line", role: "group", "aria-label": title }, h("span", {}, title), ...buttons);
    list.append(line);
    return line;
  }

  const dialog = new FigureDialog(root, viewer, colors, opener);
  const openFigure = async () => {
    close();
    await dialog.open();
    return " "; // nothing is saved yet
  };
  add("Figure for a paper or a slide", [["Compose…", "PNG, SVG or PDF", openFigure]]);
  const sizes = [1, 2, 4].map((scale) => [`${scale}×`, `${scale} times the size`, () => savePng(source, scale)]);
  add("Picture and atlas (PNG)", sizes);
  add("Atlas (SVG)", [["SVG", "with real text", () => saveSvg(source)]]);
  add("Animation over the steps", [
    ["GIF", "the map over the picture, step by step", () => saveGif(source)],
    ["WebM", "a video of the same", () => saveVideo(source, say)],
  ]);
  add("Displayed maps (NumPy)", [["NPZ", "the maps of the atlas and the pins", () => saveNpz(source)]]);
  const recording = "Q and K of every layer and step, for viz.Trace.load";
  add("Full recording (Q, K)", [["safetensors", recording, () => saveTrace(viewer)]]);
  return { add, say };
}

function save({ viewer, layer }, ending, type, content) {
  const { step, head } = viewer.viewNow();
  download(viewName(viewer.trace, { layer, step, head }, ending), type, content);
}

const stepsOf = ({ trace }) => [...trace.steps.keys()];

async function savePng(source, scale) {
  await orderSheet(source);
  const sheet = sheetCanvas(layOutSheet(source, scale), scale);
  const file = await new Promise((done) => sheet.toBlob(done, "image/png"));
  save(source, scale > 1 ? `@${scale}x.png` : ".png", "image/png", file);
  return `Saved, ${sheet.width} × ${sheet.height} pixels.`;
}

async function saveSvg(source) {
  await orderSheet(source);
  save(source, ".svg", "image/svg+xml", sheetSvg(layOutSheet(source)));
}

// The maps of the atlas and the pins on the steps in view.
function orderSheet({ viewer, query }) {
  const view = viewer.viewNow();
  const asked = view.pins.map((pin) => viewer.order([viewer.layerOf(pin)], viewer.columns, [pin]));
  return Promise.all([viewer.order(layersFor(viewer.trace, query, view), viewer.columns, [query]), ...asked]);
}

// The maps of every step.
async function orderSteps({ viewer, layer, query }) {
  await viewer.order([layer], stepsOf(viewer), [query]);
  if (viewer.viewNow().winner) await viewer.exported.orderAreas(stepsOf(viewer));
}

async function saveGif(source) {
  await orderSteps(source);
  save(source, ".gif", "image/gif", await gif(stepFrames(source)));
}

async function saveVideo(source, say) {
  await orderSteps(source);
  const frames = stepFrames(source, 2);
  say(`Recording, ${Math.ceil(secondsOf(frames.length))} seconds. Keep this tab open…`);
  const video = await videoOf(frames);
  save(source, videoType()[1], video.type, video);
}

async function saveNpz(source) {
  const { viewer } = source;
  const view = viewer.viewNow();
  const [query, steps] = [queryOf(view), stepsOf(viewer)];
  const pins = view.pins.map((pin) => viewer.order([viewer.layerOf(pin)], steps, [pin]));
  const rows = viewer.order(layersFor(viewer.trace, query, view), steps, [query]);
  await Promise.all([rows, ...pins, viewer.exported.orderShares(viewer.trace.wordLayers, steps)]);
  save(source, ".npz", "application/zip", npz(displayedMaps(viewer)));
}

function saveTrace({ trace }) {
  const { remote, buffer } = trace;
  const name = fileName(trace, ".safetensors");
  if (remote) downloadFrom(remote.url, name);
  else download(name, "application/octet-stream", buffer);
}

// The button and the list it opens. Escape closes the list and returns the focus to the button. `say` takes a text, or a node
// whose field, if it has one, is selected.
function buildMenu(slot) {
  const button = makeButton("Export ▾", { class: "pg-toggle" });
  const list = h("div");
  const status = h("p", { class: "pg-news", role: "status" });
  const menu = h("div", { class: "pg-menu" }, list, status);
  const holder = h("div", { class: "pg-export" }, button, menu);
  slot.append(holder);
  const show = (on) => {
    menu.hidden = !on;
    button.setAttribute("aria-expanded", String(on));
    if (!on) status.textContent = "";
  };
  button.addEventListener("click", () => show(menu.hidden));
  holder.addEventListener("keydown", (event) => {
    if (event.key !== "Escape" || menu.hidden) return;
    event.stopPropagation(); // Escape would also deselect the pin
    show(false);
    button.focus();
  });
  document.addEventListener("pointerdown", function close(event) {
    if (!holder.isConnected) document.removeEventListener("pointerdown", close);
    else if (!holder.contains(event.target)) show(false);
  });
  show(false);
  const say = (content) => {
    status.replaceChildren(content);
    const field = status.querySelector("input");
    field?.focus();
    field?.select();
  };
  return { menu, button, list, say, close: () => show(false) };
}
