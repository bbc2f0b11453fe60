// The "Take away" menu: what is on screen as PNG, SVG, GIF, NPZ, and the trace itself. Works in the page and in a file.
//
//   const takeaway = addTakeaway(root, viewer, { colormap, diverging })
//   takeaway.add("Link", [["Copy", "a link to this view", async () => "Copied."]])     // what only the page can do

import { colorTables, colorize, largestOf, scaleWords, ticksOf } from "../core/scale.js";
import { formatStep } from "../core/words.js";
import { make, makeButton } from "../dom.js";
import { download, fileName, gif, npz } from "./files.js";
import { FONT, fontOf, layOutSheet, linesOf, pictureCanvas, sheetCanvas, sheetSvg } from "./sheet.js";

export function addTakeaway(root, viewer, colors) {
  const { menu, list, say } = buildTakeaway(viewer.slot);
  const desk = sheetDesk(root, viewer, colors);

  // One line of the menu: what it is, and a button for each way to have it, [text, label, what it does].
  function add(title, ways) {
    const row = make("div", "pg-take", undefined, list);
    row.setAttribute("role", "group");
    row.setAttribute("aria-label", title);
    make("span", "", title, row);
    for (const [text, label, act] of ways) {
      const button = makeButton("pg-toggle", text, row, `${title}, ${label}`);
      button.title = label;
      button.addEventListener("click", () => attempt(button, act));
    }
  }

  async function attempt(button, act) {
    if (!viewer.trace || button.disabled) return;
    button.disabled = true;
    say("One moment…");
    await new Promise((done) => setTimeout(done, 20)); // the words are seen before the work begins
    try {
      say((await act()) || "Saved.");
    } catch (error) {
      say(error.message);
    }
    button.disabled = false;
    if (!menu.hidden) button.focus();
  }

  const save = (ending, type, content) => download(fileName(viewer.trace, ending), type, content);
  const steps = () => [...viewer.trace.steps.keys()];
  const chosen = () => viewer.trace.layers.filter(({ name }) => name === viewer.viewNow().layer);
  const png = (scale) => async () => {
    await viewer.order(viewer.trace.layers, viewer.columns);
    const sheet = sheetCanvas(layOutSheet(desk, scale), scale);
    const file = await new Promise((done) => sheet.toBlob(done, "image/png"));
    save(scale > 1 ? `@${scale}x.png` : ".png", "image/png", file);
    return `Saved, ${sheet.width} × ${sheet.height} pixels.`;
  };
  add("Picture and atlas, PNG", [1, 2, 4].map((scale) => [`${scale}×`, `${scale} times the size`, png(scale)]));
  add("Atlas, SVG", [
    [
      "SVG",
      "with real text",
      async () => {
        await viewer.order(viewer.trace.layers, viewer.columns);
        save(".svg", "image/svg+xml", sheetSvg(layOutSheet(desk)));
      },
    ],
  ]);
  add("Across the steps, GIF", [
    [
      "GIF",
      "the map over the picture, step by step",
      async () => {
        await viewer.order(chosen(), steps());
        save(".gif", "image/gif", await gif(stepFrames(desk)));
      },
    ],
  ]);
  add("Numbers on show, NPZ", [
    [
      "NPZ",
      "the maps of atlas and pins, for numpy",
      async () => {
        const { pins } = viewer.viewNow();
        await Promise.all([viewer.order(viewer.trace.layers, steps()), viewer.order(chosen(), steps(), pins)]);
        save(".npz", "application/zip", npz(rowsOnShow(viewer)));
      },
    ],
  ]);
  add("The trace", [
    [
      "safetensors",
      "Q and K of every layer and step, for viz.Trace.load",
      () => {
        const { remote, buffer } = viewer.trace;
        if (!remote) return save(".safetensors", "application/octet-stream", buffer);
        Object.assign(document.createElement("a"), { href: remote.url, download: fileName(viewer.trace, ".safetensors") }).click();
      },
    ],
  ]);
  return { add, say };
}

