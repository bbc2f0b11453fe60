"""What the server answers at all, and what browsers may do with an answer: hosts, origins and policy headers.

A page on a researcher's own machine can be reached by every website that is open in the same browser: another origin
can post to it blindly, and one whose name is made to point at 127.0.0.1 (DNS rebinding) passes for the page itself. So
requests must name a host that is known here, and browsers' requests must come from the page itself. Programs other than
browsers send neither `Origin` nor `Sec-Fetch-Site` and are not affected.
"""

from __future__ import annotations

import ipaddress
import os
import socket
from collections.abc import Iterable
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.middleware import Middleware
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

ANY = "*"
HUGGING_FACE = ("huggingface.co", "hf.co")  # pages there frame Spaces
# Gradio starts from inline scripts, compiles `js_on_load` and writes inline styles; the viewer's worker is a blob.
POLICY = (
    "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval' blob:; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data: blob:; media-src 'self' data: blob:; font-src 'self' data:; connect-src 'self' data: blob:; "
    "worker-src 'self' blob:; object-src 'none'; base-uri 'self'; form-action 'self'; frame-ancestors {ancestors}"
)


def guard(host: str, allowed: Iterable[str] = ()) -> Middleware:
    """The guard of a server, for `launch(app_kwargs={"middleware": [guard(…)]})`.

    Args:
        host: that the server listens on.
        allowed: further host names under which browsers may reach it, such as that of a reverse proxy; "*" for any.
    """
    trusted = {name.strip().lower() for name in allowed if name.strip()}
    is_space = "SPACE_ID" in os.environ
    if is_space:
        trusted |= {*HUGGING_FACE, os.environ.get("SPACE_HOST", "").lower()} - {""}
    hosts = trusted | {"localhost", host.lower(), socket.gethostname().lower()}
    if is_space:  # it is public, so rebinding gains nothing, and its proxies call it by names of their own
        hosts.add(ANY)
    ancestors = " ".join(["'self'", *(f"https://{name}" for name in sorted(trusted - {ANY}))])
    return Middleware(Guard, hosts=hosts, origins=trusted - {ANY}, policy=POLICY.format(ancestors=ancestors))


class Guard:
    """ASGI middleware that refuses unknown hosts and other origins, and adds policy headers to every answer.

    Args:
        hosts: names that requests may have as `Host`, besides all IP addresses: no other site can own one of those.
            (Starlette's TrustedHostMiddleware knows names only, and does not say what to do.)
        origins: host names whose pages may call this server, besides its own.
        policy: the Content-Security-Policy.
    """

    def __init__(self, app: ASGIApp, *, hosts: set[str], origins: set[str], policy: str) -> None:
        self.app, self.hosts, self.origins = app, hosts, origins
        self.headers = {
            "Content-Security-Policy": policy,
            "Cross-Origin-Resource-Policy": "same-origin",
            "Referrer-Policy": "same-origin",
            "X-Content-Type-Options": "nosniff",
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self.app(scope, receive, send)
            return

        async def send_with_policy(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(self.headers)
            await send(message)

        refusal = self._refusal(scope, Headers(scope=scope))
        if refusal is None:
            await self.app(scope, receive, send_with_policy)
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008})
        else:
            await PlainTextResponse(refusal, 403)(scope, receive, send_with_policy)

    def _refusal(self, scope: Scope, headers: Headers) -> str | None:
        """Why a request is refused, or None."""
        name = _host_name(headers.get("host", ""))
        if ANY not in self.hosts and name not in self.hosts and not _is_address(name):
            return (
                f"This server does not know the host {name[:100]!r}. Open it by its address, such as 127.0.0.1, or "
                f"start it with --allow-host {name[:100] or 'NAME'} if that is a name of this machine.\n"
            )
        if self._is_foreign(scope, headers):
            return "Pages of other sites may not call this server.\n"
        return None

    def _is_foreign(self, scope: Scope, headers: Headers) -> bool:
        """Whether a browser sent the request for a page of another origin. Opening the page by a link is allowed."""
        origin, site = headers.get("origin"), headers.get("sec-fetch-site")
        if origin is not None and _host_name(origin) in self.origins:
            return False
        if site is not None:  # a page cannot forge it
            return site not in ("same-origin", "none") and not _is_visit(scope, headers)
        return origin is not None and origin.lower().partition("://")[2] != headers.get("host", "").lower()


def _host_name(text: str) -> str:
    """The host of an origin or a `Host` header, in lower case, without its port; "" if there is none."""
    try:
        return urlsplit(text if "://" in text else f"//{text}").hostname or ""
    except ValueError:
        return ""


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def _is_visit(scope: Scope, headers: Headers) -> bool:
    """Whether a reader follows a link to the page, or another page frames it (`frame-ancestors` decides about that)."""
    is_navigation = headers.get("sec-fetch-mode") == "navigate"
    is_page = headers.get("sec-fetch-dest") in ("document", "iframe") and "/gradio_api/" not in scope["path"]
    return scope.get("method") in ("GET", "HEAD") and is_navigation and is_page
