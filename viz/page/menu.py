"""Taking away and bringing back on the page: one HTML file, a link, and opening the file of a trace."""

from __future__ import annotations

import logging
import re
import uuid
from pathlib import Path
from typing import TYPE_CHECKING

import gradio as gr
from gradio.data_classes import FileData
from gradio.utils import get_upload_folder

from viz.page.links import LinkError, encode
from viz.page.notices import warn
from viz.page.script import js_on_load
from viz.page.served import served_path
from viz.page.viewer import present
from viz.recipe import Recipe, RecipeError
from viz.recording.budget import amount
from viz.trace_header import read_description
from viz.view import View, ViewError

if TYPE_CHECKING:  # torch is imported when a trace is opened
    from viz.trace import Trace

MAX_FILE = 256_000_000  # bytes; viz/web/hosts/menu.js says the same

_SKELETON = """
<div class="pixelgaze">
  <div class="pg-drop" hidden>Drop to open the trace</div>
  <input type="file" accept=".safetensors" aria-label="The file of a trace" hidden>
</div>
"""


def link(said: dict) -> dict:
    """For the browser: {"text": a link's text}, or {"problem": a sentence}."""
    try:
        return {"text": encode(Recipe.from_json(said["recipe"]), View.from_json(said["view"]))}
    except RecipeError as error:
        return {"problem": f"No link: this trace's recipe cannot be followed here. {error}"}
    except (LinkError, ViewError, KeyError, TypeError) as error:
        return {"problem": f"No link: {error}"}


class ExportMenu(gr.HTML):
    """Adds to the viewer's menu what only the page can do. Its value says what came of it."""

    def __init__(self, **arguments) -> None:
        super().__init__(
            None,
            html_template=_SKELETON,
            js_on_load=js_on_load("startMenu", "saved", "dropped"),
            apply_default_css=False,
            server_functions=[link],
            **arguments,
        )

    def api_info(self) -> dict:
        return {"type": "object", "description": "a file to save, and what to say of it"}

    def wire(self, viewer: gr.HTML) -> None:
        """Connect it to the viewer whose trace it takes away and brings back."""
        settings = {"show_progress": "hidden", "api_visibility": "private"}
        self.saved(save_page, viewer, self, **settings)
        self.dropped(open_trace, None, [viewer, self], **settings)


def save_page(event: gr.EventData, value: dict) -> dict:
    """The trace on show as one HTML file."""
    from viz.export import write_html

    try:
        path, view = served_path(value["trace"]["path"]), View.from_json(event.view)
        if value.get("outline"):
            raise ValueError(
                f"This trace is too large for one HTML file, {amount(path.stat().st_size)}: save the trace."
            )
        recipe = read_description(path)["recipe"]
        words = re.findall("[a-z0-9]+", str(recipe.get("caption", "")).lower())
        target = _own_folder() / f"pixelgaze-{'-'.join(words)[:60] or 'trace'}.html"
        write_html(path, target, view)
    except (PermissionError, ValueError) as error:  # ViewError and HeaderError are ValueErrors
        return {"said": str(error), "at": uuid.uuid4().hex}
    said = f"Saved, {target.stat().st_size / 1e6:.1f} MB."
    return {"file": FileData(path=str(target)).model_dump(), "name": target.name, "said": said}


def _own_folder() -> Path:
    """A new folder in Gradio's cache, which is served from and cleared away."""
    folder = Path(get_upload_folder()) / uuid.uuid4().hex
    folder.mkdir(parents=True)
    return folder


def open_trace(event: gr.EventData) -> tuple[dict, dict]:
    """The file that was dropped, checked; what is on show stays where it cannot be opened."""
    try:
        return present(_checked(served_path(event.path)), opened=True), {"said": "Opened.", "at": uuid.uuid4().hex}
    except (PermissionError, ValueError) as error:  # TraceFileError is a ValueError
        said = str(error)
    except Exception:
        logging.exception("a file could not be opened")
        said = "This file could not be opened as a trace."
    warn(said)
    return gr.skip(), {"said": said, "at": uuid.uuid4().hex}


def _checked(path: Path) -> Trace:
    """A file from outside, believed only after all of it was checked."""
    from viz.trace import Trace

    if path.stat().st_size > MAX_FILE:
        raise ValueError(f"This file is too large: {path.stat().st_size / 1e6:.0f} MB; at most 256 are read.")
    trace = Trace.load(path)
    if not any(layer.kind == "self" for layer in trace) or not trace.steps:
        raise ValueError("This trace holds no self-attention to look at.")
    trace.recipe = _told(trace.recipe)
    return trace


def _told(recipe: dict) -> dict:
    """A recipe from outside: as it is where it can be followed, else only the plain values in it."""
    try:
        Recipe.from_json(recipe)
        return recipe
    except RecipeError:
        known = ("caption", "seed", "steps", "guidance", "model", "sampler", "photo", "negative")
        plain = {name: recipe[name] for name in known if isinstance(recipe.get(name), (str, int, float))}
        return {name: value[:1000] if isinstance(value, str) else value for name, value in plain.items()}
