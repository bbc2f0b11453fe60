// The second viewer: makes the choice of its trace, and links it to the first.

import { Band } from "../compare/band.js";
import { linkViewers } from "../compare/link.js";
import { SharedAtlas } from "../compare/shared.js";
import { saveComparison } from "../compare/sheet.js";
import { h, makeButton } from "../dom.js";

// Makes `viewer` the second one; `gradio` is what Gradio gives its js_on_load, `loader` opens what its value names.
export function addComparison({ props, trigger }, root, viewer, loader, colors) {
  const first = document.querySelector(`#${props.beside} .pixelgaze`).viewer;
  const pair = first.root.closest("#pair");
  root.classList.add("pg-beside");
  const others = buildChoice(props.others, (index) => trigger("pick", { index }));
  const status = h("span", { class: "pg-note", role: "status" });
  const close = () => {
    trigger("leave");
    endLink();
    band.end();
    pair.classList.remove("pg-pair");
    first.share(null);
    first.root.look?.compareWith(null);
    first.root.querySelector(".pg-compare")?.focus({ preventScroll: true });
  };
  const save = async () => {
    status.textContent = "One moment…";
    status.textContent = await saveComparison([first, viewer], colors).catch((error) => error.message);
  };
  const band = new Band([first, viewer], colors, [
    h("label", { class: "pg-with" }, "Compare with", others.node),
    makeButton("Copy left recording here", { class: "pg-toggle", onclick: () => copyFirst(first, viewer, loader, props) }),
    makeButton("Save both (PNG)", { class: "pg-toggle", title: "Both pictures, both maps and their difference", onclick: save }),
    makeButton("Close", { class: "pg-toggle", onclick: close }),
    status,
  ]);
  if (first.root.contains(document.activeElement)) requestAnimationFrame(() => others.node.focus({ preventScroll: true }));
  pair.classList.add("pg-pair");
  pair.prepend(band.node);
  const endLink = linkViewers(first, viewer, new SharedAtlas(first, viewer));
  viewer.onchange((change) => change === "open" && others.show(viewer.trace));
  first.root.look?.compareWith(viewer);
}

// The select of the recordings to compare with; it shows the one that is on show, whether offered or not.
function buildChoice(names, pick) {
  const options = names.map((name, index) => h("option", { value: String(index) }, name));
  const other = h("option", { value: "", disabled: true }, "Choose a recording…");
  const node = h("select", { class: "pg-others", "aria-label": "Recording to compare with" }, other, ...options);
  node.addEventListener("change", () => node.value && pick(Number(node.value)));
  const show = ({ recipe: { caption, seed } }) => {
    const name = `${typeof caption === "string" && caption ? caption : "a recording"}${typeof seed === "number" ? `, seed ${seed}` : ""}`;
    const index = names.indexOf(name);
    if (index < 0) other.textContent = name;
    node.value = index < 0 ? "" : String(index);
  };
  return { node, show };
}

// Opens the first viewer's recording in the second, too.
async function copyFirst(first, viewer, loader, props) {
  if (!first.trace) return;
  loader.forget();
  props.value = {}; // so that picking the previous trace again counts as a change
  try {
    if (first.trace.arriving) viewer.say("Waiting for the rest of the recording…");
    await first.arrived();
  } catch (error) {
    return viewer.say(error.message);
  }
  if (loader.isFree()) viewer.open(first.trace.buffer, first.viewNow(), first.trace.remote); // none was picked meanwhile
}
