"""The file of a trace: what is written is read again, in both versions, and nothing else is."""

import hashlib
import json
import struct
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from tests.support.traces import caption_of_everything, described, save_first_version, tampered, trace_with_everything
from viz import Trace
from viz.layer import Segment
from viz.recipe import Recipe
from viz.recording.run import perform
from viz.trace_file import TraceFileError
from viz.trace_header import read_description


@pytest.fixture(scope="module")
def trace(shared_pipeline) -> Trace:
    return perform(Recipe("a red monster", seed=1, steps=3), shared_pipeline)


def test_load_gives_what_save_wrote(trace, tmp_path):
    path = trace.save(tmp_path / "run.safetensors")
    loaded = Trace.load(path)
    assert [f.name for f in tmp_path.iterdir()] == ["run.safetensors"]
    for field in ("layers", "timesteps", "branches", "skipped", "proved", "size", "recipe"):
        assert getattr(loaded, field) == getattr(trace, field), field
    assert all(torch.equal(loaded.queries[where], q) for where, q in trace.queries.items())
    assert all(torch.equal(loaded.keys[where], k) for where, k in trace.keys.items())
    assert np.array_equal(loaded.picture, trace.picture)
    assert all(np.array_equal(loaded.previews[step], preview) for step, preview in trace.previews.items())
    assert loaded.verify() == trace.verify()


FIELDS = (
    *("layers", "timesteps", "calls", "branches", "gaps", "skipped", "proved", "proved_rows", "size", "recipe"),
    *("words", "kept_queries", "queries", "keys", "proofs", "previews", "picture"),
)


def test_load_gives_every_field_of_every_kind(tmp_path):
    trace = replace(trace_with_everything(), words={"picture 2 of 2": caption_of_everything()})
    loaded = Trace.load(trace.save(tmp_path / "run.safetensors"))
    assert set(FIELDS) == set(vars(trace))
    for field in FIELDS[:12]:
        assert getattr(loaded, field) == getattr(trace, field), field
    assert set(loaded.queries) == set(trace.queries) == set(loaded.keys) and ("d", 0) not in {k[1:] for k in trace.keys}
    assert all(torch.equal(loaded.keys[key], tensor) for key, tensor in trace.keys.items())
    assert (loaded.proofs["a"].branch, loaded.proofs["a"].step) == ("picture 1 of 2", 3)
    assert loaded.verify() == trace.verify()


def test_save_writes_version_2_of_the_format_byte_for_byte(tmp_path):
    """Files of this version, and every viewer that reads them, are out in the world: another hash, another version.

    The order of the tensors is no part of the format; `test_trace_order.py` has it.
    """
    path = trace_with_everything().save(tmp_path / "run.safetensors")
    header, data = split(path)
    digest = hashlib.sha256(json.dumps(header.pop("__metadata__")).encode())
    for name, entry in sorted(header.items()):
        start, end = entry.pop("data_offsets")
        digest.update(json.dumps([name, entry]).encode() + data[start:end])
    assert digest.hexdigest() == "052fa19334ff9acfc923dfb1acb0024ecf3c682c6d117a6023ac9af2a952368e"
    again = Trace.load(path).save(tmp_path / "again.safetensors")
    assert again.read_bytes() == path.read_bytes()


def split(path):
    """The header of a safetensors file, and the bytes of its tensors."""
    whole = path.read_bytes()
    (length,) = struct.unpack("<Q", whole[:8])
    return json.loads(whole[8 : 8 + length]), whole[8 + length :]


def test_save_refuses_two_tensors_of_one_name(tmp_path):
    trace = trace_with_everything()
    twins = [replace(layer, name=name) for layer in trace.layers.values() for name in ("x", "x/key/x")]
    trace = Trace({layer.name: layer for layer in twins[:2]}, {0: 0.0}, ("b", "b/key/x"), size=(2, 2))
    for branch in trace.branches:
        for name, layer in trace.layers.items():
            key = branch, name, 0
            trace.queries[key] = torch.zeros(layer.heads, layer.query_count, layer.head_dim)
            trace.keys[key] = torch.zeros(layer.heads, layer.key_count, layer.head_dim)
    with pytest.raises(ValueError, match="two tensors would have one name"):
        trace.save(tmp_path / "run.safetensors")
    assert not list(tmp_path.iterdir())


