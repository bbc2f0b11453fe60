"""How the server begins to listen, and how it ends: without a traceback, and with its temporary files deleted."""

from __future__ import annotations

import logging
import os
import re
import signal
import socket
import sys
import time
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from urllib.parse import urlsplit

import gradio as gr

GRACE = 1  # seconds that open connections have left when the server is told to end


def check_address(host: str, port: int | None) -> str | None:
    """Why a server cannot listen there, in one sentence; None if it can. Without a `port`, any of its ports counts."""
    if port is not None and not 0 < port < 65_536:
        return f"expected a --port from 1 to 65535, got {port}"
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host.strip("[]"), port or 0, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind, protocol) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
            probe.listen()  # on Linux, only now does SO_REUSEADDR look for a server that listens there
    except (OSError, UnicodeError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        where = f"port {port} of {host}" if port else host
        advice = "choose another --port, or leave it out for the first free one" if port else "choose another --host"
        return f"cannot listen on {where} ({reason}); {advice}"
    return None


def check_root_path(text: str) -> str:
    """A path or address under which a proxy shows the page, without a slash at its end; "" for none.

    Raises:
        ValueError: when it is neither.
    """
    address = urlsplit(text)
    is_address = address.scheme in ("http", "https") and bool(address.hostname) and not address.query + address.fragment
    if text not in ("", "/") and not is_address and not re.fullmatch(r"(/[\w.~-]+)+/?", text, re.ASCII):
        raise ValueError(f"expected a --root-path such as /pixelgaze or https://example.org/pixelgaze, got {text!r}")
    return text.rstrip("/")


def check_mcp() -> str | None:
    """Why tools of the Model Context Protocol cannot be offered, in one sentence; None if they can."""
    try:
        found = version("mcp")
    except PackageNotFoundError:
        found = ""
    if found.startswith("1."):
        return None
    return f"--mcp needs the package mcp in a version 1; found {found or 'none'}. Install pixelgaze[mcp]"


def serve_until_interrupted(page: gr.Blocks) -> None:
    """Serve the launched page until Ctrl-C or SIGTERM, then end the process.

    The interpreter would end its threads one after another, and one in which torch computes then aborts the process.
    """
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with suppress(KeyboardInterrupt):
        while page.is_running:
            time.sleep(0.1)
    with suppress(KeyboardInterrupt):  # a second one
        print("Closing.")
        logging.getLogger("uvicorn.error").setLevel(logging.CRITICAL)  # it reports every page that is still open
        # Open pages hold a connection; without a limit the server waits for them and never deletes its files.
        page.server.config.timeout_graceful_shutdown = GRACE
        page.server.close()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)
