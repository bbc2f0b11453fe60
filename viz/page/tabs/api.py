"""Endpoints for programs: pictures, and the maps of the bundled model's runs as numbers.

    client = gradio_client.Client("http://127.0.0.1:7860")
    client.predict("a green monster", "mid_block.attentions.0…", 12, 0.5, 0.3, api_name="/rows")

A run is named by its recipe. If its trace is in the store, numbers are read from it at once; otherwise it is drawn and
recorded first, as for visitors. What is wrong with a request is said in one sentence (`gr.Error`).
"""

from __future__ import annotations

import logging
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import gradio as gr
from gradio.data_classes import FileData
from gradio.utils import get_upload_folder
from PIL import Image

from models.opening.revision import revision
from viz.checks import as_whole
from viz.page.callers import HEAVY, session_of
from viz.page.gallery import first_trace, pin_revision
from viz.page.notices import describe_failure
from viz.page.open_traces import open_trace
from viz.page.runs import Stopped, load_bundled, stoppable_run
from viz.page.store import Kept, store
from viz.page.tabs.generate import follow_kept
from viz.recipe import CHECKS, MODELS, Recipe, RecipeError, check_words
from viz.trace_header import read_description

if TYPE_CHECKING:  # torch is imported with the first run
    import torch

    from viz.trace import Trace

MAX_NAME = 300  # characters of a layer's name or a word


def build() -> None:
    """Offer the endpoints in the present page."""
    gr.api(list_models, api_name="models", concurrency_limit=None)
    gr.api(generate, api_name="generate", **HEAVY)
    gr.api(rows, api_name="rows", **HEAVY)
    gr.api(word_map, api_name="word_map", **HEAVY)


def list_models() -> list[dict]:
    """The models that the endpoints run, with the attention layers of each.

    Returns:
        [{"name", "revision": a hash of the weights, "layers": [{"name", "kind": "self" or "cross", "heads", "grid":
        [height, width] of its map, in cells}, in the order in which the network calls them]}].
    """
    with _sentences():
        described = read_description(first_trace())["layers"]
    layers = [
        {"name": layer["name"], "kind": _kind(layer), "heads": layer["heads"], "grid": _grid(layer)}
        for layer in described
    ]
    return [{"name": name, "revision": revision(name), "layers": layers} for name in MODELS]


def _grid(layer: dict) -> list[int]:
    return next(segment["grid"] for segment in layer["queries"] if segment["kind"] == "pixels")


def _kind(layer: dict) -> str:
    return "self" if any(segment["kind"] == "pixels" for segment in layer["keys"]) else "cross"


def generate(
    caption: str, seed: int = 0, steps: int = 25, guidance: float = 1.5, request: gr.Request | None = None
) -> FileData:
    """Draw a picture of a critter; returns a PNG file of 64×64 pixels.

    Args:
        caption: what to draw, such as "a green monster with two yellow eyes"; at most 300 characters.
        seed: of the noise that the picture begins with, 0 to 4294967295.
        steps: of denoising, 1 to 100.
        guidance: how much more the caption counts than no caption, 0 to 20; 1 or less is no guidance.
    """
    with _sentences(), _opened(pin_revision(Recipe(caption, seed, steps, guidance)), request) as trace:
        folder = Path(get_upload_folder())
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"picture-{uuid.uuid4().hex}.png"
        assert trace.picture is not None
        Image.fromarray(trace.picture).save(path)
        return FileData(path=str(path))


def rows(
    caption: str,
    layer: str,
    step: int,
    row: float,
    column: float,
    seed: int = 0,
    steps: int = 25,
    guidance: float = 1.5,
    request: gr.Request | None = None,
) -> dict:
    """What one pixel looks at in a self-attention layer: softmax(q·K) of every head, as numbers.

    Args:
        caption, seed, steps, guidance: the run, as for generate.
        layer: a name that models returns, of kind "self".
        step: of denoising, from 0. Of a run of more than 25 steps, 25 are recorded.
        row, column: of the pixel, 0 to 1 of the picture's height and width, from its upper left corner.

    Returns:
        {"maps": (heads, height, width) shares of attention, each head's sum to 1, "cell": [row, column] that asks, on
        the layer's grid, "grid": [height, width], "layer", "step", "timestep": the noise level, 999 to 0}.
    """
    with _sentences():
        recipe = pin_revision(Recipe(caption, seed, steps, guidance))
        layer, step = _check_layer(layer, "self"), _check_step(step, recipe)
        places = CHECKS.number(row, "The row", 0, 1), CHECKS.number(column, "The column", 0, 1)
        with _opened(recipe, request) as trace:
            cell = trace.cell(layer, (places[0] * trace.size[0], places[1] * trace.size[1]))
            maps = trace.rows(layer, step=step, query=cell)
            return {"cell": list(cell), **_described(trace, layer, step, maps)}


