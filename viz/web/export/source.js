// What sheets and animations draw: a viewer's maps, their scale, and a picture with a map over it.

import { queryGrid } from "../core/query.js";
import { colorTables, colorize, scaleOf, scaleWords, ticksOf } from "../core/scale.js";
import { imageCanvas } from "../dom.js";
import { paintPicture, paintQuery } from "../viewer/paint.js";

export class SheetSource {
  #root;
  #colors;
  #tableOf;

  constructor(root, viewer, { colormap, diverging }) {
    this.viewer = viewer;
    this.#root = root;
    this.#colors = { colormap, diverging };
    this.#tableOf = colorTables(colormap, diverging);
  }

  // The chosen layer.
  get layer() {
    const { layer } = this.viewer.viewNow();
    return this.viewer.trace.layers.find(({ name }) => name === layer);
  }

  get scale() {
    return scaleOf(this.viewer.viewNow());
  }

  // The sentence that describes the chosen map.
  get sentence() {
    return this.#root.querySelector(".pg-sentence").textContent;
  }

  // The chosen layer's name and the head.
  get where() {
    return this.#root.querySelector(".pg-where").textContent;
  }

  // Colours, ticks and note of the colour bar. `largest` belongs to the chosen map.
  bar(largest) {
    const { scale } = this;
    const { colormap, diverging } = this.#colors;
    const note = scaleWords(scale, largest, this.viewer.viewNow());
    return { colors: scale.special ? diverging : colormap, ticks: ticksOf(scale, largest), note };
  }

  // A layer's map as a canvas with one pixel per cell; `kind` is "solid", or "veil" to lie over a picture.
  mapCanvas(map, layer, kind) {
    const { width, height } = this.viewer.gridOf(layer);
    const colors = new Uint32Array(map.length);
    colorize(this.#tableOf(this.scale, kind), this.scale, map, map.length, colors);
    return imageCanvas({ width, height, data: new Uint8ClampedArray(colors.buffer) });
  }

  // The picture at a step with the chosen map and the pins over it, `width` pixels wide.
  pictureCanvas(stepIndex, width, base) {
    const { viewer, layer } = this;
    const { trace } = viewer;
    const view = viewer.viewNow();
    const canvas = document.createElement("canvas");
    [canvas.width, canvas.height] = [width, Math.round((width * trace.size[0]) / trace.size[1])];
    const image = (base === "preview" && trace.previews[stepIndex]) || trace.picture;
    const under = imageCanvas(image || new ImageData(trace.size[1], trace.size[0]));
    const map = viewer.mapOf(layer, stepIndex, view.head);
    paintPicture(canvas, under, map && this.mapCanvas(map, layer, "veil"), view.smooth);
    const grid = queryGrid(layer, view.mode);
    view.pins.forEach((pin, i) => i !== view.active && paintQuery(canvas, grid, pin, i, false));
    const query = view.active < 0 ? { kind: "pixel", point: view.point } : view.pins[view.active];
    paintQuery(canvas, grid, query, view.active < 0 ? null : view.active, true);
    return canvas;
  }
}
