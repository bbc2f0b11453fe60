// The viewer as a Gradio component: shows the trace named by its value, and compares it with another.

import { fromHex } from "../core/scale.js";
import { makeButton } from "../dom.js";
import { addExportMenu } from "../export/menu.js";
import { Viewer } from "../viewer/viewer.js";
import { Arrival } from "./arrival.js";
import { addComparison } from "./comparison.js";
import { endEarly, takeEarly } from "./early.js";
import { teach } from "./ghost.js";
import { keep, recall } from "./kept.js";
import { Look } from "./look.js";
import { receiveTrace } from "./receive.js";

const LOST = "The server no longer has the recording that was on show here. This is a recorded picture.";
const SHOWN = 15_000; // ms, of this sentence

// `gradio` is what Gradio gives js_on_load: { element, props, trigger, server, watch }.
export function startViewer(gradio) {
  const { element, props, watch } = gradio;
  const root = element.querySelector(".pixelgaze");
  const colors = { colormap: fromHex(props.colormap), diverging: fromHex(props.diverging) };
  const viewer = new Viewer(root, colors);
  root.viewer = viewer;
  root.exportMenu = addExportMenu(root, viewer, colors);
  const loader = createLoader(gradio, root, viewer);
  if (props.compares) {
    addWholeButton(gradio, viewer);
    addCompareButton(gradio, viewer);
  }
  if (props.beside) {
    addComparison(gradio, root, viewer, loader, colors);
  } else {
    root.look = new Look(root);
    root.keep = (isOwn) => keep(isOwn ? { ...props.value, view: viewer.viewNow() } : null);
    teachOnce(viewer);
  }
  watch("value", loader.load);
  if (props.beside) loader.load();
  else openFirst(props, viewer, loader);
}

// Opens what this tab kept before a reload, otherwise what the page opens with.
async function openFirst(props, viewer, loader) {
  const kept = await recall();
  if (kept?.isThere) props.value = kept.value;
  loader.load();
  if (!kept || kept.isThere) return;
  keep(null);
  const stop = viewer.onchange((change) => {
    if (change !== "open") return;
    stop();
    viewer.say(LOST);
    setTimeout(() => viewer.say(""), SHOWN);
  });
}

// Teaches a first visitor how to point, once the first trace is here.
function teachOnce(viewer) {
  const stop = viewer.onchange(async (change) => {
    if (change !== "open") return;
    stop();
    await viewer.arrived().catch(() => {}); // another one is opened
    await viewer.whole();
    teach(viewer);
  });
}

// Fetches and opens the trace that props.value names; viz/page/viewer.py describes the value.
function createLoader({ props, server }, root, viewer) {
  let address = null; // of the trace on screen or being fetched
  let pendingView = null; // the view that the trace being fetched will open with
  let fetched = null; // the arrival of the trace being fetched
  let shown = null; // that of the trace on screen

  async function load() {
    const { trace, outline, view, opened, message } = props.value || {};
    if (message) viewer.say(message);
    if (!trace) return;
    const { url, path } = trace;
    const isSame = address === url;
    address = url;
    try {
      if (isSame && !pendingView) return viewer.view(view);
      pendingView = view;
      if (isSame) return;
      fetched?.abort();
      const arrival = (fetched = new Arrival(outline ? outline.url : url));
      const open = (source, remote = null) => {
        shown?.abort();
        [shown, fetched] = [arrival, null];
        viewer.open(source, pendingView, remote);
        root.opened = opened === true;
        pendingView = null;
        endEarly();
      };
      const isCurrent = () => address === url;
      await arrival.begin(await takeEarly(arrival.url));
      if (!outline) return await receiveTrace(arrival, viewer, { open, isCurrent, view: () => pendingView });
      while (!arrival.isWhole) await arrival.more();
      if (isCurrent()) open(arrival.buffer, { path, url, ask: server.answer });
    } catch (error) {
      if (address !== url) return; // another trace has been chosen in the meantime
      viewer.say(error instanceof TypeError ? "The server cannot be reached; try again later." : error.message);
      endEarly();
      address = pendingView = null;
    }
  }

  return { load, forget: () => (address = null), isFree: () => address === null };
}

// What the address compares with is asked for at once.
function addCompareButton({ trigger }, viewer) {
  const compare = (beside = null) => {
    const { caption, seed } = viewer.trace.recipe;
    trigger("compare", { caption, seed, beside });
  };
  viewer.slot.append(makeButton("Compare", { class: "pg-toggle pg-compare", onclick: () => compare() }));
  const linked = new URLSearchParams(location.search).get("beside");
  if (linked === null) return;
  const stop = viewer.onchange((change) => {
    if (change !== "open") return;
    stop();
    compare(linked);
  });
}

// Offers the steps that the trace on screen lacks, where the server can show them.
function addWholeButton({ props, trigger, watch }, viewer) {
  const button = makeButton("", { class: "pg-toggle pg-whole", hidden: true, onclick: () => trigger("whole", { view: viewer.viewNow() }) });
  const update = () => {
    const { whole = 0 } = props.value || {};
    const shown = viewer.trace?.steps.length ?? whole;
    button.hidden = shown >= whole;
    button.textContent = `Load all ${whole} steps`;
  };
  viewer.slot.append(button);
  viewer.onchange((change) => change === "open" && update());
  watch("value", update);
}
