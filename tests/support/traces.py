"""Traces that tests share."""

import torch

from viz import Layer, Trace


def by_hand(scores: torch.Tensor) -> Trace:
    """A trace of one 2x2 layer with one head, whose scores q·k are the given (4, 4)."""
    layer = Layer("a", "self", (2, 2), 1, 4, 4, 1.0)
    where = ("conditional", "a", 0)
    return Trace(
        {"a": layer},
        {0: 10.0},
        ("conditional",),
        size=(4, 4),
        queries={where: scores[None]},
        keys={where: torch.eye(4)[None]},
    )
