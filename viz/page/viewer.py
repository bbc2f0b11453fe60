"""The viewer as a Gradio component. What it shows is a trace's own file: the browser reads it and computes the rows."""

from __future__ import annotations

import json
import uuid
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import gradio as gr
from gradio.data_classes import FileData
from gradio.utils import get_upload_folder
from plotly.colors import sample_colorscale, unlabel_rgb

from viz.page.limits import browser_limit
from viz.page.map_server import answer
from viz.view import View
from viz.web import WEB

if TYPE_CHECKING:  # torch is imported when a trace is packed
    from viz.trace import Trace

# Both perceptually uniform: dark to light, and, for differences, blue over white to red.
SEQUENTIAL, DIVERGING = "Inferno", "balance"
# In the order in which they need one another; the stand-alone file holds the same.
SCRIPTS = [
    WEB / f"{name}.js"
    for name in (
        *("core/trace", "core/attention", "core/query", "core/answers", "core/remote_answers", "core/scale"),
        *("core/words", "viewer/paint", "viewer/repaint", "viewer/skeleton", "viewer/layout", "viewer/pointer"),
        *("viewer/readout", "viewer/viewer", "viewer/compare", "export/files", "export/sheet", "export/menu"),
    )
]
LIBRARIES = [WEB / "vendor" / "fflate.js", WEB / "vendor" / "gifenc.js"]

# Constant on purpose: Gradio renders templates as Handlebars and then as JavaScript; nothing variable may be in them.
_SKELETON = '<div class="pixelgaze"><p class="pg-message">Loading the viewer…</p></div>'

_HOST = """
const root = element.querySelector(".pixelgaze");
const colors = { colormap: fromHex(props.colormap), diverging: fromHex(props.diverging) };
const viewer = createViewer(root, colors);
root.viewer = viewer;
root.takeaway = addTakeaway(root, viewer, colors);
// What the page's head asked for while all this was still on its way, or else a request of its own.
function fetched(url) {
  const early = window.pixelgazeEarly;
  if (early?.url !== url) return fetch(url);
  delete window.pixelgazeEarly;
  return early.answer.then((answer) => (answer.ok ? answer : fetch(url)), () => fetch(url));
}
let shown = null; // the address of the trace that is on show, or on its way
let coming = null; // the view that the trace on its way will open with
async function show() {
  const value = props.value;
  if (!value || !value.trace) return;
  const { url, path } = value.trace;
  const { outline } = value; // of a trace that is too big to be sent: all of it but the numbers
  const again = shown === url;
  shown = url;
  try {
    if (again && !coming) return viewer.view(value.view);
    coming = value.view;
    if (again) return;
    const answer = await fetched(outline ? outline.url : url);
    if (!answer.ok) throw new Error("The trace is no longer on the server; draw it again.");
    const buffer = await answer.arrayBuffer();
    if (shown !== url) return;
    viewer.open(buffer, coming, outline ? { path, url, ask: server.answer } : null);
    root.opened = value.opened === true;
    coming = null;
  } catch (error) {
    viewer.say(error.message);
    shown = coming = null;
  }
}
if (props.compares) {
  makeButton("pg-toggle", "Compare", viewer.slot).addEventListener("click", () => {
    const { caption, seed } = viewer.trace.recipe;
    trigger("compare", { caption, seed });
  });
}
if (props.beside) {
  const first = document.querySelector(`#${props.beside} .pixelgaze`).viewer;
  root.classList.add("pg-beside");
  linkViewers(first, viewer);
  const others = make("select", "pg-others", undefined, viewer.slot);
  others.setAttribute("aria-label", "The trace to compare with");
  make("option", "", "Compare with …", others).value = "";
  for (const [i, name] of props.others.entries()) make("option", "", name, others).value = i;
  others.addEventListener("change", () => others.value && trigger("pick", { index: Number(others.value) }));
  makeButton("pg-toggle", "Keep the left one here", viewer.slot).addEventListener("click", () => {
    if (!first.trace) return;
    shown = others.value = "";
    props.value = {}; // so that the trace that was here before is news when it is picked again
    viewer.open(first.trace.buffer, first.viewNow(), first.trace.remote);
  });
  makeButton("pg-toggle", "Close", viewer.slot).addEventListener("click", () => trigger("leave"));
}
watch("value", show);
show();
"""


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
            js_on_load=f"{scripts()}\n{_HOST}",
            apply_default_css=False,
            server_functions=[answer],
            colormap=in_hex(colormap(SEQUENTIAL)),
            diverging=in_hex(colormap(DIVERGING)),
            compares=compares,
            beside=beside,
            others=others or [],
            **arguments,
        )

    def api_info(self) -> dict:
        return {"type": "object", "description": "the file of a trace, and the view to open it with"}


def scripts() -> str:
    """All JavaScript of the viewer. A library runs in a function of its own, which gives one name to ours."""
    wrapped = "const {0} = (function (self, exports) {{\n{1}\nreturn self.{0} || exports;\n}})({{}}, {{}});"
    libraries = [wrapped.format(path.stem, path.read_text()) for path in LIBRARIES]
    return "\n".join(libraries + [path.read_text() for path in SCRIPTS])


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
    small = _packed(trace)
    value = shown(save_temporary(small), view, opened=opened)
    if small.kept_bytes > browser_limit():
        outline = replace(small, queries={}, keys={}, proofs={})
        value["outline"] = FileData(path=str(save_temporary(outline))).model_dump()
    return value


def pack(trace: Trace) -> Path:
    """Write what the browser needs of a trace to a file of its own: attention among pixels alone, in half precision."""
    return save_temporary(_packed(trace))


def _packed(trace: Trace) -> Trace:
    import torch

    layers = [layer.name for layer in trace if layer.kind == "self"]
    return trace.select(layers=layers, dtype=torch.float16)


def save_temporary(trace: Trace) -> Path:
    """Save a trace in Gradio's own cache: it is served from there without a copy, and `delete_cache` clears it away."""
    folder = Path(get_upload_folder())
    folder.mkdir(parents=True, exist_ok=True)
    return trace.save(folder / f"trace-{uuid.uuid4().hex}.safetensors")


def early(path: str | Path) -> str:
    """For the head of a page: ask for the trace at `path` at once, not when the `Viewer` that shows it is there."""
    return f"""<script>{{
    const {{ root, api_prefix }} = window.gradio_config;
    const url = `${{root}}${{api_prefix}}/file=` + {json.dumps(str(path)).replace("<", chr(92) + "u003c")};
    window.pixelgazeEarly = {{ url, answer: fetch(url) }};
    window.pixelgazeEarly.answer.catch(() => {{}}); // whoever takes it hears of it
    }}</script>"""


def in_hex(colors: list[list[int]]) -> str:
    """Colours for a component of Gradio, which copies all that a component holds at every event: a text is quick."""
    return bytes(channel for color in colors for channel in color).hex()


def colormap(name: str) -> list[list[int]]:
    """256 [r, g, b] colours, 0..255 each, of one of Plotly's perceptually uniform scales."""
    colors = sample_colorscale(name, [i / 255 for i in range(256)])
    return [[round(channel) for channel in unlabel_rgb(color)] for color in colors]
