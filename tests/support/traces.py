"""Traces small enough to be worked out by hand."""

from __future__ import annotations

import numpy as np
import torch

from viz import Trace
from viz.layer import Key, Layer, Proof

# softmax of its logarithm: all .25; .1 .2 .3 .4; .6 .1 .1 .2; .1 .1 .1 .7
ODDS = torch.tensor([[1.0, 1, 1, 1], [1, 2, 3, 4], [6, 1, 1, 2], [1, 1, 1, 7]])


def trace_of_scores(scores: torch.Tensor) -> Trace:
    """A trace of one 2x2 layer "a" with one head and one step, whose scores q·k are the given (4, 4)."""
    layer = Layer("a", "self", (2, 2), 1, 4, 4, 1.0)
    key: Key = ("conditional", "a", 0)
    return Trace(
        {"a": layer},
        {0: 10.0},
        ("conditional",),
        size=(4, 4),
        queries={key: scores[None]},
        keys={key: torch.eye(4)[None]},
    )


def trace_of_odds() -> Trace:
    """A trace whose rows are worked out beside `ODDS`."""
    return trace_of_scores(ODDS.log())


def trace_with_everything() -> Trace:
    """Both branches, two kinds of layers, pictures and a proof, all of exact numbers."""
    layers = [Layer("a", "self", (2, 2), 1, 2, 5, 0.5, 1), Layer("b.c", "cross", (1, 3), 2, 1, 2, 1.0)]
    trace = Trace(
        {layer.name: layer for layer in layers},
        {0: 999.0, 3: None},
        ("unconditional", "conditional"),
        {"x": "no probe knows it"},
        {"a": 0.25},
        (4, 6),
        {3: np.arange(24, dtype=np.uint8).reshape(2, 4, 3)},
        np.full((1, 1, 3), 7, np.uint8),
        {"caption": "a “red” monster", "seed": 1},
    )
    for branch in trace.branches:
        for layer in layers:
            for step in trace.timesteps:
                key: Key = branch, layer.name, step
                shape = layer.heads, layer.tokens, layer.head_dim
                dtype = torch.float16 if layer.name == "a" else torch.float32
                trace.queries[key] = torch.zeros(shape, dtype=dtype)
                count = layer.heads * layer.keys * layer.head_dim
                keys = torch.arange(count, dtype=dtype).reshape(layer.heads, layer.head_dim, layer.keys)
                trace.keys[key] = keys.transpose(1, 2)  # not contiguous
    value, output = torch.tensor([[[1.0], [2], [3], [4], [5]]]), torch.tensor([[3.0], [3.0]])
    trace.proofs["a"] = Proof(3, torch.tensor([0, 3]), value, output)
    return trace
