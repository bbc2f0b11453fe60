"""Maps from the server: right, from a mapped file, and never in a queue."""

import base64
import json
import re
import threading
import time

import numpy as np
import pytest
import torch

from tests.support import families
from tests.support.memory import Peak
from tests.support.traces import attention_of, pixel_layer, trace_of_segments
from viz import Caption, Trace, record, trace_file
from viz.areas import shares
from viz.page import map_answers, map_server, open_traces, served
from viz.query import Maps
from viz.view import Box, Pixel, WordQuery
from viz.words import Entry

PIXEL = Pixel((0.3, 0.7))
BOX = Box((0.1, 0.2), (0.53, 0.61))


@pytest.fixture(scope="module")
def recorded(shared_pipeline) -> Trace:
    with torch.no_grad(), record(shared_pipeline.unet) as trace:
        for timestep in (40, 20):
            shared_pipeline.unet(torch.randn(1, 3, 64, 64), timestep, torch.randn(1, 7, 64))
    return trace


@pytest.fixture
def saved(recorded, tmp_path, monkeypatch):
    monkeypatch.setattr(served, "GALLERY", tmp_path)
    return recorded.save(tmp_path / "run.safetensors")


def request(path, *queries, maps, mode="row", special=False, turn=0) -> dict:
    values = {"path": str(path), "page": "a", "turn": turn, "mode": mode, "special": special, "maps": maps}
    return json.loads(json.dumps(values | {"queries": [query.to_json() for query in queries]}))


def numbers_of(reply: dict) -> np.ndarray:
    return np.frombuffer(base64.b64decode(reply["numbers"]), np.float16)


@pytest.mark.parametrize("head", [-1, 0, 1, 7])
@pytest.mark.parametrize(("mode", "special"), [("row", False), ("row", True), ("column", False)])
def test_answer_gives_the_maps_of_the_trace(saved, monkeypatch, head, mode, special):
    """Against the plain formula in double precision."""
    monkeypatch.setattr(map_answers, "MOMENT", 100)
    trace = Trace.load(saved)
    layers = list(trace)
    among_pixels = [i for i, layer in enumerate(layers) if layer.kind == "self"]
    assert among_pixels != list(range(len(among_pixels)))  # layers of words are counted, too
    indices = [[query, i, step, head] for query in (0, 1) for i in among_pixels for step in (1, 0)]
    reply = map_server.answer(request(saved, PIXEL, BOX, maps=indices, mode=mode, special=special))
    assert reply["done"] == len(indices)
    numbers, at = numbers_of(reply), 0
    for query, i, step, _ in indices:
        key, share = (trace.branches[0], layers[i].name, step), shares((PIXEL, BOX)[query], layers[i].grid).flatten()
        q, k = trace.queries[key].double(), trace.keys[key].double()
        attention = torch.softmax(q @ k.transpose(-1, -2) * layers[i].scale, -1).numpy()  # (H, N, N)
        heads = attention @ share if mode == "column" else share @ attention
        heads = heads - attention.mean(1) if special else heads
        expected = (heads.mean(0) if head < 0 else heads[min(head, 1)]) * layers[i].tokens
        assert np.abs(numbers[at : at + layers[i].tokens] - expected).max() < 1e-3 * max(1, np.abs(expected).max())
        at += layers[i].tokens
    assert at == len(numbers)


def test_answer_stops_after_a_moment_with_the_maps_it_has(saved, monkeypatch):
    monkeypatch.setattr(map_answers, "MOMENT", 0)
    reply = map_server.answer(request(saved, PIXEL, maps=[[0, 0, 0, -1], [0, 2, 0, -1]]))
    assert reply["done"] == 1 and len(numbers_of(reply)) == 1024


