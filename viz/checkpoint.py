"""Ending a long computation between two of its parts.

    with checked(look):     # whoever waits for it
        maps.heads(…)       # calls `checkpoint()` before every block of rows, and that `look()`, which may raise

Each thread has a check of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_look: ContextVar[Callable[[], None] | None] = ContextVar("look", default=None)


@contextmanager
def checked(look: Callable[[], None]) -> Iterator[None]:
    """Call `look()` at every checkpoint of this block. What it raises ends the computation."""
    token = _look.set(look)
    try:
        yield
    finally:
        _look.reset(token)


def checkpoint() -> None:
    """The computation may end here."""
    look = _look.get()
    if look is not None:
        look()
