"""Traces small enough to be worked out by hand."""

from __future__ import annotations

import torch

from viz import Layer, Trace

# softmax of its logarithm: all .25; .1 .2 .3 .4; .6 .1 .1 .2; .1 .1 .1 .7
ODDS = torch.tensor([[1.0, 1, 1, 1], [1, 2, 3, 4], [6, 1, 1, 2], [1, 1, 1, 7]])


def trace_of_scores(scores: torch.Tensor) -> Trace:
    """A trace of one 2x2 layer "a" with one head and one step, whose scores q·k are the given (4, 4)."""
    layer = Layer("a", "self", (2, 2), 1, 4, 4, 1.0)
    key = ("conditional", "a", 0)
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
