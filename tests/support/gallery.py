"""Whole traces of the gallery's exhibits, for tests that need more than the one file that comes with the project."""

from __future__ import annotations

import threading
from pathlib import Path

from viz import Trace
from viz.page.gallery import Exhibit
from viz.page.runs import follow_recipe, load_bundled
from viz.page.store import Kept, store


def kept_trace(exhibit: Exhibit) -> Path:
    """The file of an exhibit's whole trace in the store that this run of the tests shares; followed if it is not there.

    Following it takes some seconds.
    """
    *_, kept = store.follow(
        exhibit.recipe,
        lambda stopped: follow_recipe(exhibit.recipe, load_bundled(exhibit.recipe), stopped),
        threading.Event(),
    )
    assert isinstance(kept, Kept) and not kept.problem
    return kept.path


def without_words(path: Path) -> Trace:
    """The self-attention layers of a trace."""
    trace = Trace.load(path)
    return trace.select(layers=[layer.name for layer in trace if layer.kind == "self"])
