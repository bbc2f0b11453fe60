"""How the attention of one query changes over the steps: a line for each layer, or for each head of one layer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from viz.labels import layer_label
from viz.measures import entropy, mean_distance, region_weight
from viz.questions import answer, coverage, middle
from viz.view import Query

if TYPE_CHECKING:
    from viz.trace import Trace

Lines = dict[str, np.ndarray]


@dataclass(frozen=True)
class Curves:
    """Measures over the S recorded steps, each {label: (S,)}; `weight` is None where there is no region.

    Attributes:
        entropy: bits. distance: picture pixels. weight: 0 to 1, the share of the attention that falls into the region.
    """

    steps: list[int]
    timesteps: list[float | None]
    entropy: Lines
    distance: Lines
    weight: Lines | None


def follow(
    trace: Trace,
    query: Query,
    *,
    layer: str | None = None,
    head: int = -1,
    region: Query | None = None,
    outside: bool = False,
) -> Curves:
    """Measure what a query looks at (its rows, averaged over its cells) at every step.

    Args:
        layer: one line for each of its heads, and their mean; by default one line for each layer.
        head: of the lines of layers, the head they are of; -1 for the mean of all.
        region: where the weight is measured; with `outside` everywhere but there.
    """
    names = [found.name for found in trace if found.kind == "self"] if layer is None else [layer]
    lines: dict[str, list[Lines]] = {"entropy": [], "distance": [], "weight": []}
    for name in names:
        maps = np.stack([answer(trace, query, name, step) for step in trace.steps])  # (S, H, h, w)
        grid = maps.shape[-2:]
        for label, shown in _chosen(maps, layer_label(name) if layer is None else None, head).items():
            lines["entropy"].append({label: entropy(shown)})
            lines["distance"].append({label: mean_distance(shown, middle(query, grid), trace.size)})
            if region is not None:
                covered = coverage(region, grid)
                lines["weight"].append({label: region_weight(shown, 1 - covered if outside else covered)})
    joined = {measure: {k: v for line in found for k, v in line.items()} for measure, found in lines.items()}
    return Curves(
        trace.steps,
        list(trace.timesteps.values()),
        joined["entropy"],
        joined["distance"],
        joined["weight"] if region is not None else None,
    )


def _chosen(maps: np.ndarray, label: str | None, head: int) -> Lines:
    """{label: (S, h, w)} of a layer's maps (S, H, h, w): one line where it has a label, else one for each head."""
    if label is not None:
        return {label: maps.mean(1) if head < 0 else maps[:, min(head, maps.shape[1] - 1)]}
    return {"mean": maps.mean(1)} | {f"head {head}": maps[:, head] for head in range(maps.shape[1])}
