"""Answering for a trace that is too big for the browser: the maps it asks for, computed here, one request at a time.

`viz/web/core/remote_answers.js` asks, one request at a time, with a `turn` that grows; if several requests of one page
are waiting, only the newest is answered. An answer takes a fixed moment; maps it did not get to are asked for again if
they are still wanted. Traces are mapped from their files, so an open one takes no memory.
"""

from __future__ import annotations

import base64
import threading
import time
from collections import OrderedDict
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from viz.page.served import served_path
from viz.query import shares
from viz.view import Pixel, Query, ViewError, query_from_json

if TYPE_CHECKING:  # torch is imported when a trace is opened
    import torch

    from viz.layer import Layer
    from viz.trace import Trace

MAX_OPEN, MAX_PAGES = 8, 64
MAX_MAPS, MAX_QUERIES = 5_000, 32  # in one request
MOMENT = 0.1  # seconds; the map that is being computed then is the last of its answer
MAX_SUMS = 64_000_000  # numbers that are kept of a trace for columns and mean rows
_BLOCK = 256  # rows that are held at a time


@dataclass
class _Open:
    trace: Trace
    busy: threading.Lock = field(default_factory=threading.Lock)
    newest: OrderedDict[str, int] = field(default_factory=OrderedDict)  # {page: its latest turn}
    sums: OrderedDict[tuple, tuple] = field(default_factory=OrderedDict)  # what `_sums` gave

    @property
    def layers(self) -> list[Layer]:
        return [layer for layer in self.trace if layer.kind == "self"]


_traces: OrderedDict[Path, _Open] = OrderedDict()
_changing = threading.Lock()


def answer(asked: dict) -> dict:
    """Maps of queries, for a page that shows a trace of this server.

    Args:
        asked: {"path": the trace's file, "page": the page's own name, "turn": a number that grows, "mode": "row" or
            "column", "special": whether rows are less the mean row, "queries": as views hold them, "maps": [[index of
            the query, of the self-attention layer, of the step, a head or -1 for the mean of all], …]}.

    Returns:
        {"turn", "done": how many of the maps were computed, the first at least, "numbers": those in half precision,
        times uniform, one after another, in base64}; {"turn", "late": True} where the same page has asked anew
        meanwhile; {"turn", "error": a sentence} where the question makes no sense or the trace is gone.
    """
    try:
        path, page, turn = served_path(asked["path"]), str(asked["page"])[:40], int(asked["turn"])
        queries = [query_from_json(query) for query in asked["queries"][:MAX_QUERIES]]
        maps = [tuple(map(int, each)) for each in asked["maps"][:MAX_MAPS]]
        column, special = asked["mode"] == "column", bool(asked["special"])
        found = _opened(path, page, turn)
        with found.busy:
            if turn < found.newest[page]:
                return {"turn": turn, "late": True}
            numbers = _answered(found, queries, maps, column, special)
    except (PermissionError, ViewError) as error:
        return {"turn": -1, "error": str(error)}
    except (KeyError, TypeError, IndexError, OverflowError):
        return {"turn": -1, "error": "The question was not understood."}
    except ValueError as error:  # a file that is not whole, numbers that are not finite
        return {"turn": -1, "error": f"The trace cannot be read: {error}"}
    return {"turn": turn, "done": len(numbers), "numbers": base64.b64encode(b"".join(numbers)).decode()}


def _opened(path: Path, page: str, turn: int) -> _Open:
    from viz.trace import Trace

    with _changing:
        if path not in _traces:
            _traces[path] = _Open(Trace.load(path))
        found = _traces[path]
        _traces.move_to_end(path)
        while len(_traces) > MAX_OPEN:
            _traces.popitem(last=False)
        found.newest[page] = max(turn, found.newest.get(page, turn))
        found.newest.move_to_end(page)
        while len(found.newest) > MAX_PAGES:
            found.newest.popitem(last=False)
    return found


