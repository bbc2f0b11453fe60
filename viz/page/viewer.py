"""The viewer as a Gradio component. The browser reads the trace's own file and computes the rows."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import gradio as gr
from gradio.data_classes import FileData
from safetensors import safe_open

from viz.colors import DIVERGING, SEQUENTIAL, in_hex, palette
from viz.page.limits import browser_limit
from viz.page.map_server import answer
from viz.page.script import js_on_load
from viz.page.temporary import save_temporary
from viz.trace_description import parse
from viz.view import View

# Imports inside functions: torch is loaded when a trace is packed, after the page is served.
if TYPE_CHECKING:
    from viz.trace import Trace

# Constant: Gradio renders templates as Handlebars and then as JavaScript, so nothing variable may be in them.
_SKELETON = '<div class="pixelgaze"><p class="pg-message">Loading the viewer…</p></div>'


class Viewer(gr.HTML):
    """A live canvas: point at the picture, and the atlas shows where that pixel looks. `viewer_value` makes its value.

    Args:
        compares: show a button; its `compare` event holds the caption and seed of the trace to compare. A button for a
            trace's other steps is shown if its value says so; its event is `whole`.
        beside: the elem_id of the viewer whose cursor this one shares. Its `pick` event holds an index into `others`,
            the names of the traces it offers; its `leave` event closes it.
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
            js_on_load=js_on_load("startViewer", "compare", "pick", "leave", "whole"),
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


def viewer_value(path: str | Path, view: View | None = None, *, opened: bool = False) -> dict:
    """The value that makes a `Viewer` fetch and show the trace at `path`; without a `view` it keeps the one it has.

    Gradio sends the value as JSON at every update, so the trace itself is fetched as a file. Set `opened` for a
    visitor's own file: a link cannot contain it. Other fields are optional: "outline" for a trace of which only that
    goes to the browser; "whole", the number of steps that the page can show where the file has fewer; "message", to be
    shown instead of a trace.
    """
    return {"trace": FileData(path=str(path)).model_dump(), "view": view.to_json() if view else {}, "opened": opened}


def present(trace: Trace, view: View | None = None, *, opened: bool = False) -> dict:
    """Write a trace for the page; returns the `Viewer`'s value. Arguments as for `viewer_value`.

    For a trace too big for a browser, the browser gets its outline and asks `viz.page.map_server` for maps.
    """
    from viz.export import for_browser

    small = for_browser(trace)
    remote = small.kept_bytes > browser_limit()  # then mapped by the server, which does not unpack at every request
    value = viewer_value(save_temporary(small, compact=not remote), view, opened=opened)
    return value | _outlined(small) if remote else value


def present_file(path: Path, view: View | None = None) -> dict:
    """The `Viewer`'s value for a file that the store keeps, which may be too big for a browser, too."""
    value = viewer_value(path, view)
    if _unpacked_bytes(path) <= browser_limit():
        return value
    from viz.trace import Trace

    return value | _outlined(Trace.load(path))


def _outlined(trace: Trace) -> dict:
    """The part of the value that makes the viewer ask the server for maps."""
    outline = replace(trace, queries={}, keys={}, proofs={})
    return {"outline": FileData(path=str(save_temporary(outline))).model_dump()}


def _unpacked_bytes(path: Path) -> int:
    """Bytes of all Q and K in half precision, of a file that this program wrote; read without torch."""
    with safe_open(path, "np") as file:
        metadata = file.metadata()
    described = parse(metadata["trace"], metadata["version"])
    counts = {
        name: layer.heads * layer.head_dim * (layer.query_count + layer.key_count)
        for name, layer in described.layers.items()
    }
    steps = {name: len(described.timesteps) - len(described.gaps.get(name, {})) for name in described.layers}
    return 2 * len(described.branches) * sum(counts[name] * steps[name] for name in counts)


def pack(trace: Trace) -> Path:
    """Write the part of a trace that a browser needs to a file in Gradio's cache."""
    from viz.export import for_browser

    return save_temporary(for_browser(trace), compact=True)
