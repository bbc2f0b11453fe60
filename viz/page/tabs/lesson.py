"""The tab *How it works*: one pixel through one attention layer, with the real numbers, and the question it answers."""

from __future__ import annotations

import json
import logging
import uuid
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

import gradio as gr
from gradio.data_classes import FileData
from gradio.utils import get_upload_folder
from safetensors import safe_open

from viz.lesson.papers import call_of, layers_of, network_of, opened, trained, words_of
from viz.page.gallery import LESSON, exhibits, write_lesson
from viz.page.notices import warn
from viz.page.runs import hold_model, load_bundled
from viz.page.viewer import colormap, in_hex
from viz.recipe import Recipe, RecipeError
from viz.trace_header import read_description
from viz.web import WEB

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
    "core/trace.js",
    "core/query.js",
    "core/words.js",
    "viewer/skeleton.js",
    "lesson/panels.js",
    "lesson/paint.js",
    "lesson/heads.js",
    "lesson/nine.js",
    "lesson/page.js",
)

# Constant on purpose, as in viz.page.viewer.
_SKELETON = '<div class="pixelgaze pg-lesson"><p class="pg-message">Loading the lesson…</p></div>'

_HOST = """
const root = element.querySelector(".pg-lesson");
const page = createLesson(root, { colormap: fromHex(props.colormap) });
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
// Whoever comes here from the viewer finds its trace, its layer and step, its pixel and its head.
const opensOn = JSON.stringify(props.value?.of);
let seen = null;
function follow() {
  const viewer = document.querySelector("#viewer .pixelgaze")?.viewer;
  if (!viewer || !viewer.trace) return;
  const { layer, step, point, head, pins, active } = viewer.viewNow();
  const asked = { recipe: viewer.trace.recipe, layer, step };
  const pin = pins[active];
  const place = pin?.kind === "pixel" ? pin.point : point;
  const now = { asked: JSON.stringify(asked), place: JSON.stringify([place, head]) };
  if (now.place !== seen?.place) page.look(...JSON.parse(now.place));
  if (now.asked !== (seen ? seen.asked : opensOn)) trigger("visited", asked);
  seen = now;
}
watch("value", show);
const opened = show();
page.onshown(async () => {
  await opened;
  for (let i = 0; i < 2; i++) await new Promise(requestAnimationFrame);
  follow(); // what it opens on is on screen before anything else is asked for
});
"""


class LessonPanels(gr.HTML):
    """The eight panels of one layer at one step. Its value is made by `shown`."""

    def __init__(self, value: dict | None = None, **arguments) -> None:
        super().__init__(
            value,
            html_template=_SKELETON,
            js_on_load="\n".join([(WEB / name).read_text() for name in SCRIPTS] + [_HOST]),
            apply_default_css=False,
            colormap=in_hex(colormap("Inferno")),
            **arguments,
        )

    def api_info(self) -> dict:
        return {"type": "object", "description": "the file of a lesson, and the query to open it with"}


def shown(path: Path, view: dict | None = None, of: dict | None = None) -> dict:
    """The value that makes `LessonPanels` fetch and show a file of `viz.lesson.file`.

    Args:
        of: the recipe, layer and step it was made of: whoever comes from just those need not ask for them.
    """
    return {"lesson": FileData(path=str(path)).model_dump(), "view": view or {}, "of": of}


def build() -> None:
    """Lay the tab out in the Blocks that is being built."""
    first = exhibits()[0]
    networks = {"critters": "the bundled model"} | trained()
    gr.HTML(TEXT, apply_default_css=False)
    with gr.Row():
        network = gr.Dropdown(
            _choices(networks), value="critters", label="Network", scale=2, min_width=300, visible=len(networks) > 1
        )
        run = gr.Dropdown(_choices(_runs()), value=_written(_recipe(0)), label="Picture", scale=3, min_width=300)
        layer = gr.Dropdown(_bundled_layers(), value=first.layer, label="Layer", scale=2, min_width=300)
        step = gr.Dropdown(first.steps, value=first.step, label="Step", scale=1)
    view = {"point": first.point, "head": max(0, first.head)}
    of = {"recipe": read_description(first.trace)["recipe"], "layer": first.layer, "step": first.step}
    panels = LessonPanels(shown(LESSON, view, of), elem_id="lesson")

    # Gradio's drop-downs send "input" also when the keyboard only passes through them.
    answered = gr.State(["critters", _written(_recipe(0)), first.layer, first.step])
    asked, quiet = [answered, network, run, layer, step], {"show_progress": "hidden", "api_visibility": "private"}
    answer = {"fn": _watch, "inputs": asked, "outputs": [panels, answered], "concurrency_id": "model", **quiet}
    network.input(_layers, [answered, network], layer, concurrency_id="model", **quiet).then(**answer)
    run.input(_steps, run, step, **quiet).then(**answer)
    for control in (layer, step):
        control.input(**answer)
    panels.visited(_visited, [answered, network], [run, layer, step], **quiet).then(
        **answer | {"show_progress": "minimal"}
    )


