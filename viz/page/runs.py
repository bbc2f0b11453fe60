"""A run as it happens: the strip that shows the picture emerging, and the stream of what to show on it."""

from __future__ import annotations

import base64
import io
import queue
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from typing import TYPE_CHECKING

import gradio as gr
import numpy as np
from PIL import Image

from models.opening.revision import revision
from viz.recipe import Recipe

if TYPE_CHECKING:  # torch is imported when the model is loaded, not when the page is served
    from viz.trace import Trace

# In a browser all Q and K of a trace lie in memory; this many steps of the bundled model are 22 MB to fetch.
BROWSER_STEPS = 25

OnStep = Callable[[int, "np.ndarray | None"], None]

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
  text.textContent = value.step ? at : "Waiting for the model…";
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


# One model is opened at a time: while one is, diffusers makes tensors without numbers, in every thread.
opening_lock = threading.Lock()


def bundled(recipe: Recipe | None = None):
    """The bundled pipeline, with the weights that a recipe is followed with or else the latest; loaded once each.

    What needs torch or diffusers is imported only by who holds a pipeline: two threads that import diffusers at the
    same time find it half made (0.42).
    """
    with opening_lock:
        return _load(revision() if recipe is None else recipe.weights)


@cache
def _load(weights: str):
    from models import load

    return load("critters", revision=weights)


# One run at a time: a pipeline's scheduler keeps state, and a run whose page was closed may still be ending.
_model = threading.Lock()
_stops: dict[str, list[threading.Event]] = {}  # {session: one for each of its runs, set to end it}
_expected: dict[str, list[threading.Event]] = {}  # those of them whose run has not begun


@contextmanager
def exclusive() -> Iterator[None]:
    """Have the bundled pipeline to oneself: no run begins, and one that was going on has ended."""
    with _model:
        yield


class Stopped(Exception):
    """Someone asked for the run to end."""


def expect(session: str) -> None:
    """A run of this session waits for its turn; from now on it can be stopped."""
    event = threading.Event()
    _stops.setdefault(session, []).append(event)
    _expected.setdefault(session, []).append(event)


@contextmanager
def stoppable(session: str) -> Iterator[threading.Event]:
    """An event that `stop` sets for this session; it is set on leaving, too, so that nothing runs on unseen."""
    stops, waiting = _stops.setdefault(session, []), _expected.get(session)
    if waiting:
        stopped = waiting.pop(0)
        if not waiting:
            del _expected[session]
    else:
        stops.append(stopped := threading.Event())
    try:
        yield stopped
    finally:
        stopped.set()
        if stopped in stops:
            stops.remove(stopped)
        if not stops and _stops.get(session) is stops:
            del _stops[session]


def stop(request: gr.Request) -> None:
    """End the runs of the session that asks: those that wait, and the one that goes on after the step it is at."""
    for event in list(_stops.get(request.session_hash, ())):
        event.set()


def follow(recipe: Recipe, pipeline, stopped: threading.Event) -> Iterator[dict | Trace]:
    """Follow a recipe; yields a `progress` for each step and then the trace.

    Raises:
        Stopped: when `stopped` was set before the end.
    """
    from viz.recording.run import perform

    def run(on_step: OnStep) -> Trace:
        return perform(recipe, pipeline, on_step=on_step, record_steps=BROWSER_STEPS)

    yield from watched(run, recipe.steps, stopped)


def watched(run: Callable[[OnStep], Trace], steps: int, stopped: threading.Event) -> Iterator[dict | Trace]:
    """Run something that calls `on_step(step, preview)`; yields a `progress` for each step, and then the trace.

    One such run at a time; others wait. Raises what it raises, and Stopped when `stopped` was set before the end.
    """
    latest: np.ndarray | None = None

    def work(say: Callable[[dict], None]) -> Trace:
        def on_step(step: int, preview: np.ndarray | None) -> None:
            nonlocal latest
            if stopped.is_set():
                raise Stopped
            latest = latest if preview is None else preview
            say(progress(step + 1, steps, latest))

        with _model:
            if stopped.is_set():
                raise Stopped
            return run(on_step)

    yield from streamed(work)


def streamed(work: Callable[[Callable[[object], None]], object]) -> Iterator[object]:
    """Do `work(say)` in a thread of its own; yields what it says, then what it returns, and raises what it raises."""
    news: queue.Queue[tuple[str, object]] = queue.Queue()

    def do() -> None:
        try:
            news.put(("done", work(lambda said: news.put(("said", said)))))
        except Exception as error:  # handed to whoever follows, in their thread
            news.put(("failed", error))

    threading.Thread(target=do, daemon=True).start()
    while (item := news.get())[0] == "said":
        yield item[1]
    if item[0] == "failed":
        raise item[1]
    yield item[1]
