"""A reverse proxy in front of a server, as nginx or Caddy would be: below a path, streaming, with the reader's Host."""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import httpx
import uvicorn
from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route

# Those of a connection, which a proxy does not pass on.
HOP = {"connection", "keep-alive", "transfer-encoding", "te", "upgrade", "content-length"}


@contextmanager
def proxy(target: str, prefix: str, *, strip: bool = True, elsewhere: list[str] | None = None) -> Iterator[str]:
    """Serve `target` below `prefix` of another port of 127.0.0.1; yields the address, without a slash at its end.

    Args:
        strip: take the prefix away, as nginx does with `proxy_pass http://target/`.
        elsewhere: gets the paths of requests that do not lie below the prefix; they are answered with 404.
    """
    client = httpx.AsyncClient(base_url=target, timeout=120)

    async def forward(request: Request) -> Response:
        path = request.url.path
        if path != prefix and not path.startswith(f"{prefix}/"):
            if elsewhere is not None:
                elsewhere.append(path)
            return PlainTextResponse("Nothing is here.", 404)
        path = path.removeprefix(prefix) or "/" if strip else path
        headers = [(name, value) for name, value in request.headers.items() if name not in HOP]
        address = httpx.URL(target).copy_with(raw_path=f"{path}?{request.url.query}".rstrip("?").encode())
        asked = client.build_request(request.method, address, headers=headers, content=await request.body())
        answer = await client.send(asked, stream=True)
        kept = {name: value for name, value in answer.headers.items() if name not in HOP - {"content-length"}}
        closing = BackgroundTask(answer.aclose)
        return StreamingResponse(answer.aiter_raw(), answer.status_code, kept, background=closing)

    application = Starlette(routes=[Route("/{path:path}", forward, methods=["GET", "HEAD", "POST"])])
    with socket.create_server(("127.0.0.1", 0)) as listener:
        config = uvicorn.Config(application, log_level="error", timeout_graceful_shutdown=1, lifespan="off")
        server = uvicorn.Server(config)
        thread = threading.Thread(target=lambda: asyncio.run(server.serve([listener])), daemon=True)
        thread.start()
        while not server.started:
            time.sleep(0.01)
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}{prefix}"
        finally:
            server.should_exit = True
            thread.join(timeout=10)
