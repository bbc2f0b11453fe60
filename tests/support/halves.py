"""A run of the bundled kind of pipeline with both halves of guidance recorded, and its words given by hand."""

from __future__ import annotations

import numpy as np

from models.pipeline import CritterPipeline
from viz import Caption, Trace
from viz.recipe import Recipe
from viz.recording.run import perform
from viz.words import Entry


def trace_of_halves(pipeline: CritterPipeline, text: str, steps: int) -> Trace:
    """All words of `text` must be in the vocabulary. The unconditional half is all padding."""
    trace = perform(Recipe(text, steps=steps), pipeline, branch="both")
    length = next(layer.key_count for layer in trace if layer.key_grid is None)
    trace.words = {
        name: _caption(words, length) for name, words in zip(trace.branches, ([], text.split()), strict=True)
    }
    return trace


def _caption(words: list[str], length: int) -> Caption:
    entries: list[Entry] = [(word, "word", [index]) for index, word in enumerate(words)]
    padding: Entry = ("padding", "padding", list(range(len(words), length)))
    return Caption.build(" ".join(words), [("", [str(i) for i in range(length)], [*entries, padding])])


def attention(trace: Trace, layer: str, step: int, branch: str = "conditional") -> np.ndarray:
    """(H, n, M): the plain softmax over all keys, in double precision."""
    q, k = (store[branch, layer, step].double().numpy() for store in (trace.queries, trace.keys))
    scores = np.einsum("hnd,hmd->hnm", q, k) * trace.layers[layer].scale
    weights = np.exp(scores - scores.max(-1, keepdims=True))
    return weights / weights.sum(-1, keepdims=True)
