"""What a place spends on words, over the steps, as arrays; the bars under the words show one step of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from viz.layer import Branch, Layer
from viz.partners import word_layers
from viz.query import Maps
from viz.view import DIFFERENCE, Area, Pixel, View, WordQuery

if TYPE_CHECKING:
    from viz.trace import Trace


def shares_on_show(maps: Maps, view: View) -> dict[str, np.ndarray]:
    """The words of every layer, and what the view's query spends on them; see `viz.export.rows_on_show`."""
    trace = maps.trace
    place = Pixel(view.point) if isinstance(view.query, WordQuery) else view.query
    layers = word_layers(trace)
    arrays = {"word_layers": np.array([layer.name for layer in layers], str)}
    for number, layer in enumerate(layers):
        words = trace.words_of(layer.name, _branches(trace, view.branch)[-1])
        arrays[f"words_{number:02}"] = np.array([word.text for word in words], str)
        arrays[f"word_kinds_{number:02}"] = np.array([word.kind for word in words], str)
        arrays[f"word_shares_{number:02}"] = _over_steps(maps, layer, len(words), place, view)
    return arrays


def _over_steps(maps: Maps, layer: Layer, words: int, place: Area, view: View) -> np.ndarray:
    """(S, W), NaN at gaps; of a difference, also for words that only one caption has."""
    steps = maps.trace.steps
    values = np.full((len(steps), words), np.nan, np.float32)
    for step in maps.trace.steps_of(layer.name):
        spent = maps.shares(place, layer.name, step, head=view.head, branch=view.branch)
        values[steps.index(step)] = spent.shares
    return values


def _branches(trace: Trace, branch: Branch | None) -> tuple[Branch, ...]:
    """The branches that a view shows: one, or both for their difference."""
    return trace.branches if branch == DIFFERENCE else (branch or trace.branches[-1],)
