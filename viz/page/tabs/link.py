"""Opening the page with a link: a recorded trace is shown at once, any other is drawn again."""

from __future__ import annotations

from collections.abc import Iterator

import gradio as gr

from models.opening.revision import versions
from viz.page.gallery import exhibits, pin_revision
from viz.page.links import LinkError, decode, describe_differences
from viz.page.notices import warn
from viz.page.progress import describe_progress
from viz.page.runs import announce_run
from viz.page.tabs.generate import drawn, warn_of_missing
from viz.page.viewer import shown
from viz.recipe import Recipe
from viz.trace_header import read_description
from viz.view import View


def wire(page: gr.Blocks, viewer: gr.HTML, live: gr.HTML, boxes: list[gr.components.Component]) -> None:
    """Follow the link that `page` is opened with.

    Args:
        boxes: for caption, seed, steps and guidance.
    """
    linked = gr.State(None)  # what has to be drawn again: (recipe, view)
    quiet = {"show_progress": "hidden", "api_visibility": "private"}
    page.load(_arrive, None, [viewer, live, linked, *boxes], concurrency_limit=None, **quiet)
    linked.change(_draw, linked, [viewer, live], concurrency_id="model", concurrency_limit=1, **quiet)


def _arrive(request: gr.Request) -> tuple:
    nothing = (gr.skip(),) * 7
    text = request.query_params.get("look")
    if text is None:
        return nothing
    try:
        asked, view = decode(text)
    except LinkError as error:
        warn(f"{error} Here is a recorded picture instead.")
        return nothing
    recipe = pin_revision(asked)
    if (differences := describe_differences(asked, recipe.weights, versions())) is not None:
        warn(differences)
    boxes = (recipe.caption, recipe.seed, recipe.steps, recipe.guidance)
    for exhibit in exhibits():
        if exhibit.recipe == recipe and view.step in exhibit.steps:
            said = read_description(exhibit.trace)
            warn_of_missing(view, [layer["name"] for layer in said["layers"]], exhibit.steps)
            return (shown(exhibit.trace, view), gr.skip(), gr.skip(), *boxes)
    announce_run(request.session_hash)
    return (gr.skip(), describe_progress(0, recipe.steps), (recipe, view), *boxes)


def _draw(linked: tuple[Recipe, View] | None, request: gr.Request) -> Iterator[tuple]:
    if linked is None:
        yield gr.skip(), gr.skip()
    else:
        yield from drawn(*linked, request.session_hash)
