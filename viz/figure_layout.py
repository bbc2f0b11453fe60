"""Where everything stands in a figure, in whole dots, so that every format holds the same one."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from viz.areas import cell_of
from viz.colors import DIVERGING, SEQUENTIAL, palette
from viz.figure_content import Content, caption_of_figure, grids, name_of, tick_of, ticks, unit
from viz.figure_items import (
    MILLIMETRE,
    POINT,
    Box,
    Dot,
    Image,
    Item,
    Lines,
    Sheet,
    Text,
    cut,
    frame,
    hundredths,
    whole,
    width_of,
    wrap,
)
from viz.figure_options import FigureError, Options
from viz.labels import layer_label
from viz.layer import Layer
from viz.partners import is_difference, layer_for
from viz.view import Area, Pixel, Query
from viz.view import Box as Rectangle

MARGIN, GAP, SPACE = 12, 6, 36  # dots: around the figure, between maps, between blocks
LARGEST, SMALLEST = 260, 12  # dots: the longer side of a map in the atlas
WIDE = 1400  # dots: from here on pictures stand beside the atlas
BAR, BAR_WIDTH = 24, 1100  # dots: height and greatest width of the colour bar
PINS = ("#e69f00", "#56b4e9", "#009e73", "#cc79a7")
THEMES = {
    "light": ("#16181d", "#565d6b", "#ffffff"),
    "dark": ("#f2f4f8", "#a9b0bd", "#0f1116"),
    "transparent": ("#16181d", "#565d6b", None),
}
CHOSEN, NONE = "#c2410c", "#8a8a8a"  # the frame of the chosen map, and of a place without a map


@dataclass(frozen=True)
class Pen:
    """The inks, the font and its two sizes, in dots."""

    ink: str
    soft: str
    font: str
    size: float
    small: float

    @property
    def line(self) -> int:
        """From one line of text to the next."""
        return whole(self.size * 1.25)


Block = tuple[int, list[Item]]  # height, items


def lay_out(content: Content, options: Options) -> Sheet:
    """The figure of a view.

    Raises:
        FigureError: if the maps do not fit the width.
    """
    ink, soft, paper = THEMES[options.theme]
    size = hundredths(options.size * POINT)
    pen = Pen(ink, soft, options.font, size, hundredths(size * 0.85))
    width, height = whole(options.millimetres * MILLIMETRE), 0
    inner = width - 2 * MARGIN
    if options.width == "slide":
        height = whole(width * 9 / 16)
        while _body(content, options, pen, 0, inner)[0] > height - 2 * MARGIN and inner > WIDE:
            inner -= 40
    high, items = _body(content, options, pen, (width - inner) // 2, inner)
    height = max(height, high + 2 * MARGIN)
    back: list[Item] = [Box(0, 0, width, height, paper)] if paper else []
    title = caption_of_figure(content.trace, content.view)
    return Sheet(width, height, (*back, *items), options.font, title)


def _body(content: Content, options: Options, pen: Pen, x: int, width: int) -> Block:
    """Pictures, maps, colour bar and caption, from the upper margin down."""
    parts = options.parts
    count, has_maps = len({"picture", "plain"} & set(parts)), bool({"atlas", "pins", "heads"} & set(parts))
    beside = bool(count) and has_maps and width >= WIDE
    items: list[Item] = []
    left = width if not has_maps else whole(width * (0.28 if beside else 0.6))
    pictures = _pictures(content, parts, pen, x, MARGIN, left if beside or count < 2 else width, beside)
    items += pictures[1]
    start = x + left + SPACE if beside else x
    y = MARGIN if beside or not count else MARGIN + pictures[0] + SPACE
    room = x + width - start
    for block in (_atlas, _pins, _heads, _bar):
        if block.__name__[1:] in parts:
            high, drawn = block(content, options, pen, start, y, room)
            items += drawn
            y += high + (SPACE if high else 0)
    bottom = max(y - SPACE, MARGIN + pictures[0])
    if options.caption:
        lines = wrap(caption_of_figure(content.trace, content.view), width, pen.size, pen.font)
        top = bottom + SPACE // 2
        items += [Text(x, top + pen.line * (i + 1), line, pen.size, pen.ink) for i, line in enumerate(lines)]
        bottom = top + pen.line * len(lines) + whole(pen.size * 0.3)
    return bottom - MARGIN, items


def _pictures(content: Content, parts: tuple, pen: Pen, x: int, y: int, width: int, stacked: bool) -> Block:
    """The picture with its map and the plain one, side by side or one above the other."""
    shown = [part for part in ("picture", "plain") if part in parts]
    if not shown:
        return 0, []
    high, wide = content.trace.size
    across = 1 if stacked else len(shown)
    side = (width - (across - 1) * GAP) // across
    height = whole(side * high / wide)
    items: list[Item] = []
    for i, part in enumerate(shown):
        left, top = (x, y + i * (height + GAP)) if stacked else (x + i * (side + GAP), y)
        items.append(Image(left, top, side, height, content.mapped() if part == "picture" else content.plain()))
        if part == "picture":
            for query, number in content.outlined:
                items += outline(content, pen, query, number, (left, top, side, height))
    rows = len(shown) if stacked else 1
    return rows * (height + GAP) - GAP, items


def outline(
    content: Content,
    pen: Pen,
    query: Area,
    number: int | None,
    box: tuple[int, int, int, int],
    *,
    thick: tuple[int, int] = (9, 5),
) -> list[Item]:
    """A query's outline on the picture in `box`, and the number of its pin; `thick` are black and colour, in dots."""
    x, y, width, height = box
    color = "#ffffff" if number is None else PINS[number]
    across, down = (lambda v: x + whole(v * width)), (lambda v: y + whole(v * height))
    if isinstance(query, (Pixel, Rectangle)):
        if isinstance(query, Pixel):
            rows, columns = content.outline_grid()
            row, column = cell_of(query.point, (rows, columns))
            start, end = (row / rows, column / columns), ((row + 1) / rows, (column + 1) / columns)
        else:
            start, end = query.start, query.end
        left, top, right, bottom = across(start[1]), down(start[0]), across(end[1]), down(end[0])
        strokes = frame(left, top, right - left, bottom - top)
    else:
        rows, columns = query.grid
        on = np.unpackbits(np.frombuffer(query.mask, np.uint8))[: rows * columns].reshape(rows, columns)
        strokes = tuple(
            (across(a / columns), down(b / rows), across(c / columns), down(d / rows)) for a, b, c, d in _edges(on)
        )
        right, top = max(stroke[2] for stroke in strokes), min(stroke[1] for stroke in strokes)
    items: list[Item] = [Lines(strokes, "#000000", thick[0]), Lines(strokes, color, thick[1])]
    if number is not None:
        radius = whole(pen.size * 0.55)
        middle = min(right, x + width - radius), max(top, y + radius)
        items += _number(pen, number, *middle, radius)
    return items


