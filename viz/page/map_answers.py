"""Answers to requests for maps of traces too big for the browser, computed one request at a time for each trace.

If several requests of one page wait, only the newest is answered. An answer holds the maps that could be computed in a
fixed time; the page asks for the others again if it still needs them. A single map that takes longer has a budget
(`viz.page.effort`), and ends when its page is left. Nothing here imports Gradio: `viz.page.map_process` runs it.
"""

from __future__ import annotations

import base64
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from viz.page import effort
from viz.page.line import Stopped
from viz.page.open_traces import open_trace
from viz.view import Branch, Mode, Query, Reading, ViewError

if TYPE_CHECKING:  # torch is imported when a trace is opened
    from viz.query import Maps

MOMENT = 0.1  # seconds; the map being computed at their end is the last of its answer
HALF_MAX = 65_504  # the largest number in half precision
MOST_WAITING = 40  # requests for a trace that others compute with: each keeps a thread
CROWDED = "The server is busy; missing maps will appear when it has time."
NOT_UNDERSTOOD = "The request was not understood."


@dataclass(frozen=True)
class Asked:
    """A request: which maps a page needs of a trace that it may name.

    Attributes:
        page, turn: the page's own name, and a number that grows with its requests.
        maps: for each the index of its query, of its layer (among `viz.query.Maps.layers`), of its step, and its head,
            -1 for the mean of all.
        shares: whether to answer with what places spend on words instead.
        mode, special, reading, branch: as for `viz.query.Maps.one`.
    """

    path: Path
    page: str
    turn: int
    queries: tuple[Query, ...]
    maps: tuple[tuple[int, int, int, int], ...]
    shares: bool = False
    mode: Mode = "row"
    special: bool = False
    reading: Reading = "spent"
    branch: Branch | None = None


class Refused(ViewError):
    """A map that is not computed: its number in the request, and a sentence that says why."""

    def __init__(self, number: int, problem: ViewError) -> None:
        super().__init__(str(problem))
        self.number = number


_waiting = threading.BoundedSemaphore(MOST_WAITING)


def compute(asked: Asked, is_gone: Callable[[], bool]) -> dict:
    """The answer to a request, as `viz.page.map_server.answer` describes it.

    Args:
        is_gone: whether the page was left; then nothing more is computed.
    """
    turn = asked.turn
    try:
        trace = open_trace(asked.path)
        trace.take_turn(asked.page, turn)
        with _place(), trace.alone(lambda: trace.is_late(asked.page, turn) or is_gone()) as alone:
            if not alone or trace.is_late(asked.page, turn):
                return {"turn": turn, "late": True}
            numbers = _compute(trace.maps, asked, is_gone)
    except Stopped:
        return {"turn": -1, "late": True}
    except Refused as error:
        return {"turn": turn, "error": str(error), "refused": error.number}
    except ViewError as error:
        return {"turn": -1, "error": str(error)}
    except (KeyError, TypeError, IndexError, OverflowError, AttributeError):
        return {"turn": -1, "error": NOT_UNDERSTOOD}
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


def _compute(maps: Maps, asked: Asked, is_gone: Callable[[], bool]) -> list[bytes]:
    """As many maps, or shares, as `MOMENT` allows, at least one, in half precision.

    Raises:
        ViewError: at a gap, with its reason, and for a query of which a layer has no map.
        Refused: for a first map that takes too much.
        Stopped: when the caller was gone.
    """
    steps, numbers = maps.trace.steps, list[bytes]()
    deadline = time.monotonic() + MOMENT
    for number, (query, layer, step, head) in enumerate(asked.maps):
        if min(query, layer, step, head + 1) < 0:
            raise IndexError("negative")
        name = maps.layers[layer].name
        if (reason := maps.trace.gaps.get(name, {}).get(steps[step])) is not None:
            raise ViewError(f"Layer “{name}” has no map at step {steps[step]}: {reason}.")
        try:
            one = _one(maps, asked, asked.queries[query], name, steps[step], head, is_gone)
        except effort.TooMuch as error:
            if numbers:  # the page asks for it first the next time
                break
            raise Refused(number, error) from error
        numbers.append(np.clip(one, -HALF_MAX, HALF_MAX).astype(np.float16).tobytes())
        if time.monotonic() > deadline:
            break
    return numbers


def _one(
    maps: Maps, asked: Asked, query: Query, name: str, step: int, head: int, is_gone: Callable[[], bool]
) -> np.ndarray:
    """One map, or one query's shares, within its budget; raises TooMuch if that is too little, or Stopped."""
    mode: Mode = "row" if asked.shares else asked.mode
    special, branch = asked.special and not asked.shares, asked.branch
    layer, summed = maps.trace.layers[name], maps.has_sums(name, step, branch or maps.trace.branches[-1])
    cost, advice = effort.cost_of_map(layer, query, mode, special, summed), effort.advice_on_map(query, mode, special)
    effort.check(cost, f"This map of {layer.tokens:,} cells", advice)
    with effort.limited(cost, is_gone, advice):
        if asked.shares:
            return maps.key_shares(query, name, step, head=head, branch=branch)
        return maps.one(
            query, name, step, head=head, mode=mode, special=asked.special, reading=asked.reading, branch=branch
        )
