"""A run as it happens: the strip that shows the picture emerging, and the stream of what to show on it."""

from __future__ import annotations

import base64
import io
import queue
import threading
from collections.abc import Iterator
from functools import cache
from typing import TYPE_CHECKING

import gradio as gr
import numpy as np
from PIL import Image

if TYPE_CHECKING:  # torch is imported when the first picture is drawn, not when the page is served
    from viz.recipe import Recipe
    from viz.trace import Trace

_SKELETON = """
<div class="pixelgaze pg-live" hidden>
  <img alt="The picture as it emerges" hidden>
  <div><p role="status"></p><progress max="1" value="0" aria-label="Drawing"></progress></div>
  <button type="button">Stop</button>
</div>
"""

_HOST = """
const root = element.querySelector(".pg-live");
const [image, text, bar] = ["img", "p", "progress"].map((tag) => root.querySelector(tag));
root.querySelector("button").addEventListener("click", () => trigger("stop"));
function show() {
  const value = props.value;
  root.hidden = !value;
  if (!value) return;
  bar.max = value.steps;
  bar.value = value.step;
  const at = `Drawing and recording: step ${value.step} of ${value.steps}`;
  text.textContent = value.step ? at : "Getting the model ready…";
  image.hidden = !value.preview;
  if (value.preview) image.src = value.preview;
}
watch("value", show);
show();
"""


class Live(gr.HTML):
    """A progress bar with the picture so far and a button to stop. Its value is None when nothing runs."""

    def __init__(self, value: dict | None = None, **arguments) -> None:
        super().__init__(value, html_template=_SKELETON, js_on_load=_HOST, apply_default_css=False, **arguments)

    def api_info(self) -> dict:
        return {"type": "object", "description": "how far the run is, and the picture so far"}


def progress(step: int, steps: int, preview: np.ndarray | None = None) -> dict:
    """A value for `Live`: `step` of `steps` are done, and this (h, w, 3) uint8 picture is expected so far."""
    return {"step": step, "steps": steps, "preview": None if preview is None else _data_url(preview)}


def _data_url(picture: np.ndarray) -> str:
    file = io.BytesIO()
    Image.fromarray(picture).save(file, "PNG")
    return "data:image/png;base64," + base64.b64encode(file.getvalue()).decode()


@cache
def bundled():
    """The bundled pipeline, loaded once."""
    from models import load

    return load("critters")


class _Stopped(Exception):
    pass


def follow(recipe: Recipe, pipeline, record_steps: int) -> Iterator[dict | Trace]:
    """Follow a recipe; yields a `progress` for each step and then the trace. Closing the iterator ends the run."""
    from viz.recipe import perform

    news: queue.Queue[dict | Trace | Exception] = queue.Queue()
    stop = threading.Event()
    last: list[np.ndarray | None] = [None]

    def on_step(step: int, preview: np.ndarray | None) -> None:
        if stop.is_set():
            raise _Stopped
        last[0] = last[0] if preview is None else preview
        news.put(progress(step + 1, recipe.steps, last[0]))

    def run() -> None:
        try:
            news.put(perform(recipe, pipeline, on_step=on_step, record_steps=record_steps))
        except Exception as error:  # handed to whoever follows, in their thread
            news.put(error)

    worker = threading.Thread(target=run, daemon=True)
    worker.start()
    try:
        while isinstance(item := news.get(), dict):
            yield item
        if isinstance(item, Exception):
            raise item
        yield item
    finally:
        stop.set()
        worker.join()
