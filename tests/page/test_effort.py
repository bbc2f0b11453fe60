"""Long questions about a trace: refused by its description, ended after a time, and when their visitor leaves."""

import threading
import time
from dataclasses import replace
from types import SimpleNamespace

import httpx
import pytest
import torch

from tests.support.traces import pixel_layer
from viz import Trace, attention
from viz.attention import compute_mean_of_rows, compute_region_columns, compute_row_sums
from viz.checkpoint import checked
from viz.page import effort, map_answers, map_server, open_traces, plots, served
from viz.page.callers import Page
from viz.page.line import Stopped
from viz.page.plots import Plots, plot
from viz.page.viewer import Viewer
from viz.query import Maps
from viz.view import Box, Pixel, View, WordQuery

PIXEL, WHOLE = Pixel((0.5, 0.5)), Box((0.0, 0.0), (1.0, 1.0))


def trace_of(*grids: tuple[int, int], heads: int = 1, head_dim: int = 2, steps: int = 1) -> Trace:
    layers = [pixel_layer(f"layer {i}", grid, heads, head_dim) for i, grid in enumerate(grids)]
    trace = Trace({layer.name: layer for layer in layers}, dict.fromkeys(range(steps), 0.0), ("one",), size=(64, 64))
    for layer in layers:
        for step in range(steps):
            key = "one", layer.name, step
            shape = heads, layer.tokens, head_dim
            trace.queries[key], trace.keys[key] = torch.zeros(shape).half(), torch.zeros(shape).half()
    return trace


@pytest.fixture
def slow(monkeypatch):
    """Row by row: a column of 256×256 cells then takes many seconds on any machine."""
    monkeypatch.setattr(attention, "_block", lambda others: 1)
    return trace_of((256, 256))


@pytest.fixture
def slow_file(slow, tmp_path, monkeypatch):
    monkeypatch.setattr(served, "GALLERY", tmp_path)
    return slow.save(tmp_path / "slow.safetensors")


def ask(path, *queries, mode="row", special=False, maps=((0, 0, 0, -1),)) -> dict:
    values = {"path": str(path), "page": "a", "turn": 1, "mode": mode, "special": special, "maps": list(maps)}
    return values | {"queries": [query.to_json() for query in queries]}


@pytest.mark.parametrize("compute", ["sums", "columns", "rows"])
def test_every_loop_over_rows_can_end_between_two_blocks(monkeypatch, compute):
    monkeypatch.setattr(attention, "_block", lambda others: 4)
    trace = trace_of((4, 4))
    layer, key = trace.layers["layer 0"], ("one", "layer 0", 0)
    q, k = trace.queries[key], trace.keys[key]
    work = {
        "sums": lambda: compute_row_sums(layer, q, k),
        "columns": lambda: compute_region_columns(layer, q, k, torch.ones(4, 4), torch.zeros(1, 16)),
        "rows": lambda: compute_mean_of_rows(layer, q, k, torch.ones(16)),
    }[compute]
    looks = []

    def look():
        looks.append(None)
        if len(looks) == 3:
            raise Stopped

    with checked(look), pytest.raises(Stopped):
        work()
    assert len(looks) == 3
    work()  # without a check, to its end
    assert len(looks) == 3


def test_cost_counts_the_rows_that_are_computed():
    layer = pixel_layer("a", (32, 32), 8, 40)

    def operations(query, *rest) -> float:
        return effort.cost_of_map(layer, query, *rest).operations

    row = operations(PIXEL)
    assert operations(WHOLE) == 1024 * row
    assert operations(Box((0.0, 0.0), (0.5, 0.5))) == 256 * row
    assert operations(PIXEL, "column") == operations(PIXEL, "row", True) == 1025 * row
    assert operations(PIXEL, "column", False, True) == row  # the sums are there
    assert operations(WordQuery("red")) == 1025 * row


