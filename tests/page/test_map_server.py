"""Rows from the server: right, from a mapped file, and never in a queue."""

import base64
import json
import re
import threading
import time

import numpy as np
import pytest
import torch

from tests.bench.stable_diffusion import Peak
from tests.support import families
from viz import Layer, Trace, record
from viz import trace_file as tracefile
from viz.page import map_server as rows
from viz.page import served as paths
from viz.query import answer
from viz.view import Box, Pixel


@pytest.fixture
def saved(tiny_unet, tmp_path, monkeypatch):
    monkeypatch.setattr(paths, "GALLERY", tmp_path)
    with torch.no_grad(), record(tiny_unet) as trace:
        for timestep in (40, 20):
            tiny_unet(torch.randn(1, 3, 64, 64), timestep, torch.randn(1, 7, 64))
    return trace.save(tmp_path / "run.safetensors")


PIXEL = Pixel((0.3, 0.7))
BOX = Box((0.1, 0.2), (0.53, 0.61))


def question(path, *queries, maps, mode="row", special=False, turn=0) -> dict:
    said = [query.to_json() for query in queries]
    asked = {"path": str(path), "page": "a", "turn": turn, "mode": mode, "special": special}
    return json.loads(json.dumps(asked | {"queries": said, "maps": maps}))


def maps_of(found: dict) -> np.ndarray:
    return np.frombuffer(base64.b64decode(found["numbers"]), np.float16)


@pytest.mark.parametrize("head", [-1, 0, 1, 7])
@pytest.mark.parametrize(("mode", "special"), [("row", False), ("row", True), ("column", False)])
def test_the_maps_are_those_of_the_trace(saved, monkeypatch, head, mode, special):
    monkeypatch.setattr(rows, "MOMENT", 100)
    trace = Trace.load(saved)
    layers = [layer for layer in trace if layer.kind == "self"]
    asked = [[query, i, step, head] for query in (0, 1) for i in range(len(layers)) for step in (1, 0)]
    found = rows.answer(question(saved, PIXEL, BOX, maps=asked, mode=mode, special=special))
    assert found["done"] == len(asked)
    maps, at = maps_of(found), 0
    for query, i, step, _ in asked:
        heads = answer(trace, (PIXEL, BOX)[query], layers[i].name, step, mode=mode, special=special)
        expected = (heads.mean(0) if head < 0 else heads[min(head, 1)]).flatten() * layers[i].tokens
        assert np.abs(maps[at : at + layers[i].tokens] - expected).max() < 1e-3 * max(1, np.abs(expected).max())
        at += layers[i].tokens
    assert at == len(maps)


def test_an_answer_takes_a_moment_and_gives_what_is_known_by_then(saved, monkeypatch):
    monkeypatch.setattr(rows, "MOMENT", 0)
    found = rows.answer(question(saved, PIXEL, maps=[[0, 0, 0, -1], [0, 1, 0, -1]]))
    assert found["done"] == 1 and len(maps_of(found)) == 1024


def test_of_many_requests_only_the_newest_is_answered(saved, monkeypatch):
    began, go = threading.Event(), threading.Event()
    computed, plain = [], rows._answered

    def slowly(found, queries, *rest):
        computed.append(queries[0].point)
        began.set()
        go.wait(10)
        return plain(found, queries, *rest)

    monkeypatch.setattr(rows, "_answered", slowly)
    found = {}

    def ask(turn):
        found[turn] = rows.answer(question(saved, Pixel((turn / 50, 0.5)), maps=[[0, 0, 0, -1]], turn=turn))

    threads = [threading.Thread(target=ask, args=(turn,)) for turn in range(30)]
    threads[0].start()
    began.wait(10)
    for thread in threads[1:]:
        thread.start()
    while rows._traces[saved].newest["a"] < 29:
        time.sleep(0.01)
    go.set()
    for thread in threads:
        thread.join()
    assert "numbers" in found[0] and "numbers" in found[29]
    assert all(found[turn] == {"turn": turn, "late": True} for turn in range(1, 29))
    assert computed == [(0.0, 0.5), (29 / 50, 0.5)]


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"path": "/etc/passwd"}, "not serve that file"),
        ({"path": None}, "not serve that file"),
        ({"queries": [{"kind": "pixel"}]}, "lacks point"),
        ({"queries": 3}, "not understood"),
        ({"maps": [[0, 99, 0, 0]]}, "not understood"),
        ({"maps": [[0, 0, -1, 0]]}, "not understood"),
        ({"maps": [[0, 0, 0, -2]]}, "not understood"),
        ({"maps": [[0, 0]]}, "cannot be read|not understood"),
        ({"turn": "now"}, "cannot be read|not understood"),
        ({"mode": []}, None),
    ],
)
def test_questions_that_make_no_sense(saved, change, sentence):
    found = rows.answer(question(saved, PIXEL, maps=[[0, 0, 0, 0]]) | change)
    assert re.search(sentence, found["error"]) if sentence else found["done"] == 1


