"""The page's JavaScript: one script whose address contains its hash, so that browsers may cache it forever.

Components load it in their `js_on_load`, which Gradio runs as the body of a function: `import()` works there, a static
import does not. The page's head requests it before Gradio has started: Gradio itself adds the `head` of `launch` only
when its own scripts are running, so `EarlyHead` writes ours into the HTML.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection
from functools import cache
from pathlib import Path
from urllib.parse import parse_qs

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from viz.page.compressed import FOREVER, compress, encoding_for, path_of
from viz.page.identity import introduce, origin_of
from viz.trace_header import prefix_bytes
from viz.web import joined

MOST = 16  # pages that are kept, one for each way to reach them
START = b"<script data-gradio-mode"  # follows Gradio's config in its page
_ADDRESS = (b"host", b"x-forwarded-host", b"x-forwarded-proto", b"x-forwarded-prefix", b"x-gradio-server")
_OTHERS = {"page", "deep_link"}  # what Gradio reads from the query


@cache
def script() -> tuple[str, str]:
    """The path of the script on the server, and its text."""
    text = f"export default {joined('hosts/page.js')};\n"
    return f"/pixelgaze-{hashlib.sha256(text.encode()).hexdigest()[:16]}.js", text


def script_route() -> Route:
    """Serves the script; for `launch(app_kwargs={"routes": [...]})`. Gradio compresses the response."""
    path, text = script()

    def respond(request: Request) -> Response:
        return Response(text, media_type="text/javascript", headers={"Cache-Control": FOREVER})

    return Route(path, respond)


def js_on_load(function: str, *events: str) -> str:
    """The `js_on_load` of a component: call an export of viz/web/hosts/page.js with what Gradio provides.

    Args:
        events: names of the component's own events. Gradio knows only those that it finds here in quotes.
    """
    return (
        f"// Events: {', '.join(map(json.dumps, events)) or 'none'}.\n"
        f"import(`${{window.gradio_config.root}}{script()[0]}`).then(({{ default: page }}) => "
        f"page.{function}({{ element, props, trigger, server, upload, watch }}));"
    )


def head(
    trace: Path | None = None,
    picture: Path | None = None,
    layer: str = "",
    step: int = 0,
    modules: Collection[str] = (),
) -> str:
    """For the page's head: request the script and what the viewer will open with at once, and show the picture.

    It also opens the tab that the address names, and names the gallery's thumbnails.

    Args:
        trace, picture: files that Gradio serves; None if the viewer opens with nothing.
        layer, step: of the first map.
        modules: further scripts that are needed, in Gradio's `assets`.
    """
    early = ""
    if trace is not None:
        enough = prefix_bytes(trace, layer, step)
        wanted: dict = {"script": script()[0], "trace": str(trace), "picture": str(picture), "bytes": enough}
        wanted["modules"] = list(modules)
        text = json.dumps(wanted).replace("<", r"\u003c")
        early = f"{joined('hosts/early.js')}.requestEarly({text});"
    calls = (
        f"{joined('hosts/english.js')}.speakEnglish();",
        early,
        f"{joined('hosts/address.js')}.followAddress();",
        f"{joined('hosts/shelf.js')}.nameThumbnails();",
    )
    return f"<script>{''.join(calls)}</script>"


class EarlyHead:
    """Writes scripts and links into the page's head, as well as its identity, and compresses the page.

    Gradio writes the page anew for every visitor, which takes some 40 ms. It is the same for all who reach it in the
    same way, so it is kept.

    A middleware for `launch(app_kwargs={"middleware": [...]})`. Everything but the page passes through unchanged.

    Args:
        text: scripts that need Gradio's config. They come before style sheets, for which scripts wait.
        links: what the head ends with.
    """

    def __init__(self, app: ASGIApp, text: str, links: str = "") -> None:
        self._app, self._text, self._links = app, text.encode(), links.encode()
        self._known: dict[tuple, tuple[Message, bytes]] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        is_page = scope["type"] == "http" and path_of(scope) in ("", "/") and scope["method"] == "GET"
        await (self._with_head if is_page else self._app)(scope, receive, send)

    async def _with_head(self, scope: Scope, receive: Receive, send: Send) -> None:
        start: Message = {}
        body = b""
        way = _way_to(scope)
        if way is not None and (known := self._known.get(way)) is not None:
            await _answer(*known, scope, send)
            return

        async def send_with_head(message: Message) -> None:
            nonlocal start, body
            if message["type"] == "http.response.start":
                start = message
                return
            if message["type"] != "http.response.body":
                await send(message)
                return
            body += message.get("body", b"")
            if message.get("more_body"):
                return
            whole = introduce(body, origin_of(scope)).replace(b"</head>", self._links + b"</head>", 1)
            place = START if START in whole else b"</head>"
            whole = whole.replace(place, self._text + place, 1)
            if way is not None and start["status"] == 200:
                if len(self._known) >= MOST:
                    self._known.clear()
                self._known[way] = start, whole
            await _answer(start, whole, scope, send)

        await self._app(scope, receive, send_with_head)


async def _answer(start: Message, page: bytes, scope: Scope, send: Send) -> None:
    """Send a page, compressed as the browser likes it."""
    encoding = encoding_for(Headers(scope=scope))
    sent = compress(page, encoding)
    headers = MutableHeaders(raw=[*start["headers"]])
    headers["Content-Length"] = str(len(sent))
    headers.add_vary_header("Accept-Encoding")
    if encoding:
        headers["Content-Encoding"] = encoding
    await send({**start, "headers": headers.raw})
    await send({"type": "http.response.body", "body": sent})


def _way_to(scope: Scope) -> tuple | None:
    """How a page was reached, which is all that it depends on (what a link says, its scripts read); None for Gradio's
    other pages."""
    if not _OTHERS.isdisjoint(parse_qs(scope["query_string"].decode("latin-1"))):
        return None
    named = [(name, value) for name, value in scope["headers"] if name in _ADDRESS]
    return scope["scheme"], scope.get("root_path", ""), scope["path"], *sorted(named)
