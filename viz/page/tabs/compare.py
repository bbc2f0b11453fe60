"""The second viewer of the Explore tab: another trace beside the first, with one cursor for both."""

from __future__ import annotations

from typing import Any

import gradio as gr

from viz.page.events import OddEvent, number_in, value_in
from viz.page.gallery import Exhibit, exhibits, pin_revision
from viz.page.links import LinkError, decode
from viz.page.notices import warn
from viz.page.progress import ProgressStrip
from viz.page.tabs import generate
from viz.page.tabs.generate import Shown, Wanted
from viz.page.viewer import Viewer
from viz.recipe import Recipe

WAITING = "This critter is drawn and recorded first; its progress is shown below."


def build(viewer: Viewer, strip: ProgressStrip, elem_id: str) -> None:
    """Lay out the second viewer beside `viewer`, whose `elem_id` is given. It is hidden at first."""
    names = [f"{exhibit.caption}, seed {exhibit.seed}" for exhibit in exhibits()]
    with gr.Column(min_width=340, visible=False, elem_id="beside") as column:
        second = Viewer(beside=elem_id, others=names, elem_id="second")
    shown = [second, strip, generate.wire(second, strip)]
    quiet: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private"}
    # In the queue: Gradio's page (6.31) doesn't notice that other events have changed a state, so no run would begin.
    viewer.compare(_open, None, [column, *shown], **quiet)
    second.pick(_pick, None, shown, **quiet)
    second.leave(lambda: gr.Column(visible=False), None, column, queue=False, **quiet)


def _open(event: gr.EventData, request: gr.Request) -> tuple:
    """Show what a link compares with, or the first exhibit other than the trace on screen that is kept.

    The browser copies the view.
    """
    if (link := value_in(event, "beside")) is not None:
        return _open_link(link, request)
    shown = [value_in(event, "caption"), value_in(event, "seed")]
    others = [e for e in exhibits() if [e.caption, e.seed] != shown]
    for exhibit in others:
        if (value := _kept(exhibit)) is not None:
            return gr.Column(visible=True), value, gr.skip(), gr.skip()
    if not others:
        warn("There is no other picture to compare with.")
        return (gr.skip(),) * 4
    return gr.Column(visible=True), *_ask(others[0], request)


def _open_link(text: object, request: gr.Request) -> tuple:
    """Show the recording that the address compares with."""
    try:
        recipe, _ = decode(text)
    except LinkError as error:
        warn(str(error))
        return (gr.skip(),) * 4
    return gr.Column(visible=True), *_ask_for(pin_revision(recipe), request)


def _pick(event: gr.EventData, request: gr.Request) -> Shown:
    try:
        exhibit = exhibits()[number_in(event, "index", len(exhibits()))]
    except OddEvent as error:
        warn(str(error))
        return (gr.skip(),) * 3
    return _ask(exhibit, request)


def _kept(exhibit: Exhibit) -> dict | None:
    """The value for an exhibit that can be shown at once."""
    kept = generate.show_kept(Wanted(exhibit.recipe))
    return generate.show_part(exhibit.trace) if kept is None and exhibit.trace is not None else kept


def _ask(exhibit: Exhibit, request: gr.Request) -> Shown:
    if (value := _kept(exhibit)) is not None:
        return value, gr.skip(), gr.skip()
    return _draw(exhibit.recipe, request)


def _ask_for(recipe: Recipe, request: gr.Request) -> Shown:
    for exhibit in exhibits():
        if exhibit.recipe == recipe:
            return _ask(exhibit, request)
    if (value := generate.show_kept(Wanted(recipe))) is not None:
        return value, gr.skip(), gr.skip()
    return _draw(recipe, request)


def _draw(recipe: Recipe, request: gr.Request) -> Shown:
    _, strip, wanted = generate.ask(Wanted(recipe), request.session_hash)
    return {"message": WAITING}, strip, wanted