def test_answer_computes_only_the_newest_of_waiting_requests(saved, monkeypatch):
    began, go = threading.Event(), threading.Event()
    computed, plain = [], map_answers._compute

    def slowly(maps, asked, *rest):
        computed.append(asked.queries[0].point)
        began.set()
        go.wait(10)
        return plain(maps, asked, *rest)

    monkeypatch.setattr(map_answers, "_compute", slowly)
    replies = {}

    def ask(turn):
        pixel = Pixel((turn / 50, 0.5))
        replies[turn] = map_server.answer(request(saved, pixel, maps=[[0, 0, 0, -1]], turn=turn))

    threads = [threading.Thread(target=ask, args=(turn,)) for turn in range(30)]
    threads[0].start()
    began.wait(10)
    for thread in threads[1:]:
        thread.start()
    while open_traces.open_trace(saved).newest["a"] < 29:
        time.sleep(0.01)
    go.set()
    for thread in threads:
        thread.join()
    assert "numbers" in replies[0] and "numbers" in replies[29]
    assert all(replies[turn] == {"turn": turn, "late": True} for turn in range(1, 29))
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
        ({"turn": "now"}, "not understood"),
        ({"turn": 10**30}, "not understood"),
        ({"turn": -1}, "not understood"),
        ({"turn": 1.5}, "not understood"),
        ({"mode": []}, None),
        ({"reading": "aloud"}, "A reading must be spent, used or looks"),
        ({"reading": []}, None),
        ({"branch": 3}, "a branch a name"),
        ({"branch": "left"}, "This trace has no branch “left”"),
        ({"branch": "difference"}, "A difference needs two recorded branches; this trace has 1"),
        ({"maps": [[0, 1, 0, 0]]}, "pixels look at words only"),
        ({"mode": "shares"}, "has no shares of words"),
        ({"queries": [{"kind": "word", "text": "red"}]}, "looks at no such word as “red”"),
    ],
)
def test_answer_refuses_malformed_requests(saved, change, sentence):
    reply = map_server.answer(request(saved, PIXEL, maps=[[0, 0, 0, 0]]) | change)
    assert re.search(sentence, reply["error"]) if sentence else reply["done"] == 1


@pytest.mark.parametrize("nothing", [{}, [], None, 3])
def test_answer_refuses_anything_but_a_request(nothing):
    assert map_server.answer(nothing)["error"] == "The request was not understood."


def test_answer_refuses_a_foreign_file(saved):
    path = saved.parent / "foreign.safetensors"
    path.write_bytes(b"none")
    assert "cannot be read" in map_server.answer(request(path, PIXEL, maps=[[0, 0, 0, 0]]))["error"]


def test_open_trace_keeps_at_most_so_many_open(saved):
    for i in range(open_traces.MAX_OPEN + 1):
        path = saved.parent / f"{i}.safetensors"
        path.write_bytes(saved.read_bytes())
        assert "numbers" in map_server.answer(request(path, PIXEL, maps=[[0, 0, 0, 0]]))
    assert len(open_traces.open_traces) == open_traces.MAX_OPEN
    saved.unlink()
    assert "no longer on the server" in map_server.answer(request(saved, PIXEL, maps=[[0, 0, 0, 0]]))["error"]


def test_open_trace_remembers_a_bounded_number_of_pages(saved):
    for page in range(open_traces.MAX_PAGES + 9):
        reply = map_server.answer(request(saved, PIXEL, maps=[[0, 0, 0, 0]]) | {"page": page})
        assert "numbers" in reply
    assert len(open_traces.open_trace(saved).newest) == open_traces.MAX_PAGES


def test_answer_computes_what_columns_need_once(saved):
    columns = request(saved, PIXEL, maps=[[0, 0, 0, -1]], mode="column")
    first = map_server.answer(columns)
    cache = open_traces.open_trace(saved).maps.cache
    assert len(cache) == 1 and map_server.answer(columns) == first and len(cache) == 1


def resident() -> int:
    """Bytes of memory of this process that are its own; memory mapped from files does not count."""
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) * 1024 for line in file if line.startswith("RssAnon"))


def test_load_maps_a_large_file_and_does_not_read_it(tmp_path, monkeypatch):
    layer = pixel_layer("attention", (64, 64), 8, 64, 0.125)
    trace = Trace({"attention": layer}, {step: 0.0 for step in range(8)}, ("conditional",), size=(64, 64))
    for step in range(8):
        key = "conditional", "attention", step
        # As networks make them: the heads of a token side by side.
        trace.queries[key], trace.keys[key] = (torch.randn(4096, 8, 64).transpose(0, 1) for _ in range(2))
    with Peak() as peak:
        before = peak.most
        path = trace.save(tmp_path / "large.safetensors")
    # Written one tensor of 8 MB at a time, not all 134 MB of them once more; what the heap holds back varies.
    assert peak.most - before < 100_000_000
    del trace
    assert path.stat().st_size > 120_000_000
    monkeypatch.setattr(trace_file, "LARGE", 1_000_000)
    before = resident()
    loaded = Trace.load(path)
    loaded.rows("attention", step=0, query=(3, 3))
    assert resident() - before < 30_000_000


