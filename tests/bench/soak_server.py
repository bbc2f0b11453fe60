"""A server of the page for `tests.bench.soak`: what it takes of the machine, and its sudden death."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.support.chromium import ROOT
from tests.support.ports import free_port
from viz.page.sweeper import taken


class Running:
    """`python app.py` with all its files in a folder. `url` ends with a slash."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._process: subprocess.Popen | None = None
        self._port = free_port()
        self.url = f"http://127.0.0.1:{self._port}/"

    def start(self) -> None:
        """Start it, on the same port each time; returns when it serves the page."""
        folders = {"GRADIO_TEMP_DIR": str(self._folder / "temporary"), "PIXELGAZE_CACHE": str(self._folder / "cache")}
        command = [sys.executable, "-u", "app.py", "--on-demand", "--port", str(self._port)]
        log = self._folder / "log.txt"
        with log.open("w") as file:
            self._process = subprocess.Popen(
                command, cwd=ROOT, env=os.environ | folders, stdout=file, stderr=subprocess.STDOUT
            )
        deadline = time.monotonic() + 120
        while self.url.rstrip("/") not in log.read_text():
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"app.py did not serve a page; its output:\n{log.read_text()}")
            time.sleep(0.05)

    def kill(self, how: int = signal.SIGKILL) -> None:
        assert self._process is not None
        self._process.send_signal(how)
        self._process.wait()

    @property
    def output(self) -> str:
        """What it printed since it was started."""
        return (self._folder / "log.txt").read_text()

    def sizes(self) -> dict[str, float]:
        """The MB of memory, threads, open files and connections of it and its processes; and the MB of its files."""
        assert self._process is not None
        taken_by = [_sizes_of(number) for number in self._with_children()]
        own = {name: sum(each[name] for each in taken_by) for name in ("rss_mb", "threads", "files")}
        return own | {"processes": len(taken_by), "cache_mb": taken(self._folder) / 1e6}

    def _with_children(self) -> list[int]:
        assert self._process is not None
        first = self._process.pid
        children = [path.read_text().split() for path in Path(f"/proc/{first}/task").glob("*/children")]
        return [first, *(int(number) for each in children for number in each)]


def _sizes_of(number: int) -> dict[str, float]:
    """Of one process; nothing of one that has ended."""
    process = Path("/proc") / str(number)
    try:
        status, files = (process / "status").read_text(), len(os.listdir(process / "fd"))
    except OSError:
        return {"rss_mb": 0, "threads": 0, "files": 0}
    found = {name: int(value) for name, value in re.findall(r"^(VmRSS|Threads):\s+(\d+)", status, re.MULTILINE)}
    return {"rss_mb": found.get("VmRSS", 0) / 1024, "threads": found.get("Threads", 0), "files": files}


@contextmanager
def running_server(folder: Path) -> Iterator[Running]:
    """A server that has been started, and is ended after the block."""
    running = Running(folder)
    running.start()
    try:
        yield running
    finally:
        running.kill(signal.SIGTERM)