def test_what_would_take_minutes_is_refused_at_once_and_its_row_is_not(tmp_path, monkeypatch):
    monkeypatch.setattr(served, "GALLERY", tmp_path)
    path = trace_of((512, 512), (8, 8)).save(tmp_path / "huge.safetensors")  # 262,144 cells in 2 MB
    began = time.monotonic()
    for query, mode, special, instead in (
        (PIXEL, "column", False, "Choose “Looks at”"),
        (PIXEL, "row", True, "Switch “Minus average” off"),
        (WHOLE, "row", False, "Choose a smaller region"),
    ):
        reply = map_server.answer(ask(path, query, mode=mode, special=special))
        assert "would take about" in reply["error"] and instead in reply["error"] and "Trace.load" in reply["error"]
        assert reply["refused"] == 0
    assert time.monotonic() - began < 5
    assert map_server.answer(ask(path, PIXEL))["done"] == 1
    # Those before it in the request are answered, and it comes first in the next.
    both = ask(path, PIXEL, mode="column", maps=((0, 1, 0, -1), (0, 0, 0, -1)))
    assert map_server.answer(both)["done"] == 1


def test_memory_counts(tmp_path, monkeypatch):
    monkeypatch.setattr(served, "GALLERY", tmp_path)
    monkeypatch.setattr(effort, "MOST_BYTES", 1000)
    reply = map_server.answer(ask(trace_of((32, 32)).save(tmp_path / "a.safetensors"), PIXEL, mode="column"))
    assert "of memory here" in reply["error"] and reply["refused"] == 0


def test_time_that_is_used_up_ends_a_map(slow_file, monkeypatch):
    monkeypatch.setattr(effort, "SECONDS", 0.2)
    monkeypatch.setattr(effort, "FAR", 1e9)
    began = time.monotonic()
    reply = map_server.answer(ask(slow_file, PIXEL, mode="column"))
    assert reply["error"].startswith("It was ended because it took longer than") and reply["refused"] == 0
    assert time.monotonic() - began < 2
    assert not open_traces.open_trace(slow_file).computing.locked()


def test_plots_show_the_map_alone_where_curves_take_too_long(monkeypatch):
    maps = Maps(trace_of((16, 16), (8, 8), steps=3))
    view = View((0.5, 0.5), "layer 1", 0, -1, pins=(PIXEL,), active=0, mode="column")
    whole = plot(maps, view)
    assert [figure["key"] for figure in whole["figures"]] == ["received", "distance", "map"]
    maps.cache.clear()
    monkeypatch.setattr(effort, "SPEED", 1e6 / effort.FAR / effort.SECONDS / torch.get_num_threads())
    value = plot(maps, view)
    assert [figure["key"] for figure in value["figures"]] == ["map"]
    assert value["figures"][0]["figure"]["data"] == whole["figures"][-1]["figure"]["data"]
    assert "would take about" in value["note"] and "Choose “by head”" in value["note"]
    assert "viz.curves.measure_over_steps" in value["note"]
    maps.cache.clear()
    assert len(plot(maps, view, lines="heads")["figures"]) == 3
    maps.cache.clear()
    with pytest.raises(effort.TooMuch, match="The map of this pin would take"):
        plot(maps, replace(view, layer="layer 0"))


def test_plots_are_free_once_the_sums_are_there(monkeypatch):
    maps = Maps(trace_of((16, 16), steps=3))
    layers = maps.pixel_layers
    before = effort.cost_of_curves(maps, layers, PIXEL, "column", "one")
    plot(maps, View((0.5, 0.5), "layer 0", 0, -1, pins=(PIXEL,), active=0, mode="column"))
    after = effort.cost_of_curves(maps, layers, PIXEL, "column", "one")
    assert before.operations == 257 * after.operations and before.bytes == after.bytes