def _choices(labels: dict[str, str]) -> list[tuple[str, str]]:
    return [(label, name) for name, label in labels.items()]


def _recipe(index: int) -> Recipe:
    return exhibits()[index].recipe


def _written(recipe: Recipe) -> str:
    """A recipe as the value of a drop-down, with the weights that it is followed with."""
    return json.dumps(replace(recipe, revision=recipe.weights, versions={}).to_json(), sort_keys=True)


def _read(run: str) -> Recipe:
    """A recipe that came back from the page, checked again."""
    return Recipe.from_json(json.loads(run))


def _runs() -> dict[str, str]:
    return {_written(_recipe(index)): exhibit.caption for index, exhibit in enumerate(exhibits())}


@lru_cache(maxsize=1)
def _bundled_layers() -> list[str]:
    """The attention layers of the bundled model, as its lesson lists them; read without torch."""
    with safe_open(LESSON, "np") as file:
        return json.loads(file.metadata()["lesson"])["layers"]


def _layers(answered: list, network: str) -> dict:
    """The layers of a network that was chosen; the first of its last grid is where to begin."""
    if network == answered[0]:
        return gr.skip()
    names = _bundled_layers() if network == "critters" else layers_of(opened(network))
    return gr.update(choices=names, value=exhibits()[0].layer if network == "critters" else names[-1])


def _steps(run: str) -> dict:
    """The steps of a run that was chosen: those that the gallery's trace holds, or all."""
    if run in (known := list(_runs())):
        index = known.index(run)
        return gr.update(choices=exhibits()[index].steps, value=exhibits()[index].step)
    steps = _read(run).steps
    return gr.update(choices=list(range(steps)), value=steps // 2)


def _visited(event: gr.EventData, answered: list, network: str) -> tuple:
    """The trace on the first tab, its layer and its step, as the drop-downs say them.

    Where they say so already they are left alone: they may be in use.
    """
    try:
        recipe = Recipe.from_json(event.recipe)
    except RecipeError as error:
        warn(f"This tab cannot follow the trace on Explore, and keeps the one it has. {error}")
        return gr.skip(), gr.skip(), gr.skip()
    run, steps = _written(recipe), range(recipe.steps)
    layers = _bundled_layers()
    if answered[1:] == [run, event.layer, event.step]:
        return gr.skip(), gr.skip(), gr.skip()
    layer = gr.update(value=event.layer) if network == "critters" and event.layer in layers else gr.skip()
    step = gr.update(choices=list(steps), value=event.step if event.step in steps else 0)
    return gr.update(choices=_choices({run: recipe.caption} | _runs()), value=run), layer, step


def _watch(answered: list, network: str, run: str, layer: str, step: int) -> tuple[dict, list]:
    """What the panels show, and what it answers."""
    if answered == (asked := [network, run, layer, step]):
        return gr.skip(), gr.skip()
    try:
        with hold_model():
            recipe = _read(run)
            calls, picture = _rerun(recipe)
            path = Path(get_upload_folder()) / f"lesson-{uuid.uuid4().hex}.safetensors"
            path.parent.mkdir(parents=True, exist_ok=True)
            model, call = load_bundled(recipe), calls[step]
            if network != "critters":
                model = opened(network)
                call = call_of(model, picture, call.timestep, recipe.caption)
            about = {"picture": picture, "caption": recipe.caption, "step": step}
            about["words"] = words_of(model, recipe.caption)
            return shown(write_lesson(network_of(model), call, layer, path, **about)), asked
    except Exception as error:
        logging.exception("a lesson failed")
        warn(f"This layer could not be watched: {error}")
        return gr.skip(), gr.skip()


@lru_cache(maxsize=8)
def _rerun(recipe: Recipe) -> tuple:
    """What the bundled model is shown at each step of a run, small, and the picture that comes of it."""
    from viz.lesson.watch import rerun

    return rerun(load_bundled(recipe), recipe)
