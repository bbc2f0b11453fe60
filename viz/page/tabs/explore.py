"""The Explore tab: a trace to point at, and the fields to draw and record another."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import gradio as gr
from gradio.data_classes import FileData

from viz.page.callers import HEAVY, session_of
from viz.page.events import OddEvent, number_in, value_in
from viz.page.gallery import Exhibit, exhibits, first_exhibit, opening_exhibit, pin_revision
from viz.page.line import Stopped
from viz.page.menu import ExportMenu
from viz.page.notices import describe_failure, inform, warn
from viz.page.plots import Plots
from viz.page.progress import ProgressStrip
from viz.page.runs import load_bundled, stop_runs, stoppable_run
from viz.page.store import Kept
from viz.page.tabs import compare, generate, link, model_box, own_model
from viz.page.tabs.generate import Shown, Wanted
from viz.page.viewer import Viewer
from viz.recipe import Recipe, RecipeError, check_words
from viz.view import View, ViewError

# Gradio cuts off examples of more than 60 characters.
CAPTIONS = [
    "a round purple monster with two yellow eyes and red horns",
    "a fluffy green monster with one pink eye",
    "a square monster with three white eyes and antennas",
]

PRIVATE: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private"}


def build(page: gr.Blocks) -> None:
    """Lay out the tab in `page`."""
    gallery = exhibits()
    with gr.Row(elem_id="draw"):
        shelf = _lay_out_gallery(gallery)
        request = _lay_out_request(first_exhibit())
        box = model_box.lay_out()
    strip = ProgressStrip(elem_id="live")
    with gr.Row(elem_id="pair"):
        with gr.Column(min_width=340):
            viewer = Viewer(_first_value(), compares=True, elem_id="viewer")
        compare.build(viewer, strip, "viewer")
    menu = ExportMenu(elem_id="export")
    plots = Plots(elem_id="plots")
    tries = gr.Examples([[text] for text in CAPTIONS], [request.caption], label="Captions to try", elem_id="tries")

    pending = generate.wire(viewer, strip)
    shown = [viewer, strip, pending]
    shelf.select(_choose_exhibit, None, [*shown, *request.fields], **PRIVATE)
    viewer.whole(_show_whole, None, shown, **PRIVATE)
    _wire_request(request, tries, shown)
    menu.wire(viewer)
    plots.wire(viewer)
    link.wire(page, shown, [*request.fields, request.both])
    own_model.wire(box, viewer, strip)
    strip.stop(_stop, None, strip, queue=False, **PRIVATE)
    gr.api(record_trace, api_name="trace", **HEAVY)


def _first_value() -> dict:
    """What the page opens with: the first exhibit's trace, or why there is none."""
    first = opening_exhibit()
    if first is None or first.trace is None:
        return {"message": "The recording that belongs here is damaged. Choose another picture, or press Generate."}
    return generate.show_part(first.trace, first.view)


def _stop(request: gr.Request) -> None:
    """Stop this page's runs; None is the strip's value, in case that a run was refused and has no strip to clear."""
    stop_runs(request)


@dataclass(frozen=True)
class _Request:
    """The row that says what to draw."""

    caption: gr.Textbox
    seed: gr.Number
    dice: gr.Button
    steps: gr.Number
    guidance: gr.Number
    both: gr.Checkbox
    generate: gr.Button

    @property
    def fields(self) -> list[gr.components.Component]:
        """The components that make a recipe, in the order of its fields."""
        return [self.caption, self.seed, self.steps, self.guidance]


def _lay_out_request(first: Exhibit) -> _Request:
    """Lay out the fields, filled in with the first exhibit's recipe; those that are rarely changed are folded."""
    label = "Describe a critter. Say as little or as much as you like; the model makes up the rest."
    caption = gr.Textbox(first.caption, label=label, placeholder=label, lines=1, max_lines=4, elem_id="caption")
    seed = gr.Number(first.seed, label="Seed", precision=None, min_width=90, elem_id="seed")
    dice = gr.Button("⚄ Random seed", size="sm", min_width=84, scale=0, elem_id="dice")
    generate = gr.Button("Generate", variant="primary", min_width=110, scale=0, elem_id="generate")
    with gr.Accordion("More", open=False, elem_id="more"), gr.Row():
        steps = gr.Number(25, label="Steps", precision=None, min_width=80, scale=0, elem_id="steps")
        guidance = gr.Number(1.5, label="Guidance", step=0.5, min_width=92, scale=0, elem_id="guidance")
        both = gr.Checkbox(False, label="Record both halves of guidance", container=False, elem_id="both")
    return _Request(caption, seed, dice, steps, guidance, both, generate)


