"""What a place spends on words, over the steps, as arrays; the bars under the words show one step of it."""

from __future__ import annotations

import numpy as np
import torch

from viz.areas import cell_of, shares
from viz.layer import Branch, Layer
from viz.partners import word_layers
from viz.query import Maps
from viz.trace import Trace
from viz.view import DIFFERENCE, Area, Pixel, View, WordQuery
from viz.words import Word


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
        arrays[f"word_shares_{number:02}"] = _over_steps(trace, layer, words, place, view)
    return arrays


def _over_steps(trace: Trace, layer: Layer, words: tuple[Word, ...], place: Area, view: View) -> np.ndarray:
    """(S, W), NaN at gaps; of a difference, also for words that only one caption has."""
    branches = _branches(trace, view.branch)
    values = np.full((len(trace.steps), len(words)), np.nan, np.float32)
    for step in trace.steps_of(layer.name):
        spent = [_spent(trace, layer, place, step, view.head, branch) for branch in branches]
        last = np.array([spent[-1][_name(word)] for word in words])
        first = np.array([spent[0].get(_name(word), np.nan) for word in words]) if len(branches) > 1 else 0
        values[trace.steps.index(step)] = last - first
    return values


def _spent(trace: Trace, layer: Layer, place: Area, step: int, head: int, branch: Branch) -> dict[tuple, float]:
    """{a word's name: the share that a place spends on it}, of one head or as the mean of all."""
    query = (
        cell_of(place.point, layer.grid) if isinstance(place, Pixel) else torch.from_numpy(shares(place, layer.grid))
    )
    chosen = None if head < 0 else min(head, layer.heads - 1)
    numbers = trace.word_shares(layer.name, query=query, step=step, head=chosen, branch=branch)
    means = (numbers.mean(0) if chosen is None else numbers).tolist()
    return dict(zip(map(_name, trace.words_of(layer.name, branch)), means, strict=True))


def _name(word: Word) -> tuple:
    """What names the same word in the captions of two branches."""
    return word.text, word.kind, word.nth, word.encoder


def _branches(trace: Trace, branch: Branch | None) -> tuple[Branch, ...]:
    """The branches that a view shows: one, or both for their difference."""
    return trace.branches if branch == DIFFERENCE else (branch or trace.branches[-1],)
