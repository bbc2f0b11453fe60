// The lesson as a Gradio component: shows the file named by its value, follows the viewer's trace, layer, step and pixel, and
// gives every scene an address: #how-4.

import { fromHex } from "../core/scale.js";
import { Lesson } from "../lesson/page.js";
import { ADDRESS, EXPLORE, pressTab } from "./address.js";
import { findViewer } from "./first_viewer.js";

// `gradio` is what Gradio gives js_on_load: { element, props, trigger, watch }.
export function startLesson(gradio) {
  const { element, props, trigger, watch } = gradio;
  const root = element.querySelector(".pg-lesson");
  const page = new Lesson(root, { colormap: fromHex(props.colormap) });
  root.lesson = page;
  const load = createLoader(gradio, page);
  const follow = createFollower(gradio, page);
  watch("value", load);
  const loaded = load();
  const address = new Address(page);
  page.on({
    shown: async () => {
      address.shown();
      await loaded;
      for (let i = 0; i < 2; i++) await new Promise(requestAnimationFrame);
      follow(); // only after the first lesson is on screen
    },
    hidden: () => address.hidden(),
    scene: (scene) => address.scene(scene),
    choose: (layer) => {
      if (layer === page.lesson().layer.name) return;
      page.waiting(true);
      trigger("choose", { layer });
    },
    leave: () => pressTab("Explore"),
  });
  followLater(element, () => root.clientWidth && loaded.then(follow));
  address.follow();
  loaded.then(() => address.follow()); // what is still hidden cannot take the focus
}

// Calls f() whenever the viewer opens a trace, such as that of a link, which may take longer than this tab.
async function followLater(element, f) {
  const found = await findViewer(element, ({ viewer }) => viewer);
  found?.viewer.onchange((kind) => kind === "open" && f());
}

// Keeps the address and the scene the same; address.js opens the tab.
class Address {
  #page;

  constructor(page) {
    this.#page = page;
    addEventListener("popstate", () => this.follow());
    addEventListener("hashchange", () => this.follow());
  }

  // Goes where the address says.
  follow() {
    const match = ADDRESS.exec(location.hash);
    if (!match) return;
    const { stage } = this.#page;
    const scene = Number(match[1] ?? 0);
    if (scene !== stage.scene) stage.show(scene, { announce: false });
    this.#focus();
  }

  shown() {
    if (!ADDRESS.test(location.hash)) this.#push(`#how-${this.#page.stage.scene}`);
  }

  hidden() {
    if (ADDRESS.test(location.hash)) this.#push(EXPLORE);
  }

  scene(scene) {
    this.#push(`#how-${scene}`);
  }

  #push(hash) {
    history.pushState(history.state, "", location.pathname + location.search + hash);
  }

  // Whoever came by an address can press the arrow keys at once.
  #focus() {
    const { node } = this.#page.stage;
    requestAnimationFrame(() => {
      if (!node.contains(document.activeElement)) node.focus({ preventScroll: true });
    });
  }
}

function createLoader({ props }, page) {
  let address = null; // of the lesson on screen or being fetched
  return async () => {
    const { lesson, view, note } = props.value || {};
    page.waiting(false);
    page.note(note ?? "");
    if (!lesson || lesson.url === address) return;
    const { url } = lesson;
    address = url;
    try {
      const response = await fetch(url);
      if (!response.ok) throw new Error("This data has expired; choose the layer again.");
      const buffer = await response.arrayBuffer();
      if (address === url) page.open(buffer, view);
    } catch (error) {
      page.say(error.message);
      address = null;
    }
  };
}

// Returns a function to call when the tab is shown: it takes over the viewer's query and subject if they have changed.
function createFollower({ props, trigger }, page) {
  const source = props.value?.of; // recipe, layer, step and the picture's size
  let lastSubject = JSON.stringify(source);
  let lastQuery = null; // point and head
  return () => {
    const viewer = document.querySelector("#viewer .pixelgaze")?.viewer;
    if (!viewer || !viewer.trace) return;
    const { layer, step, point, head, pins, active } = viewer.viewNow();
    const pin = pins[active];
    const query = [pin?.kind === "pixel" ? pin.point : point, head];
    const { height, width } = viewer.trace.picture;
    const subject = { recipe: viewer.trace.recipe, layer, step, size: [height, width] };
    if (JSON.stringify(query) !== lastQuery) page.look(...query);
    if (JSON.stringify(subject) !== lastSubject) trigger("visited", subject);
    [lastQuery, lastSubject] = [JSON.stringify(query), JSON.stringify(subject)];
  };
}