// The button, and the list that it opens; Escape closes it and goes back to the button.
function buildTakeaway(slot) {
  const holder = make("div", "pg-takeaway", undefined, slot);
  const button = makeButton("pg-toggle", "Take away ▾", holder);
  const menu = make("div", "pg-menu", undefined, holder);
  const list = make("div", "", undefined, menu);
  const news = make("p", "pg-news", "", menu);
  news.setAttribute("role", "status");
  const show = (on) => {
    menu.hidden = !on;
    button.setAttribute("aria-expanded", String(on));
    if (!on) news.textContent = "";
  };
  button.addEventListener("click", () => show(menu.hidden));
  holder.addEventListener("keydown", (event) => {
    if (event.key !== "Escape" || menu.hidden) return;
    event.stopPropagation(); // it would let go of the pin, too
    show(false);
    button.focus();
  });
  document.addEventListener("pointerdown", function outside(event) {
    if (!holder.isConnected) document.removeEventListener("pointerdown", outside);
    else if (!holder.contains(event.target)) show(false);
  });
  show(false);
  return { menu, list, say: (text) => (news.textContent = text) };
}

// What a sheet asks of a viewer: its maps, its scale, and the colours that lie over a picture.
function sheetDesk(root, viewer, { colormap, diverging }) {
  const tableOf = colorTables(colormap, diverging);
  return {
    viewer,
    get scale() {
      const { special, mode, range, log } = viewer.viewNow();
      return { special: special && mode === "row", range, log };
    },
    colorsOf(map, kind) {
      const colors = new Uint32Array(map.length);
      return new Uint8ClampedArray(colorize(tableOf(this.scale, kind), this.scale, map, map.length, colors).buffer);
    },
    // Colours, marks and words of the colour bar; `largest` is that of the chosen map.
    bar(largest) {
      const { scale } = this;
      const note = scaleWords(scale, largest, viewer.viewNow());
      return { colors: scale.special ? diverging : colormap, ticks: ticksOf(scale, largest), note };
    },
    get sentence() {
      return root.querySelector(".pg-sentence").textContent;
    },
    // The chosen layer's name, and the head.
    get where() {
      return root.querySelector(".pg-where").textContent;
    },
  };
}

// One canvas a step, each with its step's name and the words of its scale below the picture.
function stepFrames(desk, pixels = 384) {
  const { trace, viewNow, mapOf } = desk.viewer;
  const view = viewNow();
  const layer = trace.layers.find(({ name }) => name === view.layer);
  const notes = trace.steps.map((_, stepIndex) => {
    const { note } = desk.bar(largestOf(mapOf(layer, stepIndex, view.head), layer.tokens));
    return linesOf(`${desk.where}: ${note}`, { size: 10 }, pixels - 20, 5);
  });
  const foot = 28 + 13 * Math.max(...notes.map(({ length }) => length));
  return trace.steps.map((_, stepIndex) => {
    const picture = pictureCanvas(desk, stepIndex, pixels, "preview");
    const canvas = document.createElement("canvas");
    [canvas.width, canvas.height] = [picture.width, picture.height + foot];
    const context = canvas.getContext("2d");
    context.fillStyle = "#16181d";
    context.fillRect(0, 0, canvas.width, canvas.height);
    context.drawImage(picture, 0, 0);
    context.font = `13px ${FONT}`;
    context.fillStyle = "#ffffff";
    context.fillText(formatStep(trace, stepIndex), 10, picture.height + 18);
    context.font = fontOf({ size: 10 });
    notes[stepIndex].forEach((line, i) => context.fillText(line, 10, picture.height + 33 + 13 * i));
    return canvas;
  });
}

// The arrays of the NPZ file, as viz/export.py makes them: { name: [values, shape] }.
function rowsOnShow(viewer) {
  const { trace } = viewer;
  const view = viewer.viewNow();
  const over = (layer, query) => {
    const values = new Float32Array(trace.steps.length * layer.tokens);
    trace.steps.forEach((_, i) => values.set(viewer.mapOf(layer, i, view.head, query), i * layer.tokens));
    return values;
  };
  const arrays = {};
  trace.layers.forEach((layer, i) => {
    arrays[`maps_${String(i).padStart(2, "0")}`] = [over(layer), [trace.steps.length, layer.height, layer.width]];
  });
  const chosen = trace.layers.find(({ name }) => name === view.layer);
  view.pins.forEach((pin, i) => {
    arrays[`pin_${i + 1}`] = [over(chosen, pin), [trace.steps.length, chosen.height, chosen.width]];
  });
  const timesteps = Float64Array.from(trace.timesteps, (t) => (t === null ? NaN : t));
  return {
    ...arrays,
    layers: [trace.layers.map(({ name }) => name), [trace.layers.length]],
    steps: [Int32Array.from(trace.steps), [trace.steps.length]],
    timesteps: [timesteps, [timesteps.length]],
    view: [[JSON.stringify(view)], []],
    recipe: [[JSON.stringify(trace.recipe)], []],
  };
}
