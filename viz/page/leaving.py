"""Noticing that a page was closed, without the work that Gradio's `unload` does for each.

Every page holds one connection open, its heartbeat. When that ends, Gradio would build the state of a session to call a
function with it, even of one that never did anything; many pages closed at once silence the server for that time.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable

from starlette.types import ASGIApp, Receive, Scope, Send

HEARTBEAT = "/gradio_api/heartbeat/"

_open: Counter[str] = Counter()  # how many heartbeats each session has


def is_open(session: str) -> bool:
    """Whether a page of that session is open."""
    return session in _open


class Leaving:
    """ASGI middleware that calls `leave(session)` in a thread when the page of a session was closed."""

    def __init__(self, app: ASGIApp, *, leave: Callable[[str], None]) -> None:
        self.app, self.leave = app, leave

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        _, found, session = scope.get("path", "").partition(HEARTBEAT)
        if not found or not session or "/" in session:
            await self.app(scope, receive, send)
            return
        _open[session] += 1
        try:
            await self.app(scope, receive, send)
        finally:
            _open[session] -= 1
            if not _open[session]:
                del _open[session]
            asyncio.get_running_loop().run_in_executor(None, self.leave, session)  # not awaited: this is cancelled
