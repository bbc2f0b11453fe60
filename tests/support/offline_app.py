"""`python app.py`, which writes every address outside of this machine that is asked for into the file named first."""

from __future__ import annotations

import ipaddress
import sys
from typing import Any

LOCAL = {"localhost", "", None}


def watch(path: str) -> None:
    """Append a line to `path` for each name looked up and each connection made that is not to this machine."""
    log = open(path, "a", buffering=1)  # noqa: SIM115  open as long as the process lives

    def audit(event: str, arguments: tuple[Any, ...]) -> None:
        if event == "socket.getaddrinfo":
            host = arguments[0]
        elif event == "socket.connect" and isinstance(arguments[1], tuple):
            host = arguments[1][0]
        else:
            return
        host = host.decode() if isinstance(host, bytes) else host
        if host not in LOCAL and not _is_local(host):
            log.write(f"{event} {arguments[1 if event == 'socket.connect' else 0]}\n")

    sys.addaudithook(audit)


def _is_local(host: str) -> bool:
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return False
    return address.is_loopback or address.is_unspecified


if __name__ == "__main__":
    watch(sys.argv.pop(1))
    from viz.__main__ import main  # what its import asks for is written down, too

    main()
