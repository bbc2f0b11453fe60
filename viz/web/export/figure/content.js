// What a figure shows, as in viz/figure_content.py: the maps of a view as pictures. Cells have sharp edges in a figure, whatever
// the view says. Nothing here touches the DOM.

import { isWordQuery, layersFor, queryGrid, queryOf } from "../../core/query.js";
import { colorTables, colorize, scaleOf } from "../../core/scale.js";
import { sampled, whole } from "./items.js";

const [DARK, DIM] = [[8, 6, 14], 0.35]; // the colour over the picture, and its share

// The maps of a viewer's view, which must not change meanwhile but for the step.
export class Content {
  #known = new Map(); // maps in their colours, and the pictures

  constructor(viewer, { colormap, diverging }) {
    this.viewer = viewer;
    this.trace = viewer.trace;
    this.view = viewer.viewNow();
    this.query = queryOf(this.view);
    this.layer = viewer.layerOf(this.query);
    this.step = this.trace.steps.indexOf(this.view.step);
    this.colors = scaleOf(this.view).special ? diverging : colormap;
    this.tableOf = colorTables(colormap, diverging);
  }

  get rows() {
    return layersFor(this.trace, this.query, this.view);
  }

  // The rows of the atlas, in the order of the trace. `layers`: "chosen", "grids", "all", or names.
  layers({ layers }) {
    const { rows, layer } = this;
    if (layers === "chosen") return [layer];
    if (layers === "all") return rows;
    if (Array.isArray(layers)) return rows.filter(({ name }) => layers.includes(name));
    const first = new Map();
    for (const each of [layer, ...rows]) if (!first.has(shapeOf(each))) first.set(shapeOf(each), each);
    return rows.filter((each) => first.get(shapeOf(each)) === each);
  }

  // The columns of the atlas, as indices into trace.steps. `steps`: "chosen", "five", "all", or recorded steps.
  steps({ steps }) {
    const recorded = this.trace.steps;
    const indices = [...recorded.keys()];
    if (steps === "chosen") return [this.step];
    if (steps === "all") return indices;
    if (Array.isArray(steps)) return indices.filter((i) => steps.includes(recorded[i]));
    const last = recorded.length - 1;
    return [...new Set([0, 1, 2, 3, 4].map((i) => whole((i * last) / 4)))].sort((a, b) => a - b);
  }

  // What must be computed before the figure is laid out, as arguments of `viewer.order`.
  orders(options) {
    const { view, query, layer, step, viewer } = this;
    const has = (part) => options.parts.includes(part);
    return [
      ...(has("picture") ? [[[layer], [step], [query]]] : []),
      ...(has("atlas") ? [[this.layers(options), this.steps(options), [query]]] : []),
      ...(has("pins") ? view.pins.map((pin) => [[viewer.layerOf(pin)], this.steps(options), [pin]]) : []),
      ...(has("heads") ? [[[layer], [step], [query], [...Array(layer.heads).keys()]]] : []),
    ];
  }

  // A map in its colours, three bytes a cell; null where there is none.
  cells(layer, step, head, query) {
    const key = `${layer.index} ${step} ${head} ${this.view.pins.indexOf(query)}`;
    return this.#once(key, () => this.#tinted(layer, step, head, query, "solid", 3));
  }

  #once(key, make) {
    if (!this.#known.has(key)) this.#known.set(key, make());
    return this.#known.get(key);
  }

  #tinted(layer, step, head, query, kind, channels) {
    const map = this.viewer.mapOf(layer, step, head, query);
    if (!map) return null;
    const scale = scaleOf(this.view, query);
    const colors = colorize(this.tableOf(scale, kind), scale, map, map.length, new Uint32Array(map.length));
    const { width, height } = this.viewer.gridOf(layer, query);
    const bytes = new Uint8Array(colors.buffer);
    return { width, height, data: channels === 4 ? bytes : withoutAlpha(bytes) };
  }

  // The result, or what was predicted at the step, as the view says.
  plain() {
    return this.#once("plain", () => this.#plain());
  }

  // The dimmed picture, with the chosen map over it, both as strongly as the view says.
  mapped() {
    return this.#once("mapped", () => this.#mapped());
  }

  #plain() {
    const { trace, view, step } = this;
    const image = (view.base === "preview" && trace.previews[step]) || trace.picture;
    const [height, width] = trace.size;
    if (!image) return { width, height, data: new Uint8Array(3 * width * height) };
    return { width: image.width, height: image.height, data: withoutAlpha(image.data) };
  }

  #mapped() {
    const { view, layer, step, query } = this;
    const map = this.#tinted(layer, step, view.head, query, "veil", 4);
    const under = this.plain();
    const [width, height] = [Math.max(under.width, map?.width ?? 0), Math.max(under.height, map?.height ?? 0)];
    const { data } = sampled(under, width, height);
    const over = map && sampled(map, width, height).data;
    const { opacity } = view;
    const out = new Uint8Array(data.length);
    for (let i = 0; i < data.length; i++) {
      const channel = i % 3;
      const dimmed = whole(data[i] * (1 - DIM * opacity) + DARK[channel] * DIM * opacity);
      if (!over) {
        out[i] = dimmed;
        continue;
      }
      const at = 4 * ((i - channel) / 3);
      const alpha = over[at + 3] * opacity;
      out[i] = whole((over[at + channel] * alpha + dimmed * (255 - alpha)) / 255);
    }
    return { width, height, data: out };
  }

  // The grid on which queries choose cells of the picture.
  get outlineGrid() {
    return gridOf(this.layer, this.view.mode);
  }

  // The queries of the picture, each with the number of its pin or null, the active one last.
  get outlined() {
    const { pins, active, point } = this.view;
    const others = pins.map((pin, i) => [pin, i]).filter(([, i]) => i !== active);
    const last = pins[active] ? [pins[active], active] : [{ kind: "pixel", point }, null];
    return [...others, last].filter(([query]) => !isWordQuery(query));
  }
}

const shapeOf = ({ height, width, keyGrid }) => `${height} ${width} ${keyGrid?.height} ${keyGrid?.width}`;

// The grid on which queries choose cells of the picture.
export const gridOf = (layer, mode) => (layer.keyGrid ? queryGrid(layer, mode) : layer);

function withoutAlpha(bytes) {
  const data = new Uint8Array((bytes.length / 4) * 3);
  for (let i = 0, at = 0; i < bytes.length; i += 4) {
    data[at++] = bytes[i];
    data[at++] = bytes[i + 1];
    data[at++] = bytes[i + 2];
  }
  return data;
}
