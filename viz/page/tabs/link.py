"""Opening the page with a link: a trace that is kept is shown at once, any other is drawn again."""

from __future__ import annotations

from typing import Any

import gradio as gr

from models.opening.revision import versions
from viz.page.gallery import pin_revision
from viz.page.links import LinkError, decode, describe_differences
from viz.page.notices import warn
from viz.page.tabs.generate import Wanted, ask, needs_both


def wire(page: gr.Blocks, shown: list[gr.components.Component], fields: list[gr.components.Component]) -> None:
    """Follow the link that `page` is opened with.

    Args:
        shown: the viewer, the progress strip and the state that `viz.page.tabs.generate.ask` has values for.
        fields: the components for caption, seed, steps, guidance, and whether to record both halves of it.
    """
    quiet: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private"}
    page.load(_open_link, None, [*shown, *fields], concurrency_limit=None, **quiet)


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
    wanted = Wanted(recipe, view, needs_both(view))
    fields = (recipe.caption, recipe.seed, recipe.steps, recipe.guidance, wanted.both)
    return *ask(wanted, request.session_hash), *fields
