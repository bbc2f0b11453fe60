"""Following the gallery's recipes in the background, so that every exhibit opens at once, with all its steps."""

from __future__ import annotations

import logging
import threading
import time

from viz.page.gallery import Exhibit, exhibits
from viz.page.line import Stopped
from viz.page.runs import follow_recipe, load_bundled, wait_until_idle
from viz.page.store import store

PAUSE = 2.0  # seconds after a visitor's run, in which the next may begin


def follow_ahead() -> None:
    """Follow every exhibit's recipe that the store lacks, one at a time, whenever no visitor runs anything.

    Ends early if the store cannot keep a trace: then nothing would be gained.
    """
    try:
        for exhibit in [*exhibits()[1:], *exhibits()[:1]]:  # the first comes with some steps
            while store.limit and store.find(exhibit.recipe) is None:
                wait_until_idle()
                try:
                    _follow(exhibit)
                except Stopped:  # for a visitor
                    time.sleep(PAUSE)
    except Exception:
        logging.exception("the gallery's recipes are followed only when they are chosen")


def _follow(exhibit: Exhibit) -> None:
    pipeline = load_bundled(exhibit.recipe)

    def make(stopped: threading.Event):
        return follow_recipe(exhibit.recipe, pipeline, stopped, background=True)

    for _ in store.follow(exhibit.recipe, make, threading.Event(), background=True):
        pass
