"""What a figure shows: the maps of a view as pictures, their names, and the caption.

Cells have sharp edges in a figure, whatever the view says.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from viz.areas import cell_of, coverage
from viz.colors import DIVERGING, SEQUENTIAL, palette
from viz.draw import on_scale
from viz.figure_items import sampled, whole
from viz.figure_options import FigureError, Options
from viz.layer import Grid, Layer
from viz.partners import is_difference, layer_for, rows_for
from viz.query import Maps, query_grid
from viz.view import DIFFERENCE, Area, Pixel, Query, View, WordQuery

if TYPE_CHECKING:
    from viz.trace import Trace

DARK, DIM = np.array([8, 6, 14]), 0.35  # the colour over the picture, and its share


class Content:
    """The maps of one view of a trace; raises ViewError or KeyError for a view of another."""

    def __init__(self, trace: Trace, view: View) -> None:
        self.trace, self.view, self.maps = trace, view, Maps(trace)
        self.layer = layer_for(trace, view.layer, view.query, view.reading)
        if view.step not in trace.timesteps:
            raise FigureError(f"The trace has no step {view.step}; it has {', '.join(map(str, trace.steps))}.")

    def layers(self, options: Options) -> list[Layer]:
        """The rows of the atlas, in the order of the trace."""
        rows = rows_for(self.trace, self.view.query, self.view.reading)
        if options.layers == "chosen":
            return [self.layer]
        if options.layers == "all":
            return rows
        if options.layers == "grids":
            first = {(layer.grid, layer.key_grid): layer for layer in reversed(rows)}
            first[self.layer.grid, self.layer.key_grid] = self.layer
            return [layer for layer in rows if layer in first.values()]
        names = [layer.name for layer in rows]
        if unknown := [name for name in options.layers if name not in names]:
            raise FigureError(f"No layer “{unknown[0]}” has a map of this query; these have: {', '.join(names)}.")
        return [layer for layer in rows if layer.name in options.layers]

    def steps(self, options: Options) -> list[int]:
        """The columns of the atlas."""
        recorded = self.trace.steps
        if options.steps == "chosen":
            return [self.view.step]
        if options.steps == "all":
            return recorded
        if options.steps == "five":
            last = len(recorded) - 1
            return [recorded[i] for i in sorted({whole(i * last / 4) for i in range(5)})]
        if unknown := [step for step in options.steps if step not in recorded]:
            raise FigureError(f"The trace has no step {unknown[0]}; it has {', '.join(map(str, recorded))}.")
        return [step for step in recorded if step in options.steps]

    def map_of(self, layer: Layer, step: int, head: int, query: Query) -> np.ndarray | None:
        """(h, w) in times uniform; None where there is no map."""
        view = self.view
        able = self.maps.layers_for(query, reading=view.reading or "spent", branch=view.branch)
        if layer not in able or step in self.trace.gaps.get(layer.name, {}):
            return None
        return self.maps.of_view(replace(view, pins=(query,), active=0, layer=layer.name, step=step, head=head))

    def cells(self, layer: Layer, step: int, head: int, query: Query) -> np.ndarray | None:
        """(h, w, 3) uint8, a map in its colours; None where there is no map."""
        values = self.map_of(layer, step, head, query)
        return None if values is None else tinted(values, self.view, query)[0]

    def plain(self) -> np.ndarray:
        """(h, w, 3) uint8: the result, or what was predicted at the step, as the view says."""
        trace, last = self.trace, next(reversed(self.trace.previews.values()), None)
        preview = trace.previews.get(self.view.step) if self.view.base == "preview" else None
        under = next((each for each in (preview, trace.picture, last) if each is not None), None)
        return np.zeros((*trace.size, 3), np.uint8) if under is None else under

    def mapped(self) -> np.ndarray:
        """(h, w, 3) uint8: the dimmed picture, with the chosen map over it, both as strongly as the view says."""
        values = self.map_of(self.layer, self.view.step, self.view.head, self.view.query)
        under = self.plain()
        grid = under.shape[:2] if values is None else values.shape
        shape = tuple(max(sides) for sides in zip(under.shape[:2], grid, strict=True))
        opacity = 1 if self.view.opacity is None else self.view.opacity
        dimmed = np.floor(sampled(under, shape) * (1 - DIM * opacity) + DARK * DIM * opacity + 0.5)
        if values is None:
            return dimmed.astype(np.uint8)
        colors, alpha = (sampled(each, shape).astype(float) for each in tinted(values, self.view, self.view.query))
        opaque = alpha[..., None] * opacity
        return np.floor((colors * opaque + dimmed * (255 - opaque)) / 255 + 0.5).astype(np.uint8)

    def outline_grid(self) -> Grid:
        """The grid on which queries choose cells of the picture."""
        return query_grid(self.layer, self.view.mode or "row")

    @property
    def outlined(self) -> list[tuple[Area, int | None]]:
        """The queries of the picture, each with the number of its pin, the active one last."""
        view = self.view
        pins, active = list(view.pins or ()), -1 if view.active is None else view.active
        queries: list[tuple[Query, int | None]] = [(pin, i) for i, pin in enumerate(pins) if i != active]
        queries.append((pins[active], active) if 0 <= active < len(pins) else (Pixel(view.point), None))
        return [(query, i) for query, i in queries if not isinstance(query, WordQuery)]


def tinted(values: np.ndarray, view: View, query: Query) -> tuple[np.ndarray, np.ndarray]:
    """The colours (h, w, 3) of a map, and how opaque they lie over a picture (h, w), both uint8.

    They are exactly the viewer's, which looks up the upper 16 bits of each float.
    """
    special = is_difference(replace(view, pins=(query,), active=0))
    own, log = view.range == "own", view.log is not False
    if own:
        values = values.astype(float) * (1 / max(float(np.abs(values).max()), 1e-30))
    bits = (values.astype(np.float32).view(np.uint32) >> 16 << 16) | 0x8000
    place = on_scale(bits.view(np.float32).astype(float), own=own, log=log, special=special)
    strength = np.abs(2 * place - 1) if special else place
    colors = palette(DIVERGING if special else SEQUENTIAL)[np.floor(place * 255 + 0.5).astype(int)]
    return colors, np.floor(255 * (0.3 + 0.62 * np.sqrt(strength)) + 0.5).astype(np.uint8)


def ticks(view: View) -> list[tuple[float, str]]:
    """The ticks of the colour bar: positions 0 to 1, and texts; on own scales shares of a map's largest."""
    own, log = view.range == "own", view.log is not False
    if is_difference(view):
        places = [0, 0.2, 0.4, 0.5, 0.6, 0.8, 1] if log else [0, 0.25, 0.5, 0.75, 1]
        if own:
            return [(0, "−max"), (0.5, "0"), (1, "+max")]
        texts = ["−31×", "−7×", "−1×", "0", "+1×", "+7×", "+31×"] if log else ["−4×", "−2×", "0", "+2×", "+4×"]
        return list(zip(places, texts, strict=True))
    if own:
        return (
            [(0, "1/128"), (3 / 7, "1/16"), (5 / 7, "1/4"), (1, "max")] if log else [(0, "0"), (0.5, "½"), (1, "max")]
        )
    texts = ["¼×", "½×", "1×", "2×", "4×", "8×", "16×", "32×"] if log else ["0", "2×", "4×", "6×", "8×"]
    return [(i / (len(texts) - 1), text) for i, text in enumerate(texts)]


