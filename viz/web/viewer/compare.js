// Two viewers with one cursor: each follows the other, on its own trace.

// Keeps `beside` in step with `first`, and the other way round: point, pins, direction, head and scale as they are; the
// layer by its name, where both have it; the step by its place among the steps. A trace opened in `beside` takes the view
// of `first`. Returns a function that ends it.
export function linkViewers(first, beside) {
  let busy = false;
  const quietly = (from, to, act) => {
    if (!beside.root.isConnected) return end(); // it was closed
    if (busy || !from.trace || !to.trace) return;
    busy = true; // the other one's own changes must not come back
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
  const point = (from, to) => to.hover(from.state.point, true);
  const ends = [
    first.onchange(() => quietly(first, beside, follow)),
    beside.onchange((kind) => (kind === "open" ? quietly(first, beside, follow) : quietly(beside, first, follow))),
    first.onhover(() => quietly(first, beside, point)),
    beside.onhover(() => quietly(beside, first, point)),
  ];
  const end = () => ends.forEach((stop) => stop());
  quietly(first, beside, follow);
  return end;
}
