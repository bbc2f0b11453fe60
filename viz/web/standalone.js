// Starts the standalone HTML file: unpacks the trace it contains and shows it. It makes no network requests.

import { addExportMenu } from "./export/menu.js";
import { Viewer } from "./viewer/viewer.js";

async function openPage() {
  followColorScheme();
  const { view, colors } = JSON.parse(document.getElementById("pg-page").textContent);
  const root = document.querySelector("#viewer .pixelgaze");
  const viewer = new Viewer(root, colors);
  root.viewer = viewer;
  try {
    viewer.open(await unpackTrace(), view);
    addExportMenu(root, viewer, colors);
  } catch (error) {
    viewer.say(error.message);
  }
}

function followColorScheme() {
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const apply = () => document.documentElement.classList.toggle("dark", dark.matches);
  dark.addEventListener("change", apply);
  apply();
}

async function unpackTrace() {
  const holder = document.getElementById("pg-trace");
  const packed = Uint8Array.from(atob(holder.textContent), (character) => character.charCodeAt(0));
  holder.remove();
  const unpacked = new Blob([packed]).stream().pipeThrough(new DecompressionStream("gzip"));
  return new Response(unpacked).arrayBuffer();
}

openPage();
