// The progress of a run as a Gradio component: a bar, the predicted picture, and a Stop button.

// `gradio` is what Gradio gives js_on_load: { element, props, trigger, watch }.
export function startProgress({ element, props, trigger, watch }) {
  const root = element.querySelector(".pg-live");
  const [image, text, bar] = ["img", "p", "progress"].map((tag) => root.querySelector(tag));
  root.querySelector("button").addEventListener("click", () => trigger("stop"));
  const show = () => {
    const { value } = props;
    root.hidden = !value;
    if (!value) return;
    const { step, steps, preview, note } = value;
    bar.max = steps;
    if (note) bar.removeAttribute("value"); // how long that takes is not known
    else bar.value = step;
    text.textContent = note || (step ? `Drawing and recording: step ${step} of ${steps}` : "Waiting for the model…");
    image.hidden = !preview;
    if (preview) image.src = preview;
  };
  watch("value", show);
  show();
}
