"""Public mode: what a page that strangers use offers, and how much of it. Everything else is refused with a sentence.

It is on with `--public`, and by itself on a Space.
"""

from __future__ import annotations

import os
import threading
import time
from collections import deque
from dataclasses import dataclass

from cachetools import LRUCache

from viz.recipe import Recipe, RecipeError

MINUTE = 60.0  # seconds


@dataclass(frozen=True)
class Caps:
    """What a public page allows: `steps` of a run, `side` of an own model's picture in pixels, `runs` a minute of one
    page, bytes of one `upload` and of all `uploads`.
    """

    steps: int = 50
    side: int = 768
    runs: int = 12
    upload: int = 64_000_000
    uploads: int = 1_000_000_000


_caps: Caps | None = None  # None unless the page is public
_begun: LRUCache[str, deque[float]] = LRUCache(10_000)  # {session: when its latest runs began}
_guard = threading.Lock()  # of `_begun`


def set_public(wanted: bool = False) -> None:
    """Make this server's page public, if that is wanted or it is a Space."""
    global _caps
    _caps = Caps() if wanted or "SPACE_ID" in os.environ else None


def caps() -> Caps | None:
    """The caps of a public page; None if it is not public."""
    return _caps


def check_steps(recipe: Recipe) -> None:
    """Check the length of a run of the bundled model; raises RecipeError."""
    if _caps is not None and recipe.steps > _caps.steps:
        raise RecipeError(f"This public page draws with at most {_caps.steps} steps; got {recipe.steps}.")


def count_run(session: str | None) -> None:
    """Count a run of a page's session; raises RecipeError if it has begun too many within a minute."""
    if _caps is None or session is None:
        return
    now = time.monotonic()
    with _guard:
        begun = _begun.setdefault(session, deque())
        while begun and now - begun[0] > MINUTE:
            begun.popleft()
        if len(begun) >= _caps.runs:
            wait = max(1, round(MINUTE - (now - begun[0])))
            raise RecipeError(f"This public page allows {_caps.runs} runs a minute. Please wait {wait} seconds.")
        begun.append(now)
