// The band above two viewers: which recording is compared, the tools for both, and what the map gains and loses.

import { isWordQuery, queryGrid } from "../core/query.js";
import { barTicks, colorTables, colorize, largestOf } from "../core/scale.js";
import { h, imageCanvas, labelledCanvas } from "../dom.js";
import { fitTicks } from "../viewer/bar.js";
import { paintQuery } from "../viewer/paint.js";
import { describeGains, differenceOf, placeOf, queryNow } from "./difference.js";

const DETAIL = 192; // longest side of the difference map, in pixels of its canvas

// The scale on which differences are shown, that of the viewers otherwise.
export const scaleOfDifference = ({ range, log }) => ({ special: true, range, log });

export class Band {
  #viewers;
  #tableOf;
  #due = false;
  #ends;

  // `controls` are nodes for its first line.
  constructor(viewers, { colormap, diverging }, controls) {
    this.#viewers = viewers;
    this.#tableOf = colorTables(colormap, diverging);
    this.canvas = labelledCanvas("", { class: "pg-difference" });
    [this.title, this.sentence] = ["pg-compared-title", "pg-gains"].map((name) => h("p", { class: name }));
    this.gradient = h("div", { class: "pg-gradient" });
    this.gradient.style.background = `linear-gradient(to right, ${diverging.map((rgb) => `rgb(${rgb})`).join(", ")})`;
    this.ticks = h("div", { class: "pg-bar-ticks" });
    const ends = h("div", { class: "pg-ends" }, h("span", {}, "more on the left"), h("span", {}, "more on the right"));
    this.bar = h("div", { class: "pg-bar" }, this.gradient, this.ticks, ends);
    this.lines = h("div", { class: "pg-lines" }, h("div", { class: "pg-choices" }, ...controls));
    const words = h("div", { class: "pg-told" }, h("div", {}, this.title, this.sentence), this.bar);
    this.lines.append(words);
    this.node = h("section", { class: "pixelgaze pg-card pg-comparison", "aria-label": "Comparison" }, this.canvas, this.lines);
    this.#ends = viewers.map((viewer) => viewer.onpaint(() => this.#request()));
    new ResizeObserver(() => fitTicks(this.ticks)).observe(this.ticks);
    this.#takeTools();
    this.#request();
  }

  // The tools act on both viewers, so they stand above both; what puts them back is called when the comparison ends.
  #takeTools() {
    const tools = this.#viewers[0].root.querySelector(".pg-tools");
    const place = document.createComment("tools");
    tools.replaceWith(place);
    this.lines.firstChild.after(tools);
    this.#ends.push(() => place.replaceWith(tools));
  }

  end() {
    this.#ends.splice(0).forEach((stop) => stop());
    this.node.remove();
  }

  // Both viewers are repainted in one frame; the difference is drawn in the next.
  #request() {
    if (this.#due) return;
    this.#due = true;
    requestAnimationFrame(() => {
      this.#due = false;
      if (this.node.isConnected) this.#draw();
    });
  }

  #draw() {
    const [left] = this.#viewers;
    const shown = differenceOf(...this.#viewers);
    this.shown = shown;
    this.node.classList.toggle("pg-without", !shown.map);
    if (!shown.map) {
      this.title.textContent = "Right minus left";
      this.sentence.replaceChildren(shown.reason ?? "…");
      this.canvas.setAttribute("aria-label", shown.reason ?? "The difference is being computed.");
      this.canvas.width = this.canvas.height = 1; // clears it
      return;
    }
    this.title.textContent = `Right minus left: ${placeOf(left)}`;
    this.sentence.replaceChildren(...describeGains(left, shown).map((part, i) => (i % 2 ? h("strong", {}, part) : part)));
    this.canvas.setAttribute("aria-label", `Difference of the two maps. ${this.sentence.textContent}`);
    this.#paint(shown);
  }

  #paint({ map, grid }) {
    const [left] = this.#viewers;
    const { canvas } = this;
    const longer = Math.max(...left.trace.size);
    const [height, width] = left.trace.size.map((side) => Math.round((DETAIL * side) / longer));
    Object.assign(canvas, { width, height });
    const context = canvas.getContext("2d");
    context.imageSmoothingEnabled = left.state.smooth;
    context.drawImage(differenceCanvas(this.#tableOf, left.state, map, grid), 0, 0, width, height);
    const query = queryNow(left);
    if (!isWordQuery(query)) {
      const layer = left.layerOf(query);
      const { active } = left.state;
      paintQuery(canvas, queryGrid(layer, left.state.mode), query, active < 0 ? null : active, false);
    }
    this.#showTicks(barTicks(scaleOfDifference(left.state), largestOf(map, map.length)));
  }

  #showTicks(ticks) {
    const key = JSON.stringify(ticks);
    if (this.ticks.dataset.shown === key) return;
    this.ticks.dataset.shown = key;
    this.ticks.replaceChildren(
      ...ticks.map(([at, text]) => {
        const tick = h("span", {}, text);
        tick.style.left = `${100 * at}%`;
        return tick;
      }),
    );
    fitTicks(this.ticks);
  }
}

// A difference as a canvas with one pixel per cell.
export function differenceCanvas(tableOf, state, map, { width, height }) {
  const scale = scaleOfDifference(state);
  const colors = new Uint32Array(map.length);
  colorize(tableOf(scale, "solid"), scale, map, map.length, colors);
  return imageCanvas({ width, height, data: new Uint8ClampedArray(colors.buffer) });
}
