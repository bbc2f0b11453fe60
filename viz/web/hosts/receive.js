// Shows a trace while it arrives.

import { headerEnd, openTrace } from "../core/trace.js";
import { formatArrival, placeIn } from "../viewer/arriving.js";

const REPAINT = 250; // ms between two repaints for what has arrived
const PAUSE = 3000; // ms until the connection is tried again, before there is a map

// Opens the trace as soon as the map that it opens with is here, and receives the rest while one points. Until then the viewer
// says how much is here. `open(trace)` opens it; `isCurrent()` is false once another trace is wanted; `view()` is the view that
// it opens with. Throws an Error to show to the user for a file that is no trace.
export async function receiveTrace(arrival, viewer, { open, isCurrent, view }) {
  let trace = null;
  let isOpen = false;
  let due = 0; // the timer of the next repaint
  const show = () => {
    clearTimeout(due);
    due = 0;
    if (!isWanted()) return;
    if (isOpen) viewer.receive(arrival);
    else if (viewer.trace) viewer.receive(arrival, { isNext: true });
    else viewer.say(`Loading the recording… ${formatArrival(arrival)}`);
  };
  const onMore = () => {
    if (!isOpen && !isCurrent()) return arrival.abort();
    trace ??= hasHeader(arrival) ? openTrace(arrival.buffer, null, arrival) : null;
    const opens = !isOpen && trace && hasMap(trace, view(), viewer.place);
    if (opens) open(trace);
    isOpen ||= opens;
    if (opens || arrival.isWhole) show();
    else due ||= setTimeout(show, REPAINT);
  };
  const isWanted = () => (isOpen ? viewer.trace === trace : isCurrent());
  const read = async () => {
    while (isWanted() && !arrival.isWhole) {
      await arrival.more(onMore);
      if (!arrival.isWhole) await painting(); // the first map does not wait for the rest
    }
  };
  const interrupt = (error) => {
    if (!isWanted()) return;
    clearTimeout(due);
    due = 0;
    viewer.receive(arrival, { retry: () => read().catch(interrupt), problem: isBroken(error) ? "" : error.message });
  };
  if (arrival.isWhole) onMore(); // the response did not say how long it would be
  while (!isOpen && isWanted()) {
    try {
      await read();
    } catch (error) {
      if (isOpen) return interrupt(error);
      if (!isBroken(error)) throw error;
      const problem = `The connection broke at ${formatArrival(arrival)}; trying again…`;
      if (viewer.trace) viewer.receive(arrival, { isNext: true, problem });
      else viewer.say(problem);
      await new Promise((done) => setTimeout(done, PAUSE));
    }
  }
}

const hasHeader = ({ received, buffer, isWhole }) => isWhole || (received >= 8 && received >= headerEnd(buffer));

// Browsers report a broken connection as a TypeError, with a text of their own.
const isBroken = (error) => error instanceof TypeError;

// Whether the numbers of the map that a trace would open with are here, or will never be.
function hasMap(trace, view, place) {
  const { layer, step } = placeIn(trace, view, place);
  return trace.all[layer].gaps.has(step) || trace.all[layer].numbers(step, view?.branch) !== null;
}

// Resolves once what is due has been painted; soon where nothing is painted, as in a hidden tab.
function painting() {
  const frames = new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)));
  return Promise.race([frames, new Promise((done) => setTimeout(done, 200))]);
}
