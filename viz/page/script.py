"""The page's JavaScript: one script whose address contains its hash, so that browsers may cache it forever.

Components load it in their `js_on_load`, which Gradio runs as the body of a function: `import()` works there, a static
import does not. The page's head requests it before Gradio has started: Gradio itself adds the `head` of `launch` only
when its own scripts are running, so `EarlyHead` writes ours into the HTML.
"""

from __future__ import annotations

import hashlib
import json
from functools import cache
from pathlib import Path

from starlette.middleware.gzip import GZipMiddleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from viz.page.identity import introduce, origin_of
from viz.trace_header import prefix_bytes
from viz.web import joined


@cache
def script() -> tuple[str, str]:
    """The path of the script on the server, and its text."""
    text = f"export default {joined('hosts/page.js')};\n"
    return f"/pixelgaze-{hashlib.sha256(text.encode()).hexdigest()[:16]}.js", text


def script_route() -> Route:
    """Serves the script; for `launch(app_kwargs={"routes": [...]})`. Gradio compresses the response."""
    path, text = script()

    def respond(request: Request) -> Response:
        return Response(
            text, media_type="text/javascript", headers={"Cache-Control": "public, max-age=31536000, immutable"}
        )

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


def head(trace: Path | None = None, picture: Path | None = None, layer: str = "", step: int = 0) -> str:
    """For the page's head: request the script and what the viewer will open with at once, and show the picture.

    It also opens the tab that the address names, and names the gallery's thumbnails.

    Args:
        trace, picture: files that Gradio serves; None if the viewer opens with nothing.
        layer, step: of the first map.
    """
    early = ""
    if trace is not None:
        enough = prefix_bytes(trace, layer, step)
        wanted = {"script": script()[0], "trace": str(trace), "picture": str(picture), "bytes": enough}
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
    """Writes `text` at the end of the page's head, after its identity (`viz.page.identity`), and compresses the page,
    which Gradio does with its other texts.

    A middleware for `launch(app_kwargs={"middleware": [...]})`. Everything but the page passes through unchanged.
    """

    def __init__(self, app: ASGIApp, text: str) -> None:
        self._app, self._text = app, text.encode()
        self._page = GZipMiddleware(self._with_head)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        is_page = scope["type"] == "http" and _path(scope) in ("", "/") and scope["method"] == "GET"
        await (self._page if is_page else self._app)(scope, receive, send)

    async def _with_head(self, scope: Scope, receive: Receive, send: Send) -> None:
        start: Message = {}
        body = b""

        async def send_with_head(message: Message) -> None:
            nonlocal start, body
            if message["type"] == "http.response.start":
                start = message
                return
            body += message.get("body", b"")
            if message.get("more_body"):
                return
            whole = introduce(body, origin_of(scope)).replace(b"</head>", self._text + b"</head>", 1)
            headers = [(name, value) for name, value in start["headers"] if name.lower() != b"content-length"]
            await send({**start, "headers": [*headers, (b"content-length", str(len(whole)).encode())]})
            await send({"type": "http.response.body", "body": whole})

        await self._app(scope, receive, send_with_head)


def _path(scope: Scope) -> str:
    """The path of a request on this server, whether or not a proxy has taken the path in front of it away."""
    path, root = scope["path"], scope.get("root_path", "").rstrip("/")
    return path.removeprefix(root) if path == root or path.startswith(f"{root}/") else path