def unit(view: View) -> str:
    """What the colours measure."""
    if isinstance(view.query, WordQuery) and view.reading == "used":
        subject = "Attention spent on the word, relative to its mean (1× = mean)"
    elif view.branch == DIFFERENCE:
        subject = "Attention of the last branch minus the first's, relative to uniform"
    elif is_difference(view):
        subject = "Attention minus that of the average cell, relative to uniform"
    else:
        subject = "Attention relative to uniform (1× = chance)"
    return subject + ("; each map on its own scale" if view.range == "own" else "")


def grids(layer: Layer) -> str:
    """ "32×32", "32×32 → 16×16", "32×32 + 4", "32×32 → words"."""
    own = "×".join(map(str, layer.grid))
    kinds = [segment for segment in layer.keys if segment.kind != "pixels"]
    if layer.key_grid is None:
        return f"{own} → {kinds[0].kind}"
    others = sum(segment.tokens for segment in kinds)
    coarser = "" if layer.key_grid == layer.grid else f" → {'×'.join(map(str, layer.key_grid))}"
    return own + coarser + (f" + {others}" if others else "")


def tick_of(trace: Trace, step: int) -> str:
    """A step's label on an axis: its timestep, or its index if there is none."""
    timestep = trace.timesteps[step]
    if timestep is None:
        return str(step)
    return str(int(timestep)) if float(timestep).is_integer() else f"{timestep:#.3g}"