def _number(pen: Pen, number: int, x: int, y: int, radius: int) -> list[Item]:
    text = Text(x, y + whole(pen.small * 0.36), str(number + 1), pen.small, "#000000", True, "middle")
    return [Dot(x, y, radius, PINS[number]), text]


def _edges(on: np.ndarray) -> list[tuple[int, int, int, int]]:
    """The edges of painted cells, (x, y, x, y) in cells, from the upper left, rows first."""
    rows, columns = on.shape
    padded = np.pad(on, 1)
    found = []
    for y in range(rows + 1):
        for x in range(columns + 1):
            if padded[y + 1, x + 1] != padded[y, x + 1]:
                found.append((x, y, x + 1, y))
            if padded[y + 1, x + 1] != padded[y + 1, x]:
                found.append((x, y, x, y + 1))
    return found


@dataclass(frozen=True)
class Columns:
    """The columns of maps: where they begin, a map's sides, and the labels' room before them."""

    x: int
    left: int
    wide: int
    high: int

    def at(self, column: int) -> int:
        return self.left + column * (self.wide + GAP)


def _columns(content: Content, options: Options, pen: Pen, x: int, width: int) -> Columns:
    """The columns of the atlas, which pins and heads share."""
    steps = len(content.steps(options)) if {"atlas", "pins"} & set(options.parts) else 4
    names = [text for layer in content.layers(options) for text in (layer_label(layer.name), grids(layer))]
    widest = max(width_of(name, pen.size, pen.font, True) for name in (*names, "timestep t"))
    labels = min(whole(widest) + 2 * GAP, whole(width * 0.35))
    cell = min(LARGEST, (width - labels - (steps - 1) * GAP) // steps)
    if cell < SMALLEST:
        raise FigureError(
            f"{steps} steps do not fit into {options.millimetres:g} mm: choose fewer steps or a wider figure."
        )
    high, wide = content.trace.size
    longer = max(high, wide)
    return Columns(x, x + labels, max(1, whole(cell * wide / longer)), max(1, whole(cell * high / longer)))


def _atlas(content: Content, options: Options, pen: Pen, x: int, y: int, width: int) -> Block:
    columns, view = _columns(content, options, pen, x, width), content.view
    layers, steps = content.layers(options), content.steps(options)
    pitch = max(columns.high, pen.line) + GAP
    items: list[Item] = []
    for row, layer in enumerate(layers):
        top, chosen = y + row * pitch, layer == content.layer
        items += _label(columns, pen, layer_label(layer.name), grids(layer), top, chosen)
        for column, step in enumerate(steps):
            left = columns.at(column)
            items += _map(content, layer, step, view.head, view.query, (left, top, columns.wide, columns.high))
            if chosen and step == view.step and len(layers) * len(steps) > 1:
                items.append(Lines(frame(left, top, columns.wide, columns.high), CHOSEN, 5))
    high = len(layers) * pitch - GAP
    return high + whole(pen.small * 1.3), items + _ticks(content, steps, columns, pen, y + high)


def _label(columns: Columns, pen: Pen, name: str, grid: str, top: int, chosen: bool) -> list[Item]:
    """A layer's name before its row, and its grid below if there is room."""
    room = columns.left - columns.x - GAP
    text = cut(name, room, pen.size, pen.font, chosen)
    both = columns.high >= 2 * pen.line
    middle = top + columns.high // 2
    first = Text(columns.x, middle + (-GAP if both else whole(pen.size * 0.35)), text, pen.size, pen.ink, chosen)
    if not both:
        return [first]
    below = cut(grid, room, pen.small, pen.font)
    return [first, Text(columns.x, middle - GAP + whole(pen.small * 1.2), below, pen.small, pen.soft)]


def _map(
    content: Content, layer: Layer, step: int, head: int, query: Query, box: tuple[int, int, int, int]
) -> list[Item]:
    """One map, or where there is none a frame, crossed out."""
    cells = content.cells(layer, step, head, query)
    if cells is not None:
        return [Image(*box, cells)]
    x, y, width, height = box
    return [Lines((*frame(*box), (x, y, x + width, y + height)), NONE, 2)]


def _ticks(content: Content, steps: list[int], columns: Columns, pen: Pen, y: int) -> list[Item]:
    """The timesteps under the columns, as many as there is room for."""
    texts = [tick_of(content.trace, step) for step in steps]
    widest = max(width_of(text, pen.small, pen.font) for text in texts) + 2 * GAP
    every = 1
    while every * (columns.wide + GAP) < widest and every < len(steps):
        every += 1
    baseline = y + whole(pen.small * 1.1)
    name = "step" if all(t is None for t in content.trace.timesteps.values()) else "timestep t"
    items: list[Item] = [Text(columns.x, baseline, name, pen.small, pen.soft)]
    for column in range(0, len(steps), every):
        middle = columns.at(column) + columns.wide // 2
        items.append(Text(middle, baseline, texts[column], pen.small, pen.soft, anchor="middle"))
    return items


def _pins(content: Content, options: Options, pen: Pen, x: int, y: int, width: int) -> Block:
    """A row of maps for each pin, in the chosen layer or its partner."""
    view, columns = content.view, _columns(content, options, pen, x, width)
    steps, pins = content.steps(options), view.pins or ()
    pitch, radius = max(columns.high, pen.line) + GAP, whole(pen.size * 0.55)
    items: list[Item] = []
    for row, pin in enumerate(pins):
        layer = layer_for(content.trace, view.layer, pin, view.reading)
        top = y + row * pitch
        middle = top + columns.high // 2
        items += _number(pen, row, x + radius, middle, radius)
        start = x + 2 * radius + 2 * GAP
        name = cut(name_of(pin, content.outline_grid()), columns.left - start - GAP, pen.small, pen.font)
        items.append(Text(start, middle + whole(pen.small * 0.35), name, pen.small, pen.ink))
        for column, step in enumerate(steps):
            items += _map(content, layer, step, view.head, pin, (columns.at(column), top, columns.wide, columns.high))
    if not pins or "atlas" in options.parts:
        return max(0, len(pins) * pitch - GAP), items
    high = len(pins) * pitch - GAP
    return high + whole(pen.small * 1.3), items + _ticks(content, steps, columns, pen, y + high)


def _heads(content: Content, options: Options, pen: Pen, x: int, y: int, width: int) -> Block:
    """The heads of the chosen layer at the chosen step, with their numbers below."""
    view, layer, columns = content.view, content.layer, _columns(content, options, pen, x, width)
    across = max(1, (x + width - columns.left + GAP) // (columns.wide + GAP))
    pitch = columns.high + whole(pen.small * 1.3) + GAP
    at = f"t = {tick_of(content.trace, view.step)}"
    items = _label(columns, pen, layer_label(layer.name), f"heads, {at}", y, True)
    for head in range(layer.heads):
        left, top = columns.at(head % across), y + head // across * pitch
        items += _map(content, layer, view.step, head, view.query, (left, top, columns.wide, columns.high))
        baseline = top + columns.high + whole(pen.small * 1.1)
        middle = left + columns.wide // 2
        items.append(Text(middle, baseline, str(head), pen.small, pen.soft, head == view.head, "middle"))
    return ((layer.heads - 1) // across + 1) * pitch - GAP, items


def _bar(content: Content, options: Options, pen: Pen, x: int, y: int, width: int) -> Block:
    """The colours, their ticks, and what they measure."""
    inset = whole(pen.size * 1.2)  # room for half of the first and the last tick
    start, long = x + inset, min(BAR_WIDTH, width - 2 * inset)
    colors = palette(DIVERGING if is_difference(content.view) else SEQUENTIAL)[None]
    items: list[Item] = [Image(start, y, long, BAR, colors)]
    baseline = y + BAR + whole(pen.small * 1.2)
    for place, text in ticks(content.view):
        items.append(Text(start + whole(place * long), baseline, text, pen.small, pen.soft, anchor="middle"))
    lines = wrap(unit(content.view), width, pen.small, pen.font)
    for i, line in enumerate(lines):
        items.append(Text(x, baseline + whole(pen.small * 1.3) * (i + 1), line, pen.small, pen.soft))
    return BAR + whole(pen.small * 1.5) + whole(pen.small * 1.3) * len(lines), items
