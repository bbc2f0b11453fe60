"""Exports: the rows on display as NPZ, a GIF, and one HTML file with everything in it.

write_npz(trace, "rows.npz", View((0.5, 0.3), layer, step))
write_html(trace, "twins.html")        # opens from disk, with the network off
"""

from __future__ import annotations

import base64
import hashlib
import html
import json
import re
import tempfile
import zlib
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from viz.checkpoint import checkpoint
from viz.colors import DIVERGING, SEQUENTIAL, palette
from viz.draw import animation
from viz.film import frames_of
from viz.partners import layer_for, mode_of, rows_for
from viz.query import Maps, map_grid
from viz.trace_header import read_description
from viz.view import Query, View
from viz.web import joined, styles
from viz.word_shares import shares_on_show

if TYPE_CHECKING:
    from viz.trace import Trace

PIECE = 2**20  # bytes compressed at a time


def rows_on_show(trace: Trace, view: View) -> dict[str, np.ndarray]:
    """The atlas of a view as named arrays; the browser's NPZ holds the same.

    Returns:
        {"maps_00", "maps_01", …}: (S, h, w) float32 in times uniform, one for each layer with pixels among its keys, or
        for a word with words, of the view's query, mode or reading, branch and head, and NaN where there is no map;
        {"pin_1", …}: the same for every pin, in the chosen layer or its partner; "layers" (L,), "layers_of_pins" their
        names;
        "word_layers" (M,) those with words; {"words_00", …} (W,) the words of each, {"word_kinds_00", …} (W,) their
        kinds (`viz.words.WordKind`), and {"word_shares_00", …} (S, W) float32 the shares of attention, 0 to 1, that the
        query spends on them, or while a word is chosen the pixel under the cursor; "steps" (S,), "timesteps" (S,)
        float64 (NaN where there is none); "view" and "recipe", JSON.

    Raises:
        ViewError: for a branch that the trace lacks.
    """
    maps = Maps(trace)
    layers = [layer.name for layer in rows_for(trace, view.query, view.reading)]
    asked = [layer_for(trace, view.layer, pin, view.reading) for pin in view.pins or ()]
    timesteps = [np.nan if t is None else t for t in trace.timesteps.values()]
    texts = {
        "layers": np.array(layers, str),
        "layers_of_pins": np.array([layer.name for layer in asked], str),
        "steps": np.array(trace.steps, np.int32),
        "timesteps": np.array(timesteps, np.float64),
        "view": np.array(json.dumps(view.to_json())),
        "recipe": np.array(json.dumps(trace.recipe)),
    }
    atlas = {f"maps_{i:02}": _over_steps(maps, view, view.query, name) for i, name in enumerate(layers)}
    pins = {
        f"pin_{i}": _over_steps(maps, view, pin, layer.name)
        for i, (pin, layer) in enumerate(zip(view.pins or (), asked, strict=True), 1)
    }
    return atlas | pins | shares_on_show(maps, view) | texts


def _over_steps(maps: Maps, view: View, query: Query, layer: str) -> np.ndarray:
    """(S, h, w), in times uniform; NaN at the layer's gaps, and where it does not know the word."""
    trace, steps = maps.trace, maps.trace.steps
    spec = trace.layers[layer]
    values = np.full((len(steps), *map_grid(spec, mode_of(query, view))), np.nan, np.float32)
    if spec not in maps.layers_for(query, reading=view.reading or "spent", branch=view.branch):
        return values
    for step in trace.steps_of(layer):
        values[steps.index(step)] = maps.of_view(replace(view, pins=(query,), active=0, layer=layer, step=step))
    return values


def write_npz(trace: Trace, path: str | Path, view: View) -> Path:
    """Write `rows_on_show`; `numpy.load` reads it without pickle."""
    with open(path, "wb") as file:
        np.savez_compressed(file, allow_pickle=False, **rows_on_show(trace, view))
    return Path(path)


def write_gif(trace: Trace, path: str | Path, view: View, *, size: int = 384) -> Path:
    """Write an animation over the steps: the predicted picture with the view's map, and below it the step, the query
    with its layer and head, and the colour bar. At gaps the picture is alone. The last frame is held.

    Args:
        size: the longer side of the picture, in pixels; what stands below it grows with it.

    Raises:
        ViewError: for a branch that the trace lacks.
    """
    Path(path).write_bytes(animation(frames_of(trace, view, size)))
    return Path(path)


def for_browser(trace: Trace) -> Trace:
    """The part of a trace that a browser needs: everything, in half precision.

    Raises:
        ValueError: for a trace that keeps only some queries, in which one cannot point anywhere.
    """
    if trace.kept_queries:
        raise ValueError(
            "This trace keeps only the queries that were asked for (record with queries=), so one cannot point "
            "anywhere in it: read it in Python, with Trace.load and rows, or record it whole."
        )
    return trace.select(dtype=torch.float16)


def write_html(trace: Trace | str | Path, path: str | Path, view: View | None = None) -> Path:
    """Write one HTML file with a trace and the viewer. Its content policy forbids all requests.

    Args:
        trace: a trace, which is kept in half precision; or the file of a trace prepared for the viewer.
        view: the view it opens with.

    Raises:
        viz.trace_header.HeaderError: if `trace` is a file that holds no trace.
        ValueError: as `for_browser`.
    """
    if isinstance(trace, (str, Path)):
        document = _document(Path(trace), view)
    else:
        with tempfile.TemporaryDirectory() as folder:
            document = _document(for_browser(trace).save(Path(folder) / "trace.safetensors", compact=True), view)
    Path(path).write_text(document, encoding="utf-8")
    return Path(path)


def _document(file: Path, view: View | None) -> str:
    """The HTML file. Everything variable in it is base64, or JSON without "<", or escaped."""
    caption = read_description(file)["recipe"].get("caption")
    title = caption[:200] if isinstance(caption, str) else "a recorded trace"
    page = {
        "view": view.to_json() if view else {},
        "colors": {"colormap": palette(SEQUENTIAL).tolist(), "diverging": palette(DIVERGING).tolist()},
    }
    script, style = f"{joined('standalone.js')};", styles("viewer", "menu", "standalone")
    if re.search(r"</(script|style)", script + style, re.IGNORECASE):
        raise ValueError("a script or style sheet contains its own closing tag, which would end it early")
    data = base64.b64encode(_gzipped(file)).decode()
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{_policy(script, style)}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{html.escape(title)} · PixelGaze</title>
<style>{style}</style>
</head>
<body>
<main id="viewer"><div class="pixelgaze"><p class="pg-message">Unpacking the trace…</p></div></main>
<script type="application/json" id="pg-page">{json.dumps(page).replace("<", chr(92) + "u003c")}</script>
<script type="text/plain" id="pg-trace">{data}</script>
<script>{script}</script>
</body>
</html>
"""


def _gzipped(path: Path) -> bytes:
    """A file's content, compressed as a gzip file that has no date."""
    packer, parts = zlib.compressobj(6, wbits=16 + zlib.MAX_WBITS), []
    with open(path, "rb") as file:
        while block := file.read(PIECE):
            checkpoint()
            parts.append(packer.compress(block))
    return b"".join([*parts, packer.flush()])


def _policy(script: str, style: str) -> str:
    """No network at all; only the file's own script and style, identified by their hashes, and WebAssembly of it."""

    def hashed(text: str) -> str:
        return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"

    return (
        f"default-src 'none'; script-src {hashed(script)} 'wasm-unsafe-eval'; style-src {hashed(style)}; "
        "img-src data: blob:; worker-src blob:; base-uri 'none'; form-action 'none'"
    )
