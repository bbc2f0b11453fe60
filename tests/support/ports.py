"""Ports for servers that must be found again at the same one."""

from __future__ import annotations

import socket


def free_port() -> int:
    """One on which nothing listens, and which no other server takes by itself: those take the first from 7860 on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
