// The plots under the viewer as a Gradio component: they follow the pins, and a line in each marks the current step.

import { h } from "../dom.js";
import { findViewer } from "./first_viewer.js";
import { drawFigures, moveStep, restyleFigures, showMap, watchWidth } from "./plot_figures.js";

const TIMEOUT = 30_000; // ms after which a request counts as lost

// `gradio` is what Gradio gives js_on_load: { element, props, trigger, watch }.
export async function startPlots({ element, props, trigger, watch }) {
  const body = element.querySelector(".pg-plots");
  const root = await findViewer(element, ({ viewer }) => viewer?.trace);
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
  // Switching between light and dark mode changes the body's class.
  new MutationObserver(() => restyleFigures(plots)).observe(document.body, { attributeFilter: ["class"] });
  watchWidth(plots);
  follow();
}

// Sends one request at a time, then only the latest: otherwise Gradio would answer the older one twice.
function createRequests(trigger) {
  let next = null;
  let pending = 0; // the number of the request being answered; 0 for none
  let count = 0;

  function send() {
    if (pending || !next) return;
    pending = ++count;
    trigger("pinned", { ...next, number: count });
    next = null;
    const number = count;
    setTimeout(() => settle(number), TIMEOUT);
  }
  function settle(number) {
    if (number !== pending) return;
    pending = 0;
    send();
  }
  return { settle, submit: (request) => ((next = request), send()) };
}

// Returns a function to call whenever the view changes: it requests new figures only if they would differ.
function createFollower(plots, requests) {
  const { viewer, choice, part } = plots;
  let figuresKey = ""; // the choices of the last request
  let trace = null; // its trace
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
    if (key === figuresKey && viewer.trace === trace) return;
    [figuresKey, trace] = [key, viewer.trace];
    requests.submit({ view, ...choice });
  };
}

function keyOf({ pins, active, mode, special, reading, branch, layer, head }, choice) {
  const shared = { pins, active, mode, special: mode === "row" && special, reading, branch, ...choice };
  return JSON.stringify(choice.lines === "heads" ? { ...shared, layer } : { ...shared, head });
}

// The indices of pins that are rectangles or regions; the active one comes last, as attention to another says more.
function regionsOf({ pins, active }) {
  const regions = [...pins.keys()].filter((i) => pins[i].kind === "box" || pins[i].kind === "region");
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
