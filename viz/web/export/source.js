// What sheets and animations draw: a viewer's maps, their scale, and a picture with a map over it.

import { isWordQuery, queryGrid, queryOf } from "../core/query.js";
import { colorTables, colorize, scaleOf, scaleWords, ticksOf } from "../core/scale.js";
import { formatHead } from "../core/words.js";
import { imageCanvas } from "../dom.js";
import { paintNames } from "../viewer/areas.js";
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

  // The query of the view: the active pin, or the pixel under the pointer.
  get query() {
    return queryOf(this.viewer.viewNow());
  }

  // The layer in which it is asked.
  get layer() {
    return this.viewer.layerOf(this.query);
  }

  get scale() {
    return scaleOf(this.viewer.viewNow());
  }

  // The sentence that describes the chosen map.
  get sentence() {
    return this.#root.querySelector(".pg-sentence").textContent;
  }

  // The chosen layer's name, the head and, where there are several, the branch.
  get where() {
    return this.#root.querySelector(".pg-where").textContent + this.#branch;
  }

  get #branch() {
    const { branches, difference } = this.viewer.trace;
    const { branch } = this.viewer.viewNow();
    if (branches.length < 2) return "";
    return `, ${branch === difference ? `${branches[1]} minus ${branches[0]}` : branch}`;
  }

  // What the colours of areas say; "" if there are none.
  get areasNote() {
    const { winner, reading, head, branch } = this.viewer.viewNow();
    const { layer } = this.viewer.exported;
    if (!winner || !layer) return "";
    const most = reading === "used" ? "most, relative to that word's mean" : "most";
    const { difference, branch: last } = this.viewer.trace;
    const half = branch === difference ? `, ${last}` : this.#branch; // areas are never those of a difference
    return `Over the picture: each cell in the colour of the word on which it spends ${most} (${layer.name}, ${formatHead(layer, head)}${half}).`;
  }

  // Colours, ticks and note of the colour bar. `largest` belongs to the chosen map.
  bar(largest) {
    const { scale } = this;
    const { colormap, diverging } = this.#colors;
    const note = scaleWords(scale, largest, this.viewer.viewNow());
    return { colors: scale.special ? diverging : colormap, ticks: ticksOf(scale, largest), note };
  }

  // A layer's map of a query as a canvas with one pixel per cell; `kind` is "solid", or "veil" to lie over a picture.
  mapCanvas(map, layer, kind, query = this.query) {
    const { width, height } = this.viewer.gridOf(layer, query);
    const scale = scaleOf(this.viewer.viewNow(), query);
    const colors = new Uint32Array(map.length);
    colorize(this.#tableOf(scale, kind), scale, map, map.length, colors);
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
    const areas = view.winner ? viewer.exported.areasAt(stepIndex) : null;
    const map = areas ? null : viewer.mapOf(layer, stepIndex, view.head, this.query);
    const over = areas?.canvas ?? (map && this.mapCanvas(map, layer, "veil"));
    paintPicture(canvas, under, over, view.smooth && !areas, view.opacity);
    if (areas && view.opacity) paintNames(canvas, areas.names);
    const grid = layer.keyGrid ? queryGrid(layer, view.mode) : layer;
    const isShown = (pin, i) => i !== view.active && !isWordQuery(pin);
    view.pins.forEach((pin, i) => isShown(pin, i) && paintQuery(canvas, grid, pin, i, false));
    if (!isWordQuery(this.query)) paintQuery(canvas, grid, this.query, view.active < 0 ? null : view.active, true);
    else if (viewer.exported.words) paintQuery(canvas, grid, { kind: "pixel", point: view.point }, null, false); // the pixel of the bars
    return canvas;
  }
}
