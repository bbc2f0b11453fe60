"""The Explore tab: a recorded trace to point at, and the box that draws and records another."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import gradio as gr
from gradio.data_classes import FileData

from viz.page.gallery import Exhibit, exhibits, pin_revision
from viz.page.menu import TakeAway
from viz.page.notices import warn
from viz.page.plots import Plots
from viz.page.progress import Progress, ProgressStrip, describe_progress
from viz.page.runs import announce_run, follow_recipe, load_bundled, stop_runs, stoppable_run
from viz.page.tabs import compare, link, own_model
from viz.page.tabs.generate import drawn
from viz.page.viewer import Viewer, save_temporary, shown
from viz.recipe import Recipe, RecipeError, check_words
from viz.view import View

# Gradio's examples cut off what has more than 60 letters.
CAPTIONS = [
    "a round purple monster with two yellow eyes and red horns",
    "a fluffy green monster with one pink eye",
    "a square monster with three white eyes and antennas",
]


def build(page: gr.Blocks) -> None:
    """Lay the tab out in `page`, the Blocks that is being built."""
    gallery = exhibits()
    request = _request(gallery[0])
    box = own_model.lay_out()
    strip = ProgressStrip(elem_id="live")
    with gr.Row(elem_id="pair"):
        with gr.Column(min_width=340):
            viewer = Viewer(_exhibit(0), compares=True, elem_id="viewer")
        compare.build(viewer, "viewer")
    takeaway = TakeAway(elem_id="takeaway")
    plots = Plots(elem_id="plots")
    with gr.Row():
        with gr.Column(scale=3, min_width=340):
            shelf = _shelf(gallery)
        with gr.Column(scale=4, min_width=340):
            gr.Examples([[text] for text in CAPTIONS], [request.caption], label="Captions to try")

    request.dice.click(_roll, None, request.seed, show_progress="hidden", api_visibility="private", queue=False)
    shelf.select(_chosen, None, [viewer, *request.asked], show_progress="hidden", api_visibility="private")
    gr.on(
        [request.generate.click, request.caption.submit],
        _announce,
        request.asked,
        strip,
        show_progress="hidden",
        concurrency_limit=None,
        api_visibility="private",
    ).then(
        _generate,
        request.asked,
        [viewer, strip],
        show_progress="hidden",
        concurrency_id="model",
        concurrency_limit=1,
        api_visibility="private",
    )
    takeaway.wire(viewer)
    plots.wire(viewer)
    link.wire(page, viewer, strip, request.asked)
    own_model.wire(box, viewer, strip)
    strip.stop(stop_runs, None, None, show_progress="hidden", api_visibility="private", queue=False)
    gr.api(trace, api_name="trace", concurrency_id="model", concurrency_limit=1)


@dataclass(frozen=True)
class _Request:
    """The row that says what to draw."""

    caption: gr.Textbox
    seed: gr.Number
    dice: gr.Button
    steps: gr.Number
    guidance: gr.Number
    generate: gr.Button

    @property
    def asked(self) -> list:
        return [self.caption, self.seed, self.steps, self.guidance]


def _request(first: Exhibit) -> _Request:
    """Lay out that row, filled with what the first exhibit was drawn from."""
    with gr.Row(elem_id="draw"):
        with gr.Column(scale=8, min_width=320):
            caption = gr.Textbox(
                first.caption,
                label="Draw a critter: say as little or as much as you like, the model makes up the rest",
                lines=1,
                max_lines=4,
                elem_id="caption",
            )
        with gr.Column(scale=5, min_width=320), gr.Row(elem_id="settings"):
            return _Request(
                caption,
                gr.Number(first.seed, label="Seed", precision=None, min_width=90, elem_id="seed"),
                gr.Button("⚄ New", size="md", min_width=76, scale=0, elem_id="dice"),
                gr.Number(25, label="Steps", precision=None, min_width=80, elem_id="steps"),
                gr.Number(1.5, label="Guidance", step=0.5, min_width=92, elem_id="guidance"),
                gr.Button("Generate", variant="primary", scale=2, min_width=120, elem_id="generate"),
            )


def _shelf(gallery: Sequence[Exhibit]) -> gr.Gallery:
    return gr.Gallery(
        [(str(exhibit.picture), exhibit.caption) for exhibit in gallery],
        label="Recorded traces",
        columns=len(gallery),
        allow_preview=False,
        object_fit="contain",
        height="auto",
        elem_id="shelf",
        buttons=[],
    )


def _roll() -> int:
    return random.randrange(10_000)


def _exhibit(index: int) -> dict:
    exhibit = exhibits()[index]
    return shown(exhibit.trace, View(exhibit.point, exhibit.layer, exhibit.step, exhibit.head))


def _chosen(event: gr.SelectData) -> tuple:
    recipe = exhibits()[event.index].recipe
    return _exhibit(event.index), recipe.caption, recipe.seed, recipe.steps, recipe.guidance


def _announce(caption: str, seed: float, steps: float, guidance: float, request: gr.Request) -> Progress | None:
    """Show the progress strip at once, with its Stop button, also when somebody else's run comes first."""
    try:
        recipe = Recipe(caption, seed, steps, guidance)
    except RecipeError as error:
        warn(str(error))
        return None
    announce_run(request.session_hash)
    return describe_progress(0, recipe.steps)


def _generate(caption: str, seed: float, steps: float, guidance: float, request: gr.Request) -> Iterator[tuple]:
    """Draw and record; the viewer keeps its trace, and can be pointed at, until the new one is whole."""
    try:
        recipe = pin_revision(Recipe(caption, seed, steps, guidance))
    except RecipeError:  # _announce has said so
        yield gr.skip(), None
        return
    yield from drawn(recipe, None, request.session_hash)


def trace(caption: str, seed: int = 0, steps: int = 25, guidance: float = 1.5, request: gr.Request = None) -> FileData:
    """Draw a picture; returns its trace, a file for `viz.Trace.load`, with every layer and up to 25 steps."""
    try:
        recipe = pin_revision(Recipe(caption, seed, steps, guidance))
        check_words(recipe, load_bundled(recipe))
    except RecipeError as error:
        raise gr.Error(str(error)) from error
    with stoppable_run(request.session_hash) as stopped:
        *_, drawn = follow_recipe(recipe, load_bundled(recipe), stopped)
    return FileData(path=str(save_temporary(drawn)))
