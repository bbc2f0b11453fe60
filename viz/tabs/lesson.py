"""The tab *How it works*: one pixel through one attention layer, with the real numbers, and the question it answers."""

from __future__ import annotations

import json
import logging
import uuid
from functools import lru_cache
from pathlib import Path

import gradio as gr
from gradio.data_classes import FileData
from gradio.utils import get_upload_folder
from safetensors import safe_open

from viz.classics import call_of, layers_of, network_of, opened, trained
from viz.gallery import LESSON, exhibits, picture_of, write_lesson
from viz.live import bundled, exclusive
from viz.recipe import Recipe
from viz.toast import warn
from viz.viewer import ASSETS, colormap

TEXT = """
<div class="pixelgaze pl-text">
<p><b>Is a pixel a token?</b> Yes: one cell of the layer's feature map. Not of the picture, unless the map is as large.
Query, key and value do not come from “the image”: each cell makes its own three, out of its own numbers.</p>
<p><b>Then what is a row of Q?</b> A pixel. Figures that draw Q as an image suggest that a row is a line of it, or a
channel; but the grid was flattened before, and every row of QKᵀ is one pixel compared with all pixels.</p>
<p><b>Does attention replace convolution?</b> No. Shuffle the pixels and attention does not notice; that a neighbour is
a neighbour, it is told by the convolutions around it, which also make what it compares.</p>
</div>
"""

SCRIPTS = (
    "trace.js",
    "query.js",
    "words.js",
    "skeleton.js",
    "lesson.js",
    "lessonpaint.js",
    "lessonnine.js",
    "lessonpage.js",
)

# Constant on purpose, as in viz.viewer.
_SKELETON = '<div class="pixelgaze pg-lesson"><p class="pg-message">Loading the lesson…</p></div>'

_HOST = """
const root = element.querySelector(".pg-lesson");
const page = createLesson(root, { colormap: props.colormap });
root.lesson = page;
let shown = null;
async function show() {
  const value = props.value;
  if (!value || !value.lesson || value.lesson.url === shown) return;
  const { url } = value.lesson;
  shown = url;
  try {
    const answer = await fetch(url);
    if (!answer.ok) throw new Error("These numbers are no longer on the server; choose the layer again.");
    const buffer = await answer.arrayBuffer();
    if (shown === url) page.open(buffer, value.view);
  } catch (error) {
    page.say(error.message);
    shown = null;
  }
}
watch("value", show);
// Rendered before its tab is chosen, it must not hold up the tab that is.
requestIdleCallback(show, { timeout: 2000 });
"""


class LessonPanels(gr.HTML):
    """The eight panels of one layer at one step. Its value is made by `shown`."""

    def __init__(self, value: dict | None = None, **arguments) -> None:
        super().__init__(
            value,
            html_template=_SKELETON,
            js_on_load="\n".join([(ASSETS / name).read_text() for name in SCRIPTS] + [_HOST]),
            apply_default_css=False,
            colormap=colormap("Inferno"),
            **arguments,
        )

    def api_info(self) -> dict:
        return {"type": "object", "description": "the file of a lesson, and the query to open it with"}


def shown(path: Path, view: dict | None = None) -> dict:
    """The value that makes `LessonPanels` fetch and show a file of `viz.lessonfile`."""
    return {"lesson": FileData(path=str(path)).model_dump(), "view": view or {}}


def build() -> None:
    """Lay the tab out in the Blocks that is being built."""
    first = exhibits()[0]
    layers, timesteps = _recorded(0)
    networks = {"critters": "the bundled model"} | trained()
    gr.HTML(TEXT, apply_default_css=False)
    with gr.Row():
        network = gr.Dropdown(_choices(networks), value="critters", label="Network", scale=2, visible=len(networks) > 1)
        which = gr.Dropdown(
            [(e.caption, i) for i, e in enumerate(exhibits())], value=0, label="Picture", scale=3, min_width=300
        )
        layer = gr.Dropdown(layers, value=first.layer, label="Layer", scale=2, min_width=300)
        step = gr.Dropdown(list(timesteps), value=first.step, label="Step", scale=1)
    panels = LessonPanels(shown(LESSON, {"point": first.point, "head": max(0, first.head)}), elem_id="lesson")

    # Gradio's drop-downs send "input" also when the keyboard only passes through them.
    answered = gr.State(["critters", 0, first.layer, first.step])
    asked, quiet = [answered, network, which, layer, step], {"show_progress": "hidden", "api_visibility": "private"}
    answer = {"fn": _watch, "inputs": asked, "outputs": [panels, answered], "concurrency_id": "model", **quiet}
    network.input(_layers, [answered, network], layer, concurrency_id="model", **quiet).then(**answer)
    for control in (which, layer, step):
        control.input(**answer)


def _choices(labels: dict[str, str]) -> list[tuple[str, str]]:
    return [(label, name) for name, label in labels.items()]


def _recorded(index: int) -> tuple[list[str], dict[int, float]]:
    """The layers of an exhibit's trace and {step: timestep}; read without torch."""
    with safe_open(exhibits()[index].trace, "np") as file:
        said = json.loads(file.metadata()["trace"])
    return [layer["name"] for layer in said["layers"]], dict(said["timesteps"])


def _layers(answered: list, network: str) -> dict:
    """The layers of a network that was chosen; the first of its last grid is where to begin."""
    if network == answered[0]:
        return gr.skip()
    names = _recorded(0)[0] if network == "critters" else layers_of(opened(network))
    return gr.update(choices=names, value=exhibits()[0].layer if network == "critters" else names[-1])


def _watch(answered: list, network: str, which: int, layer: str, step: int) -> tuple[dict, list]:
    """What the panels show, and what it answers."""
    if answered == (asked := [network, which, layer, step]):
        return gr.skip(), gr.skip()
    try:
        with exclusive():
            path = Path(get_upload_folder()) / f"lesson-{uuid.uuid4().hex}.safetensors"
            path.parent.mkdir(parents=True, exist_ok=True)
            model = bundled() if network == "critters" else opened(network)
            call = _call(network, which, step)
            return shown(write_lesson(exhibits()[which], network_of(model), call, layer, step, path)), asked
    except Exception as error:
        logging.exception("a lesson failed")
        warn(f"This layer could not be watched: {error}")
        return gr.skip(), gr.skip()


def _call(network: str, which: int, step: int):
    """What the network is shown: what the bundled model was, in the exhibit's run; others, the exhibit's picture."""
    if network == "critters":
        return _calls(which)[step]
    exhibit = exhibits()[which]
    return call_of(opened(network), picture_of(exhibit), _recorded(which)[1][step], exhibit.caption)


@lru_cache(maxsize=8)
def _calls(which: int) -> list:
    """What the network is shown at each step of an exhibit's run: small, and one call of it is then a layer."""
    from viz.watched import replay

    exhibit = exhibits()[which]
    return replay(bundled(), Recipe(exhibit.caption, seed=exhibit.seed))
