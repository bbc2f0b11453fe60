"""How the attention of one query changes over the steps: a line for each layer, or for each head of one layer."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np

from viz.areas import coverage, middle
from viz.labels import layer_label
from viz.layer import Branch
from viz.measures import entropy, mean_distance, region_weight
from viz.query import Maps, map_grid, query_grid
from viz.view import Area, Mode

Lines = dict[str, np.ndarray]


@dataclass(frozen=True)
class Curves:
    """Measures over the S recorded steps, each {label: (S,)}, NaN at the gaps of a layer.

    Attributes:
        entropy: bits, of rows; None for columns, which are not distributions.
        received: the sum of a column: 1 is what an average pixel receives; None for rows, which sum to 1.
        distance: picture pixels.
        weight: 0 to 1, the share of the attention that falls into the region or, for columns, comes from it; None
            without a region.
        cells: {label: the number of cells of its maps}.
    """

    steps: list[int]
    timesteps: list[float | None]
    entropy: Lines | None
    received: Lines | None
    distance: Lines
    weight: Lines | None
    cells: dict[str, int] = field(default_factory=dict)

    @property
    def comparable_entropy(self) -> tuple[Lines, str]:
        """Entropies and their unit: bits; where the maps differ in size, shares of the largest, log₂(keys)."""
        if not self.entropy or len(set(self.cells.values())) < 2:
            return self.entropy or {}, "bits"
        shares = {label: line / (math.log2(self.cells[label]) or 1) for label, line in self.entropy.items()}
        return shares, "share of log₂(keys)"


def measure_over_steps(
    maps: Maps,
    query: Area,
    *,
    mode: Mode = "row",
    layer: str | None = None,
    head: int = -1,
    region: Area | None = None,
    outside: bool = False,
    branch: Branch | None = None,
) -> Curves:
    """Measure, at every recorded step, what a query looks at (its rows) or who looks at it (its columns).

    Args:
        maps: of the trace, `Maps(trace)`.
        mode: "row" or "column"; averaged over the cells of the query.
        layer: draw a line for each head of this layer, and one for their mean; a line for each layer by default.
        head: which head the lines of layers show; -1 for the mean of all.
        region: where the weight is measured; with `outside`, everywhere else.
        branch: the last by default.
    """
    trace = maps.trace
    names = [each.name for each in maps.pixel_layers] if layer is None else [layer]
    spread: Lines = {}  # entropies of rows, sums of columns
    distance: Lines = {}
    weight: Lines = {}
    cells: dict[str, int] = {}
    for name in names:
        layer_maps = _over_steps(maps, query, name, mode, branch)
        source, grid = query_grid(trace.layers[name], mode), map_grid(trace.layers[name], mode)
        received = math.prod(source) / math.prod(grid)  # what an average cell receives is 1 / this
        for label, line in head_lines(layer_maps, layer_label(name) if layer is None else None, head).items():
            total = line.sum((-2, -1))  # 1 for rows, or less if some keys are not pixels
            shares = line / np.maximum(total, 1e-30)[:, None, None]
            cells[label] = math.prod(grid)
            spread[label] = total * received if mode == "column" else entropy(line)
            distance[label] = mean_distance(shares, middle(query, source, grid), trace.size)
            if region is not None:
                covered = coverage(region, grid)
                weight[label] = region_weight(shares, 1 - covered if outside else covered)
    return Curves(
        steps=trace.steps,
        timesteps=list(trace.timesteps.values()),
        entropy=None if mode == "column" else spread,
        received=spread if mode == "column" else None,
        distance=distance,
        weight=None if region is None else weight,
        cells=cells,
    )


def _over_steps(maps: Maps, query: Area, name: str, mode: Mode, branch: Branch | None) -> np.ndarray:
    """(S, H, h, w), the maps of a query in one layer; NaN at its gaps."""
    trace, layer = maps.trace, maps.trace.layers[name]
    values = np.full((len(trace.steps), layer.heads, *map_grid(layer, mode)), np.nan, np.float32)
    for index, step in enumerate(trace.steps):
        if step not in trace.gaps.get(name, {}):
            values[index] = maps.heads(query, name, step, mode=mode, branch=branch)
    return values


def head_lines(maps: np.ndarray, label: str | None, head: int) -> Lines:
    """{label: (S, h, w)} of a layer's maps (S, H, h, w): one line if it has a label, else one for each head."""
    if label is not None:
        return {label: maps.mean(1) if head < 0 else maps[:, min(head, maps.shape[1] - 1)]}
    return {"mean": maps.mean(1)} | {f"head {index}": maps[:, index] for index in range(maps.shape[1])}
