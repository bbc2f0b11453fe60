"""What Gradio does for each new session, made short: it describes every component again, on the event loop.

Nobody else is answered meanwhile. Most of that time goes into reading the signatures of constructors and making the
schema of files; both are the same each time, so they are made once.
"""

from __future__ import annotations

import inspect
from contextlib import suppress
from copy import deepcopy
from functools import partial
from typing import Any

import gradio as gr


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
