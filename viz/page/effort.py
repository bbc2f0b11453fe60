"""What one question about a trace may cost: a time budget, memory, and a place among the few that take long.

What would take far too long is refused by what the trace says of its layers, before anything is computed. What is begun
ends before its next block of rows once its time is used up or its caller is gone.

    check(cost := cost_of_map(layer, query, mode="column"), "This map", advice)
    with limited(cost, is_gone, advice):
        maps.one(…)
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from viz.areas import coverage
from viz.checkpoint import checked
from viz.page.line import PATIENCE, Stopped
from viz.recording.budget import amount
from viz.view import Mode, Pixel, Query, ViewError, WordQuery

if TYPE_CHECKING:  # torch is imported when a trace is opened
    from viz.layer import Layer
    from viz.query import Maps

SECONDS = 20.0  # that one question may take; the page waits 30 for its plots
FAR = 3.0  # a forecast is rough: what would take so many times as long is refused
SPEED = 2.5e10  # operations a second that one thread of a common processor computes
EXPONENTIAL = 40  # operations that one of them is worth
MOST_BYTES = 1_000_000_000
BRIEF = 0.3  # seconds; what is expected to take longer is computed by few at a time
_long = threading.BoundedSemaphore(2)  # who compute it


class TooMuch(ViewError):
    """A question costs more than the server grants; the message says what to do instead."""


class Crowded(ViewError):
    """Others' long questions did not end in time."""


@dataclass(frozen=True)
class Cost:
    """What a question is expected to take: operations, and bytes beside the trace's own."""

    operations: float = 0.0
    bytes: float = 0.0

    @property
    def seconds(self) -> float:
        """The expected time, on as many threads as torch has here."""
        import torch  # imported here: the page is served without it

        return self.operations / (SPEED * torch.get_num_threads())


def cost_of_map(layer: Layer, query: Query, mode: Mode = "row", special: bool = False, summed: bool = False) -> Cost:
    """The cost of the maps of a query in one layer at one step, of all heads.

    Args:
        mode, special: as for `viz.query.Maps.heads`.
        summed: whether the sums over all rows, which columns and mean rows need, are there already.
    """
    if isinstance(query, WordQuery):
        own, needs_sums = 1, True
    else:
        grid = layer.key_grid if mode == "column" and layer.key_grid else layer.grid
        own = 1 if isinstance(query, Pixel) else int(np.count_nonzero(coverage(query, grid)))
        needs_sums = mode == "column" or special
    rows = own + (layer.tokens if needs_sums and not summed else 0)
    one = layer.heads * layer.key_count * (2 * layer.head_dim + EXPONENTIAL)
    tokens = layer.query_count + layer.key_count
    return Cost(float(one * rows), 4.0 * layer.heads * tokens * (layer.head_dim + 2))


def cost_of_curves(maps: Maps, layers: Collection[Layer], query: Query, mode: Mode, branch: str) -> Cost:
    """The cost of the maps of a query in some layers at all of their steps, those of one layer held at a time."""
    operations, most = 0.0, 0.0
    for layer in layers:
        steps = maps.trace.steps_of(layer.name)
        fresh, known = (cost_of_map(layer, query, mode, summed=summed) for summed in (False, True))
        count = sum(maps.has_sums(layer.name, step, branch) for step in steps)
        operations += count * known.operations + (len(steps) - count) * fresh.operations
        cells = layer.tokens if mode == "column" or isinstance(query, WordQuery) else layer.key_count
        # The maps of all heads, and the measures' numbers in double precision of one line at a time.
        most = max(most, fresh.bytes + (4.0 * layer.heads + 24.0) * len(steps) * cells)
    return Cost(operations, most)


def check(cost: Cost, subject: str, advice: str) -> None:
    """Refuse what would take far too long, or too much memory; raises TooMuch.

    Args:
        subject: of the sentence, such as "This map".
        advice: a sentence that says what to do instead.
    """
    if cost.seconds > FAR * SECONDS:
        raise TooMuch(f"{subject} would take about {_duration(cost.seconds)} here. {advice}")
    if cost.bytes > MOST_BYTES:
        raise TooMuch(f"{subject} would take {amount(int(cost.bytes))} of memory here. {advice}")


def advice_on_map(query: Query, mode: Mode, special: bool) -> str:
    """What to do instead of asking the server for a map, in one sentence."""
    if isinstance(query, WordQuery):
        other, call = "Choose a pixel", "word_map(layer, word, step=…)"
    elif mode == "column":
        other, call = "Choose “Looks at”", "columns(layer, step=…, key=…)"
    elif special:
        other, call = "Switch “Minus average” off", "mean_row(layer, step=…)"
    else:
        other, call = "Choose a smaller region", "region_rows(layer, step=…, weights=…)"
    return f"{other}, or save the recording and compute it in Python, with Trace.load(file).{call}."


@contextmanager
def limited(cost: Cost, is_gone: Callable[[], bool], advice: str, seconds: float | None = None) -> Iterator[None]:
    """Within this block, what is computed ends at the next checkpoint once its time is used up or its caller is gone.

    Args:
        advice: a sentence that says what to do instead.
        seconds: of time; by default `SECONDS`.

    Raises:
        TooMuch: when the time was used up.
        Crowded: when it would have taken long, and others' did not end in time.
        Stopped: when its caller was gone.
    """
    with _turn(cost, is_gone):
        given = SECONDS if seconds is None else seconds
        end = time.monotonic() + given

        def look() -> None:
            if is_gone():
                raise Stopped
            if time.monotonic() > end:
                raise TooMuch(f"It was ended because it took longer than {given:.0f} seconds. {advice}")

        with checked(look):
            yield


@contextmanager
def _turn(cost: Cost, is_gone: Callable[[], bool]) -> Iterator[None]:
    """Wait until few enough compute something long; at once for what is brief."""
    if cost.seconds < BRIEF:
        yield
        return
    end = time.monotonic() + SECONDS
    while not _long.acquire(timeout=PATIENCE):
        if is_gone():
            raise Stopped
        if time.monotonic() > end:
            raise Crowded("The server is computing long questions of other visitors. Please try again in a minute.")
    try:
        yield
    finally:
        _long.release()


def _duration(seconds: float) -> str:
    return f"{round(seconds)} seconds" if seconds < 90 else f"{round(seconds / 60):,} minutes"
