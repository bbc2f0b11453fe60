"""The tab *How it works*: one cell's way through one attention layer, with the real numbers."""

from __future__ import annotations

import json
import logging
import threading
import uuid
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import gradio as gr
from gradio.data_classes import FileData
from gradio.utils import get_upload_folder
from safetensors import safe_open

from viz.colors import in_hex, palette
from viz.lesson.papers import available_networks, call_of, layers_of, load_model, network_of, words_of
from viz.page.callers import HEAVY
from viz.page.gallery import LESSON, exhibits, first_trace
from viz.page.interrupt import interruptible
from viz.page.line import Stopped
from viz.page.own_lesson import own_choice, own_layers, own_recipe, write_own_lesson
from viz.page.runs import Session, hold_model, load_bundled, stoppable_run
from viz.page.script import js_on_load
from viz.recipe import Recipe, RecipeError
from viz.trace_header import read_description

if TYPE_CHECKING:
    from viz.lesson.watch import Replay

BUNDLED, OWN = "critters", "own"

# Constant on purpose, as in viz.page.viewer.
_SKELETON = '<div class="pixelgaze pg-lesson"><p class="pg-message">Loading the lesson…</p></div>'


class LessonPanels(gr.HTML):
    """The story of one layer at one step. `panels_value` makes its value.

    Its `visited` event holds the trace on Explore, its `choose` event a layer that was chosen in the story.
    """

    def __init__(self, value: dict | None = None, **arguments: Any) -> None:
        super().__init__(
            value,
            html_template=_SKELETON,
            js_on_load=js_on_load("startLesson", "visited", "choose"),
            apply_default_css=False,
            colormap=in_hex(palette()),
            **arguments,
        )

    def api_info(self) -> dict:
        return {"type": "object", "description": "the lesson's file, and the query to open it with"}


def panels_value(path: Path, view: dict | None = None, source: dict | None = None) -> dict:
    """The value that makes `LessonPanels` fetch and show a file that `viz.lesson.file` wrote.

    Args:
        source: the recipe, layer, step and picture size that the file was made from; who chose these need not wait.
    """
    return {"lesson": FileData(path=str(path)).model_dump(), "view": view or {}, "of": source}


def note_value(text: str) -> dict:
    """The value that makes `LessonPanels` keep what it shows and say why it shows nothing else."""
    return {"note": text, "id": uuid.uuid4().hex}  # the same text twice is news, too


def build() -> None:
    """Lay out the tab in the Blocks being built."""
    first = exhibits()[0]
    networks = _networks()
    view = {"point": first.point, "head": max(0, first.head), "eyes": True}
    trace = read_description(first_trace())
    source = {"recipe": trace["recipe"], "layer": first.layer, "step": first.step, "size": trace["size"]}
    panels = LessonPanels(panels_value(LESSON, view, source), elem_id="lesson")
    with (
        gr.Accordion("The papers’ networks, and other pictures, layers and steps", open=False, elem_id="choices"),
        gr.Row(),
    ):
        network = gr.Dropdown(
            _choices(networks), value=BUNDLED, label="Network", scale=2, min_width=300, visible=len(networks) > 1
        )
        run = gr.Dropdown(_choices(_runs()), value=_to_choice(first.recipe), label="Picture", scale=3, min_width=300)
        layer = gr.Dropdown(_bundled_layers(), value=first.layer, label="Layer", scale=2, min_width=300)
        step = gr.Dropdown(first.steps, value=first.step, label="Step", scale=1)

    # The choices that the panels show. Gradio's drop-downs send "input" even if the keyboard only passes through them.
    current = gr.State([BUNDLED, _to_choice(first.recipe), first.layer, first.step])
    inputs = [current, network, run, layer, step]
    quiet: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private"}
    update = quiet | {"fn": _show_layer, "inputs": inputs, "outputs": [panels, current], **HEAVY}
    chosen = network.input(_list_layers, [current, network, run], [network, run, layer, step], **HEAVY, **quiet)
    chosen.then(**update)
    run.input(_list_steps, run, step, **quiet).then(**update)
    for control in (layer, step):
        control.input(**update)
    followed = panels.visited(_follow_explore, [current, network], [panels, network, run, layer, step], **quiet)
    followed.then(**update | {"show_progress": "minimal"})
    panels.choose(_choose_layer, [], layer, **quiet).then(**update)


def _choices(labels: dict[str, str]) -> list[tuple[str, str]]:
    return [(label, name) for name, label in labels.items()]


def _to_choice(recipe: Recipe) -> str:
    """A recipe as a value of the drop-down, naming the weights it is followed with."""
    return json.dumps(replace(recipe, revision=recipe.weights, versions={}).to_json(), sort_keys=True)


def _from_choice(run: str) -> Recipe:
    """The recipe that the page sent back, checked again."""
    return Recipe.from_json(json.loads(run))


def _runs() -> dict[str, str]:
    """The gallery's runs, as {choice: caption}."""
    return {_to_choice(exhibit.recipe): exhibit.caption for exhibit in exhibits()}


@lru_cache(maxsize=1)
def _bundled_layers() -> list[str]:
    """The attention layers of the bundled model, read from its lesson's file, without torch."""
    with safe_open(LESSON, "np") as file:
        return json.loads(file.metadata()["lesson"])["layers"]


def _networks() -> dict[str, str]:
    return {BUNDLED: "the bundled model"} | available_networks()