def test_load_reads_version_1_as_segments(tmp_path):
    save_first_version(tmp_path / "old.safetensors")
    trace = Trace.load(tmp_path / "old.safetensors")
    pixels = Segment("pixels", 6, (2, 3))
    layer = trace.layers["a"]
    assert (layer.queries, layer.keys) == ((pixels,), (Segment("registers", 1), pixels)) and layer.kind == "self"
    assert trace.layers["b"].keys == (Segment("words", 4),) and trace.layers["b"].kind == "cross"
    assert trace.gaps == trace.calls == trace.proved_rows == {} and trace.proofs["a"].branch == "conditional"
    assert trace.timesteps == {0: 999.0, 2: None} and trace.skipped == {"c": "no probe knows it"}
    assert max(trace.verify().values()) < 1e-6
    q, k = (store["conditional", "a", 0].double() for store in (trace.queries, trace.keys))
    expected = torch.softmax(q @ k.transpose(-1, -2) * 0.5, -1)[0, 4, 1:].reshape(2, 3)
    assert torch.allclose(trace.rows("a", step=0, query=(1, 1), head=0).double(), expected, atol=1e-6)


def test_version_1_is_saved_as_version_2(tmp_path):
    save_first_version(tmp_path / "old.safetensors")
    trace = Trace.load(tmp_path / "old.safetensors")
    again = Trace.load(trace.save(tmp_path / "again.safetensors"))
    assert again.layers == trace.layers and again.verify() == trace.verify()
    assert all(torch.equal(again.queries[key], q) for key, q in trace.queries.items())


FIRST_HOSTILE = {
    "branches of its own": ({"branches": ["left"]}, "branches of a guided batch"),
    "fields of version 2": ({"proof_steps": None, "proofs": {}}, "complete description"),
    "more extra keys than keys": (
        {"layers": [{"name": "a", "kind": "self", "grid": [2, 3], "keys": 7, "extra": 7}]},
        "extra keys",
    ),
    "a key too many": (
        {"layers": [{"name": "a", "kind": "self", "grid": [2, 3], "keys": 8, "extra": 1}]},
        "a key for every pixel",
    ),
    "a grid too large": ({"layers": [{"name": "a", "kind": "self", "grid": [10**9, 1], "keys": 7}]}, "positive sizes"),
}


@pytest.mark.parametrize("case", FIRST_HOSTILE)
def test_load_refuses_hostile_files_of_version_1(tmp_path, case):
    changes, message = FIRST_HOSTILE[case]
    save_first_version(tmp_path / "old.safetensors", **changes)
    with pytest.raises(TraceFileError, match=message):
        Trace.load(tmp_path / "old.safetensors")


def test_save_refuses_what_no_browser_could_read(trace, tmp_path):
    strange = replace(trace, recipe={"guidance": float("nan")})
    with pytest.raises(ValueError, match="in its recipe or timesteps cannot be saved"):
        strange.save(tmp_path / "run.safetensors")
    assert not list(tmp_path.iterdir())


def test_save_writes_the_largest_difference_of_verify(trace, tmp_path):
    half = trace.select(dtype=torch.float16)
    assert read_description(half.save(tmp_path / "run.safetensors"))["verified"] == max(half.verify().values())


