"""Exports: the rows on display as NPZ, a GIF, and one HTML file with everything in it.

write_npz(trace, "rows.npz", View((0.5, 0.3), layer, step))
write_html(trace, "twins.html")        # opens from disk, with the network off
"""

from __future__ import annotations

import base64
import gzip
import hashlib
import html
import json
import re
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from viz.colors import DIVERGING, SEQUENTIAL, palette
from viz.draw import animation, overlay
from viz.query import Maps, map_grid
from viz.trace import Trace
from viz.trace_header import read_description
from viz.view import Query, View
from viz.web import joined, styles


def rows_on_show(trace: Trace, view: View) -> dict[str, np.ndarray]:
    """The atlas of a view as named arrays; the browser's NPZ holds the same.

    Returns:
        {"maps_00", "maps_01", …}: (S, h, w) float32 in times uniform, one for each self-attention layer, of the view's
        query, mode and head, and NaN at the layer's gaps; {"pin_1", …}: the same for every pin,
        in the chosen layer; "layers" (L,) their names; "steps" (S,), "timesteps" (S,) float64 (NaN where there is
        none); "view" and "recipe", JSON.
    """
    maps = Maps(trace)
    layers = [layer.name for layer in maps.pixel_layers]
    timesteps = [np.nan if t is None else t for t in trace.timesteps.values()]
    texts = {
        "layers": np.array(layers),
        "steps": np.array(trace.steps, np.int32),
        "timesteps": np.array(timesteps, np.float64),
        "view": np.array(json.dumps(view.to_json())),
        "recipe": np.array(json.dumps(trace.recipe)),
    }
    atlas = {f"maps_{i:02}": _over_steps(maps, view, view.query, name) for i, name in enumerate(layers)}
    pins = {f"pin_{i}": _over_steps(maps, view, pin, view.layer) for i, pin in enumerate(view.pins or (), 1)}
    return atlas | pins | texts


def _over_steps(maps: Maps, view: View, query: Query, layer: str) -> np.ndarray:
    """(S, h, w), in times uniform; NaN at the layer's gaps."""
    mode, special = view.mode or "row", bool(view.special)
    trace, steps = maps.trace, maps.trace.steps
    values = np.full((len(steps), *map_grid(trace.layers[layer], mode)), np.nan, np.float32)
    for step in trace.steps_of(layer):
        values[steps.index(step)] = maps.one(query, layer, step, head=view.head, mode=mode, special=special)
    return values


def write_npz(trace: Trace, path: str | Path, view: View) -> Path:
    """Write `rows_on_show`; `numpy.load` reads it without pickle."""
    with open(path, "wb") as file:
        np.savez_compressed(file, allow_pickle=False, **rows_on_show(trace, view))
    return Path(path)


def write_gif(trace: Trace, path: str | Path, view: View, *, size: int = 384) -> Path:
    """Write an animation of the view's map over the predicted picture, step by step; at gaps, of the picture alone."""
    special = bool(view.special) and view.mode != "column"  # no mean row is subtracted from columns
    scale = {"range": view.range or "common", "log": view.log is not False, "special": special}
    blank = np.zeros((*trace.size, 3), np.uint8) if trace.picture is None else trace.picture
    maps, present, frames = Maps(trace), trace.steps_of(view.layer), []
    for step in trace.steps:
        values = maps.of_view(replace(view, step=step)) if step in present else None
        frames.append(overlay(trace.previews.get(step, blank), values, size=size, smooth=bool(view.smooth), **scale))
    Path(path).write_bytes(animation(frames))
    return Path(path)


def for_browser(trace: Trace) -> Trace:
    """The part of a trace that a browser needs: everything, in half precision."""
    return trace.select(dtype=torch.float16)


def write_html(trace: Trace | str | Path, path: str | Path, view: View | None = None) -> Path:
    """Write one HTML file with a trace and the viewer. Its content policy forbids all requests.

    Args:
        trace: a trace, which is kept in half precision; or the file of a trace prepared for the viewer.
        view: the view it opens with.

    Raises:
        viz.trace_header.HeaderError: if `trace` is a file that holds no trace.
    """
    if isinstance(trace, (str, Path)):
        document = _document(Path(trace), view)
    else:
        with tempfile.TemporaryDirectory() as folder:
            document = _document(for_browser(trace).save(Path(folder) / "trace.safetensors"), view)
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
    data = base64.b64encode(gzip.compress(file.read_bytes(), 6, mtime=0)).decode()
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


def _policy(script: str, style: str) -> str:
    """No network at all; only the file's own script and style, identified by their hashes, and WebAssembly of it."""

    def hashed(text: str) -> str:
        return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"

    return (
        f"default-src 'none'; script-src {hashed(script)} 'wasm-unsafe-eval'; style-src {hashed(style)}; "
        "img-src data: blob:; worker-src blob:; base-uri 'none'; form-action 'none'"
    )