def head_of(layer: Layer, head: int) -> str:
    """ "mean of 4 heads", "head 2"."""
    return f"mean of {layer.heads} heads" if head < 0 else f"head {min(head, layer.heads - 1)}"


def name_of(query: Query, grid: Grid) -> str:
    """A query in a few words: "row 5, column 9", "rectangle, 12 cells", "“red”"."""
    if isinstance(query, WordQuery):
        return f"“{query.text}”"
    if isinstance(query, Pixel):
        row, column = cell_of(query.point, grid)
        return f"row {row}, column {column}"
    count = int((coverage(query, grid) > 1e-9).sum())
    kind = "region" if hasattr(query, "mask") else "rectangle"
    return f"{kind}, {count} cell{'' if count == 1 else 's'}"


def caption_of_figure(trace: Trace, view: View) -> str:
    """The caption of a view: what is asked of which cell, in which layer, head and step, and what the colours mean."""
    layer = layer_for(trace, view.layer, view.query, view.reading)
    grid = query_grid(layer, view.mode or "row")
    side = "×".join(map(str, grid))
    name = name_of(view.query, grid)
    subject = f"the word {name}" if isinstance(view.query, WordQuery) else f"the cell in {name} of the {side} grid"
    if not isinstance(view.query, (Pixel, WordQuery)):
        subject = f"the {name} of the {side} grid"
    asked = f"What {subject} looks at"
    if view.mode == "column" and not isinstance(view.query, WordQuery):
        asked = f"Who looks at {subject}"
    if isinstance(view.query, WordQuery) and view.reading != "looks":
        asked = f"Where {subject} is used" if view.reading == "used" else f"What each cell spends on {subject}"
    branch = view.branch or trace.branches[-1]
    part = "" if len(trace.branches) < 2 else f", branch “{branch}”"
    if branch == DIFFERENCE:
        part = f", branch “{trace.branches[1]}” minus “{trace.branches[0]}”"
    timestep = trace.timesteps[view.step]
    at = f"step {view.step}" + ("" if timestep is None else f", timestep {tick_of(trace, view.step)}")
    scale = "linear" if view.log is False else "logarithmic"
    where = f"layer {layer.name} ({grids(layer)}), {head_of(layer, view.head)}, {at}{part}"
    measured = unit(view)
    colours = measured[0].lower() + measured[1:]
    return f"{asked}: {where}. Colours: {colours}, {scale} scale.{_picture(trace.recipe)}"


def _picture(recipe: dict) -> str:
    """Which picture it is, as far as the recipe says."""
    text, seed = recipe.get("caption"), recipe.get("seed")
    quoted = f"“{text}”" if isinstance(text, str) and text else ""
    sown = f"seed {seed}" if isinstance(seed, int) and not isinstance(seed, bool) else ""
    found = ", ".join(part for part in (quoted, sown) if part)
    return f" Picture: {found}." if found else ""
