"""Maps of traces that are too big for the browser, computed here, one request at a time.

`viz/web/core/remote_answers.js` sends requests, each with a higher `turn`; if several of one page wait, only the newest
is answered. An answer holds the maps that could be computed in a fixed time; the page asks for the others again if it
still needs them. A single map that takes longer has a budget (`viz.page.effort`), and ends when its page is left.
Traces are mapped from their files, so an open one takes hardly any memory.
"""

from __future__ import annotations

import base64
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import gradio as gr
import numpy as np
from cachetools import LRUCache, cached

from viz.page import effort
from viz.page.callers import departed
from viz.page.line import PATIENCE, Stopped
from viz.page.served import served_path
from viz.trace_header import check_header
from viz.view import Mode, Query, Reading, ViewError, query_from_json

if TYPE_CHECKING:  # torch is imported when a trace is opened
    from viz.query import Maps

MAX_OPEN, MAX_PAGES = 8, 64
MAX_MAPS, MAX_QUERIES = 5_000, 32  # in one request
MOMENT = 0.1  # seconds; the map being computed at their end is the last of its answer
HALF_MAX = 65_504  # the largest number in half precision
MOST_WAITING = 40  # requests for a trace that others compute with: each keeps a thread
WAIT = 5.0  # seconds; then the page asks again, if it still needs the maps
CROWDED = "The server is busy; missing maps will appear when it has time."


@dataclass
class OpenTrace:
    """A trace that pages show. Requests are computed one at a time."""

    maps: Maps
    computing: threading.Lock = field(default_factory=threading.Lock)
    # The latest turn of each page.
    newest: LRUCache[str, int] = field(default_factory=lambda: LRUCache(MAX_PAGES))
    counting: threading.Lock = field(default_factory=threading.Lock)

    @contextmanager
    def alone(self, is_over: Callable[[], bool]) -> Iterator[bool]:
        """Wait until nobody else computes; the block is told whether that came true before `is_over()` or `WAIT`."""
        end = time.monotonic() + WAIT
        while not (mine := self.computing.acquire(timeout=PATIENCE)):
            if is_over() or time.monotonic() > end:
                break
        try:
            yield mine
        finally:
            if mine:
                self.computing.release()

    def take_turn(self, page: str, turn: int) -> None:
        with self.counting:
            self.newest[page] = max(turn, self.newest.get(page, turn))

    def is_late(self, page: str, turn: int) -> bool:
        with self.counting:
            return turn < self.newest.get(page, turn)


class Refused(ViewError):
    """A map that is not computed: its number in the request, and a sentence that says why."""

    def __init__(self, number: int, problem: ViewError) -> None:
        super().__init__(str(problem))
        self.number = number


_waiting = threading.BoundedSemaphore(MOST_WAITING)
open_traces: LRUCache[Path, OpenTrace] = LRUCache(MAX_OPEN)


@cached(open_traces, key=lambda path: path, condition=threading.Condition())
def open_trace(path: Path) -> OpenTrace:
    """The trace at a path, kept open; the least recently used of more than `MAX_OPEN` are closed."""
    from viz.query import Maps
    from viz.trace import Trace

    check_header(path)
    return OpenTrace(Maps(Trace.load(path)))


def answer(request: dict, caller: gr.Request | None = None) -> dict:
    """Maps of queries, for a page that shows a trace of this server.

    Args:
        request: {"path": the trace's file, "page": the page's own name, "turn": a number that grows, "mode": "row",
            "column", or "shares" for what places spend on words, "special": whether to subtract the mean row,
            "reading", "branch": as views hold them, optional, "queries": likewise, "maps": [[index of the query, of the
            layer, of the step, a head or -1 for the mean of all], …]}. Layers are those of `viz.query.Maps.layers`.
        caller: the page's request; nothing more is computed once it has been left.

    Returns:
        {"turn", "done": how many of the maps were computed, at least the first, "numbers": those in half precision,
        times uniform, one after another, in base64}; {"turn", "late": True} if the same page has asked again in the
        meantime, or others take long; {"turn", "error": a sentence} if the request is malformed, the trace is gone, or
        a layer has no map at a step or of a query; with "refused", the number of a map that takes too much, so that
        the page does not ask for it again. Maps are on `viz.query.map_grid`. Shares are one number for each key that
        belongs to a word, in the order of `viz.words.words_of_layer`, and not times uniform.
    """
    is_gone = departed(caller)
    try:
        path, page, turn = served_path(request["path"]), str(request["page"])[:40], _turn(request["turn"])
        queries = [query_from_json(query) for query in request["queries"][:MAX_QUERIES]]
        indices = [tuple(map(int, each)) for each in request["maps"][:MAX_MAPS]]
        way = _way(request)
        trace = open_trace(path)
        trace.take_turn(page, turn)
        with _place(), trace.alone(lambda: trace.is_late(page, turn) or is_gone()) as alone:
            if not alone or trace.is_late(page, turn):
                return {"turn": turn, "late": True}
            numbers = _compute(trace.maps, queries, indices, way, request["mode"] == "shares", is_gone)
    except Stopped:
        return {"turn": -1, "late": True}
    except Refused as error:
        return {"turn": turn, "error": str(error), "refused": error.number}
    except (PermissionError, ViewError) as error:
        return {"turn": -1, "error": str(error)}
    except (KeyError, TypeError, IndexError, OverflowError, AttributeError):
        return {"turn": -1, "error": "The request was not understood."}
    except (ValueError, OSError) as error:  # a damaged file, numbers that are not finite
        return {"turn": -1, "error": f"The trace cannot be read: {error}"}
    return {"turn": turn, "done": len(numbers), "numbers": base64.b64encode(b"".join(numbers)).decode()}