def _list_layers(current: list, network: str, run: str) -> tuple:
    """Offer the layers of the chosen network, starting with the first exhibit's layer or the network's last.

    A run of the visitor's own model belongs to that model alone, so another network takes the first exhibit's.
    """
    if network in (current[0], OWN):
        return gr.skip(), gr.skip(), gr.skip(), gr.skip()
    first = exhibits()[0]
    picture, step = gr.skip(), gr.skip()
    if own_recipe(run) is not None:
        picture = gr.update(choices=_choices(_runs()), value=_to_choice(first.recipe))
        step = gr.update(choices=first.steps, value=first.step)
    if network == BUNDLED:
        layer = gr.update(choices=_bundled_layers(), value=first.layer)
    else:
        names = layers_of(load_model(network))
        layer = gr.update(choices=names, value=names[-1])
    return gr.update(choices=_choices(_networks())), picture, layer, step


def _list_steps(run: str) -> dict:
    """Offer the steps of the chosen run: those in the gallery's trace, or all of them."""
    for exhibit in exhibits():
        if run == _to_choice(exhibit.recipe):
            return gr.update(choices=exhibit.steps, value=exhibit.step)
    steps = _from_choice(run).steps
    return gr.update(choices=list(range(steps)), value=steps // 2)


def _choose_layer(event: gr.EventData) -> dict:
    """Set the drop-down to a layer that was chosen in the story."""
    return gr.update(value=str(event.layer))


def _follow_explore(event: gr.EventData, current: list, network: str, request: gr.Request | None = None) -> tuple:
    """Set the drop-downs to the trace, layer and step of the tab *Explore*, unless they are set already."""
    kept = (gr.skip(),) * 5
    try:
        recipe = Recipe.from_json(event.recipe)
    except RecipeError as error:
        return _follow_own(event, current, error, _session(request))
    choice, steps = _to_choice(recipe), range(recipe.steps)
    if current[1:] == [choice, event.layer, event.step]:
        return kept
    network = BUNDLED if network == OWN else network
    follows_layer = network == BUNDLED and event.layer in _bundled_layers()
    layer = gr.update(choices=_bundled_layers(), value=event.layer) if follows_layer else gr.skip()
    if network == BUNDLED and not follows_layer:
        layer = gr.update(choices=_bundled_layers(), value=exhibits()[0].layer)
    return (
        gr.skip(),
        gr.update(choices=_choices(_networks()), value=network),
        gr.update(choices=_choices({choice: recipe.caption} | _runs()), value=choice),
        layer,
        gr.update(choices=list(steps), value=event.step if event.step in steps else 0),
    )


def _follow_own(event: gr.EventData, current: list, error: RecipeError, session: Session) -> tuple:
    """The same for a trace of the visitor's own model, if that is open; else the story says what to do."""
    try:
        recipe = event.recipe
        if not isinstance(recipe, dict) or recipe.get("model", BUNDLED) == BUNDLED:
            raise error
        run = own_choice(recipe, event.size, session)
        layers = own_layers(run, session)
    except RecipeError as problem:
        note = f"The story can't explain this recording; it keeps showing the one before. {problem}"
        return (note_value(note), *(gr.skip(),) * 4)
    if current[1:] == [run, event.layer, event.step]:
        return (gr.skip(),) * 5
    label = recipe.get("caption") or f"seed {recipe.get('seed')}"
    return (
        gr.skip(),
        gr.update(choices=_choices(_networks() | {OWN: f"{recipe['model']} (yours)"}), value=OWN),
        gr.update(choices=_choices({run: label} | _runs()), value=run),
        gr.update(choices=layers, value=event.layer if event.layer in layers else layers[-1]),
        gr.update(choices=list(range(event.step + 1)), value=event.step),
    )


def _show_layer(
    current: list, network: str, run: str, layer: str, step: int, request: gr.Request | None = None
) -> tuple[dict, list]:
    """Watch the chosen layer, unless the panels show it already; returns their value and the choices it belongs to.

    It ends when its visitor leaves.
    """
    chosen = [network, run, layer, step]
    if chosen == current:
        return gr.skip(), gr.skip()
    path = Path(get_upload_folder()) / f"lesson-{uuid.uuid4().hex}.safetensors"
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        with stoppable_run(_session(request)) as stopped, hold_model(stopped):
            _write_layer(path, network, run, layer, step, stopped, _session(request))
    except Stopped:
        return gr.skip(), gr.skip()
    except Exception as error:
        logging.exception("the lesson's layer could not be watched")
        return note_value(f"This layer can't be explained: {error}"), gr.skip()
    return panels_value(path), chosen


def _session(request: gr.Request | None) -> Session:
    return request.session_hash if request else None


def _write_layer(
    path: Path, network: str, run: str, layer: str, step: int, stopped: threading.Event, session: Session
) -> None:
    # Imported here and below: torch takes seconds to load, and the page starts without it.
    from viz.lesson.file import write_lesson

    if network == OWN:
        write_own_lesson(run, layer, step, path, stopped, session)
        return
    recipe = _from_choice(run)
    with interruptible(load_bundled(recipe).unet, stopped):
        calls, picture = _replay(recipe)
    model, call = load_bundled(recipe), calls[step]
    if network != BUNDLED:
        timestep = call.timestep(model.unet)
        assert timestep is not None  # a U-Net is always told one
        model = load_model(network)
        call = call_of(model, picture, timestep, recipe.caption)
    words = words_of(model, recipe.caption)
    write_lesson(network_of(model), call, layer, path, picture=picture, caption=recipe.caption, step=step, words=words)


@lru_cache(maxsize=8)
def _replay(recipe: Recipe) -> Replay:
    """The calls of the bundled model in a run, which are small, and the picture it drew."""
    from viz.lesson.watch import replay

    return replay(load_bundled(recipe), recipe)