def test_long_questions_are_computed_by_few_at_a_time(monkeypatch):
    monkeypatch.setattr(effort, "SECONDS", 0.3)
    long = effort.Cost(1e15)
    nobody = threading.Event().is_set
    with effort.limited(long, nobody, ""), effort.limited(long, nobody, ""):
        with pytest.raises(effort.Crowded, match="other visitors"), effort.limited(long, nobody, ""):
            pass
        with pytest.raises(Stopped), effort.limited(long, lambda: True, ""):
            pass
        with effort.limited(effort.Cost(1e3), nobody, ""):
            pass
    with effort.limited(long, nobody, ""):
        pass


@pytest.fixture
def page(slow_file):
    """A page with a viewer of a slow trace and its plots."""
    with Page() as page:
        viewer = Viewer({"trace": {"path": str(slow_file)}})
        plots_below = Plots()
        plots_below.wire(viewer)
    page.queue().launch(prevent_thread_lock=True, quiet=True)
    yield SimpleNamespace(viewer=viewer, api=f"{page.local_url}gradio_api")
    page.close(verbose=False)


def wait_for(condition, seconds: float = 5) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it never came true"
        time.sleep(0.02)


def test_a_map_ends_when_its_page_is_left(page, slow_file):
    request = ask(slow_file, PIXEL, mode="column")
    body = {"data": request, "component_id": page.viewer._id, "fn_name": "answer", "session_hash": "a"}
    with pytest.raises(httpx.ReadTimeout):
        httpx.post(f"{page.api}/component_server", json=body, timeout=1.5)
    opened = open_traces.open_trace(slow_file)
    assert opened.computing.locked()
    wait_for(lambda: not opened.computing.locked())
    assert len(opened.maps.cache) == 0  # it was not computed to its end


def test_plots_end_when_their_page_is_left(page, slow_file, monkeypatch):
    plain, outcomes = plots.plot, []

    def noted(*arguments, **options):
        outcomes.append("begun")
        try:
            return plain(*arguments, **options)
        except Stopped:
            outcomes.append("stopped")
            raise

    monkeypatch.setattr(plots, "plot", noted)
    view = View((0.5, 0.5), "layer 0", 0, -1, pins=(PIXEL,), active=0, mode="column").to_json()
    event = {"number": 1, "view": view, "lines": "layers"}
    value = {"trace": {"path": str(slow_file)}, "view": {}}
    body = {"fn_index": 0, "data": [value], "event_data": event, "session_hash": "a"}
    assert httpx.post(f"{page.api}/queue/join", json=body).status_code == 200
    with httpx.stream("GET", f"{page.api}/queue/data", params={"session_hash": "a"}, timeout=30):
        wait_for(lambda: outcomes == ["begun"])
        time.sleep(1)
        assert outcomes == ["begun"]
    wait_for(lambda: outcomes == ["begun", "stopped"])


def test_who_waits_for_a_trace_leaves_with_a_newer_request_or_after_a_while(slow_file, monkeypatch):
    monkeypatch.setattr(open_traces, "WAIT", 0.5)
    opened, replies = open_traces.open_trace(slow_file), []
    with opened.computing:
        assert map_server.answer(ask(slow_file, PIXEL) | {"turn": 5}) == {"turn": 5, "late": True}
        monkeypatch.setattr(open_traces, "WAIT", 60)
        older = threading.Thread(target=lambda: replies.append(map_server.answer(ask(slow_file, PIXEL) | {"turn": 6})))
        older.start()
        wait_for(lambda: opened.newest["a"] == 6)
        opened.take_turn("a", 7)
        older.join(5)
        assert replies == [{"turn": 6, "late": True}]
    assert map_server.answer(ask(slow_file, PIXEL) | {"turn": 8})["done"] == 1


def test_only_so_many_wait_at_once(slow_file, monkeypatch):
    monkeypatch.setattr(map_answers, "_waiting", threading.BoundedSemaphore(1))
    with map_answers._place():
        assert map_server.answer(ask(slow_file, PIXEL))["error"] == map_answers.CROWDED
    assert map_server.answer(ask(slow_file, PIXEL))["done"] == 1