def _wire_request(request: _Request, tries: gr.helpers.Examples, shown: list[gr.components.Component]) -> None:
    """Draw when asked to, and at once when the seed or the caption is chosen by a click."""
    rolled = request.dice.click(_random_seed, None, request.seed, queue=False, **PRIVATE)
    draw: dict[str, Any] = {"fn": _generate, "inputs": [*request.fields, request.both], "outputs": shown}
    draw |= {"concurrency_limit": None} | PRIVATE
    gr.on([request.generate.click, request.caption.submit], **draw)
    for chosen in (rolled, tries.load_input_event):
        chosen.then(**draw)


def _lay_out_gallery(gallery: Sequence[Exhibit]) -> gr.Gallery:
    return gr.Gallery(
        [(str(exhibit.picture), exhibit.caption) for exhibit in gallery],
        label="Recorded traces",
        columns=max(1, len(gallery)),
        allow_preview=False,
        object_fit="contain",
        height="auto",
        elem_id="shelf",
        buttons=[],
    )


def _random_seed() -> int:
    return random.randrange(10_000)


def _choose_exhibit(event: gr.EventData, request: gr.Request) -> tuple:
    try:
        exhibit = exhibits()[number_in(event, "index", len(exhibits()))]
    except OddEvent as error:
        warn(str(error))
        return (gr.skip(),) * 7
    recipe = exhibit.recipe
    shown = generate.ask(Wanted(recipe, exhibit.view), request.session_hash)
    if isinstance(shown[2], Wanted):
        inform("This critter is drawn and recorded now, which takes some seconds; from then on it opens at once.")
    return *shown, recipe.caption, recipe.seed, recipe.steps, recipe.guidance


def _show_whole(event: gr.EventData, request: gr.Request) -> Shown:
    """Show the first exhibit with all its steps, in the same view."""
    try:
        view = View.from_json(value_in(event, "view"))
    except ViewError as error:
        warn(f"The view cannot be kept. {error}")
        view = None
    return generate.ask_whole(first_exhibit().recipe, view, request.session_hash)


def _generate(caption: str, seed: int, steps: int, guidance: float, both: bool, request: gr.Request) -> Iterator[Shown]:
    """Show a trace at once if it is kept, otherwise the strip, even while another visitor's run comes first."""
    try:
        wanted = Wanted(pin_revision(Recipe(caption, seed, steps, guidance)), both=both)
    except RecipeError as error:
        warn(str(error))
        yield gr.skip(), None, gr.skip()
        return
    yield (shown := generate.ask(wanted, request.session_hash))
    if not isinstance(shown[2], Wanted):
        inform("This picture was drawn before, so its recording is shown at once.")
        generate.warn_of_words(wanted.recipe)


def record_trace(
    caption: str,
    seed: int = 0,
    steps: int = 25,
    guidance: float = 1.5,
    both_halves: bool = False,
    request: gr.Request | None = None,
) -> FileData:
    """Draw a picture; returns its trace, a file for `viz.Trace.load` with every layer and up to 25 steps.

    It holds the conditional half of guidance, or with `both_halves` the unconditional one, too, in half precision.
    """
    try:
        recipe = pin_revision(Recipe(caption, seed, steps, guidance))
        check_words(recipe, load_bundled(recipe))
        with stoppable_run(session_of(request)) as stopped:
            *_, kept = generate.follow_kept(recipe, stopped, both=both_halves)
    except RecipeError as error:
        raise gr.Error(str(error)) from error
    except Stopped as error:
        raise gr.Error("The run was stopped.") from error
    except OSError as error:
        raise gr.Error(f"The trace could not be written: {error.strerror or error}.") from error
    except (MemoryError, RuntimeError) as error:
        raise gr.Error(f"The run failed: {describe_failure(error)}") from error
    assert isinstance(kept, Kept)
    return FileData(path=str(kept.path))
