// Links two viewers: each shows its own trace and follows the other's cursor.

import { stepLike } from "./steps.js";

// Keeps the two viewers in sync, both ways. Point, pins, direction, head and scale are copied; the layer is matched by name, where
// both traces have it; the step by its timestep: see stepLike. A trace opened in `beside` takes over the view of `first`. `shared`: see
// shared.js. Returns a function that ends the link.
export function linkViewers(first, beside, shared) {
  let busy = false;
  const sync = (from, to, act) => {
    if (!beside.root.isConnected) return end(); // the second viewer was closed
    if (busy || !from.trace || !to.trace) return;
    busy = true; // changes of the other viewer must not be sent back
    try {
      act(from, to);
    } finally {
      busy = false;
    }
  };
  const follow = (from, to) => {
    to.view({ ...from.viewNow(), step: to.trace.steps[stepLike(from.trace, from.state.step, to.trace)] });
    shared.refresh();
  };
  const point = (from, to) => {
    if (from.state.word || to.state.word) to.pointAt(from.state.word);
    else to.hover(from.state.point, true);
  };
  const opened = () => {
    sync(first, beside, follow);
    for (const viewer of [first, beside]) if (viewer.trace && beside.root.isConnected) viewer.share(shared);
  };
  const ends = [
    first.onchange((kind) => (kind === "open" ? opened() : sync(first, beside, follow))),
    beside.onchange((kind) => (kind === "open" ? opened() : sync(beside, first, follow))),
    first.onhover(() => sync(first, beside, point)),
    beside.onhover(() => sync(beside, first, point)),
  ];
  const end = () => {
    ends.splice(0).forEach((stop) => stop());
    if (first.root.isConnected) first.share(null);
  };
  opened();
  return end;
}