@contextmanager
def _place() -> Iterator[None]:
    """One of the few places in which requests are computed or wait for it; ViewError if there is none."""
    if not _waiting.acquire(blocking=False):
        raise ViewError(CROWDED)
    try:
        yield
    finally:
        _waiting.release()


def _turn(value: object) -> int:
    """A request's turn; TypeError for anything but a whole number that JSON can carry back."""
    if type(value) is not int or not 0 <= value < 2**53:
        raise TypeError("no turn")
    return value


def _way(request: dict) -> dict[str, Any]:
    """How all queries of a request are asked, as `Maps.one` takes it; ViewError for an unknown reading or branch."""
    reading, branch = request.get("reading") or "spent", request.get("branch") or None
    if reading not in get_args(Reading) or not isinstance(branch, str | None):
        raise ViewError("A reading must be spent, used or looks, and a branch a name.")
    mode: Mode = "column" if request["mode"] == "column" else "row"
    return {"mode": mode, "special": bool(request["special"]), "reading": reading, "branch": branch}


def _compute(
    maps: Maps,
    queries: list[Query],
    indices: list[tuple[int, ...]],
    way: dict[str, Any],
    shares: bool,
    is_gone: Callable[[], bool],
) -> list[bytes]:
    """As many maps, or shares, as `MOMENT` allows, at least one, in half precision.

    Raises:
        ViewError: at a gap, with its reason, and for a query of which a layer has no map.
        Refused: for a first map that takes too much.
        Stopped: when the caller was gone.
    """
    steps, numbers = maps.trace.steps, list[bytes]()
    deadline = time.monotonic() + MOMENT
    for number, (query, layer, step, head) in enumerate(indices):
        if min(query, layer, step, head + 1) < 0:
            raise IndexError("negative")
        name = maps.layers[layer].name
        if (reason := maps.trace.gaps.get(name, {}).get(steps[step])) is not None:
            raise ViewError(f"Layer “{name}” has no map at step {steps[step]}: {reason}.")
        try:
            one = _one(maps, queries[query], name, steps[step], head, way, shares, is_gone)
        except effort.TooMuch as error:
            if numbers:  # the page asks for it first the next time
                break
            raise Refused(number, error) from error
        numbers.append(np.clip(one, -HALF_MAX, HALF_MAX).astype(np.float16).tobytes())
        if time.monotonic() > deadline:
            break
    return numbers


def _one(
    maps: Maps,
    query: Query,
    name: str,
    step: int,
    head: int,
    way: dict[str, Any],
    shares: bool,
    is_gone: Callable[[], bool],
) -> np.ndarray:
    """One map, or one query's shares, within its budget; raises TooMuch if that is too little, or Stopped."""
    mode: Mode = "row" if shares else way["mode"]
    special, branch = way["special"] and not shares, way["branch"]
    layer, summed = maps.trace.layers[name], maps.has_sums(name, step, branch or maps.trace.branches[-1])
    cost, advice = effort.cost_of_map(layer, query, mode, special, summed), effort.advice_on_map(query, mode, special)
    effort.check(cost, f"This map of {layer.tokens:,} cells", advice)
    with effort.limited(cost, is_gone, advice):
        if shares:
            return maps.key_shares(query, name, step, head=head, branch=branch)
        return maps.one(query, name, step, head=head, **way)
