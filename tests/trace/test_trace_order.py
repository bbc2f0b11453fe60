"""The order of the tensors in a trace's file: a prefix is enough for the first map, and any order can be read."""

import json
import struct

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from tests.support.traces import trace_of_segments, trace_with_everything
from viz import Trace
from viz.recipe import Recipe
from viz.recording.run import perform
from viz.trace_header import HeaderError, prefix_bytes
from viz.trace_order import aligned


def offsets(path):
    """{name: (first byte, end)} in the order in which they lie in the file's data."""
    with open(path, "rb") as file:
        header = json.loads(file.read(struct.unpack("<Q", file.read(8))[0]))
    entries = {name: entry["data_offsets"] for name, entry in header.items() if name != "__metadata__"}
    return dict(sorted(entries.items(), key=lambda item: item[1]))


@pytest.fixture(scope="module")
def run(shared_pipeline) -> Trace:
    recipe = Recipe("a red monster with one eye", seed=1, steps=5)
    return perform(recipe, shared_pipeline, branch="both").select(dtype=torch.float16)


@pytest.mark.parametrize("compact", [False, True])
def test_prefix_holds_the_first_map_then_its_step_then_the_nearest_steps(run, tmp_path, compact):
    layer = [name for name in run.layers if run.layers[name].kind == "self"][3]
    path = run.save(tmp_path / "run.safetensors", compact=compact, first=(layer, 1))
    names = list(offsets(path))
    assert names[:4] == ["picture", "preview/1", f"conditional/key/{layer}/1", f"conditional/query/{layer}/1"]
    ends = {}  # of each step: how many tensors lie before the last of its queries of the shown branch
    for step in run.steps:
        ends[step] = max(
            i for i, name in enumerate(names) if name.startswith("conditional/query/") and name.endswith(f"/{step}")
        )
    assert sorted(ends, key=ends.get) == [1, 2, 0, 3, 4]
    first_step = names[: ends[1] + 1]
    assert len([name for name in first_step if "/query/" in name]) == len(run.layers)
    assert not [name for name in first_step if name.startswith(("unconditional", "proof"))]
    for name in run.layers:  # in a compact file keys of words lie at an earlier step, and still before their first use
        kept = [f"conditional/key/{name}/{step}" for step in (1, 0) if f"conditional/key/{name}/{step}" in names]
        assert kept[0] in first_step, name
    assert all(name.startswith("proof/") for name in names[-3 * len(run.proofs) :]) and run.proofs


def test_prefix_bytes_hold_the_first_map_and_little_else(run, tmp_path):
    layer = next(iter(run.layers))
    path = run.save(tmp_path / "run.safetensors", compact=True, first=(layer, 3))
    enough = prefix_bytes(path, layer, 3)
    with open(path, "rb") as file:
        start = 8 + struct.unpack("<Q", file.read(8))[0]
    first = ["picture", "preview/3", f"conditional/key/{layer}/3", f"conditional/query/{layer}/3"]
    assert enough == start + max(offsets(path)[name][1] for name in first) < path.stat().st_size / 4
    assert prefix_bytes(path, layer, 0) > enough
    for wrong in (("other", 3), (layer, 9)):
        with pytest.raises(HeaderError, match="no such tensor"):
            prefix_bytes(path, *wrong)
    path.write_bytes(b"x" * 100)
    with pytest.raises(HeaderError, match="expected the file of a trace"):
        prefix_bytes(path, layer, 3)


def test_first_map_is_what_a_viewer_opens_with_by_default(run, tmp_path):
    last = [name for name in run.layers if run.layers[name].kind == "self"][-1]
    names = list(offsets(run.save(tmp_path / "run.safetensors")))
    assert names[2] == f"conditional/key/{last}/4"


@pytest.mark.parametrize("make", [trace_with_everything, trace_of_segments])
@pytest.mark.parametrize("first", [None, ("last layer", "first step")])
def test_any_file_is_whole_aligned_and_read_by_the_library(tmp_path, make, first):
    trace = make()
    if first:
        name = list(trace.layers)[-1]
        first = (name, trace.steps_of(name)[0])
    path = trace.save(tmp_path / "run.safetensors", first=first)
    places = offsets(path)
    ends = [0, *(end for _, end in places.values())]
    assert [start for start, _ in places.values()] == ends[:-1]  # no holes, nothing twice
    tensors = load_file(path)  # the library's own reader
    assert all(places[name][0] % tensor.itemsize == 0 for name, tensor in tensors.items())
    expected = {f"{b}/query/{n}/{s}": q for (b, n, s), q in trace.queries.items()}
    expected |= {f"{b}/key/{n}/{s}": k for (b, n, s), k in trace.keys.items()}
    assert expected.keys() <= tensors.keys()
    assert all(torch.equal(tensors[name], tensor) for name, tensor in expected.items())


def test_reader_does_not_rely_on_the_order(run, tmp_path):
    path = run.save(tmp_path / "run.safetensors", compact=True)
    with safe_open(path, "pt") as file:
        metadata = file.metadata()
    save_file(load_file(path), tmp_path / "other.safetensors", metadata)  # in the library's order
    assert list(offsets(tmp_path / "other.safetensors")) != list(offsets(path))
    one, other = Trace.load(path), Trace.load(tmp_path / "other.safetensors")
    assert one.layers == other.layers and one.verify() == other.verify()
    for mine, theirs in ((one.queries, other.queries), (one.keys, other.keys)):
        assert mine.keys() == theirs.keys() and all(torch.equal(mine[key], theirs[key]) for key in mine)


def test_save_refuses_a_first_map_that_it_lacks(tmp_path):
    trace = trace_of_segments()
    for first, message in {("plain", 4): "no map at step 4", ("plan", 0): "plain", ("plain", 5): "step 5"}.items():
        with pytest.raises(KeyError, match=message):
            trace.save(tmp_path / "run.safetensors", first=first)
    assert not list(tmp_path.iterdir())


KINDS = (torch.uint8, torch.float16, torch.float32, torch.int64)


@given(st.lists(st.tuples(st.sampled_from(KINDS), st.integers(0, 9)), max_size=12), st.randoms())
def test_every_tensor_is_aligned_and_names_keep_their_order_where_they_can(kinds, random):
    tensors = {f"t{i}": torch.zeros(count, dtype=dtype) for i, (dtype, count) in enumerate(kinds)}
    order = list(tensors)
    random.shuffle(order)
    names = list(aligned(tensors, ["absent", *order]))
    assert sorted(names) == sorted(tensors)
    start = 0
    for name in names:
        assert start % tensors[name].itemsize == 0
        start += tensors[name].nbytes
    if all(tensor.nbytes % 8 == 0 for tensor in tensors.values()):
        assert names == order
