"""The maps of a view's query: of a pixel, a rectangle or a painted region; as rows, as columns, or minus the mean row.

    maps = Maps(trace)
    maps.heads(Pixel((0.5, 0.3)), "mid_block.attentions.0", 12)     # (H, h, w)

Python, the page's plots and the page's server all take their maps from here. `viz/web/core/query.js` and
`viz/web/core/attention.js` compute the same in the browser.
"""

from __future__ import annotations

from threading import Condition

import numpy as np
import torch
from cachetools import LRUCache, cachedmethod

from viz.attention import RowSums
from viz.layer import Grid, Layer
from viz.trace import Trace
from viz.view import Area, Mode, Pixel, Place, Query, Region, View, ViewError, WordQuery

CACHE_BYTES = 256_000_000  # of row sums; Stable Diffusion's largest layer needs 262 kB a step


class Maps:
    """The maps of one trace. Caches the sums that columns and mean rows need; threads may share it.

    Args:
        cache_bytes: limit on the cached sums; the least recently used are dropped first.
    """

    def __init__(self, trace: Trace, *, cache_bytes: int = CACHE_BYTES) -> None:
        self.trace = trace
        self.layers: list[Layer] = [layer for layer in trace if layer.kind == "self"]
        self.cache: LRUCache = LRUCache(cache_bytes, getsizeof=lambda sums: sums.log_sums.nbytes + sums.mean_row.nbytes)
        self._computing = Condition()

    def heads(self, query: Query, layer: str, step: int, *, mode: Mode = "row", special: bool = False) -> np.ndarray:
        """The maps of a query, averaged over its cells.

        Args:
            layer, step: a self-attention layer and one of its steps, both recorded (KeyError, as for `Trace.rows`).
            mode: "row", what the query looks at: every head's map sums to 1; or "column", who looks at it: the sum is
                what an average cell of the query receives.
            special: rows minus the mean row of all pixels; these sum to 0. No effect on columns.

        Returns:
            (H, h, w) float32, on the grid of the layer's keys for rows and of its queries for columns.
        """
        return self._maps(query, layer, step, None, mode, special).numpy()

    def one(
        self, query: Query, layer: str, step: int, *, head: int = -1, mode: Mode = "row", special: bool = False
    ) -> np.ndarray:
        """One head's map, (h, w) float32 in times uniform: 1 is what chance would give.

        Args:
            head: -1 for the mean of all heads; the last head for a number beyond it.

        Other arguments as for `heads`.
        """
        spec = self.trace.layers[layer]
        maps = self._maps(query, layer, step, None if head < 0 else min(head, spec.heads - 1), mode, special)
        chosen = maps.mean(0) if head < 0 else maps
        return (chosen * _key_cells(spec)).numpy()

    def of_view(self, view: View) -> np.ndarray:
        """The chosen map of a view, (h, w) in times uniform."""
        special = bool(view.special)
        return self.one(view.query, view.layer, view.step, head=view.head, mode=view.mode or "row", special=special)

    def _maps(self, query: Query, name: str, step: int, head: int | None, mode: Mode, special: bool) -> torch.Tensor:
        """(H, h, w), or (h, w) of one head."""
        if isinstance(query, WordQuery):
            raise ViewError("Maps of words are not computed here yet.")
        trace, heads = self.trace, slice(None) if head is None else head
        grid = query_grid(trace.layers[name], mode)
        if mode == "column":
            weights, log_sums = torch.from_numpy(shares(query, grid)), self._sums(name, step).log_sums[heads]
            return trace.region_columns(name, step=step, weights=weights, head=head, log_sums=log_sums)
        if isinstance(query, Pixel):
            maps = trace.rows(name, step=step, query=cell_of(query.point, grid), head=head)
        else:
            maps = trace.region_rows(name, step=step, weights=torch.from_numpy(shares(query, grid)), head=head)
        return maps - self._sums(name, step).mean_row[heads] if special else maps

    @cachedmethod(lambda self: self.cache, condition=lambda self: self._computing)
    def _sums(self, name: str, step: int) -> RowSums:
        return self.trace.row_sums(name, step=step)


def query_grid(layer: Layer, mode: Mode) -> Grid:
    """The grid of a self-attention layer on which a query chooses cells: of its queries for rows, keys for columns."""
    return layer.key_grid if mode == "column" and layer.key_grid else layer.grid


def map_grid(layer: Layer, mode: Mode) -> Grid:
    """The grid of a self-attention layer's maps: of its keys for rows, of its queries for columns."""
    return layer.grid if mode == "column" or not layer.key_grid else layer.key_grid


def _key_cells(layer: Layer) -> int:
    """How many keys a row is spread over by chance: those that are pixels."""
    return layer.pixel_keys.stop - layer.pixel_keys.start


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
