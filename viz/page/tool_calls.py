"""Calls of tools (Model Context Protocol): who makes them, and whether they were cancelled or their connection closed.

Gradio calls an endpoint for every tool, through one client of its own that never leaves and whose session is the same
for all. But it passes the headers of the tool's request on. So each such request gets a label in one, and the run finds
its call by that. Gradio keeps no sessions of the protocol either; the ones named here say who is who, and nothing else,
so any of several servers behind one address knows them.
"""

from __future__ import annotations

import json
import threading
import uuid
from dataclasses import dataclass, field
from typing import Any

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

PATH = "/gradio_api/mcp"
LABEL, SESSION = "x-pixelgaze-call", "mcp-session-id"
MOST_CALLS = 24  # at a time: each keeps one of the 40 threads that also answer page loads
MOST_BYTES = 4 * 2**20  # of a request; the protocol's library takes no more
MOST_NAME = 100  # characters of a session's name


@dataclass(eq=False)
class ToolCall:
    """A call that is being answered. `gone` is set once nobody waits for it."""

    session: str
    number: Any  # the caller's own
    gone: threading.Event = field(default_factory=threading.Event)


_calls: dict[str, ToolCall] = {}  # {label: the call}


def call_of(request: Any) -> ToolCall | None:
    """The call that a request was made for; one that is over if its label is unknown; None if it has no label."""
    label = getattr(request, "headers", {}).get(LABEL)
    if label is None:
        return None
    if (call := _calls.get(label)) is None:
        call = ToolCall("", None)
        call.gone.set()
    return call


class ToolCalls:
    """ASGI middleware in front of Gradio's tools."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        is_tool = scope["type"] == "http" and scope["method"] == "POST" and PATH in scope["path"]
        if not is_tool:
            await self.app(scope, receive, send)
            return
        message, receive = await _read(receive)
        session = _session(scope)
        match message.get("method"):
            case "initialize":
                await self.app(scope, receive, _naming(send))
            case "notifications/cancelled":
                _cancel(session, message.get("params"))
                await self.app(scope, receive, send)
            case "tools/call":
                await self._call(ToolCall(session, message.get("id")), scope, receive, send)
            case _:
                await self.app(scope, receive, send)

    async def _call(self, call: ToolCall, scope: Scope, receive: Receive, send: Send) -> None:
        if len(_calls) >= MOST_CALLS:
            refusal = PlainTextResponse("Too many tools are being called. Please try again in a minute.\n", 503)
            await refusal(scope, receive, send)
            return
        label = uuid.uuid4().hex
        headers = [(name, value) for name, value in scope["headers"] if name != LABEL.encode()]
        _calls[label] = call
        try:
            await self.app({**scope, "headers": [*headers, (LABEL.encode(), label.encode())]}, receive, send)
        finally:  # answered, or its connection was closed
            call.gone.set()
            del _calls[label]


def _session(scope: Scope) -> str:
    """Who calls: by the name that was given to them, or else by their address."""
    name = Headers(scope=scope).get(SESSION)
    return f"tools {name[:MOST_NAME]}" if name else f"tools of {(scope.get('client') or ['nobody'])[0]}"


def _naming(send: Send) -> Send:
    """Give the caller a name, which they send with every later request."""

    async def send_with_name(message: Message) -> None:
        if message["type"] == "http.response.start" and message["status"] == 200:
            MutableHeaders(scope=message).setdefault(SESSION, uuid.uuid4().hex)
        await send(message)

    return send_with_name


def _cancel(session: str, params: object) -> None:
    """End the call that a notification names, if it is the same caller's."""
    number = params.get("requestId") if isinstance(params, dict) else None
    for call in list(_calls.values()):
        if number is not None and (call.session, call.number) == (session, number):
            call.gone.set()


async def _read(receive: Receive) -> tuple[dict, Receive]:
    """The message that a request holds, {} if there is none, and a `receive` that gives the request once more."""
    parts: list[Message] = []
    size = 0
    while size <= MOST_BYTES:
        parts.append(part := await receive())
        size += len(part.get("body", b""))
        if part["type"] != "http.request" or not part.get("more_body"):
            break
    again = iter(parts)

    async def receive_again() -> Message:
        return next(again, None) or await receive()

    try:
        message = json.loads(b"".join(part.get("body", b"") for part in parts)) if size <= MOST_BYTES else {}
    except (ValueError, RecursionError):
        message = {}
    return message if isinstance(message, dict) else {}, receive_again
