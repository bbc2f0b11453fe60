// Keeps "?look=" in the address and what is on show the same, so that a reload or a bookmark brings it back, and "&beside="
// with what it is compared with.
//
// The address that the page was opened with stays until something else is on show: a link may still be followed while the
// first recording is here. What no link can hold (a visitor's own file or model) leaves no "look" in the address; the tab keeps it.

import { encodeLink } from "../core/link.js";

const PAUSE = 400; // ms without a change, after which the address is written
const OPENED = "The address can't hold the file that you opened. A reload brings it back in this tab only, for about an hour.";

export class Look {
  #root;
  #server; // { check, tell }, as given to `connect`, in a promise
  #connect;
  #link = new URLSearchParams(location.search).get("look") ?? ""; // in the address
  #written = null; // what is on show while the address says so; null before the first trace
  #isFollowing = this.#link !== ""; // whether the link may still be followed
  #other = null; // the viewer beside
  #beside = new URLSearchParams(location.search).get("beside") ?? ""; // in the address
  #changed = 0; // when something changed last
  #timer = 0;

  // Follows the viewer in `root`, which has opened no trace yet.
  constructor(root) {
    this.#root = root;
    this.#server = new Promise((done) => (this.#connect = done));
    const { viewer } = root;
    viewer.onchange((kind) => this.#change(kind));
    viewer.onhover(() => this.#isFollowing || this.#wait());
    addEventListener("popstate", () => this.#put(this.#link, this.#beside)); // the entry may hold an earlier one
  }

  // Nothing is written before this is called. `check(recipe)` asks the server for { recipe } as links hold it, or for
  // { problem }, a sentence. `tell(problem)` is called whenever the address is written, with an empty text if it holds what is
  // on show.
  connect(check, tell) {
    this.#connect({ check: createCheck(check), tell });
  }

  // Another viewer shows what this one's recording is compared with; null once it doesn't any more.
  compareWith(other) {
    this.#other = other;
    if (!other) [this.#beside, this.#written] = ["", ""]; // the address may hold it from the start
    other?.onchange(() => this.#wait());
    this.#wait();
  }

  // The part of an address after "?" that says what is on show. Throws an Error to show to the user if none can.
  async query() {
    const beside = await this.#textOf(this.#other);
    return `look=${await this.#textOf(this.#root.viewer)}${beside && `&beside=${beside}`}`;
  }

  // The text of a link to what a viewer shows; empty if it shows nothing.
  async #textOf(viewer) {
    if (!viewer?.trace) return "";
    const { check } = await this.#server;
    return encodeLink(await check(viewer.trace), viewer.viewNow());
  }

  #change(kind) {
    if (kind === "open" && this.#written === null) {
      this.#written = onShow(this.#root); // the page opens with it
      return;
    }
    this.#isFollowing = false;
    this.#wait();
  }

  #wait() {
    this.#changed = performance.now();
    this.#timer ||= setTimeout(() => this.#fire(), PAUSE);
  }

  #fire() {
    const rest = this.#changed + PAUSE - performance.now();
    this.#timer = rest > 0 ? setTimeout(() => this.#fire(), rest) : 0;
    if (!this.#timer) this.#write();
  }

  async #write() {
    const { tell } = await this.#server;
    const { viewer, opened } = this.#root;
    const { trace } = viewer;
    const other = this.#other?.trace ?? null;
    const now = trace && onShow(this.#root, this.#other);
    if (now === this.#written) return;
    let [link, beside, problem] = ["", this.#beside, opened ? OPENED : ""];
    try {
      if (!opened) link = await this.#textOf(viewer);
      if (other) beside = ""; // until then the address may ask for one that is still being drawn
      beside ||= await this.#textOf(this.#other);
    } catch (error) {
      problem ||= error.message;
    }
    if (viewer.trace !== trace || (this.#other?.trace ?? null) !== other) return; // opening it was a change, too
    this.#written = now;
    this.#put(link, beside);
    this.#root.keep(link === "");
    tell(problem);
  }

  #put(link, beside) {
    [this.#link, this.#beside] = [link, beside];
    const url = new URL(location.href);
    for (const [name, text] of Object.entries({ look: link, beside })) {
      if (text) url.searchParams.set(name, text);
      else url.searchParams.delete(name);
    }
    if (url.href === location.href) return;
    try {
      history.replaceState(history.state, "", url);
    } catch {
      // the browser refuses in some frames, and where it was asked too often: the next change tries again
    }
  }
}

function onShow({ viewer, opened }, other) {
  const beside = other?.trace ? [other.trace.recipe, other.viewNow()] : null;
  return JSON.stringify([viewer.trace.recipe, opened === true, viewer.viewNow(), beside]);
}

// Remembers the answer for each trace; the server is asked again after a failure.
function createCheck(check) {
  const known = new WeakMap();
  return async (trace) => {
    if (!known.has(trace)) {
      const answer = await check(trace.recipe).catch(() => {
        throw new Error("The server cannot be reached; try again later.");
      });
      known.set(trace, answer);
    }
    const { problem, recipe } = known.get(trace);
    if (problem) throw new Error(problem);
    return recipe;
  };
}
