"""The process that computes maps: its answers, and what happens when a page, the server or itself goes away."""

import base64
import os
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.support.traces import pixel_layer
from viz import Trace
from viz.page import map_process, map_server, served
from viz.page.line import Stopped
from viz.page.map_answers import Asked
from viz.page.map_process import LOST, MapProcess
from viz.view import Pixel, ViewError

PIXEL = Pixel((0.3, 0.7))


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("traces")


@pytest.fixture(scope="module")
def small(folder) -> Trace:
    trace = trace_of((6, 5), 3, 4)
    trace.save(folder / "small.safetensors")
    return trace


@pytest.fixture
def maps():
    process = MapProcess()
    yield process
    process.end()


def trace_of(grid: tuple[int, int], heads: int, head_dim: int) -> Trace:
    layer = pixel_layer("attention", grid, heads, head_dim)
    trace = Trace({layer.name: layer}, {0: 0.0}, ("one",), size=(64, 64))
    for tensors in (trace.queries, trace.keys):
        tensors["one", layer.name, 0] = torch.randn(heads, layer.tokens, head_dim)
    return trace


def asked(path: Path, turn: int = 1, **others) -> Asked:
    return Asked(path, f"page {turn}", turn, (PIXEL,), ((0, 0, 0, -1),), **others)


def never() -> bool:
    return False


def first_answer(process: MapProcess, question: Asked) -> dict:
    """Ask until the process is there."""
    end = time.monotonic() + 120
    while (answer := process.ask(question, never)) is None:
        assert time.monotonic() < end
        time.sleep(0.1)
    return answer


def child_of(process: MapProcess) -> int:
    assert process._process is not None
    return process._process.pid


