"""Rows from the server: right, from a mapped file, and never in a queue."""

import base64
import threading
import time

import numpy as np
import pytest
import torch

from viz import Layer, Trace, record, rows, tracefile


@pytest.fixture
def saved(tiny_unet, tmp_path):
    with torch.no_grad(), record(tiny_unet) as trace:
        for timestep in (40, 20):
            tiny_unet(torch.randn(1, 3, 64, 64), timestep, torch.randn(1, 7, 64))
    return trace.save(tmp_path / "run.safetensors")


def maps_of(found: dict) -> np.ndarray:
    return np.frombuffer(base64.b64decode(found["rows"]), np.float16)


@pytest.mark.parametrize("head", [-1, 0, 1])
def test_the_rows_are_those_of_the_trace(saved, head):
    trace, key = Trace.load(saved), rows.serve(saved)
    maps = maps_of(rows.answer({"trace": key, "turn": 0, "point": [0.3, 0.7], "head": head}))
    at = 0
    for layer in (layer for layer in trace if layer.kind == "self"):
        for step in trace.steps:
            own = trace.rows(layer.name, step=step, query=trace.cell(layer.name, (0.3 * 64, 0.7 * 64)))
            expected = (own.mean(0) if head < 0 else own[head]).flatten() * layer.tokens
            assert np.abs(maps[at : at + layer.tokens] - expected.numpy()).max() < 2e-3 * expected.max().item()
            at += layer.tokens
    assert at == len(maps)


def test_of_many_requests_only_the_newest_is_answered(saved, monkeypatch):
    key, began, go = rows.serve(saved), threading.Event(), threading.Event()
    computed, plain = [], rows.point_rows

    def slowly(trace, point, head):
        computed.append(point)
        began.set()
        go.wait(10)
        return plain(trace, point, head)

    monkeypatch.setattr(rows, "point_rows", slowly)
    found = {}

    def ask(turn):
        found[turn] = rows.answer({"trace": key, "turn": turn, "point": [turn / 50, 0.5], "head": -1})

    threads = [threading.Thread(target=ask, args=(turn,)) for turn in range(30)]
    threads[0].start()
    began.wait(10)
    for thread in threads[1:]:
        thread.start()
    while rows._traces[key].newest < 29:
        time.sleep(0.01)
    go.set()
    for thread in threads:
        thread.join()
    assert "rows" in found[0] and "rows" in found[29]
    assert all(found[turn] == {"turn": turn, "late": True} for turn in range(1, 29))
    assert computed == [(0.0, 0.5), (29 / 50, 0.5)]


@pytest.mark.parametrize(
    "asked",
    [{}, {"trace": "x", "turn": "y", "point": [0, 0], "head": 0}, {"trace": "x", "turn": 1, "point": 3, "head": 0}, []],
)
def test_questions_that_make_no_sense(asked):
    assert rows.answer(asked)["error"] == "The question was not understood."


def test_traces_are_closed_after_a_while(saved):
    keys = [rows.serve(saved) for _ in range(rows.MAX_OPEN + 1)]
    asked = {"turn": 0, "point": [0, 0], "head": -1}
    assert "no longer on the server" in rows.answer(asked | {"trace": keys[0]})["error"]
    assert "rows" in rows.answer(asked | {"trace": keys[-1]})
    assert "no longer" in rows.answer(asked | {"trace": "../../etc/passwd"})["error"]


def resident() -> int:
    """Bytes of memory of this process that are its own: what is mapped from files does not count."""
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) * 1024 for line in file if line.startswith("RssAnon"))


def test_a_large_file_is_mapped_and_not_read(tmp_path, monkeypatch):
    layer = Layer("attention", "self", (64, 64), 8, 64, 4096, 0.125)
    trace = Trace({"attention": layer}, {step: 0.0 for step in range(8)}, ("conditional",), size=(64, 64))
    for step in range(8):
        where = "conditional", "attention", step
        trace.queries[where], trace.keys[where] = torch.randn(8, 4096, 64), torch.randn(8, 4096, 64)
    path = trace.save(tmp_path / "large.safetensors")
    del trace
    assert path.stat().st_size > 120_000_000
    monkeypatch.setattr(tracefile, "LARGE", 1_000_000)
    before = resident()
    loaded = Trace.load(path)
    loaded.rows("attention", step=0, query=(3, 3))
    assert resident() - before < 30_000_000


def test_what_is_not_finite_in_a_large_file_is_found_when_it_is_asked_for(saved, monkeypatch):
    trace = Trace.load(saved)
    name = next(layer.name for layer in trace if layer.kind == "self")
    trace.keys["conditional", name, 0] = torch.full_like(trace.keys["conditional", name, 0], float("nan"))
    trace.save(saved)
    with pytest.raises(tracefile.TraceFileError, match="finite"):
        Trace.load(saved)
    monkeypatch.setattr(tracefile, "LARGE", 1)
    with pytest.raises(ValueError, match="the trace is damaged"):
        Trace.load(saved).rows(name, step=0, query=(0, 0))
