"""How the attention spent on one word changes over the steps: a line for each layer, or for each head of one layer."""

from __future__ import annotations

import numpy as np

from viz.areas import coverage
from viz.curves import Curves, Lines, head_lines
from viz.labels import layer_label
from viz.layer import Branch
from viz.query import Maps
from viz.view import Area, WordQuery


def measure_word_over_steps(
    maps: Maps,
    query: WordQuery,
    *,
    branch: Branch | None = None,
    layer: str | None = None,
    head: int = -1,
    region: Area | None = None,
    outside: bool = False,
) -> Curves:
    """Measure, at every recorded step, what pixels spend on a word.

    Args:
        maps: of the trace, `Maps(trace)`.
        branch: the last by default.
        layer: draw a line for each head of this layer, and one for their mean; a line for each layer by default.
        head: which head the lines of layers show; -1 for the mean of all.
        region: of what is spent on the word, measure the part that is spent there; with `outside`, everywhere else.

    Returns:
        Curves whose `received` is the share of its attention that an average pixel spends on the word, 0 to 1; without
        entropy and distance, which a word's column does not have. No lines if no layer has the word.

    Raises:
        ViewError: for a branch that the trace lacks.
    """
    found = maps.layers_for(query, branch=branch)
    received: Lines = {}
    weight: Lines = {}
    for spec in (spec for spec in found if layer in (None, spec.name)):
        spent = _over_steps(maps, query, spec.name, branch)
        for label, line in head_lines(spent, layer_label(spec.name) if layer is None else None, head).items():
            received[label] = line.mean((-2, -1))
            if region is not None:
                covered = coverage(region, spec.grid)
                inside = (line * (1 - covered if outside else covered)).sum((-2, -1))
                weight[label] = inside / np.maximum(line.sum((-2, -1)), 1e-30)
    return Curves(
        steps=maps.trace.steps,
        timesteps=list(maps.trace.timesteps.values()),
        entropy=None,
        received=received,
        distance={},
        weight=None if region is None else weight,
    )


def _over_steps(maps: Maps, query: WordQuery, name: str, branch: Branch | None) -> np.ndarray:
    """(S, H, h, w), what every pixel spends on the word in one layer; NaN at its gaps."""
    trace, layer = maps.trace, maps.trace.layers[name]
    values = np.full((len(trace.steps), layer.heads, *layer.grid), np.nan, np.float32)
    for step in trace.steps_of(name):
        values[trace.steps.index(step)] = maps.heads(query, name, step, branch=branch)
    return values