def test_maps_of_a_large_file_are_checked_to_be_finite(saved, monkeypatch):
    trace = Trace.load(saved)
    name = next(layer.name for layer in trace if layer.kind == "self")
    trace.keys[trace.branches[0], name, 0] = torch.full_like(trace.keys[trace.branches[0], name, 0], float("nan"))
    trace.save(saved)
    with pytest.raises(trace_file.TraceFileError, match="finite"):
        Trace.load(saved)
    monkeypatch.setattr(trace_file, "LARGE", 1)
    damaged = pytest.raises(ValueError, match="the trace is damaged")
    with damaged:
        Trace.load(saved).rows(name, step=0, query=(0, 0))
    with damaged:
        Trace.load(saved).columns(name, step=0, key=(0, 0))
    with damaged:
        Trace.load(saved).mean_row(name, step=0)
    for query in (PIXEL, BOX):
        for mode, special in (("row", False), ("row", True), ("column", False)):
            with damaged:
                Maps(Trace.load(saved)).heads(query, name, 0, mode=mode, special=special)


def test_answer_says_why_a_layer_has_no_map(tmp_path, monkeypatch):
    monkeypatch.setattr(served, "GALLERY", tmp_path)
    path = trace_of_segments().save(tmp_path / "gaps.safetensors")
    reply = map_server.answer(request(path, PIXEL, maps=[[0, 1, 1, -1]]))
    assert reply["error"] == "Layer “plain” has no map at step 4: it did not run."


@pytest.mark.parametrize(("mode", "shape"), [("row", (2, 2)), ("column", (3, 4))])
def test_answer_gives_maps_on_the_grid_of_keys_or_queries(tmp_path, monkeypatch, mode, shape):
    monkeypatch.setattr(served, "GALLERY", tmp_path)
    trace = trace_of_segments()
    path = trace.save(tmp_path / "gaps.safetensors")
    numbers = numbers_of(map_server.answer(request(path, BOX, maps=[[0, 0, 1, 1]], mode=mode)))
    attention = attention_of(trace, "joint", 4)[1].numpy()
    expected = attention @ shares(BOX, (2, 2)).ravel() if mode == "column" else shares(BOX, (3, 4)).ravel() @ attention
    assert np.abs(numbers.reshape(shape) - expected.reshape(shape) * 4).max() < 1e-3


def test_answer_counts_keys_that_belong_to_no_pixel(tmp_path, monkeypatch):
    monkeypatch.setattr(served, "GALLERY", tmp_path)
    network = families.Net(families.ConvolutionalAttention(32, memory=3)).eval()
    with torch.no_grad(), record(network) as trace:
        network(torch.randn(1, 32, 6, 4), 7)
    path = trace.save(tmp_path / "memory.safetensors")
    q, k = (store[trace.branches[0], "attention", 0].double() for store in (trace.queries, trace.keys))
    attention = torch.softmax(q @ k.transpose(-1, -2) * trace.layers["attention"].scale, -1)[..., 3:]  # (H, N, N)
    cell = 1 * 4 + 2  # of PIXEL on the 6x4 grid
    for mode, special in (("row", False), ("row", True), ("column", False)):
        values = request(path, PIXEL, BOX, maps=[[0, 0, 0, 1], [1, 0, 0, -1]], mode=mode, special=special)
        pixel, box = numbers_of(map_server.answer(values)).reshape(2, 24)
        expected = attention[1, :, cell] if mode == "column" else attention[1, cell]
        expected = (expected - attention[1].mean(0) if special else expected).numpy() * 24
        assert np.abs(pixel - expected).max() < 1e-3 * max(1, np.abs(expected).max())
        expected = Maps(trace).one(BOX, "attention", 0, mode=mode, special=special).flatten()
        assert np.abs(box - expected).max() < 1e-3 * max(1, np.abs(expected).max())


@pytest.fixture
def worded(tmp_path, monkeypatch):
    """The file of a trace with a caption, two branches and layers of both kinds."""
    monkeypatch.setattr(served, "GALLERY", tmp_path)
    trace = trace_of_segments()
    words: list[Entry] = [("red", "word", [1, 2]), ("eyes", "word", [3]), ("start", "start", [0, 4])]
    trace.words["picture 2 of 2"] = Caption.build("red eyes", [("", list("abcde"), words)])
    return trace.save(tmp_path / "words.safetensors")


def spent(trace: Trace, branch: str, keys: list[int]) -> np.ndarray:
    """(3, 4), what the pixels of "cross" spend on some keys, the mean of its heads: the plain formula."""
    q, k = (store[branch, "cross", 4].double() for store in (trace.queries, trace.keys))
    return torch.softmax(q @ k.transpose(-1, -2) * 0.5, -1)[..., keys].sum(-1).mean(0).reshape(3, 4).numpy()


