// The start of a stand-alone file: unpacks the trace that the page holds and shows it. Nothing is asked of any network.

import { addTakeaway } from "./export/menu.js";
import { createViewer } from "./viewer/viewer.js";

async function openStandAlone() {
  const scheme = matchMedia("(prefers-color-scheme: dark)");
  const dress = () => document.documentElement.classList.toggle("dark", scheme.matches);
  scheme.addEventListener("change", dress);
  dress();
  const { view, colors } = JSON.parse(document.getElementById("pg-page").textContent);
  const root = document.querySelector("#viewer .pixelgaze");
  const viewer = createViewer(root, colors);
  root.viewer = viewer;
  const holder = document.getElementById("pg-trace");
  try {
    const packed = Uint8Array.from(atob(holder.textContent), (letter) => letter.charCodeAt(0));
    holder.remove();
    const unpacked = new Blob([packed]).stream().pipeThrough(new DecompressionStream("gzip"));
    viewer.open(await new Response(unpacked).arrayBuffer(), view);
    addTakeaway(root, viewer, colors);
  } catch (error) {
    viewer.say(error.message);
  }
}

openStandAlone();
