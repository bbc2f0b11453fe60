"""Sessions, made cheap in time and in memory.

Gradio describes every component again for each new one, on the event loop, and nobody else is answered meanwhile. Most
of that time goes into reading the signatures of constructors and making the schema of files; both are the same each
time, so they are made once. And it keeps 10,000 sessions, at some 400 kB each, whether or not anybody is still there.
"""

from __future__ import annotations

import inspect
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from copy import deepcopy
from datetime import datetime
from functools import partial
from typing import Any

import gradio as gr

GRACE = 180.0  # seconds without use after which a session that has no page goes
PAUSE = 30.0  # seconds between two looks


def quicken(page: gr.Blocks) -> None:
    """Prepare the components of a page that has been laid out, so that a new session takes less time."""
    for block in page.blocks.values():
        for kind in type(block).__mro__[:-1]:
            construct: Any = vars(kind).get("__init__")
            with suppress(AttributeError, TypeError, ValueError):  # one written in C
                construct.__signature__ = inspect.signature(construct)
        if isinstance(block, gr.UploadButton):  # changes of a component make a new one, so this one stays as it is
            for method in ("api_info", "example_inputs"):
                setattr(block, method, partial(deepcopy, getattr(block, method)()))


def forget(page: gr.Blocks, is_open: Callable[[str], bool], grace: float = GRACE) -> None:
    """Drop the sessions of pages that were closed, and of programs, once they have not been used for `grace` seconds.

    Args:
        is_open: whether a session has a page that is open.
    """
    holder, now = page.state_holder, datetime.now()
    for session, used in list(holder.time_last_used.items()):
        if (now - used).total_seconds() > grace and not is_open(session):
            with holder.lock:
                holder.session_data.pop(session, None)
                holder.time_last_used.pop(session, None)


def keep_few(page: gr.Blocks, is_open: Callable[[str], bool]) -> None:
    """Do so from time to time, in a thread of its own."""

    def work() -> None:
        while True:
            time.sleep(PAUSE)
            forget(page, is_open)

    threading.Thread(target=work, daemon=True).start()
