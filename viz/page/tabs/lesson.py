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
from safetensors import SafetensorError, safe_open

from viz.colors import in_hex, palette
from viz.lesson.papers import available_networks, call_of, layers_of, network_of, words_of
from viz.page.callers import HEAVY
from viz.page.events import NOT_UNDERSTOOD, OddEvent, number_in, value_in
from viz.page.gallery import LESSON, exhibits, first_exhibit, opening_exhibit
from viz.page.interrupt import ending_when_left, interruptible
from viz.page.line import Stopped
from viz.page.notices import describe_failure
from viz.page.own_lesson import number_of_steps, own_choice, own_layers, own_recipe, write_own_lesson
from viz.page.paper_networks import paper_network
from viz.page.runs import Session, hold_model, load_bundled, stoppable_run
from viz.page.script import js_on_load
from viz.recipe import Recipe, RecipeError
from viz.trace_header import read_description

if TYPE_CHECKING:
    from viz.lesson.watch import Replay

BUNDLED, OWN = "critters", "own"
MAX_STEPS, MAX_NAME = 10_000, 300  # what an event may name: a step, and how many characters a layer's name has

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
    first, networks = first_exhibit(), _networks()
    value = _first_value()
    panels = LessonPanels(value, elem_id="lesson")
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
    begun = [BUNDLED, _to_choice(first.recipe), first.layer, first.step]
    current = gr.State(begun if "lesson" in value else [])
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


def _first_value() -> dict:
    """What the tab opens with: the lesson of the first exhibit's view, or why there is none."""
    first = opening_exhibit()
    if first is None or first.trace is None or not _lesson_layers():
        return note_value("The recording that belongs here is damaged. Choose a picture, a layer or a step below.")
    trace = read_description(first.trace)
    source = {"recipe": trace["recipe"], "layer": first.layer, "step": first.step, "size": trace["size"]}
    return panels_value(LESSON, {"point": first.point, "head": max(0, first.head), "eyes": True}, source)


def _choices(labels: dict[str, str]) -> list[tuple[str, str]]:
    return [(label, name) for name, label in labels.items()]


def _to_choice(recipe: Recipe) -> str:
    """A recipe as a value of the drop-down, naming the weights it is followed with."""
    return json.dumps(replace(recipe, revision=recipe.weights, versions={}).to_json(), sort_keys=True)


def _from_choice(run: str) -> Recipe:
    """The recipe that the page sent back, checked again; raises RecipeError."""
    try:
        return Recipe.from_json(json.loads(run))
    except (TypeError, ValueError, RecursionError) as error:  # RecipeError is a ValueError
        raise error if isinstance(error, RecipeError) else RecipeError(NOT_UNDERSTOOD) from error


def _runs() -> dict[str, str]:
    """The gallery's runs, as {choice: caption}."""
    return {_to_choice(exhibit.recipe): exhibit.caption for exhibit in exhibits() or [first_exhibit()]}


@lru_cache(maxsize=1)
def _bundled_layers() -> list[str]:
    """The attention layers of the bundled model, read from its lesson's file, without torch if that is whole."""
    if layers := _lesson_layers():
        return layers
    from viz.probes import find_sites

    return list(find_sites(load_bundled().unet)[0])


@lru_cache(maxsize=1)
def _lesson_layers() -> list[str]:
    """The layers that the lesson's file names; none if it is damaged."""
    try:
        with safe_open(LESSON, "np") as file:
            layers = json.loads(file.metadata()["lesson"])["layers"]
        return [str(layer) for layer in layers]
    except (SafetensorError, OSError, ValueError, KeyError, TypeError) as error:
        logging.warning("The first lesson is left out, because it is damaged (%s). Install PixelGaze again.", error)
        return []


def _networks() -> dict[str, str]:
    return {BUNDLED: "the bundled model"} | available_networks()


def _list_layers(current: list, network: str, run: str) -> tuple:
    """Offer the layers of the chosen network, starting with the first exhibit's layer or the network's last.

    A run of the visitor's own model belongs to that model alone, so another network takes the first exhibit's. Loading
    the network ends when its visitor leaves.
    """
    if network in (*current[:1], OWN) or network not in list(_networks()):
        return (gr.skip(),) * 4
    first = first_exhibit()
    picture, step = gr.skip(), gr.skip()
    if own_recipe(run) is not None:
        picture = gr.update(choices=_choices(_runs()), value=_to_choice(first.recipe))
        step = gr.update(choices=first.steps, value=first.step)
    if network == BUNDLED:
        layer = gr.update(choices=_bundled_layers(), value=first.layer)
    else:
        try:
            with ending_when_left() as stopped:
                names = layers_of(paper_network(network, stopped))
        except Stopped:
            return (gr.skip(),) * 4
        layer = gr.update(choices=names, value=names[-1])
    return gr.update(choices=_choices(_networks())), picture, layer, step


