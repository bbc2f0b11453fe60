"""Traces that pages ask about, kept open. They are mapped from their files, so an open one takes hardly any memory."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from cachetools import LRUCache, cached

from viz.page.line import PATIENCE
from viz.trace_header import check_header

if TYPE_CHECKING:  # torch is imported when a trace is opened
    from viz.query import Maps

MAX_OPEN, MAX_PAGES = 8, 64
CACHE_BYTES = 128_000_000  # of the row sums of each
WAIT = 5.0  # seconds that a request waits for others; then the page asks again, if it still needs the maps


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


open_traces: LRUCache[Path, OpenTrace] = LRUCache(MAX_OPEN)


@cached(open_traces, key=lambda path: path, condition=threading.Condition())
def open_trace(path: Path) -> OpenTrace:
    """The trace at a path, kept open; the least recently used of more than `MAX_OPEN` are closed."""
    from viz.query import Maps
    from viz.trace import Trace

    check_header(path)
    return OpenTrace(Maps(Trace.load(path), cache_bytes=CACHE_BYTES))