def seconds_of(number: int) -> float:
    """Of processor time that a process has used."""
    fields = Path(f"/proc/{number}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def wait_for(condition, seconds: float = 30) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.05)


def is_there(number: int) -> bool:
    try:
        return Path(f"/proc/{number}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


def test_answers_are_the_rows_of_the_trace(maps, small, folder):
    """Against the formula in double precision, and in another process."""
    answer = first_answer(maps, asked(folder / "small.safetensors"))
    key = "one", "attention", 0
    q, k = small.queries[key].double(), small.keys[key].double()
    cell = int(0.3 * 6) * 5 + int(0.7 * 5)
    expected = torch.softmax(q[:, cell : cell + 1] @ k.mT * small.layers["attention"].scale, -1).mean(0).flatten() * 30
    found = np.frombuffer(base64.b64decode(answer["numbers"]), np.float16)
    assert answer["turn"] == answer["done"] == 1 and np.abs(found - expected.numpy()).max() < 2e-3
    assert child_of(maps) != os.getpid()


def test_the_page_is_answered_before_the_process_is_there(maps, small, folder, monkeypatch):
    monkeypatch.setattr(served, "GALLERY", folder)
    monkeypatch.setattr(map_server, "map_process", maps)
    request = {"path": str(folder / "small.safetensors"), "page": "a", "turn": 3, "mode": "row", "special": False}
    request |= {"queries": [PIXEL.to_json()], "maps": [[0, 0, 0, -1]]}
    here = map_server.answer(request)
    assert here["done"] == 1 and not maps._is_ready
    first_answer(maps, asked(folder / "small.safetensors"))

    def nowhere(*_):
        raise AssertionError("computed in the server")

    monkeypatch.setattr(map_server, "compute", nowhere)
    assert map_server.answer(request) == here
    assert "cannot be read" in map_server.answer(request | {"path": str(_foreign(folder))})["error"]


def _foreign(folder: Path) -> Path:
    path = folder / "foreign.safetensors"
    path.write_bytes(b"none")
    return path


def test_many_large_questions_at_once_are_all_answered(maps, small, folder):
    """More than the pipes hold, both ways."""
    path = folder / "small.safetensors"
    first_answer(maps, asked(path))
    count = 2000
    questions = [Asked(path, f"page {i}", 1, (PIXEL,), ((0, 0, 0, i % 3),) * count) for i in range(24)]
    with ThreadPoolExecutor(24) as threads:
        answers = list(threads.map(lambda question: maps.ask(question, never), questions, timeout=120))
    for answer in answers:
        assert answer["done"] * 60 == len(base64.b64decode(answer["numbers"])) and answer["done"] > 0


def test_what_nobody_waits_for_is_not_computed(maps, folder):
    slow = trace_of((256, 256), 4, 2).save(folder / "slow.safetensors")  # its columns take many seconds
    first_answer(maps, asked(slow))
    left, outcomes = threading.Event(), []

    def wait() -> None:
        try:
            outcomes.append(maps.ask(asked(slow, 2, mode="column"), left.is_set))
        except Stopped:
            outcomes.append("stopped")

    waiting, before = threading.Thread(target=wait), seconds_of(child_of(maps))
    waiting.start()
    wait_for(lambda: seconds_of(child_of(maps)) > before + 0.5)
    left.set()
    waiting.join(10)
    assert outcomes == ["stopped"]

    def is_idle() -> bool:
        began = seconds_of(child_of(maps))
        time.sleep(0.5)
        return seconds_of(child_of(maps)) - began < 0.1

    wait_for(is_idle, 3)
    assert maps.ask(asked(slow, 3), never)["done"] == 1


def test_a_process_that_was_killed_is_missed_with_a_sentence(maps, folder, monkeypatch):
    slow = trace_of((256, 256), 4, 2).save(folder / "slow.safetensors")
    first_answer(maps, asked(slow))
    number = child_of(maps)
    before = seconds_of(number)
    killer = threading.Thread(target=lambda: (wait_for(lambda: seconds_of(number) > before + 0.5), os.kill(number, 9)))
    killer.start()
    with pytest.raises(ViewError, match=LOST):
        maps.ask(asked(slow, 2, mode="column"), never)
    killer.join()
    assert maps.ask(asked(slow, 3), never) is None and maps._process is None  # not again at once
    monkeypatch.setattr(maps, "_may_start", 0.0)
    assert first_answer(maps, asked(slow, 4))["done"] == 1
    assert child_of(maps) != number


def test_an_idle_process_ends_and_comes_back(folder, small):
    process = MapProcess(idle=1.0)
    try:
        first_answer(process, asked(folder / "small.safetensors"))
        number = child_of(process)
        wait_for(lambda: process._process is None)
        assert not is_there(number)
        assert first_answer(process, asked(folder / "small.safetensors"))["done"] == 1
    finally:
        process.end()


def test_a_process_that_cannot_be_started_is_done_without(monkeypatch, folder):
    def refuse(*_, **__):
        raise OSError("no more processes")

    monkeypatch.setattr(map_process.subprocess, "Popen", refuse)
    assert MapProcess().ask(asked(folder / "small.safetensors"), never) is None


def test_it_ends_with_a_server_that_was_killed(folder, small):
    program = f"""
import time
from pathlib import Path
from viz.page.map_answers import Asked
from viz.page.map_process import MapProcess
from viz.view import Pixel
maps = MapProcess()
asked = Asked(Path({str(folder / "small.safetensors")!r}), "a", 1, (Pixel((0.5, 0.5)),), ((0, 0, 0, -1),))
while maps.ask(asked, lambda: False) is None:
    time.sleep(0.1)
print(maps._process.pid, flush=True)
time.sleep(600)
"""
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True) as server:
        number = int(server.stdout.readline())
        assert is_there(number)
        server.kill()
    wait_for(lambda: not is_there(number), 5)


def test_it_does_not_load_gradio():
    """Which would take seconds and 100 MB more."""
    program = "import sys, viz.page.map_process, viz.query, viz.trace; print('gradio' in sys.modules)"
    assert subprocess.check_output([sys.executable, "-c", program], text=True).strip() == "False"
