"""The viewer as a Gradio component. What it shows is a trace's own file: the browser reads it and computes the rows."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path

import gradio as gr
from gradio.data_classes import FileData
from plotly.colors import sample_colorscale, unlabel_rgb

ASSETS = Path(__file__).parent.parent / "assets"

# In a browser all Q and K of a trace lie in memory; this many steps of the bundled model are 22 MB to fetch.
BROWSER_STEPS = 25

# Constant on purpose: Gradio renders templates as Handlebars and then as JavaScript; nothing variable may be in them.
_SKELETON = '<div class="pixelgaze"><p class="pg-message">Loading the viewer…</p></div>'

_HOST = """
const root = element.querySelector(".pixelgaze");
const viewer = createViewer(root, { colormap: props.colormap });
root.viewer = viewer;
let shown = null;
async function show() {
  const value = props.value;
  if (!value || !value.trace || value.trace.url === shown) return;
  shown = value.trace.url;
  try {
    const answer = await fetch(value.trace.url);
    if (!answer.ok) throw new Error("The trace is no longer on the server; draw it again.");
    const buffer = await answer.arrayBuffer();
    if (shown === value.trace.url) viewer.open(buffer, value.view || {});
  } catch (error) {
    viewer.say(error.message);
  }
}
watch("value", show);
show();
"""


@dataclass(frozen=True)
class View:
    """What of a trace is looked at: `point` is (row, column) in 0..1 of the picture, `head` -1 the mean of all."""

    point: tuple[float, float]
    layer: str
    step: int
    head: int = -1

    def to_json(self) -> dict:
        return vars(self)


class Viewer(gr.HTML):
    """A live canvas: point at the picture, and the atlas shows where that pixel looks. Its value is made by `shown`."""

    def __init__(self, value: dict | None = None, **arguments) -> None:
        super().__init__(
            value,
            html_template=_SKELETON,
            js_on_load="\n".join(
                [(ASSETS / name).read_text() for name in ("trace.js", "paint.js", "skeleton.js", "viewer.js")] + [_HOST]
            ),
            apply_default_css=False,
            colormap=colormap("Inferno"),
            **arguments,
        )

    def api_info(self) -> dict:
        return {"type": "object", "description": "the file of a trace, and the view to open it with"}


def shown(path: str | Path, view: View | None = None) -> dict:
    """The value that makes a `Viewer` fetch and show the trace at `path`, keeping the view it has where none is given.

    The small part of it travels as JSON at every update, so the trace itself is fetched as a file.
    """
    return {"trace": FileData(path=str(path)).model_dump(), "view": view.to_json() if view else {}}


def pack(trace) -> Path:
    """Write what the browser needs of a trace to a file of its own: self-attention, in half precision."""
    import torch

    layers = [layer.name for layer in trace if layer.kind == "self"]
    return save_temporary(trace.select(layers=layers, dtype=torch.float16))


def save_temporary(trace) -> Path:
    """Save a trace where Gradio may serve it from, under a name of its own."""
    with tempfile.NamedTemporaryFile(prefix="pixelgaze-", suffix=".safetensors", delete=False) as file:
        return trace.save(file.name)


def colormap(name: str) -> list[list[int]]:
    """256 [r, g, b] colours, 0..255 each, of one of Plotly's perceptually uniform scales."""
    colors = sample_colorscale(name, [i / 255 for i in range(256)])
    return [[round(channel) for channel in unlabel_rgb(color)] for color in colors]
