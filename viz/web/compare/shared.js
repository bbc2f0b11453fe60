// What the atlases of two viewers share: which steps their columns stand for, and the size of their maps.

import { spread } from "../viewer/columns.js";
import { mergeSteps } from "./steps.js";

export class SharedAtlas {
  #viewers;
  #fits = [null, null]; // what each viewer has room for
  #given = ["", ""]; // what each viewer was last given
  #shown = [[], []]; // the columns of each
  #merged = { of: [], steps: [] };

  constructor(first, second) {
    this.#viewers = [first, second];
  }

  // The steps of both, see mergeSteps; those of one while the other has no trace.
  get steps() {
    const traces = this.#viewers.map(({ trace }) => trace);
    if (traces.some((trace, i) => trace !== this.#merged.of[i])) {
      const none = { timesteps: [], steps: [] };
      this.#merged = { of: traces, steps: mergeSteps(traces[0] ?? none, traces[1] ?? none) };
    }
    return this.#merged.steps;
  }

  #sideOf(root) {
    return this.#viewers.findIndex((viewer) => viewer.root === root);
  }

  // What a viewer is to show, given what it has room for: { length, columns, room }, the lesser of both. Lays the other one out
  // again if that changes.
  fit(root, own) {
    const side = this.#sideOf(root);
    this.#fits[side] = own;
    const known = this.#fits.filter((fit, i) => fit && this.#viewers[i].trace);
    const least = (name) => Math.min(...known.map((fit) => fit[name]));
    const [length, columns, room] = ["length", "columns", "room"].map(least);
    const key = [length, columns, room].join();
    this.#given[side] = key;
    const other = this.#viewers[1 - side];
    if (other.trace && this.#given[1 - side] !== key) requestAnimationFrame(() => this.#given[1 - side] !== key && other.share(this));
    return { length, columns, room };
  }

  // The columns of a viewer's atlas, `count` of them: { columns: indices of its steps, null where it has no such step, ticks }. Steps
  // that both have come first, and the steps at which the viewers are, are always among them.
  columns(root, count) {
    const side = this.#sideOf(root);
    const { steps } = this;
    const isAt = (entry) => this.#viewers.some(({ trace, state }, i) => trace && entry.steps[i] === state.step);
    const common = steps.filter((entry) => !entry.steps.includes(null));
    const isOffered = (entry) => common.length < count || common.includes(entry) || isAt(entry);
    const offered = steps.filter(isOffered);
    const chosen = offered.flatMap((entry, at) => (isAt(entry) ? [at] : []));
    const shown = spread(offered.length, count, chosen).map((at) => offered[at]);
    this.#shown[side] = shown.map((entry) => entry.steps[side]);
    return { columns: this.#shown[side], ticks: shown.map(({ label }) => label) };
  }

  // Lays out again what does not show the columns it should, such as after one of the viewers has moved to another step.
  refresh() {
    this.#viewers.forEach((viewer, side) => {
      const shown = this.#shown[side];
      if (!viewer.trace || !shown.length) return;
      if (String(this.columns(viewer.root, shown.length).columns) !== String(shown)) viewer.share(this);
    });
  }
}
