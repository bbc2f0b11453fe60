"""Memory that a step frees is kept for the next one."""

import subprocess
import sys

import pytest

COUNT = """if True:
    import resource
    from viz.recording.heap import keep_freed_memory
    {}
    def faults():
        return resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    def step():
        parts = [bytearray(size * 2**20) for size in (20, 20, 20, 20)]
    step(), step(), step()
    before = faults()
    for _ in range(20):
        step()
    print(faults() - before)
"""

# What the programs below begin with; they print kB.
HEAP = """if True:
    import ctypes, threading
    from viz.recording.heap import keep_freed_memory, release_freed_memory, share_arenas
    keep_freed_memory()
    c = ctypes.CDLL(None)
    c.malloc.restype, c.free.argtypes = ctypes.c_void_p, [ctypes.c_void_p]
    def resident():
        with open("/proc/self/status") as file:
            return next(int(line.split()[1]) for line in file if line.startswith("RssAnon"))
"""

# Threads that exist at the same time, one of which after the other takes 10 MB and gives them back.
KEEP = """
    {}
    together, alone = threading.Barrier(16), threading.Lock()
    def work():
        c.free(c.malloc(100))
        together.wait()
        with alone:
            parts = [c.malloc(500_000) for _ in range(20)]
            for part in parts:
                ctypes.memset(part, 1, 500_000)
            for part in parts:
                c.free(part)
        together.wait()
    before = resident()
    threads = [threading.Thread(target=work) for _ in range(16)]
    for thread in threads: thread.start()
    for thread in threads: thread.join()
    print(resident() - before)
"""


# Every other of many pieces is given back, so that what is free lies between pieces that are used.
GAPS = """
    parts = [c.malloc(500_000) for _ in range(200)]
    for part in parts:
        ctypes.memset(part, 1, 500_000)
    for part in parts[::2]:
        c.free(part)
    before = resident()
    {}
    print(before - resident())
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc only")
@pytest.mark.parametrize(("call", "released"), [("pass", False), ("assert release_freed_memory()", True)])
def test_what_was_freed_between_used_pieces_is_returned(call, released):
    """Of 50 MB."""
    assert (printed(GAPS, call) > 40_000) == released


def printed(program: str, call: str) -> int:
    """The number that a program prints, run in a process of its own with a call in its place."""
    command = [sys.executable, "-c", HEAP + program.format(call)]
    return int(subprocess.run(command, capture_output=True, check=True).stdout)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc only")
def test_share_arenas_keeps_memory_of_few_heaps():
    """In kB. A machine of one core has eight heaps, of 10 MB here; others have more."""
    assert printed(KEEP, "assert share_arenas()") < 50_000
    assert printed(KEEP, "") > 70_000, "glibc shares heaps by itself now: share_arenas can go"


def count_faults(call: str) -> int:
    return int(subprocess.run([sys.executable, "-c", COUNT.format(call)], capture_output=True, check=True).stdout)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc only")
def test_keep_freed_memory_saves_page_faults():
    assert count_faults("assert keep_freed_memory()") < 100
    assert count_faults("") > 1_000, "glibc keeps freed memory by itself now: viz/recording/heap.py can go"
