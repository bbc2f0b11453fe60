// The viewer as a Gradio component: shows the trace named by its value, and compares it with another.

import { fromHex } from "../core/scale.js";
import { h, makeButton } from "../dom.js";
import { addExportMenu } from "../export/menu.js";
import { linkViewers } from "../viewer/compare.js";
import { Viewer } from "../viewer/viewer.js";
import { takeEarly } from "./early.js";

// `gradio` is what Gradio gives js_on_load: { element, props, trigger, server, watch }.
export function startViewer(gradio) {
  const { element, props, watch } = gradio;
  const root = element.querySelector(".pixelgaze");
  const colors = { colormap: fromHex(props.colormap), diverging: fromHex(props.diverging) };
  const viewer = new Viewer(root, colors);
  root.viewer = viewer;
  root.exportMenu = addExportMenu(root, viewer, colors);
  const loader = createLoader(gradio, root, viewer);
  if (props.compares) addCompareButton(gradio, viewer);
  if (props.beside) addComparison(gradio, root, viewer, loader);
  watch("value", loader.load);
  loader.load();
}

// Fetches and opens the trace that props.value names; viz/page/viewer.py describes the value.
function createLoader({ props, server }, root, viewer) {
  let address = null; // of the trace on screen or being fetched
  let pendingView = null; // the view that the trace being fetched will open with

  async function load() {
    const { trace, outline, view, opened } = props.value || {};
    if (!trace) return;
    const { url, path } = trace;
    const isSame = address === url;
    address = url;
    try {
      if (isSame && !pendingView) return viewer.view(view);
      pendingView = view;
      if (isSame) return;
      const response = await takeEarly(outline ? outline.url : url);
      if (!response.ok) throw new Error("The trace is no longer on the server; draw it again.");
      const buffer = await response.arrayBuffer();
      if (address !== url) return; // another trace has been chosen in the meantime
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
  const compare = () => {
    const { caption, seed } = viewer.trace.recipe;
    trigger("compare", { caption, seed });
  };
  viewer.slot.append(makeButton("Compare", { class: "pg-toggle", onclick: compare }));
}

// Makes this the second viewer: adds the choice of its trace, and links its cursor to the first viewer's.
function addComparison({ props, trigger }, root, viewer, loader) {
  const first = document.querySelector(`#${props.beside} .pixelgaze`).viewer;
  root.classList.add("pg-beside");
  linkViewers(first, viewer);
  const options = props.others.map((name, index) => h("option", { value: index }, name));
  const label = "Recording to compare with";
  const others = h("select", { class: "pg-others", "aria-label": label }, h("option", { value: "" }, "Compare with…"), ...options);
  others.addEventListener("change", () => others.value && trigger("pick", { index: Number(others.value) }));
  const copyFirst = () => {
    if (!first.trace) return;
    others.value = "";
    loader.forget();
    props.value = {}; // so that picking the previous trace again counts as a change
    viewer.open(first.trace.buffer, first.viewNow(), first.trace.remote);
  };
  viewer.slot.append(
    others,
    makeButton("Copy left recording here", { class: "pg-toggle", onclick: copyFirst }),
    makeButton("Close", { class: "pg-toggle", onclick: () => trigger("leave") }),
  );
}