def test_what_is_no_question_at_all(saved):
    for asked in ({}, [], None, 3):
        assert rows.answer(asked)["error"] == "The question was not understood."
    (saved.parent / "foreign.safetensors").write_bytes(b"none")
    asked = question(saved.parent / "foreign.safetensors", PIXEL, maps=[[0, 0, 0, 0]])
    assert "cannot be read" in rows.answer(asked)["error"]


def test_traces_are_closed_after_a_while(saved):
    for i in range(rows.MAX_OPEN + 1):
        path = saved.parent / f"{i}.safetensors"
        path.write_bytes(saved.read_bytes())
        assert "numbers" in rows.answer(question(path, PIXEL, maps=[[0, 0, 0, 0]]))
    assert len(rows._traces) == rows.MAX_OPEN
    saved.unlink()
    assert "no longer on the server" in rows.answer(question(saved, PIXEL, maps=[[0, 0, 0, 0]]))["error"]


def test_what_the_columns_need_is_computed_once_and_bounded(saved, monkeypatch):
    asked = question(saved, PIXEL, maps=[[0, 0, 0, -1]], mode="column")
    first = rows.answer(asked)
    found = rows._traces[saved]
    assert len(found.sums) == 1 and rows.answer(asked) == first and len(found.sums) == 1
    monkeypatch.setattr(rows, "MAX_SUMS", 1)
    rows.answer(question(saved, PIXEL, maps=[[0, 1, 0, -1]], mode="column"))
    assert len(found.sums) == 1


def resident() -> int:
    """Bytes of memory of this process that are its own: what is mapped from files does not count."""
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) * 1024 for line in file if line.startswith("RssAnon"))


def test_a_large_file_is_mapped_and_not_read(tmp_path, monkeypatch):
    layer = Layer("attention", "self", (64, 64), 8, 64, 4096, 0.125)
    trace = Trace({"attention": layer}, {step: 0.0 for step in range(8)}, ("conditional",), size=(64, 64))
    for step in range(8):
        where = "conditional", "attention", step
        # As networks make them: the heads of a token side by side.
        trace.queries[where], trace.keys[where] = (torch.randn(4096, 8, 64).transpose(0, 1) for _ in range(2))
    with Peak() as peak:
        before = peak.most
        path = trace.save(tmp_path / "large.safetensors")
    # Written a tensor of 8 MB at a time, not all 134 MB of them once more; what the heap holds back varies.
    assert peak.most - before < 100_000_000
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
    with pytest.raises(ValueError, match="the trace is damaged"):
        Trace.load(saved).columns(name, step=0, key=(0, 0))
    with pytest.raises(ValueError, match="the trace is damaged"):
        Trace.load(saved).mean_row(name, step=0)
    for mode, special in (("row", True), ("column", False)):
        with pytest.raises(ValueError, match="the trace is damaged"):
            rows._map(
                rows._Open(Trace.load(saved)), Pixel((0.1, 0.1)), trace.layers[name], 0, -1, mode == "column", special
            )


def test_keys_that_belong_to_no_pixel_take_their_part(tmp_path, monkeypatch):
    monkeypatch.setattr(paths, "GALLERY", tmp_path)
    network = families.Net(families.ConvolutionalAttention(32, memory=3)).eval()
    with torch.no_grad(), record(network) as trace:
        network(torch.randn(1, 32, 6, 4), 7)
    path = trace.save(tmp_path / "memory.safetensors")
    for mode, special in (("row", False), ("row", True), ("column", False)):
        asked = question(path, PIXEL, BOX, maps=[[0, 0, 0, 1], [1, 0, 0, -1]], mode=mode, special=special)
        maps = maps_of(rows.answer(asked)).reshape(2, 24)
        pixel, box = (answer(trace, query, "attention", 0, mode=mode, special=special) for query in (PIXEL, BOX))
        for found, expected in zip(maps, (pixel[1].flatten() * 24, box.mean(0).flatten() * 24), strict=True):
            assert np.abs(found - expected).max() < 1e-3 * max(1, np.abs(expected).max())
