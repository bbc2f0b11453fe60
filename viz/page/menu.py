"""The entries of the viewer's Export menu that need the page: save one HTML file, copy a link, open a saved trace."""

from __future__ import annotations

import logging
import re
import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import gradio as gr
from gradio.data_classes import FileData
from gradio.utils import get_upload_folder

from viz.checks import short
from viz.page.callers import watched
from viz.page.effort import Cost, limited
from viz.page.events import path_in, value_in
from viz.page.limits import browser_limit
from viz.page.line import Stopped
from viz.page.notices import warn
from viz.page.script import js_on_load
from viz.page.served import served_path
from viz.page.viewer import present
from viz.recipe import MODELS, Recipe, RecipeError
from viz.recording.budget import amount
from viz.trace_header import check_header, read_description
from viz.view import View

if TYPE_CHECKING:
    from viz.trace import Trace

MAX_FILE = 256_000_000  # bytes; viz/web/hosts/menu.js has the same limit

MAX_PROOF = 2**26  # numbers of one layer's proof; a recording has 64 rows at most
BESIDE = 32_000_000  # bytes of a trace's pictures and proofs, and of what describes them
FILE_SECONDS = 60.0  # that a file of the largest size may take
BY_HAND = "In Python, viz.export.write_html and Trace.load do the same without a limit."

_SKELETON = """
<div class="pixelgaze">
  <div class="pg-drop" hidden>Drop to open the trace</div>
  <input type="file" accept=".safetensors" aria-label="The file of a trace" hidden>
</div>
"""


def check_recipe(recipe: object) -> dict[str, Any]:
    """For the browser: {"recipe": as links hold it}, or {"problem": why no link can hold this trace}."""
    try:
        return {"recipe": Recipe.from_json(recipe).to_json()}
    except RecipeError as error:
        model = recipe.get("model", MODELS[0]) if isinstance(recipe, dict) else None
        if isinstance(model, str) and model not in MODELS:
            name = short(model)
            return {"problem": f"No link: this was recorded with a model of your own, {name}, which a link can't hold."}
        return {"problem": f"No link: this trace's recipe cannot be followed here. {error}"}


class ExportMenu(gr.HTML):
    """Adds entries to the viewer's menu. Its value is the outcome: a message and, in some cases, a file to save."""

    def __init__(self, **arguments: Any) -> None:
        super().__init__(
            None,
            html_template=_SKELETON,
            js_on_load=js_on_load("startMenu", "saved", "dropped"),
            apply_default_css=False,
            server_functions=[check_recipe],
            **arguments,
        )

    def api_info(self) -> dict:
        return {"type": "object", "description": "a message and, perhaps, a file to save"}

    def wire(self, viewer: gr.HTML) -> None:
        """Connect it to the viewer that it exports from and opens traces in."""
        settings: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private", "concurrency_limit": 2}
        self.saved(save_page, viewer, self, **settings)
        self.dropped(open_trace, None, [viewer, self], **settings)


@contextmanager
def _limited() -> Iterator[None]:
    """What works on a whole file ends after a time, and when its visitor leaves."""
    stopped = threading.Event()
    with watched(stopped), limited(Cost(), stopped.is_set, BY_HAND, FILE_SECONDS):
        yield


def save_page(event: gr.EventData, value: dict) -> Any:
    """Write the viewer's trace and view as one HTML file."""
    # Imported here and below: these load torch, and the page is served without it.
    from viz.export import write_html

    try:
        path, view = served_path(path_in(value)), View.from_json(value_in(event, "view"))
        size = path.stat().st_size
        if value.get("outline") or size > browser_limit() + BESIDE:
            raise ValueError(
                f"This trace is too large for one HTML file ({amount(size)}). Save the trace itself instead."
            )
        recipe = read_description(path)["recipe"]
        words = re.findall("[a-z0-9]+", str(recipe.get("caption", "")).lower())
        target = _new_folder() / f"pixelgaze-{'-'.join(words)[:60] or 'trace'}.html"
        with _limited():
            write_html(path, target, view)
    except Stopped:
        return gr.skip()
    except (PermissionError, ValueError) as error:  # ViewError and HeaderError are ValueErrors
        return _outcome(str(error))
    except OSError as error:
        return _outcome(f"The file could not be written on the server: {error.strerror or type(error).__name__}.")
    except Exception:  # the browser waits for an outcome
        logging.exception("a page could not be written")
        return _outcome("The file could not be written.")
    message = f"Saved, {target.stat().st_size / 1e6:.1f} MB."
    return {"file": FileData(path=str(target)).model_dump(), "name": target.name, "message": message}


def _outcome(message: str) -> dict:
    """A value without a file. Its `id` makes it differ from the one before, so that the browser shows it again."""
    return {"message": message, "id": uuid.uuid4().hex}


def _new_folder() -> Path:
    """A new folder in Gradio's cache, from which files are served and, later, deleted."""
    folder = Path(get_upload_folder()) / uuid.uuid4().hex
    folder.mkdir(parents=True)
    return folder


def open_trace(event: gr.EventData) -> tuple[Any, Any]:
    """Check an uploaded file and show it. If it cannot be opened, the viewer keeps its trace."""
    try:
        with _limited():
            return present(_load_checked(served_path(value_in(event, "path"))), opened=True), _outcome("Opened.")
    except Stopped:
        return gr.skip(), gr.skip()
    except (PermissionError, ValueError) as error:  # TraceFileError is a ValueError
        message = str(error)
    except OSError as error:
        message = f"The server could not write the recording: {error.strerror or type(error).__name__}."
    except Exception:
        logging.exception("a file could not be opened")
        message = "This file could not be opened as a trace."
    warn(message)
    return gr.skip(), _outcome(message)


def _load_checked(path: Path) -> Trace:
    """Load a trace from an untrusted file."""
    from viz.trace import Trace

    if (size := path.stat().st_size) > MAX_FILE:
        raise ValueError(f"This file is too large: {size / 1e6:.0f} MB; the limit is {MAX_FILE / 1e6:.0f} MB.")
    check_header(path)
    trace = Trace.load(path)
    for name, proof in trace.proofs.items():  # computed again when the trace is written for the browser
        layer = trace.layers[name]
        if len(proof.queries) * layer.heads * (layer.key_count + layer.head_dim) > MAX_PROOF:
            raise ValueError(f"The proof of “{name[:60]}” has {len(proof.queries):,} rows, too many to compute here.")
    if not any(layer.kind == "self" for layer in trace) or not trace.steps:
        raise ValueError("This trace has no self-attention to show.")
    trace.recipe = clean_recipe(trace.recipe)
    return trace


def clean_recipe(recipe: dict) -> dict:
    """An untrusted recipe: unchanged if it can be followed, else only its plain values, cut to 1,000 characters."""
    try:
        Recipe.from_json(recipe)
        return recipe
    except RecipeError:
        known = ("caption", "seed", "steps", "guidance", "model", "sampler", "photo", "negative")
        plain = {name: recipe[name] for name in known if isinstance(recipe.get(name), (str, int, float))}
        return {name: value[:1000] if isinstance(value, str) else value for name, value in plain.items()}
