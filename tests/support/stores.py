"""Runs for a store of traces, without a model."""

from __future__ import annotations

import threading
from collections.abc import Iterator

from tests.support.traces import trace_of_segments
from viz import Trace
from viz.page.progress import Progress, describe_progress
from viz.page.runs import Stopped
from viz.page.store import Kept, Store
from viz.recipe import Recipe

RECIPE = Recipe("a red monster", 3, 4)
OTHER = Recipe("a red monster", 4, 4)


class Maker:
    """Follows recipes, in two steps; the second is taken once `go` is set."""

    def __init__(self) -> None:
        self.runs, self.go, self.begun = 0, threading.Event(), threading.Event()

    def __call__(self, stopped: threading.Event) -> Iterator[Progress | Trace]:
        self.runs += 1
        yield describe_progress(1, 2)
        self.begun.set()
        while not self.go.wait(0.01):
            if stopped.is_set():
                raise Stopped
        yield describe_progress(2, 2)
        yield trace_of_segments()


def follow(store: Store, make: Maker, recipe: Recipe = RECIPE, **options: bool) -> Kept:
    *_, kept = store.follow(recipe, make, threading.Event(), **options)
    assert isinstance(kept, Kept)
    return kept
