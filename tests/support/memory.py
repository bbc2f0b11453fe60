"""How much memory this process takes (Linux)."""

from __future__ import annotations

import threading


def resident() -> int:
    """Bytes of resident memory, private and shared, without mapped files."""
    with open("/proc/self/status") as file:
        sizes = {line.split(":")[0]: line.split()[1] for line in file if line.startswith(("RssAnon", "RssShmem"))}
    return sum(int(size) * 1024 for size in sizes.values())


class Peak:
    """The most memory resident within the `with` block, sampled every few milliseconds."""

    def __enter__(self) -> Peak:
        self.most, self._done = resident(), threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()
        return self

    def _watch(self) -> None:
        while not self._done.wait(0.005):
            self.most = max(self.most, resident())

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()
