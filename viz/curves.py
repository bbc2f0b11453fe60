"""How the attention of one query changes over the steps: a line for each layer, or for each head of one layer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from viz.labels import layer_label
from viz.measures import entropy, mean_distance, region_weight
from viz.query import answer, coverage, middle
from viz.view import Query

if TYPE_CHECKING:
    from viz.trace import Trace

Lines = dict[str, np.ndarray]


@dataclass(frozen=True)
class Curves:
    """Measures over the S recorded steps, each {label: (S,)}; `weight` is None where there is no region.

    Attributes:
        entropy: bits, of rows; None for columns, which are no distributions.
        received: of columns, what they sum to: 1 is what an average pixel receives; None for rows, which sum to 1.
        distance: picture pixels. weight: 0 to 1, the share of the attention that falls into the region, or, of columns,
            that comes from it.
    """

    steps: list[int]
    timesteps: list[float | None]
    entropy: Lines | None
    received: Lines | None
    distance: Lines
    weight: Lines | None


def follow(
    trace: Trace,
    query: Query,
    *,
    mode: str = "row",
    layer: str | None = None,
    head: int = -1,
    region: Query | None = None,
    outside: bool = False,
) -> Curves:
    """Measure at every step what a query looks at (its rows), or who looks at it (its columns), averaged over cells.

    Args:
        mode: "row" or "column".
        layer: one line for each of its heads, and their mean; by default one line for each layer.
        head: of the lines of layers, the head they are of; -1 for the mean of all.
        region: where the weight is measured; with `outside` everywhere but there.
    """
    names = [found.name for found in trace if found.kind == "self"] if layer is None else [layer]
    column = mode == "column"
    joined: dict[str, Lines] = {"entropy": {}, "received": {}, "distance": {}, "weight": {}}
    for name in names:
        maps = np.stack([answer(trace, query, name, step, mode=mode) for step in trace.steps])  # (S, H, h, w)
        grid = maps.shape[-2:]
        for label, shown in _chosen(maps, layer_label(name) if layer is None else None, head).items():
            total = shown.sum((-2, -1))  # of rows 1
            shares = shown / np.maximum(total, 1e-30)[:, None, None]
            joined["received" if column else "entropy"][label] = total if column else entropy(shown)
            joined["distance"][label] = mean_distance(shares, middle(query, grid), trace.size)
            if region is not None:
                covered = coverage(region, grid)
                joined["weight"][label] = region_weight(shares, 1 - covered if outside else covered)
    return Curves(
        steps=trace.steps,
        timesteps=list(trace.timesteps.values()),
        **{measure: found or None for measure, found in joined.items()},
    )


def _chosen(maps: np.ndarray, label: str | None, head: int) -> Lines:
    """{label: (S, h, w)} of a layer's maps (S, H, h, w): one line where it has a label, else one for each head."""
    if label is not None:
        return {label: maps.mean(1) if head < 0 else maps[:, min(head, maps.shape[1] - 1)]}
    return {"mean": maps.mean(1)} | {f"head {head}": maps[:, head] for head in range(maps.shape[1])}
