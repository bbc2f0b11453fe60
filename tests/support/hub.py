"""A Hub on this machine: a real HTTP server that speaks as much of the Hub's protocol as opening a model needs."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlsplit

SHA = "0123456789abcdef0123456789abcdef01234567"


class _Hub(BaseHTTPRequestHandler):
    server: _HubServer
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        pass

    def answer(self, body: bytes, status: int = 200, **headers: str) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def do_GET(self) -> None:
        path = unquote(urlsplit(self.path).path)
        self.server.asked.append(path)
        parts = path.strip("/").split("/")
        name = "/".join(parts[2:4]) if parts[0] == "api" else "/".join(parts[:2])
        if name == "someone/gated":
            return self.answer(b"{}", 403, X_Error_Code="GatedRepo", X_Error_Message="Access is restricted")
        if name == "someone/broken":
            return self.answer(b"{}", 500)
        folder = self.server.models.get(name)
        if folder is None:
            return self.answer(b"{}", 404, X_Error_Code="RepoNotFound", X_Error_Message="Repository not found")
        if parts[0] == "api":
            return self.listing(name, folder, tree="tree" in parts)
        file = folder.joinpath(*parts[4:])
        if not file.is_file():
            return self.answer(b"", 404, X_Error_Code="EntryNotFound")
        content = file.read_bytes()
        etag = f'"{hashlib.sha256(content).hexdigest()}"'
        return self.answer(content, ETag=etag, X_Repo_Commit=SHA, Accept_Ranges="bytes")

    do_HEAD = do_GET

    def listing(self, name: str, folder: Path, tree: bool) -> None:
        files = [path for path in sorted(folder.rglob("*")) if path.is_file()]
        sizes = [(str(path.relative_to(folder)), path.stat().st_size) for path in files]
        found: list | dict
        if tree:
            found = [{"type": "file", "path": path, "size": size, "oid": f"{size:040x}"} for path, size in sizes]
        else:
            siblings = [{"rfilename": path, "size": size} for path, size in sizes]
            found = {"id": name, "modelId": name, "sha": SHA, "siblings": siblings, "private": False, "tags": []}
        self.answer(json.dumps(found).encode(), Content_Type="application/json", X_Repo_Commit=SHA)


class _HubServer(ThreadingHTTPServer):
    def __init__(self, models: dict[str, Path]) -> None:
        super().__init__(("127.0.0.1", 0), _Hub)
        self.models, self.url = models, f"http://127.0.0.1:{self.server_port}"
        self.asked: list[str] = []


@contextmanager
def hub(models: dict[str, Path]) -> Iterator[_HubServer]:
    """Serves {name: folder}; what was asked for collects in `.asked`, its address is `.url`."""
    server = _HubServer(models)
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