def _answered(found: _Open, queries: list[Query], maps: list[tuple], column: bool, special: bool) -> list[bytes]:
    layers, steps, numbers = found.layers, found.trace.steps, []
    until = time.monotonic() + MOMENT
    for query, layer, step, head in maps:
        if min(query, layer, step, head + 1) < 0:
            raise IndexError("negative")
        one = _map(found, queries[query], layers[layer], steps[step], head, column, special)
        numbers.append(one.clamp(-65504, 65504).half().numpy().tobytes())
        if time.monotonic() > until:
            break
    return numbers


def _map(
    found: _Open, query: Query, layer: Layer, step: int, head: int, column: bool = False, special: bool = False
) -> torch.Tensor:
    """(N,) times uniform; as `questions.answer`, of one head or of their mean. A head too many stands for the last."""
    one = None if head < 0 else min(head, layer.heads - 1)
    if column:
        maps = _columns(found, query, layer, step, one)
    elif isinstance(query, Pixel):
        cell = tuple(min(n - 1, int(place * n)) for place, n in zip(query.point, layer.grid, strict=True))
        maps = found.trace.rows(layer.name, step=step, query=cell, head=one)
    else:
        maps = found.trace.region_rows(layer.name, step=step, weights=shares(query, layer.grid), head=one)
    maps = maps.flatten(-2)  # (H, N), or (N,) of one head
    if special and not column:
        means = _sums(found, layer, step)[1]
        maps = maps - (means if one is None else means[one])
    return (maps.mean(0) if one is None else maps) * layer.tokens


def _columns(found: _Open, query: Query, layer: Layer, step: int, head: int | None) -> torch.Tensor:
    """(H, h, w), or (h, w) of one head: A[:, j] = exp(q·k_j - log Σ exp), averaged over the cells of the query."""
    import torch

    q, k = _kept(found.trace, layer, step)
    log_sums = _sums(found, layer, step)[0]  # (H, N)
    if head is not None:
        q, k, log_sums = q[head], k[head], log_sums[head]
    share = torch.as_tensor(shares(query, layer.grid), dtype=torch.float32).flatten()
    inside, out = share.nonzero().squeeze(-1), torch.zeros(q.shape[:-1])
    for cells in inside.split(_BLOCK):
        scores = q @ k[..., layer.extra + cells, :].transpose(-1, -2) * layer.scale  # (H, N, n)
        out += torch.exp(scores - log_sums[..., None]) @ share[cells]
    return out.unflatten(-1, layer.grid)


def _sums(found: _Open, layer: Layer, step: int) -> tuple[torch.Tensor, torch.Tensor]:
    """(H, N) log Σ exp of every row, and (H, N) the mean of all rows; kept, because it costs the whole N×N."""
    import torch

    if (layer.name, step) not in found.sums:
        q, k = _kept(found.trace, layer, step)
        log_sums, means = [], torch.zeros(layer.heads, layer.keys)
        for block in q.split(_BLOCK, dim=1):
            scores = block @ k.transpose(-1, -2) * layer.scale  # (H, n, M)
            log_sums.append(scores.logsumexp(-1))
            means += torch.exp(scores - log_sums[-1][..., None]).sum(1) / layer.tokens
            if not log_sums[-1].isfinite().all():
                raise ValueError(f"{layer.name!r} holds an infinity or a NaN at step {step}: the trace is damaged")
        found.sums[layer.name, step] = torch.cat(log_sums, 1), means[:, layer.extra :]
    found.sums.move_to_end((layer.name, step))
    while sum(a.numel() + b.numel() for a, b in found.sums.values()) > MAX_SUMS and len(found.sums) > 1:
        found.sums.popitem(last=False)
    return found.sums[layer.name, step]


def _kept(trace: Trace, layer: Layer, step: int) -> tuple[torch.Tensor, torch.Tensor]:
    where = trace.branches[-1], layer.name, step
    return trace.queries[where].float(), trace.keys[where].float()  # (H, N, d), (H, M, d)


def point_rows(trace: Trace, point: tuple[float, float], head: int = -1) -> bytes:
    """What the server computes for a hover: the rows of one place, (row, column) in 0..1, in all self-attention layers
    and steps, in half precision, times uniform."""
    found, query = _Open(trace), Pixel(point)
    maps = (_map(found, query, layer, step, head) for layer in found.layers for step in trace.steps)
    return b"".join(one.half().numpy().tobytes() for one in maps)
