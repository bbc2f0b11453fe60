// Keeps "?look=" in the address and what is on show the same, so that a reload or a bookmark brings it back.
//
// The address that the page was opened with stays until something else is on show: a link may still be followed while the
// first recording is here. What no link can hold (a visitor's own file or model) leaves no "look" in the address.

import { encodeLink } from "../core/link.js";

const PAUSE = 400; // ms without a change, after which the address is written
const OPENED = "The address can't hold the file that you opened, so reloading the page won't bring it back.";

export class Look {
  #root;
  #server; // { check, tell }, as given to `connect`, in a promise
  #connect;
  #link = new URLSearchParams(location.search).get("look") ?? ""; // in the address
  #written = null; // what is on show while the address says so; null before the first trace
  #isFollowing = this.#link !== ""; // whether the link may still be followed
  #changed = 0; // when something changed last
  #timer = 0;

  // Follows the viewer in `root`, which has opened no trace yet.
  constructor(root) {
    this.#root = root;
    this.#server = new Promise((done) => (this.#connect = done));
    const { viewer } = root;
    viewer.onchange((kind) => this.#change(kind));
    viewer.onhover(() => this.#isFollowing || this.#wait());
    addEventListener("popstate", () => this.#put(this.#link)); // the entry may hold an earlier one
  }

  // Nothing is written before this is called. `check(recipe)` asks the server for { recipe } as links hold it, or for
  // { problem }, a sentence. `tell(problem)` is called whenever the address is written, with an empty text if it holds what is
  // on show.
  connect(check, tell) {
    this.#connect({ check: createCheck(check), tell });
  }

  // The text of a link to what is on show. Throws an Error to show to the user if there is none.
  async text() {
    const { check } = await this.#server;
    const { viewer } = this.#root;
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
    const now = trace && onShow(this.#root);
    if (now === this.#written) return;
    let [link, problem] = ["", opened ? OPENED : ""];
    try {
      if (!opened) link = await this.text();
    } catch (error) {
      problem = error.message;
    }
    if (viewer.trace !== trace) return; // opening it was a change, too
    this.#written = now;
    this.#put(link);
    tell(problem);
  }

  #put(link) {
    this.#link = link;
    const url = new URL(location.href);
    if (link) url.searchParams.set("look", link);
    else url.searchParams.delete("look");
    if (url.href === location.href) return;
    try {
      history.replaceState(history.state, "", url);
    } catch {
      // the browser refuses in some frames, and where it was asked too often: the next change tries again
    }
  }
}

const onShow = ({ viewer, opened }) => JSON.stringify([viewer.trace.recipe, opened === true, viewer.viewNow()]);

// Remembers the answer for the latest trace; the server is asked again after a failure.
function createCheck(check) {
  let known = null;
  return async (trace) => {
    if (known?.trace !== trace) {
      const answer = await check(trace.recipe).catch(() => {
        throw new Error("The server cannot be reached; try again later.");
      });
      known = { trace, answer };
    }
    if (known.answer.problem) throw new Error(known.answer.problem);
    return known.answer.recipe;
  };
}
