"""The frames of the animation over the steps: the picture with the map, and below it what is shown, as on the page
(viz/web/export/frames.js).
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image as Pillow

from viz.colors import DIVERGING, SEQUENTIAL, palette
from viz.draw import overlay
from viz.figure_content import Content, head_of, name_of, tick_of, ticks, unit
from viz.figure_files import to_picture
from viz.figure_items import DOTS, Box, Image, Item, Sheet, Text, whole, width_of, wrap
from viz.figure_layout import Pen, outline
from viz.labels import layer_label
from viz.partners import is_difference
from viz.view import View, WordQuery

if TYPE_CHECKING:
    from viz.trace import Trace

WIDTH, INSET, BAR = 384, 10, 8  # dots: of a frame, of what stands below the picture, height of the colour bar
STEP, NAME, NOTE = 13, 12, 10  # dots: sizes of the texts
PAPER, INK = "#16181d", "#ffffff"
MOST_NAMES, MOST_NOTES = 3, 6  # lines
READINGS = {"spent": "what the pixels spend on it", "used": "where it is used", "looks": "what it looks at"}


def frames_of(trace: Trace, view: View, size: int) -> list[Pillow.Image]:
    """A picture for each step, RGB, all of one size.

    Args:
        size: the longer side of the pictures, in pixels; what stands below them grows with it.

    Raises:
        ViewError, KeyError: for a branch or a layer that the trace lacks.
    """
    wide = trace.size[1] * size / max(trace.size)
    return [to_picture(sheet, DOTS * wide / WIDTH) for sheet in sheets_of(trace, view, size)]


def sheets_of(trace: Trace, view: View, size: int = WIDTH) -> list[Sheet]:
    """The same before they are drawn; the pictures in them have `size` pixels."""
    content = Content(trace, replace(view, step=trace.steps[0]))
    name = wrap(_name(content)[:600], WIDTH - 2 * INSET, NAME, "sans", bold=True)[:MOST_NAMES]
    maps = [content.map_of(content.layer, step, view.head, view.query) for step in trace.steps]
    notes = [
        wrap(_note(content, step, values is not None)[:600], WIDTH - 2 * INSET, NOTE, "sans")[:MOST_NOTES]
        for step, values in zip(trace.steps, maps, strict=True)
    ]
    high = whole(WIDTH * trace.size[0] / trace.size[1])
    bar = high + 26 + 15 * len(name)  # its upper edge
    foot = bar + BAR + 18 + 13 * max(map(len, notes)) + 2
    texts = [Text(INSET, high + 34 + 15 * i, line, NAME, INK, True) for i, line in enumerate(name)]
    sheets = []
    for step, values, note in zip(trace.steps, maps, notes, strict=True):
        items: list[Item] = [Box(0, 0, WIDTH, 2 * whole(foot / 2), PAPER), *_picture(content, step, values, size, high)]
        items += [Text(INSET, high + 18, _step(trace, step), STEP, INK), *texts]
        items += [] if values is None else _bar(view, bar)
        items += [Text(INSET, bar + BAR + 27 + 13 * i, line, NOTE, INK) for i, line in enumerate(note)]
        sheets.append(
            Sheet(WIDTH, 2 * whole(foot / 2), tuple(items), "sans", f"{_step(trace, step)}: {_name(content)}")
        )
    return sheets


def _name(content: Content) -> str:
    """What is asked, of which cell or word, in which layer and head."""
    view, layer, query = content.view, content.layer, content.view.query
    relation = "who looks at it" if view.mode == "column" else "what it looks at"
    if isinstance(query, WordQuery):
        relation = READINGS[view.reading or "spent"]
    grid = "×".join(map(str, layer.grid))
    asked = name_of(query, content.outline_grid())
    return f"{asked}: {relation}, {layer_label(layer.name)} ({grid}), {head_of(layer, view.head)}"


def _step(trace: Trace, step: int) -> str:
    timestep = "" if trace.timesteps[step] is None else f", t = {tick_of(trace, step)}"
    call = ", call {} of {}".format(*trace.calls[step]) if step in trace.calls else ""
    return f"step {step}{timestep}{call}"


def _note(content: Content, step: int, has_map: bool) -> str:
    """What the colours measure; or why there is no map."""
    view, layer = content.view, content.layer
    if not has_map:
        asked = name_of(view.query, content.outline_grid())
        return f"No map: {content.trace.gaps.get(layer.name, {}).get(step, f'this layer has none of {asked}')}."
    smooth = "; interpolated for display only" if view.smooth else ""
    column = view.mode == "column" and not isinstance(view.query, WordQuery)
    sums = " Columns don't sum to one, so they are not probabilities." if column else ""
    return f"{unit(view)}. {'Linear' if view.log is False else 'Log'} scale{smooth}.{sums}"


def _picture(content: Content, step: int, values: np.ndarray | None, size: int, high: int) -> list[Item]:
    """What was predicted at the step with the map over it, and the outlines of the queries."""
    trace, view = content.trace, content.view
    blank = np.zeros((*trace.size, 3), np.uint8) if trace.picture is None else trace.picture
    scale = {"range": view.range or "common", "log": view.log is not False, "special": is_difference(view)}
    opacity = 1 if view.opacity is None else view.opacity
    under = trace.previews.get(step, blank)
    shown = overlay(under, values, size=size, smooth=bool(view.smooth), opacity=opacity, **scale)
    items: list[Item] = [Image(0, 0, WIDTH, high, np.asarray(shown))]
    pen = Pen(INK, INK, "sans", 16, 13)
    for query, number in content.outlined:
        items += outline(content, pen, query, number, (0, 0, WIDTH, high), thick=(5, 2))
    return items


def _bar(view: View, top: int) -> list[Item]:
    """The colours with their ticks, as many as there is room for."""
    long, free = WIDTH - 2 * INSET, 0.0  # `free`: where the next text may begin
    colors = palette(DIVERGING if is_difference(view) else SEQUENTIAL)[None]
    items: list[Item] = [Image(INSET, top, long, BAR, colors)]
    for place, text in ticks(view):
        wide = width_of(text, NOTE, "sans")
        left = min(WIDTH - 4 - wide, max(4, INSET + place * long - wide / 2))
        if left >= free:
            items.append(Text(whole(left), top + BAR + 11, text, NOTE, INK))
            free = left + wide + 6
    return items
