"""The progress strip: a bar, the picture as it emerges, and a button to stop the run."""

from __future__ import annotations

import base64
import io
from typing import NotRequired, TypedDict

import gradio as gr
import numpy as np
from PIL import Image

from viz.page.script import js_on_load

_SKELETON = """
<div class="pixelgaze pg-live" hidden>
  <img alt="The picture as it emerges" hidden>
  <div><p role="status"></p><progress max="1" value="0" aria-label="Drawing"></progress></div>
  <button type="button">Stop</button>
</div>
"""


class Progress(TypedDict):
    """A value of the strip.

    `step` of `steps` are done; `preview` is a PNG data URL of the picture predicted so far; `note` is a sentence to
    show instead of the step, for what takes an unknown time.
    """

    step: int
    steps: int
    preview: str | None
    note: NotRequired[str]


class ProgressStrip(gr.HTML):
    """Its value is a `Progress`, or None when nothing runs; its `stop` event comes from the button."""

    def __init__(self, value: Progress | None = None, **arguments) -> None:
        super().__init__(
            value,
            html_template=_SKELETON,
            js_on_load=js_on_load("startProgress", "stop"),
            apply_default_css=False,
            **arguments,
        )

    def api_info(self) -> dict:
        return {"type": "object", "description": "how far the run is, and the picture predicted so far"}


def describe_progress(step: int, steps: int, preview: np.ndarray | None = None, note: str = "") -> Progress:
    """The strip's value after `step` of `steps`, with an (h, w, 3) uint8 `preview` of the picture.

    Args:
        note: what it waits for, as a sentence for the reader; shown instead of the step.
    """
    value: Progress = {"step": step, "steps": steps, "preview": None if preview is None else _data_url(preview)}
    if note:
        value["note"] = note
    return value


def _data_url(picture: np.ndarray) -> str:
    file = io.BytesIO()
    Image.fromarray(picture).save(file, "PNG")
    return "data:image/png;base64," + base64.b64encode(file.getvalue()).decode()
