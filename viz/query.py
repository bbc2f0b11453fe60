"""Asking a trace what a view asks: a pixel, a rectangle or a painted region, as row, as column, or less the mean row.

`viz/web/core/query.js` and `viz/web/core/attention.js` give the same answers in the browser.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from viz.view import Pixel, Query, Region, View

if TYPE_CHECKING:  # the page imports this module, and is served before torch is
    from viz.trace import Trace


def coverage(query: Query, grid: tuple[int, int]) -> np.ndarray:
    """(h, w), the share of every cell of a grid, 0 to 1, that a query covers; of a pixel, its cell whole."""
    if isinstance(query, Pixel):
        covered = np.zeros(grid)
        covered[tuple(min(n - 1, int(place * n)) for place, n in zip(query.point, grid, strict=True))] = 1
        return covered
    if isinstance(query, Region):
        painted = np.unpackbits(np.frombuffer(query.mask, np.uint8))[: query.grid[0] * query.grid[1]]
        rows, columns = (np.arange(n + 1) / n for n in query.grid)
        down = _overlaps(grid[0], rows[:-1], rows[1:])  # (rows of the mask, h)
        across = _overlaps(grid[1], columns[:-1], columns[1:])
        return down.T @ painted.reshape(query.grid).astype(float) @ across
    ends = zip(grid, query.start, query.end, strict=True)
    return np.outer(*(_overlaps(n, np.array([start]), np.array([end]))[0] for n, start, end in ends))


def shares(query: Query, grid: tuple[int, int]) -> np.ndarray:
    """(h, w), how much every cell counts in the average over a query; sums to 1."""
    covered = coverage(query, grid)
    return covered / covered.sum()


def middle(query: Query, grid: tuple[int, int]) -> tuple[float, float]:
    """The middle of a query, (row, column) in cells of a grid; of a pixel, its cell."""
    weights = shares(query, grid)
    return float(weights.sum(1) @ np.arange(grid[0])), float(weights.sum(0) @ np.arange(grid[1]))


def answer(
    trace: Trace, query: Query, layer: str, step: int, *, mode: str = "row", special: bool = False
) -> np.ndarray:
    """The maps of a query, averaged over its cells.

    Args:
        layer, step: of self-attention, and recorded (KeyError).
        mode: "row", what the query looks at, every head's map sums to 1; "column", who looks at it, sums to nothing
            in particular.
        special: rows less the mean of all pixels' rows; sums to 0.

    Returns:
        (H, h, w) float32.
    """
    ask = {"step": step, "weights": shares(query, trace.layers[layer].grid)}
    if mode == "column":
        return trace.region_columns(layer, **ask).numpy()
    maps = trace.region_rows(layer, **ask)
    return (maps - trace.mean_row(layer, step=step) if special else maps).numpy()


def shown_map(trace: Trace, view: View) -> np.ndarray:
    """The chosen map of a view, (h, w) in times uniform: 1 is what chance would give."""
    maps = answer(trace, view.query, view.layer, view.step, mode=view.mode or "row", special=bool(view.special))
    chosen = maps.mean(0) if view.head < 0 else maps[min(view.head, len(maps) - 1)]
    return chosen * chosen.size


def _overlaps(cells: int, start: np.ndarray, end: np.ndarray) -> np.ndarray:
    """(…, cells): how much of each of `cells` equal parts of 0..1 lies between start and end, as its share."""
    index = np.arange(cells)
    return np.maximum(0, np.minimum(end[:, None] * cells, index + 1) - np.maximum(start[:, None] * cells, index))
