"""Texts that are the same for everyone, compressed once and answered from memory.

Opening the page asks for some sixty files. Gradio opens and compresses each of them for each visitor, on the event
loop, and has browsers ask for all of them again at every visit.
"""

from __future__ import annotations

import asyncio
import gzip
import re
from functools import lru_cache

import brotli
from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

FOREVER = "public, max-age=31536000, immutable"  # for addresses that hold the hash of what is there
LARGE = 1_000_000  # bytes; larger files are left to Gradio
SMALL = 400  # bytes that are not worth it

_FIXED = re.compile(r"/(?:assets/[\w.-]+-[\w-]{8,9}|pixelgaze-(?:[\w-]+-)?[0-9a-f]{16})\.(?:js|css)")
_CONDITIONS = ("range", "if-none-match", "if-modified-since")


def path_of(scope: Scope) -> str:
    """The path of a request on this server, whether or not a proxy has taken the path in front of it away."""
    path, root = scope["path"], scope.get("root_path", "").rstrip("/")
    return path.removeprefix(root) if path == root or path.startswith(f"{root}/") else path


def encoding_for(headers: Headers) -> str:
    """How to compress the answer to a request with these headers: "br", "gzip" or not at all: ""."""
    accepted = [each.partition(";")[0].strip().lower() for each in headers.get("accept-encoding", "").split(",")]
    return next((name for name in ("br", "gzip") if name in accepted), "")


@lru_cache(maxsize=8)
def compress(text: bytes, encoding: str) -> bytes:
    """A text in an encoding of `encoding_for`; the latest are kept."""
    return _compress(text, encoding)


def _compress(text: bytes, encoding: str) -> bytes:
    if encoding == "br":
        return brotli.compress(text, mode=brotli.MODE_TEXT, quality=5)
    return gzip.compress(text, 6) if encoding else text


class Compressed:
    """Answers requests for scripts and style sheets whose addresses hold their hash.

    A middleware for `launch(app_kwargs={"middleware": [...]})`. Everything else passes through unchanged.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._known: dict[tuple[str, str], Response] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] != "GET" or not _FIXED.fullmatch(path_of(scope)):
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        if any(name in headers for name in _CONDITIONS):
            await self._app(scope, receive, send)
            return
        key = path_of(scope), encoding_for(headers)
        response = self._known.get(key) or await self._ask(scope, receive, key)
        await response(scope, receive, send)

    async def _ask(self, scope: Scope, receive: Receive, key: tuple[str, str]) -> Response:
        """The app's own answer, which is kept if it is there and not large."""
        start: Message = {}
        body = bytearray()

        async def collect(message: Message) -> None:
            if message["type"] == "http.response.start":
                start.update(message)
            else:
                body.extend(message.get("body", b""))

        await self._app(scope, receive, collect)
        response = Response(bytes(body), start["status"])
        kept = start["status"] == 200 and SMALL < len(body) < LARGE
        headers = MutableHeaders(raw=[*start["headers"]])
        if kept and key[1]:
            response.body = await asyncio.to_thread(_compress, bytes(body), key[1])
            headers["Content-Encoding"] = key[1]
            headers.add_vary_header("Accept-Encoding")
        if start["status"] == 200:
            headers["Cache-Control"] = FOREVER
            del headers["ETag"], headers["Last-Modified"]
        headers["Content-Length"] = str(len(response.body))
        response.raw_headers = headers.raw
        if start["status"] == 200 and len(body) < LARGE:
            self._known[key] = response
        return response
