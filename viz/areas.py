"""Places and areas of the picture on the grids of layers: which cells a query covers, and how much of each."""

from __future__ import annotations

import numpy as np

from viz.layer import Grid
from viz.view import Area, Pixel, Place, Region


def cell_of(point: Place, grid: Grid) -> tuple[int, int]:
    """The cell of a grid that holds a point in 0..1."""
    row, column = (min(n - 1, int(place * n)) for place, n in zip(point, grid, strict=True))
    return row, column


def coverage(query: Area, grid: Grid) -> np.ndarray:
    """(h, w), the share of every cell of a grid, 0 to 1, that a query covers. A pixel covers its whole cell."""
    if isinstance(query, Pixel):
        covered = np.zeros(grid)
        covered[cell_of(query.point, grid)] = 1
        return covered
    if isinstance(query, Region):
        painted = np.unpackbits(np.frombuffer(query.mask, np.uint8))[: query.grid[0] * query.grid[1]]
        rows, columns = (np.arange(n + 1) / n for n in query.grid)
        down = _overlaps(grid[0], rows[:-1], rows[1:])  # (rows of the mask, h)
        across = _overlaps(grid[1], columns[:-1], columns[1:])
        return down.T @ painted.reshape(query.grid).astype(float) @ across
    down, across = (
        _overlaps(n, np.array([start]), np.array([end]))[0]
        for n, start, end in zip(grid, query.start, query.end, strict=True)
    )
    return np.outer(down, across)


def shares(query: Area, grid: Grid) -> np.ndarray:
    """(h, w), the weight of every cell in an average over a query; sums to 1."""
    covered = coverage(query, grid)
    return covered / covered.sum()


def middle(query: Area, grid: Grid, counted_on: Grid | None = None) -> tuple[float, float]:
    """The middle of the cells that a query covers on a grid, (row, column); of a pixel, its cell.

    Args:
        counted_on: the grid in whose cells the result is given; by default `grid` itself.
    """
    weights = shares(query, grid)
    row, column = float(weights.sum(1) @ np.arange(grid[0])), float(weights.sum(0) @ np.arange(grid[1]))
    if counted_on is None or counted_on == grid:
        return row, column
    return (row + 0.5) * counted_on[0] / grid[0] - 0.5, (column + 0.5) * counted_on[1] / grid[1] - 0.5


def _overlaps(cells: int, start: np.ndarray, end: np.ndarray) -> np.ndarray:
    """(…, cells): the share of each of `cells` equal parts of 0..1 that lies between start and end."""
    index = np.arange(cells)
    return np.maximum(0, np.minimum(end[:, None] * cells, index + 1) - np.maximum(start[:, None] * cells, index))
