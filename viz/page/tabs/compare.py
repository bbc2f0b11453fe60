"""The second viewer of the Explore tab: another trace beside the first, with one cursor for both."""

from __future__ import annotations

from typing import Any

import gradio as gr

from viz.page.gallery import exhibits
from viz.page.viewer import Viewer, viewer_value


def build(viewer: Viewer, elem_id: str) -> None:
    """Lay out the second viewer beside `viewer`, whose `elem_id` is given. It is hidden at first."""
    names = [f"{exhibit.caption}, seed {exhibit.seed}" for exhibit in exhibits()]
    with gr.Column(min_width=340, visible=False, elem_id="beside") as column:
        second = Viewer(beside=elem_id, others=names, elem_id="second")
    quiet: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private", "queue": False}
    viewer.compare(_open, None, [column, second], **quiet)
    second.pick(_show_exhibit, None, second, **quiet)
    second.leave(lambda: gr.Column(visible=False), None, column, **quiet)


def _open(event: gr.EventData) -> tuple[gr.Column, dict]:
    """Show the first exhibit other than the trace on screen. The browser copies the view."""
    other = next(e for e in exhibits() if (e.caption, e.seed) != (event.caption, event.seed))
    return gr.Column(visible=True), viewer_value(other.trace)


def _show_exhibit(event: gr.EventData) -> dict:
    return viewer_value(exhibits()[event.index].trace)