def _list_steps(run: str) -> dict:
    """Offer the steps of the chosen run: those in the gallery's trace, or all of them; none of a run that is no run."""
    for exhibit in exhibits():
        if run == _to_choice(exhibit.recipe):
            return gr.update(choices=exhibit.steps, value=exhibit.step)
    own = own_recipe(run)
    try:
        steps = _from_choice(run).steps if own is None else number_of_steps(own)
    except RecipeError:  # what is shown of it next says so
        return gr.skip()
    return gr.update(choices=list(range(steps)), value=steps // 2)


def _choose_layer(event: gr.EventData) -> dict:
    """Set the drop-down to a layer that was chosen in the story."""
    layer = value_in(event, "layer")
    return gr.update(value=layer[:MAX_NAME]) if isinstance(layer, str) else gr.skip()


def _follow_explore(event: gr.EventData, current: list, network: str, request: gr.Request | None = None) -> tuple:
    """Set the drop-downs to the trace, layer and step of the tab *Explore*, unless they are set already."""
    kept = (gr.skip(),) * 5
    try:
        step, wanted = number_in(event, "step", MAX_STEPS), value_in(event, "layer")
        recipe = Recipe.from_json(value_in(event, "recipe"))
    except OddEvent:
        return (note_value(NOT_UNDERSTOOD), *kept[1:])
    except RecipeError as error:
        return _follow_own(event, current, error, _session(request))
    choice, steps = _to_choice(recipe), range(recipe.steps)
    if current[1:] == [choice, wanted, step]:
        return kept
    network = BUNDLED if network == OWN else network
    follows_layer = network == BUNDLED and wanted in _bundled_layers()
    layer = gr.update(choices=_bundled_layers(), value=wanted) if follows_layer else gr.skip()
    if network == BUNDLED and not follows_layer:
        layer = gr.update(choices=_bundled_layers(), value=first_exhibit().layer)
    return (
        gr.skip(),
        gr.update(choices=_choices(_networks()), value=network),
        gr.update(choices=_choices({choice: recipe.caption} | _runs()), value=choice),
        layer,
        gr.update(choices=list(steps), value=step if step in steps else 0),
    )


def _follow_own(event: gr.EventData, current: list, error: RecipeError, session: Session) -> tuple:
    """The same for a trace of the visitor's own model, if that is open; else the story says what to do."""
    step, layer = number_in(event, "step", MAX_STEPS), value_in(event, "layer")
    try:
        recipe = value_in(event, "recipe")
        if not isinstance(recipe, dict) or recipe.get("model", BUNDLED) == BUNDLED:
            raise error
        run = own_choice(recipe, value_in(event, "size"), session)
        layers = own_layers(run, session)
    except RecipeError as problem:
        note = f"The story can't explain this recording; it keeps showing the one before. {problem}"
        return (note_value(note), *(gr.skip(),) * 4)
    if current[1:] == [run, layer, step]:
        return (gr.skip(),) * 5
    label = str(recipe.get("caption") or "")[:MAX_NAME] or f"seed {recipe.get('seed')}"
    return (
        gr.skip(),
        gr.update(choices=_choices(_networks() | {OWN: f"{recipe['model']} (yours)"}), value=OWN),
        gr.update(choices=_choices({run: label} | _runs()), value=run),
        gr.update(choices=layers, value=layer if layer in layers else layers[-1]),
        gr.update(choices=list(range(step + 1)), value=step),
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
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with stoppable_run(_session(request)) as stopped, hold_model(stopped):
            _write_layer(path, network, run, layer, step, stopped, _session(request))
    except Stopped:
        return gr.skip(), gr.skip()
    except (RecipeError, IndexError, KeyError) as error:
        return note_value(f"This layer can't be explained: {error.args[0] if error.args else error}"), gr.skip()
    except Exception as error:
        logging.exception("the lesson's layer could not be watched")
        return note_value(f"This layer can't be explained: {describe_failure(error)}"), gr.skip()
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
    if network not in list(_networks()):
        raise RecipeError(NOT_UNDERSTOOD)
    recipe = _from_choice(run)
    with interruptible(load_bundled(recipe).unet, stopped):
        calls, picture = _replay(recipe)
    model, call = load_bundled(recipe), calls[step]
    if network != BUNDLED:
        timestep = call.timestep(model.unet)
        assert timestep is not None  # a U-Net is always told one
        model = paper_network(network, stopped)
        call = call_of(model, picture, timestep, recipe.caption)
    words = words_of(model, recipe.caption)
    told: dict[str, Any] = {"picture": picture, "caption": recipe.caption, "step": step, "words": words}
    with interruptible(watched := network_of(model), stopped):
        write_lesson(watched, call, layer, path, **told)


@lru_cache(maxsize=8)
def _replay(recipe: Recipe) -> Replay:
    """The calls of the bundled model in a run, which are small, and the picture it drew."""
    from viz.lesson.watch import replay

    return replay(load_bundled(recipe), recipe)
