"""Opening the page with a link: a trace of the gallery is shown at once, any other is drawn again."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import gradio as gr

from models.opening.revision import versions
from viz.page.gallery import exhibits, pin_revision
from viz.page.links import LinkError, decode, describe_differences
from viz.page.notices import warn
from viz.page.runs import announce_run, first_progress
from viz.page.tabs.generate import draw_recipe, warn_if_missing
from viz.page.viewer import viewer_value
from viz.recipe import Recipe
from viz.trace_header import read_description
from viz.view import View, WordQuery


def wire(page: gr.Blocks, viewer: gr.HTML, strip: gr.HTML, fields: list[gr.components.Component]) -> None:
    """Follow the link that `page` is opened with.

    Args:
        fields: the components for caption, seed, steps, guidance, and whether to record both halves of it.
    """
    pending = gr.State(None)  # (recipe, view) of a link whose trace is not in the gallery
    quiet: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private"}
    page.load(_open_link, None, [viewer, strip, pending, *fields], concurrency_limit=None, **quiet)
    pending.change(_draw, pending, [viewer, strip], concurrency_id="model", concurrency_limit=1, **quiet)


def _open_link(request: gr.Request) -> tuple:
    unchanged = (gr.skip(),) * 8
    text = request.query_params.get("look")
    if text is None:
        return unchanged
    try:
        linked, view = decode(text)
    except LinkError as error:
        warn(f"{error} Here is a recorded picture instead.")
        return unchanged
    recipe = pin_revision(linked)
    if (differences := describe_differences(linked, recipe.weights, versions())) is not None:
        warn(differences)
    values = (recipe.caption, recipe.seed, recipe.steps, recipe.guidance, _needs_both(view))
    for exhibit in exhibits():
        if exhibit.recipe == recipe and _shows(description := read_description(exhibit.trace), view):
            warn_if_missing(view, [layer["name"] for layer in description["layers"]], exhibit.steps)
            return (viewer_value(exhibit.trace, view), gr.skip(), gr.skip(), *values)
    announce_run(request.session_hash)
    return (gr.skip(), first_progress(recipe), (recipe, view), *values)


def _shows(description: dict, view: View) -> bool:
    """Whether a recorded trace holds what a view shows: its step, its half of guidance and, if it needs them, words."""
    has_step = view.step in [step for step, _ in description["timesteps"]]
    has_branch = not _needs_both(view) or len(description["branches"]) > 1
    return has_step and has_branch and (bool(description.get("words")) or not _needs_words(view))


def _needs_both(view: View) -> bool:
    return view.branch not in (None, "conditional")


def _needs_words(view: View) -> bool:
    return bool(view.winner) or any(isinstance(pin, WordQuery) for pin in view.pins or ())


def _draw(pending: tuple[Recipe, View] | None, request: gr.Request) -> Iterator[tuple]:
    if pending is None:
        yield gr.skip(), gr.skip()
    else:
        yield from draw_recipe(*pending, request.session_hash, both=_needs_both(pending[1]))