def test_answer_gives_maps_of_words(worded):
    trace, red, number = Trace.load(worded), WordQuery("red"), WordQuery("1", 0, "number", 0)
    for reading, factor in (("spent", 5 / 2), ("used", 1 / spent(trace, "picture 2 of 2", [1, 2]).mean())):
        values = request(worded, red, maps=[[0, 2, 1, -1]]) | {"reading": reading}
        found = numbers_of(map_server.answer(values)).reshape(3, 4)
        assert np.abs(found - spent(trace, "picture 2 of 2", [1, 2]) * factor).max() < 2e-3
    values = request(worded, number, maps=[[0, 2, 1, -1]]) | {"branch": "picture 1 of 2"}
    found = numbers_of(map_server.answer(values)).reshape(3, 4)
    assert np.abs(found - spent(trace, "picture 1 of 2", [0]) * 5).max() < 5e-3
    looks = map_server.answer(request(worded, red, maps=[[0, 2, 1, -1]]) | {"reading": "looks"})
    assert looks["error"] == "In layer “cross” the word “red” is looked at, but looks at nothing."


def test_answer_gives_the_difference_of_branches(worded):
    def of(branch):
        values = request(worded, PIXEL, maps=[[0, 1, 0, 1]]) | {"branch": branch}
        return numbers_of(map_server.answer(values)).astype(float)

    last, first = of("picture 2 of 2"), of("picture 1 of 2")
    assert np.abs(last - first).max() > 0.1 and np.array_equal(of(None), last)
    assert np.abs(of("difference") - (last - first)).max() < 5e-3


@pytest.mark.parametrize("head", [-1, 1])
def test_answer_gives_shares_of_every_key_that_is_a_word(worded, head):
    trace = Trace.load(worded)
    maps = [[0, 2, 1, head], [1, 2, 2, head], [0, 0, 0, head]]
    numbers = numbers_of(map_server.answer(request(worded, PIXEL, BOX, maps=maps, mode="shares")))
    assert len(numbers) == 5 + 5 + 2  # of the five and two keys that are words
    for index, (area, layer, step) in enumerate([(PIXEL, "cross", 4), (BOX, "cross", 6), (PIXEL, "joint", 0)]):
        q, k = (store["picture 2 of 2", layer, step].double() for store in (trace.queries, trace.keys))
        spec = trace.layers[layer]
        attention = torch.softmax(q @ k.transpose(-1, -2) * spec.scale, -1)[:, spec.pixel_queries].numpy()
        row = np.einsum("n,hnm->hm", shares(area, spec.grid).ravel(), attention)
        expected = (row.mean(0) if head < 0 else row[head])[: 2 if layer == "joint" else 5]
        found = numbers[10:] if layer == "joint" else numbers[5 * index : 5 * index + 5]
        assert np.abs(found - expected).max() < 1e-3


def test_answer_refuses_a_large_header_before_it_reads_it(saved):
    saved.write_bytes((50_000_000).to_bytes(8, "little") + b"{" + saved.read_bytes())
    reply = map_server.answer(request(saved, PIXEL, maps=[[0, 0, 0, 0]]))
    assert "expected a header of at most 16,000,000 bytes, got 50,000,000" in reply["error"]


def test_maps_of_many_heads_are_computed_in_blocks_that_count_them():
    """Blocked by rows alone, these sums would hold 400 MB at a time; the numbers are those of the plain formula."""
    layer = pixel_layer("attention", (32, 32), 128, 1, 1.0)
    trace = Trace({"attention": layer}, {0: 0.0}, ("conditional",), size=(32, 32))
    key = "conditional", "attention", 0
    trace.queries[key], trace.keys[key] = (torch.randn(128, 1024, 1) for _ in range(2))
    q, k = trace.queries[key][7].double(), trace.keys[key][7].double()
    attention = torch.softmax(q @ k.T, -1)
    with Peak() as peak:
        before = peak.most
        sums = trace.row_sums("attention", step=0)
        column = trace.region_columns("attention", step=0, weights=torch.ones(32, 32), log_sums=sums.log_sums)
        rows = trace.region_rows("attention", step=0, weights=torch.ones(32, 32))
    assert peak.most - before < 200_000_000
    assert (sums.mean_row[7].flatten() - attention.mean(0)).abs().max() < 1e-5
    assert (rows[7].flatten() - attention.mean(0)).abs().max() < 1e-5
    assert (column[7].flatten() - attention.mean(1)).abs().max() < 1e-5