def test_save_leaves_the_old_file_if_interrupted(trace, tmp_path, monkeypatch):
    path = trace.save(tmp_path / "run.safetensors")
    before = path.read_bytes()

    def killed(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("viz.trace_file.os.replace", killed)
    with pytest.raises(KeyboardInterrupt):
        trace.select(steps=[0]).save(path)
    assert path.read_bytes() == before and [f.name for f in tmp_path.iterdir()] == ["run.safetensors"]


def segment(**changes):
    """A description whose first layer has other keys."""
    return described(lambda d: d["layers"][0]["keys"][0].update(changes))


def kept(queries=None, **others):
    """A description that says that only some queries of the first layer, or of others, are in the file."""
    return described(lambda d: d.update(kept_queries={NAME: queries} if queries is not None else others))


NAME = "down_blocks.1.attentions.0.transformer_blocks.0.attn1"
HOSTILE = {
    "another format": (lambda m, t: m.update(format="pt"), "expected the format 'pixelgaze-trace'"),
    "a later version": (lambda m, t: m.update(version="9"), "expected version 1 or 2"),
    "no description": (lambda m, t: m.pop("trace"), "expected a complete description"),
    "not JSON": (lambda m, t: m.update(trace="{"), "expected a complete description"),
    "deep JSON": (lambda m, t: m.update(trace="[" * 100_000), "expected a complete description"),
    "a grid too large": (segment(grid=[10**9, 10**9]), "positive sizes"),
    "a negative grid": (segment(grid=[-32, -32]), "positive sizes"),
    "a grid of other tokens": (segment(grid=[32, 31]), "as many tokens as the grid has cells"),
    "pixels without a grid": (segment(grid=None), "a grid of pixels"),
    "tokens beyond measure": (segment(tokens=2**40), "positive sizes of a segment"),
    "a fraction of a token": (segment(tokens=1024.5), "positive sizes of a segment"),
    "another kind of segment": (segment(kind="spirits"), "known kind of segment"),
    "an unknown field of a segment": (segment(code=1), "complete description"),
    "segments beyond measure": (
        described(lambda d: d["layers"][0]["keys"].extend([{"kind": "words", "tokens": 1, "grid": None}] * 16)),
        "segments of queries and of keys",
    ),
    "no pixels": (described(lambda d: d["layers"][0].update(queries=d["layers"][1]["keys"])), "one segment of pixels"),
    "pixels twice": (
        described(lambda d: d["layers"][0].update(keys=d["layers"][0]["keys"] * 2)),
        "one segment of pixels",
    ),
    "a layer twice": (described(lambda d: d["layers"].append(d["layers"][0])), "layers of different names"),
    "a gap of another layer": (described(lambda d: d["gaps"].update(x=[[0, "why"]])), "gaps of recorded layers"),
    "a gap at another step": (described(lambda d: d["gaps"].update({NAME: [[7, "why"]]})), "gaps of recorded layers"),
    "a gap twice": (described(lambda d: d["gaps"].update({NAME: [[0, "a"], [0, "b"]]})), "each gap once"),
    "a gap without a reason": (described(lambda d: d["gaps"].update({NAME: [[0, ""]]})), "the reason of a gap"),
    "nothing but gaps": (
        described(lambda d: d["gaps"].update({NAME: [[step, "why"] for step in range(3)]})),
        "at least one step of every layer",
    ),
    "a gap with tensors": (described(lambda d: d["gaps"].update({NAME: [[2, "why"]]})), "no further tensors"),
    "a call of another step": (described(lambda d: d["calls"].append([7, 1, 2])), "calls of recorded steps"),
    "a call too many": (described(lambda d: d["calls"].append([0, 3, 2])), "a call of 2"),
    "rows of another layer": (described(lambda d: d["proved_rows"].update(x=1)), "proved rows of recorded layers"),
    "rows below zero": (described(lambda d: d["proved_rows"].update({NAME: -1})), "a number of proved rows"),
    "rows beyond measure": (described(lambda d: d["proved_rows"].update({NAME: 2**60})), "a number of proved rows"),
    "queries of another layer": (kept(x=[0]), "kept queries of recorded layers"),
    "a query too many": (kept([0, 1024]), "kept queries of 1024"),
    "a query below zero": (kept([-1]), "kept queries of 1024"),
    "half a query": (kept([0.5]), "kept queries of 1024"),
    "queries out of order": (kept([1, 0]), "kept queries in order"),
    "a query twice": (kept([1, 1]), "kept queries in order"),
    "no queries": (kept([]), "kept queries in order"),
    "a query without a list": (kept(1), "kept queries of recorded layers"),
    "queries that are all there": (kept([0, 1]), "to be floats of shape"),
    "no branch": (described(lambda d: d.update(branches=[])), "names of branches"),
    "a branch without a name": (described(lambda d: d.update(branches=[""])), "names of branches"),
    "a branch twice": (described(lambda d: d["branches"].append("conditional")), "names of branches"),
    "a long name of a branch": (described(lambda d: d.update(branches=["x" * 101])), "names of branches"),
    "branches beyond measure": (
        described(lambda d: d.update(branches=[str(i) for i in range(17)])),
        "names of branches",
    ),
    "a branch that is not there": (described(lambda d: d["branches"].append("left")), "expected a tensor"),
    "a proof of another branch": (
        described(lambda d: d["proofs"].update({NAME: ["left", 0]})),
        "proofs of recorded layers and steps",
    ),
    "more heads than there are": (described(lambda d: d["layers"][0].update(heads=9)), "floats of shape"),
    "an unknown field": (described(lambda d: d["layers"][0].update(code="1")), "complete description"),
    "a scale that is no number": (described(lambda d: d["layers"][0].update(scale="x")), "finite scale"),
    "a step that is not there": (described(lambda d: d["timesteps"].append([7, 1.0])), "expected a tensor"),
    "an endless step": (
        lambda m, t: m.update(trace=m["trace"].replace("[[0, ", "[[1e999, ", 1)),
        "expected finite numbers, got 1e999",
    ),
    "a list for a name": (described(lambda d: d["layers"][0].update(name=[])), "the name of a layer"),
    "a recipe that is no number": (
        described(lambda d: d["recipe"].update(guidance=float("nan"))),
        "finite numbers, got NaN",
    ),
    "a proof without end": (
        described(lambda d: d["proved"].update({NAME: float("inf")})),
        "finite numbers, got Infinity",
    ),
    "a proof of another layer": (
        described(lambda d: d["proofs"].update(x=["conditional", 0])),
        "proofs of recorded layers",
    ),
    "no recipe": (described(lambda d: d.update(recipe=[])), "expected a recipe"),
    "a missing tensor": (lambda m, t: t.pop(f"conditional/key/{NAME}/1"), "expected a tensor"),
    "a tensor too many": (lambda m, t: t.update(more=torch.zeros(1)), "no further tensors"),
    "whole numbers": (
        lambda m, t: t.update({f"conditional/key/{NAME}/1": torch.zeros(2, 1024, 4, dtype=torch.int64)}),
        "floats",
    ),
    "not finite": (lambda m, t: t[f"conditional/key/{NAME}/1"].fill_(float("nan")), "to be finite"),
    "a proof outside the grid": (lambda m, t: t[f"proof/queries/{NAME}"].fill_(10**6), "some of its queries"),
    "a picture that is none": (lambda m, t: t.update(picture=torch.zeros(3)), "an RGB picture"),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_load_refuses_hostile_files(trace, tmp_path, case):
    change, message = HOSTILE[case]
    path = trace.save(tmp_path / "run.safetensors")
    tampered(path, change)
    with pytest.raises(TraceFileError, match=message):
        Trace.load(path)


def test_load_refuses_files_that_are_no_traces(trace, tmp_path):
    path = trace.save(tmp_path / "run.safetensors")
    whole = path.read_bytes()
    for cut in (0, 5, 100, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:cut])
        with pytest.raises(TraceFileError, match=r"isn't a complete \.safetensors file"):
            Trace.load(path)
    path.write_bytes(b"\x80\x04\x95pickle" * 100)
    with pytest.raises(TraceFileError):
        Trace.load(path)
    save_file({"weight": torch.zeros(2)}, path)
    with pytest.raises(TraceFileError, match="expected the format"):
        Trace.load(path)
    with pytest.raises(FileNotFoundError):
        Trace.load(tmp_path / "nowhere.safetensors")
    with pytest.raises(TraceFileError):
        Trace.load(tmp_path)
