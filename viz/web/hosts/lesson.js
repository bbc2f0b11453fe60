// The lesson as a Gradio component: shows the file named by its value, and follows the viewer's trace, layer, step and pixel.

import { fromHex } from "../core/scale.js";
import { Lesson } from "../lesson/page.js";

// `gradio` is what Gradio gives js_on_load: { element, props, trigger, watch }.
export function startLesson(gradio) {
  const { element, props, watch } = gradio;
  const root = element.querySelector(".pg-lesson");
  const page = new Lesson(root, { colormap: fromHex(props.colormap) });
  root.lesson = page;
  const load = createLoader(gradio, page);
  const follow = createFollower(gradio, page);
  watch("value", load);
  const loaded = load();
  page.onshown(async () => {
    await loaded;
    for (let i = 0; i < 2; i++) await new Promise(requestAnimationFrame);
    follow(); // only after the first lesson is on screen
  });
}

function createLoader({ props }, page) {
  let address = null; // of the lesson on screen or being fetched
  return async () => {
    const { lesson, view } = props.value || {};
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
  let lastSubject = JSON.stringify(props.value?.of); // recipe, layer and step
  let lastQuery = null; // point and head
  return () => {
    const viewer = document.querySelector("#viewer .pixelgaze")?.viewer;
    if (!viewer || !viewer.trace) return;
    const { layer, step, point, head, pins, active } = viewer.viewNow();
    const pin = pins[active];
    const query = [pin?.kind === "pixel" ? pin.point : point, head];
    const subject = { recipe: viewer.trace.recipe, layer, step };
    if (JSON.stringify(query) !== lastQuery) page.look(...query);
    if (JSON.stringify(subject) !== lastSubject) trigger("visited", subject);
    [lastQuery, lastSubject] = [JSON.stringify(query), JSON.stringify(subject)];
  };
}
