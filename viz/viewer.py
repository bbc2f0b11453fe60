"""The viewer as a Gradio component. What it shows is a trace's own file: the browser reads it and computes the rows."""

from __future__ import annotations

import uuid
from dataclasses import asdict, dataclass
from pathlib import Path

import gradio as gr
from gradio.data_classes import FileData
from gradio.utils import get_upload_folder
from plotly.colors import sample_colorscale, unlabel_rgb

ASSETS = Path(__file__).parent.parent / "assets"

# Constant on purpose: Gradio renders templates as Handlebars and then as JavaScript; nothing variable may be in them.
_SKELETON = '<div class="pixelgaze"><p class="pg-message">Loading the viewer…</p></div>'

_HOST = """
const root = element.querySelector(".pixelgaze");
const viewer = createViewer(root, { colormap: props.colormap });
root.viewer = viewer;
let shown = null;
async function show() {
  const value = props.value;
  if (!value || !value.trace) return;
  const { url } = value.trace;
  if (url === shown) return viewer.view(value.view);
  shown = url;
  try {
    const answer = await fetch(url);
    if (!answer.ok) throw new Error("The trace is no longer on the server; draw it again.");
    const buffer = await answer.arrayBuffer();
    if (shown === url) viewer.open(buffer, value.view);
  } catch (error) {
    viewer.say(error.message);
    shown = null;
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
        return asdict(self)


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
    """Write what the browser needs of a trace to a file of its own: attention among pixels alone, in half precision."""
    import torch

    layers = [layer.name for layer in trace if layer.kind == "self" and not layer.extra]
    return save_temporary(trace.select(layers=layers, dtype=torch.float16))


def save_temporary(trace) -> Path:
    """Save a trace in Gradio's own cache: it is served from there without a copy, and `delete_cache` clears it away."""
    folder = Path(get_upload_folder())
    folder.mkdir(parents=True, exist_ok=True)
    return trace.save(folder / f"trace-{uuid.uuid4().hex}.safetensors")


def colormap(name: str) -> list[list[int]]:
    """256 [r, g, b] colours, 0..255 each, of one of Plotly's perceptually uniform scales."""
    colors = sample_colorscale(name, [i / 255 for i in range(256)])
    return [[round(channel) for channel in unlabel_rgb(color)] for color in colors]
