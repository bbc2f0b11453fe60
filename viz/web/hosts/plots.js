// The plots under the viewer as a Gradio component: they follow the pins; a line in each follows the step on screen.

import { h } from "../dom.js";
import { drawFigures, moveStep, restyleFigures, showMap, watchWidth } from "./plot_figures.js";

const LOST = 30_000; // ms after which a request counts as lost

// `gradio` is what Gradio gives js_on_load: { element, props, trigger, watch }.
export async function startPlots({ element, props, trigger, watch }) {
  const body = element.querySelector(".pg-plots");
  const root = await findViewer(element);
  if (!root) return;
  const choice = { lines: "layers", region: -1, outside: false };
  const plots = { body, props, choice, viewer: root.viewer, part: (name) => body.querySelector(`.pg-${name}`) };
  const requests = createRequests(trigger);
  const follow = createFollower(plots, requests);
  for (const button of body.querySelectorAll("[data-lines]")) {
    button.addEventListener("click", () => ((choice.lines = button.dataset.lines), follow()));
  }
  plots.part("regions").addEventListener("change", ({ target }) => {
    const [index, side] = target.value.split(" ");
    [choice.region, choice.outside] = [Number(index), side === "out"];
    follow();
  });
  plots.viewer.onchange(follow);
  watch("value", () => {
    if (props.value) requests.settle(props.value.number);
    drawFigures(plots);
  });
  new MutationObserver(() => restyleFigures(plots)).observe(document.body, { attributeFilter: ["class"] }); // light, dark
  watchWidth(plots);
  follow();
}

// The root of the first viewer, once it shows a trace; null if this component is removed first.
async function findViewer(element) {
  for (;;) {
    const root = document.querySelector("#viewer .pixelgaze");
    if (root?.viewer?.trace) return root;
    if (!element.isConnected) return null;
    await new Promise((done) => setTimeout(done, 150));
  }
}

// One request at a time, and then only the latest: Gradio would answer the older one twice.
function createRequests(trigger) {
  let next = null;
  let pending = 0; // the number of the request that is being answered; 0 for none
  let count = 0;

  function send() {
    if (pending || !next) return;
    pending = ++count;
    trigger("pinned", { ...next, number: count });
    next = null;
    const number = count;
    setTimeout(() => settle(number), LOST);
  }
  function settle(number) {
    if (number !== pending) return;
    pending = 0;
    send();
  }
  return { settle, ask: (request) => ((next = request), send()) };
}

// Returns a function for every change of the view: it asks for new figures only where they would be different ones.
function createFollower(plots, requests) {
  const { viewer, choice, part } = plots;
  let figuresOf = ""; // the choices that the figures were asked for with,
  let trace = null; // and their trace
  let timer = null;
  return () => {
    const view = viewer.viewNow();
    const pinned = view.active >= 0;
    part("unpinned").hidden = pinned;
    part("pinned").hidden = !pinned;
    if (!pinned) return;
    const regions = regionsOf(view);
    if (!regions.includes(choice.region)) choice.region = regions.length ? regions[0] : -1;
    showChoices(plots, regions);
    moveStep(plots, view);
    clearTimeout(timer);
    timer = setTimeout(() => showMap(plots), 60);
    const key = keyOf(view, choice);
    if (key === figuresOf && viewer.trace === trace) return;
    [figuresOf, trace] = [key, viewer.trace];
    requests.ask({ view, ...choice });
  };
}

function keyOf({ pins, active, mode, special, layer, head }, choice) {
  const shared = { pins, active, mode, special: mode === "row" && special, ...choice };
  return JSON.stringify(choice.lines === "heads" ? { ...shared, layer } : { ...shared, head });
}

// The pins that are rectangles or regions, the chosen one last: another one says more.
function regionsOf({ pins, active }) {
  const regions = pins.map((pin, i) => i).filter((i) => pins[i].kind !== "pixel");
  return [...regions.filter((i) => i !== active), ...regions.filter((i) => i === active)];
}

function showChoices({ body, choice, part }, regions) {
  for (const button of body.querySelectorAll("[data-lines]")) {
    button.setAttribute("aria-pressed", String(button.dataset.lines === choice.lines));
  }
  const select = part("regions");
  const options = regions.flatMap((i) => [
    [`${i} in`, `attention inside pin ${i + 1}`],
    [`${i} out`, `attention outside pin ${i + 1}`],
  ]);
  select.hidden = !options.length;
  select.replaceChildren(...options.map(([value, text]) => h("option", { value }, text)));
  select.value = `${choice.region} ${choice.outside ? "out" : "in"}`;
  part("regionless").hidden = options.length > 0;
}
