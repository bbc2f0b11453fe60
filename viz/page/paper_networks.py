"""Loading a paper's network for a visitor: one model at a time, and not for one who has left."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from viz.lesson.papers import is_loaded, load_model
from viz.page.interrupt import interruptible_opening
from viz.page.line import PATIENCE, Stopped
from viz.page.runs import opening_lock

if TYPE_CHECKING:
    from viz.lesson.papers import Model


def paper_network(name: str, stopped: threading.Event) -> Model:
    """One of `viz.lesson.papers.available_networks`, loaded if it is not yet.

    Raises:
        Stopped: when `stopped` was set before the network's next parameter was made.
    """
    if is_loaded(name):
        return load_model(name)
    while not opening_lock.acquire(timeout=PATIENCE):
        if stopped.is_set():
            raise Stopped
    try:
        with interruptible_opening(stopped):
            return load_model(name)
    finally:
        opening_lock.release()
