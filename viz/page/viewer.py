"""The viewer as a Gradio component. What it shows is a trace's own file: the browser reads it and computes the rows."""

from __future__ import annotations

import uuid
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import gradio as gr
from gradio.data_classes import FileData
from gradio.utils import get_upload_folder

from viz.colors import DIVERGING, SEQUENTIAL, in_hex, palette
from viz.page.limits import browser_limit
from viz.page.map_server import answer
from viz.page.script import js_on_load
from viz.view import View

# Imports inside functions: torch is loaded when a trace is packed, after the page is served.
if TYPE_CHECKING:
    from viz.trace import Trace

# Constant: Gradio renders templates as Handlebars and then as JavaScript, so nothing variable may be in them.
_SKELETON = '<div class="pixelgaze"><p class="pg-message">Loading the viewer…</p></div>'


class Viewer(gr.HTML):
    """A live canvas: point at the picture, and the atlas shows where that pixel looks. Its value is made by `shown`.

    Args:
        compares: has a button whose `compare` event says which trace (caption, seed) is to be compared with another.
        beside: the elem_id of the viewer whose cursor this one shares; its `pick` event has an index into `others`,
            the names of what it can show, and `leave` is for closing it.
    """

    def __init__(
        self,
        value: dict | None = None,
        *,
        compares: bool = False,
        beside: str | None = None,
        others: list[str] | None = None,
        **arguments,
    ) -> None:
        super().__init__(
            value,
            html_template=_SKELETON,
            js_on_load=js_on_load("startViewer", "compare", "pick", "leave"),
            apply_default_css=False,
            server_functions=[answer],
            colormap=in_hex(palette(SEQUENTIAL)),
            diverging=in_hex(palette(DIVERGING)),
            compares=compares,
            beside=beside,
            others=others or [],
            **arguments,
        )

    def api_info(self) -> dict:
        return {"type": "object", "description": "the file of a trace, and the view to open it with"}


def shown(path: str | Path, view: View | None = None, *, opened: bool = False) -> dict:
    """The value that makes a `Viewer` fetch and show the trace at `path`, keeping the view it has where none is given.

    The small part of it travels as JSON at every update, so the trace itself is fetched as a file. `opened` says that
    it is a reader's own file, which no link can hold.
    """
    return {"trace": FileData(path=str(path)).model_dump(), "view": view.to_json() if view else {}, "opened": opened}


def present(trace: Trace, view: View | None = None, *, opened: bool = False) -> dict:
    """Write a trace for the page; returns the value that makes a `Viewer` show it. Arguments as for `shown`.

    A trace too big for a browser is not sent: the browser gets its outline, and asks `viz.page.map_server` for maps.
    """
    from viz.export import for_browser

    small = for_browser(trace)
    value = shown(save_temporary(small), view, opened=opened)
    if small.kept_bytes > browser_limit():
        outline = replace(small, queries={}, keys={}, proofs={})
        value["outline"] = FileData(path=str(save_temporary(outline))).model_dump()
    return value


def pack(trace: Trace) -> Path:
    """Write what the browser needs of a trace to a file of its own: attention among pixels alone, in half precision."""
    from viz.export import for_browser

    return save_temporary(for_browser(trace))


def save_temporary(trace: Trace) -> Path:
    """Save a trace in Gradio's own cache: it is served from there without a copy, and `delete_cache` clears it away."""
    folder = Path(get_upload_folder())
    folder.mkdir(parents=True, exist_ok=True)
    return trace.save(folder / f"trace-{uuid.uuid4().hex}.safetensors")