def word_map(
    caption: str,
    word: str,
    layer: str,
    step: int,
    seed: int = 0,
    steps: int = 25,
    guidance: float = 1.5,
    request: gr.Request | None = None,
) -> dict:
    """What each pixel spends on a word of the caption in a cross-attention layer, in every head, as numbers.

    Args:
        caption, seed, steps, guidance: the run, as for generate.
        word: of the caption, the first of several that are the same.
        layer: a name that models returns, of kind "cross".
        step: of denoising, from 0. Of a run of more than 25 steps, 25 are recorded.

    Returns:
        {"maps": (heads, height, width) shares of attention, 0 to 1, which over all of a pixel's words and padding sum
        to 1, "word", "grid": [height, width], "layer", "step", "timestep": the noise level, 999 to 0}.
    """
    with _sentences():
        recipe = pin_revision(Recipe(caption, seed, steps, guidance))
        layer, step = _check_layer(layer, "cross"), _check_step(step, recipe)
        CHECKS.text(word, "The word", MAX_NAME)
        with _opened(recipe, request) as trace:
            maps = trace.word_map(layer, word, step=step)
            return {"word": word, **_described(trace, layer, step, maps)}


def _described(trace: Trace, layer: str, step: int, maps: torch.Tensor) -> dict:
    facts = {"layer": layer, "step": step, "timestep": trace.timesteps[step]}
    return {**facts, "grid": list(maps.shape[-2:]), "maps": maps.tolist()}


def _check_layer(name: str, kind: str) -> str:
    """The name of a layer of that kind; RecipeError for any other value."""
    CHECKS.text(name, "The layer", MAX_NAME)
    kinds = {layer["name"]: _kind(layer) for layer in read_description(first_trace())["layers"]}
    if name not in kinds:
        raise RecipeError(f"There is no layer {name[:60]!r}; the endpoint models lists them.")
    if kinds[name] != kind:
        other = "words, not at pixels: ask word_map" if kind == "self" else "pixels, not at words: ask rows"
        raise RecipeError(f"In {name} pixels look at {other} about it.")
    return name


def _check_step(step: int, recipe: Recipe) -> int:
    return CHECKS.whole(as_whole(step), "The step", 0, recipe.steps - 1)


@contextmanager
def _sentences() -> Iterator[None]:
    """Mistakes in a request, and runs that fail, become a `gr.Error` of one sentence."""
    try:
        yield
    except Stopped as error:
        raise gr.Error("The run was stopped before its end.", print_exception=False) from error
    except (RecipeError, KeyError, IndexError, ValueError) as error:
        raise gr.Error(str(error.args[0] if error.args else error), print_exception=False) from error
    except OSError as error:
        logging.exception("a run for a program failed")
        raise gr.Error(f"The run could not be kept: {error.strerror or error}.", print_exception=False) from error
    except (MemoryError, RuntimeError) as error:
        logging.exception("a run for a program failed")
        raise gr.Error(f"The run failed: {describe_failure(error)}", print_exception=False) from error


@contextmanager
def _opened(recipe: Recipe, request: gr.Request | None) -> Iterator[Trace]:
    """The trace of a recipe, which nobody else computes with meanwhile. Raises as `_find`."""
    opened = open_trace(_find(recipe, session_of(request)))
    with opened.computing:
        yield opened.maps.trace


def _find(recipe: Recipe, session: str | None) -> Path:
    """The file of a recipe's trace, drawn and recorded if it is not kept.

    Raises:
        RecipeError: for words that the model does not know, and when too many runs wait.
        Stopped: when the session's runs were stopped.
    """
    if (path := store.find(recipe)) is not None:
        return path
    check_words(recipe, load_bundled(recipe))
    with stoppable_run(session) as stopped:
        *_, kept = follow_kept(recipe, stopped)
    assert isinstance(kept, Kept)
    return kept.path
