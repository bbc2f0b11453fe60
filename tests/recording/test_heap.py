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


def count_faults(call: str) -> int:
    return int(subprocess.run([sys.executable, "-c", COUNT.format(call)], capture_output=True, check=True).stdout)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc only")
def test_keep_freed_memory_saves_page_faults():
    assert count_faults("assert keep_freed_memory()") < 100
    assert count_faults("") > 1_000, "glibc keeps freed memory by itself now: viz/recording/heap.py can go"
