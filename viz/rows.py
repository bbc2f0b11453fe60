"""Answering for a trace that is too big for the browser: all rows of one pixel, computed here, one request at a time.

The browser asks with a growing `turn`. While one request is answered the next ones wait, and of those only the newest
is answered at all: a fast mouse never builds a queue. Traces are mapped from their files: an open one takes no memory.
"""

from __future__ import annotations

import base64
import threading
import uuid
from collections import OrderedDict
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # torch is imported when a trace is opened
    from viz.trace import Trace

MAX_OPEN = 8


@dataclass
class _Open:
    trace: Trace
    busy: threading.Lock = field(default_factory=threading.Lock)
    newest: int = -1


_traces: OrderedDict[str, _Open] = OrderedDict()
_changing = threading.Lock()


def serve(path: str | Path) -> str:
    """Map a trace's file and answer for it; returns the key to ask with. The least used of many is closed."""
    from viz.trace import Trace

    key = uuid.uuid4().hex
    with _changing:
        _traces[key] = _Open(Trace.load(path))
        while len(_traces) > MAX_OPEN:
            _traces.popitem(last=False)
    return key


def answer(asked: dict) -> dict:
    """What one pixel looks at, in every layer and step of a served trace.

    Args:
        asked: {"trace": key, "turn": a number that grows, "point": [row, column] in 0..1 of the picture,
            "head": a head, or -1 for the mean of all}.

    Returns:
        {"turn", "rows"}: half-precision numbers in base64, maps in times uniform one after another, layers in their
        order and the steps of a layer in theirs. {"turn", "late": True} where a newer request has come meanwhile, and
        {"turn", "error": a sentence} where the question makes no sense.
    """
    try:
        key, turn = str(asked["trace"]), int(asked["turn"])
        row, column = (min(1.0, max(0.0, float(place))) for place in asked["point"])
        head = int(asked["head"])
    except (KeyError, TypeError, ValueError, OverflowError):
        return {"turn": -1, "error": "The question was not understood."}
    with _changing:
        found = _traces.get(key)
        if found is None:
            return {"turn": turn, "error": "The trace is no longer on the server; record it again."}
        _traces.move_to_end(key)
        found.newest = max(found.newest, turn)
    with found.busy:
        if turn < found.newest:
            return {"turn": turn, "late": True}
        rows = point_rows(found.trace, (row, column), head)
    return {"turn": turn, "rows": base64.b64encode(rows).decode()}


def point_rows(trace: Trace, point: tuple[float, float], head: int = -1) -> bytes:
    """The rows of one place, (row, column) in 0..1, in all self-attention layers and steps: fp16, in times uniform.

    A head that a layer does not have stands for its last one.
    """
    import torch

    place = point[0] * trace.size[0], point[1] * trace.size[1]
    maps = []
    for layer in trace:
        if layer.kind == "self":
            query, chosen = trace.cell(layer.name, place), None if head < 0 else min(head, layer.heads - 1)
            for step in trace.steps:
                row = trace.rows(layer.name, step=step, query=query, head=chosen)
                maps.append((row.mean(0) if chosen is None else row).flatten() * layer.tokens)
    return torch.cat(maps).half().numpy().tobytes()
