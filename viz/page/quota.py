"""How much all uploads of a page may take: one that does not fit is refused with a sentence, before it is written.

Room is made first (`viz.page.sweeper`), and uploads on their way count, too.
"""

from __future__ import annotations

import shutil
import threading
from pathlib import Path

import anyio
from starlette.datastructures import Headers
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from viz.page import sweeper
from viz.recording.budget import amount

SPARE = 200_000_000  # bytes of the disk that uploads leave free


class UploadQuota:
    """ASGI middleware in front of Gradio's upload.

    Args:
        folder: that uploads are written to.
        limit: bytes that all files in it may take; one upload at most `largest`.
    """

    def __init__(self, app: ASGIApp, *, folder: Path, limit: int = sweeper.LIMIT, largest: int) -> None:
        self.app, self.folder, self.limit, self.largest = app, folder, limit, largest
        self._coming = 0  # bytes of the uploads on their way
        self._guard = threading.Lock()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        is_upload = scope["type"] == "http" and scope["method"] == "POST"
        if not (is_upload and scope["path"].rstrip("/").endswith("/gradio_api/upload")):
            await self.app(scope, receive, send)
            return
        size = _length(Headers(scope=scope).get("content-length"))
        if (refusal := await anyio.to_thread.run_sync(self._admit, size)) is not None:
            await _drain(receive)
            await PlainTextResponse(refusal, 413 if size is None or size > self.largest else 507)(scope, receive, send)
            return
        try:
            await self.app(scope, receive, send)
        finally:
            with self._guard:
                self._coming -= size or 0

    def _admit(self, size: int | None) -> str | None:
        """Count an upload of `size` bytes in, or say why it is refused."""
        if size is None:
            return "An upload must say how long it is (Content-Length)."
        if size > self.largest:
            return f"This file is too large: {amount(size)}; the limit is {amount(self.largest)}."
        with self._guard:
            if not self._fits(size):
                sweeper.make_room(self.folder, max(0, self.limit - size - self._coming))
                if not self._fits(size):
                    return "The server has no room for more files at the moment. Please try again in a few minutes."
            self._coming += size
        return None

    def _fits(self, size: int) -> bool:
        wanted = self._coming + size
        free = shutil.disk_usage(self.folder).free if self.folder.exists() else 0
        return sweeper.taken(self.folder) + wanted <= self.limit and free >= wanted + SPARE


def _length(text: str | None) -> int | None:
    return int(text) if text is not None and text.isascii() and text.isdigit() and len(text) < 20 else None


async def _drain(receive: Receive) -> None:
    """Read the rest of a request: a browser shows no answer that comes while it still sends."""
    with anyio.move_on_after(60):
        while (await receive()).get("more_body"):
            pass
