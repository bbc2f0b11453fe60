// Links two viewers: each shows its own trace and follows the other's cursor.

// Keeps the two viewers in sync, both ways. Point, pins, direction, head and scale are copied; the layer is matched by
// name, where both traces have it; the step by its position among the steps. A trace opened in `beside` takes over the
// view of `first`. Returns a function that ends the link.
export function linkViewers(first, beside) {
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
    const last = ({ steps }) => Math.max(1, steps.length - 1);
    const step = Math.round((from.state.step / last(from.trace)) * last(to.trace));
    to.view({ ...from.viewNow(), step: to.trace.steps[Math.min(step, to.trace.steps.length - 1)] });
  };
  const point = (from, to) => {
    if (from.state.word || to.state.word) to.pointAt(from.state.word);
    else to.hover(from.state.point, true);
  };
  const ends = [
    first.onchange(() => sync(first, beside, follow)),
    beside.onchange((kind) => (kind === "open" ? sync(first, beside, follow) : sync(beside, first, follow))),
    first.onhover(() => sync(first, beside, point)),
    beside.onhover(() => sync(beside, first, point)),
  ];
  const end = () => ends.forEach((stop) => stop());
  sync(first, beside, follow);
  return end;
}
