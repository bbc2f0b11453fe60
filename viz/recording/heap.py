"""The C library's heap, told to keep the memory that a step frees for the next one."""

from __future__ import annotations

import ctypes
import sys
import threading
import time
from typing import Any

# Arguments of glibc's mallopt(3), and the largest threshold that it takes for maps of their own.
_TRIM_THRESHOLD, _MMAP_THRESHOLD, _ARENA_MAX = -1, -3, -8
_LARGEST_MMAP_THRESHOLD = 2**25

KEPT_BYTES = 2**30
ARENAS = 4
EVERY = 10.0  # seconds


def keep_freed_memory(most: int = KEPT_BYTES) -> bool:
    """Let this process keep up to `most` freed bytes at the end of its heap; glibc only, elsewhere nothing happens.

    By default glibc returns memory that is freed there, and a step of a denoiser frees and asks for the same memory
    again and again: the kernel clears every page anew. Copies of q and k, which lie between activations, make that
    worse. Measured on the bundled model (12 steps, one thread of a 2.1 GHz Xeon, seconds of CPU time, lower quartiles
    of 20 runs): plain 1.37 to 1.48 s with 18,000 to 90,000 page faults, recorded 1.42 to 1.67 s with 24,000 to 89,000;
    with this, plain 1.26 s and recorded 1.34 s, without page faults. Reusing mappings for the copies alone does not
    help: recorded runs still had 71,000.

    Returns whether it was set.
    """
    return _set(_TRIM_THRESHOLD, most) and _set(_MMAP_THRESHOLD, _LARGEST_MMAP_THRESHOLD)


def share_arenas(most: int = ARENAS) -> bool:
    """Let all threads of this process take memory from that many heaps together; glibc only, elsewhere nothing happens.

    Glibc makes up to eight for each core, each of which keeps what was freed in it. A server has many threads and each
    of them needs much memory at times, so in the end every heap has been as large as what one visitor asks for.

    Returns whether it was set. Threads that have a heap of their own already keep it.
    """
    return _set(_ARENA_MAX, most)


def release_freed_memory() -> bool:
    """Return what was freed to the system, wherever in the heaps it lies; glibc only. Returns whether it was tried.

    What `keep_freed_memory` keeps is soon asked for again, but not all of it: after two and a half minutes with 50
    visitors a server used 410 MB of its heaps and kept 480 more. Gaps smaller than a page stay.
    """
    trim = _function("malloc_trim")
    if trim is not None:
        trim(ctypes.c_size_t(0))
    return trim is not None


def release_freed_memory_regularly(seconds: float = EVERY) -> None:
    """Do so every so many seconds, in a thread of its own.

    With 50 visitors a server's own memory, without the files that it maps, is level after two minutes, at about 1.0 GB;
    with once a minute it was 1.3 GB after three. It takes 13 to 16 ms while a picture is drawn, and steps, plain or
    recorded, take as long as without.
    """

    def work() -> None:
        while release_freed_memory():
            time.sleep(seconds)

    threading.Thread(target=work, daemon=True).start()


def _set(option: int, value: int) -> bool:
    mallopt = _function("mallopt")
    return bool(mallopt and mallopt(option, value))


def _function(name: str) -> Any:
    """A function of glibc; None elsewhere."""
    return getattr(ctypes.CDLL(None), name, None) if sys.platform.startswith("linux") else None  # musl has none
