// The viewer as a Gradio component: shows the trace its value names, and compares it with another.

import { fromHex } from "../core/scale.js";
import { make, makeButton } from "../dom.js";
import { addTakeaway } from "../export/menu.js";
import { linkViewers } from "../viewer/compare.js";
import { createViewer } from "../viewer/viewer.js";
import { takeEarly } from "./early.js";

// `gradio` is what Gradio gives js_on_load: { element, props, trigger, server, watch }.
export function startViewer(gradio) {
  const { element, props, watch } = gradio;
  const root = element.querySelector(".pixelgaze");
  const colors = { colormap: fromHex(props.colormap), diverging: fromHex(props.diverging) };
  const viewer = createViewer(root, colors);
  root.viewer = viewer;
  root.takeaway = addTakeaway(root, viewer, colors);
  const loader = createLoader(gradio, root, viewer);
  if (props.compares) addCompareButton(gradio, viewer);
  if (props.beside) addComparison(gradio, root, viewer, loader);
  watch("value", loader.load);
  loader.load();
}

// Fetches the trace that props.value names, and opens it. The value of a `Viewer` is described in viz/page/viewer.py.
function createLoader({ props, server }, root, viewer) {
  let address = null; // of the trace that is shown or being fetched
  let pendingView = null; // what the trace being fetched will open with

  async function load() {
    const { trace, outline, view, opened } = props.value || {};
    if (!trace) return;
    const { url, path } = trace;
    const same = address === url;
    address = url;
    try {
      if (same && !pendingView) return viewer.view(view);
      pendingView = view;
      if (same) return;
      const response = await takeEarly(outline ? outline.url : url);
      if (!response.ok) throw new Error("The trace is no longer on the server; draw it again.");
      const buffer = await response.arrayBuffer();
      if (address !== url) return; // another trace was chosen meanwhile
      viewer.open(buffer, pendingView, outline ? { path, url, ask: server.answer } : null);
      root.opened = opened === true;
      pendingView = null;
    } catch (error) {
      viewer.say(error.message);
      address = pendingView = null;
    }
  }

  return { load, forget: () => (address = null) };
}

function addCompareButton({ trigger }, viewer) {
  makeButton("pg-toggle", "Compare", viewer.slot).addEventListener("click", () => {
    const { caption, seed } = viewer.trace.recipe;
    trigger("compare", { caption, seed });
  });
}

// The second viewer: which trace it shows, and one cursor for both.
function addComparison({ props, trigger }, root, viewer, loader) {
  const first = document.querySelector(`#${props.beside} .pixelgaze`).viewer;
  root.classList.add("pg-beside");
  linkViewers(first, viewer);
  const others = make("select", "pg-others", undefined, viewer.slot);
  others.setAttribute("aria-label", "The trace to compare with");
  make("option", "", "Compare with …", others).value = "";
  for (const [i, name] of props.others.entries()) make("option", "", name, others).value = i;
  others.addEventListener("change", () => others.value && trigger("pick", { index: Number(others.value) }));
  makeButton("pg-toggle", "Keep the left one here", viewer.slot).addEventListener("click", () => {
    if (!first.trace) return;
    others.value = "";
    loader.forget();
    props.value = {}; // picking the trace that was here before is a change again
    viewer.open(first.trace.buffer, first.viewNow(), first.trace.remote);
  });
  makeButton("pg-toggle", "Close", viewer.slot).addEventListener("click", () => trigger("leave"));
}
