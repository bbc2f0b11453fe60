"""Rows and columns of a trace, and its file."""

import hashlib
import json
import struct
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.support.traces import trace_of_odds, trace_of_scores, trace_with_everything
from viz import Trace
from viz.recipe import Recipe
from viz.recording.run import perform
from viz.trace_file import TraceFileError
from viz.trace_header import read_description


@pytest.fixture(scope="module")
def trace(shared_pipeline) -> Trace:
    return perform(Recipe("a red monster", seed=1, steps=3), shared_pipeline)


def test_rows_and_columns_worked_by_hand():
    trace = trace_of_odds()
    assert torch.allclose(trace.rows("a", step=0, query=(0, 0)), torch.full((1, 2, 2), 0.25))
    assert torch.allclose(trace.rows("a", step=0, query=(0, 1)), torch.tensor([[[0.1, 0.2], [0.3, 0.4]]]))
    assert torch.allclose(trace.columns("a", step=0, key=(1, 1)), torch.tensor([[[0.25, 0.4], [0.2, 0.7]]]))
    assert torch.allclose(trace.rows("a", step=0, query=(0, 1), head=0), torch.tensor([[0.1, 0.2], [0.3, 0.4]]))


def test_region_rows_region_columns_and_mean_row_worked_by_hand():
    trace = trace_of_odds()
    weights = torch.tensor([[0.0, 3.0], [1.0, 0.0]])  # three quarters of the second row, one of the third
    rows = trace.region_rows("a", step=0, weights=weights)
    assert torch.allclose(rows, torch.tensor([[[0.225, 0.175], [0.25, 0.35]]]))
    columns = trace.region_columns("a", step=0, weights=weights)  # of the second and the third column
    assert torch.allclose(columns, torch.tensor([[[0.25, 0.225], [0.1, 0.1]]]))
    mean = trace.mean_row("a", step=0)
    assert torch.allclose(mean, torch.tensor([[[0.2625, 0.1625], [0.1875, 0.3875]]]))
    assert torch.allclose(trace.mean_row("a", step=0, head=0), mean[0])
    one = torch.tensor([[0.0, 0.1], [0.0, 0.0]])
    assert torch.allclose(trace.region_rows("a", step=0, weights=one), trace.rows("a", step=0, query=(0, 1)))
    assert torch.allclose(trace.region_columns("a", step=0, weights=one), trace.columns("a", step=0, key=(0, 1)))


def test_region_rows_and_columns_are_means_of_rows_and_columns(trace):
    layer = next(layer for layer in trace if layer.kind == "self")
    weights = torch.zeros(layer.grid)
    weights[3, 4], weights[20, 7] = 1, 3
    both = [
        (trace.region_rows, lambda place: trace.rows(layer.name, step=1, query=place)),
        (trace.region_columns, lambda place: trace.columns(layer.name, step=1, key=place)),
    ]
    for region, one in both:
        expected = one((3, 4)) / 4 + one((20, 7)) * 3 / 4
        assert torch.allclose(region(layer.name, step=1, weights=weights), expected, atol=1e-7)
    assert trace.mean_row(layer.name, step=1).sum(dim=(-1, -2)) == pytest.approx([1.0] * layer.heads, abs=1e-5)


@pytest.mark.parametrize("weights", [torch.ones(3, 2), torch.zeros(2, 2), torch.tensor([[1.0, -1.0], [0.0, 0.0]])])
def test_region_rows_refuses_weights_that_are_no_region(weights):
    with pytest.raises(ValueError, match="expected weights of the 2x2 grid of a"):
        trace_of_scores(torch.eye(4)).region_rows("a", step=0, weights=weights)


def test_cell_holds_the_point_in_every_grid(trace):
    for layer in trace:
        assert trace.cell(layer.name, (0, 0)) == (0, 0)
        assert trace.cell(layer.name, (63.9, 63.9)) == (layer.grid[0] - 1, layer.grid[1] - 1)
        assert trace.cell(layer.name, (31, 32)) == (layer.grid[0] // 2 - 1, layer.grid[1] // 2)
    atlas = trace.atlas((20, 40))
    assert set(atlas) == {layer.name for layer in trace if layer.kind == "self"}
    for name, maps in atlas.items():
        layer = trace.layers[name]
        assert maps.shape == (3, layer.heads, *layer.grid)
        assert torch.equal(maps[2], trace.rows(name, step=2, query=trace.cell(name, (20, 40))))


def test_kept_bytes_are_far_fewer_than_map_bytes(trace):
    where = next(iter(trace.queries))
    q, k = trace.queries[where], trace.keys[where]
    assert trace.kept_bytes >= q.nbytes + k.nbytes
    only = trace.select(layers=[where[1]], steps=[where[2]])
    assert only.kept_bytes == q.nbytes + k.nbytes
    assert only.map_bytes == q.shape[0] * q.shape[1] * k.shape[1] * 4
    assert trace.map_bytes > 10 * trace.kept_bytes


def test_trace_errors_name_what_was_recorded(trace):
    name = next(iter(trace.layers))
    with pytest.raises(KeyError, match="the closest are"):
        trace.rows(name[:-1], step=0, query=(0, 0))
    with pytest.raises(KeyError, match=r"step 9 was not recorded; recorded are \[0, 1, 2\]"):
        trace.rows(name, step=9, query=(0, 0))
    with pytest.raises(KeyError, match="branch 'unconditional' was not recorded"):
        trace.rows(name, step=0, query=(0, 0), branch="unconditional")
    with pytest.raises(IndexError, match="outside the 32x32 grid"):
        trace.rows(name, step=0, query=(32, 0))
    with pytest.raises(IndexError, match="head 2 is outside the 2 heads"):
        trace.rows(name, step=0, query=(0, 0), head=2)
    with pytest.raises(ValueError, match="cross-attention"):
        trace.columns(name.replace("attn1", "attn2"), step=0, key=(0, 0))
    with pytest.raises(KeyError, match=r"steps \[7\] were not recorded"):
        trace.select(steps=[7])


def test_perform_gives_the_same_trace_for_the_same_recipe(shared_pipeline, trace):
    again = perform(Recipe("a red monster", seed=1, steps=3), shared_pipeline)
    assert np.array_equal(again.picture, trace.picture)
    assert all(torch.equal(again.queries[where], q) for where, q in trace.queries.items())


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


def test_save_writes_version_1_of_the_format_byte_for_byte(tmp_path):
    """Files of this version, and every viewer that reads them, are out in the world: another hash, another version."""
    path = trace_with_everything().save(tmp_path / "run.safetensors")
    assert hashlib.sha256(path.read_bytes()).hexdigest() == (
        "85eb20e9c0702191c88b88da70b05e1b2b1e11c20c8a7b1e4f3d5d96dd29f3b2"
    )
    again = Trace.load(path).save(tmp_path / "again.safetensors")
    assert again.read_bytes() == path.read_bytes()


def test_save_refuses_what_no_browser_could_read(trace, tmp_path):
    strange = replace(trace, recipe={"guidance": float("nan")})
    with pytest.raises(ValueError, match="in its recipe or timesteps cannot be saved"):
        strange.save(tmp_path / "run.safetensors")
    assert not list(tmp_path.iterdir())


def test_save_writes_the_largest_difference_of_verify(trace, tmp_path):
    half = trace.select(dtype=torch.float16)
    assert read_description(half.save(tmp_path / "run.safetensors"))["verified"] == max(half.verify().values())


def test_select_converts_to_half_precision_or_refuses(trace):
    half = trace.select(dtype=torch.float16)
    assert half.kept_bytes * 2 == trace.kept_bytes
    assert max(trace.verify().values()) < 1e-5 < max(half.verify().values()) < 5e-3
    large = trace_of_scores(torch.full((4, 4), 1e6))
    with pytest.raises(ValueError, match=r"as large as 1e\+06 does not fit into torch.float16"):
        large.select(dtype=torch.float16)


def test_save_leaves_the_old_file_if_interrupted(trace, tmp_path, monkeypatch):
    path = trace.save(tmp_path / "run.safetensors")
    before = path.read_bytes()

    def killed(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("viz.trace_file.os.replace", killed)
    with pytest.raises(KeyboardInterrupt):
        trace.select(steps=[0]).save(path)
    assert path.read_bytes() == before and [f.name for f in tmp_path.iterdir()] == ["run.safetensors"]


def tampered(path, change) -> None:
    """Rewrite a trace file with its metadata and tensors changed."""
    with open(path, "rb") as file:
        header = json.loads(file.read(struct.unpack("<Q", file.read(8))[0]))
    metadata, tensors = header["__metadata__"], load_file(path)
    change(metadata, tensors)
    save_file(tensors, path, metadata)


def described(change):
    def edit(metadata, tensors):
        description = json.loads(metadata["trace"])
        change(description)
        metadata["trace"] = json.dumps(description)

    return edit


NAME = "down_blocks.1.attentions.0.transformer_blocks.0.attn1"
HOSTILE = {
    "another format": (lambda m, t: m.update(format="pt"), "expected the format 'pixelgaze-trace'"),
    "a later version": (lambda m, t: m.update(version="9"), "expected version 1"),
    "no description": (lambda m, t: m.pop("trace"), "expected a complete description"),
    "not JSON": (lambda m, t: m.update(trace="{"), "expected a complete description"),
    "deep JSON": (lambda m, t: m.update(trace="[" * 100_000), "expected a complete description"),
    "a grid too large": (described(lambda d: d["layers"][0].update(grid=[10**9, 10**9])), "positive sizes"),
    "a negative grid": (described(lambda d: d["layers"][0].update(grid=[-32, -32])), "positive sizes"),
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
    "a proof of another layer": (described(lambda d: d["proof_steps"].update(x=0)), "proofs of recorded layers"),
    "no recipe": (described(lambda d: d.update(recipe=[])), "expected a recipe"),
    "branches of its own": (described(lambda d: d.update(branches=["left"])), "branches of a guided batch"),
    "a missing tensor": (lambda m, t: t.pop(f"conditional/key/{NAME}/1"), "expected a tensor"),
    "a tensor too many": (lambda m, t: t.update(more=torch.zeros(1)), "no further tensors"),
    "whole numbers": (
        lambda m, t: t.update({f"conditional/key/{NAME}/1": torch.zeros(2, 1024, 4, dtype=torch.int64)}),
        "floats",
    ),
    "not finite": (lambda m, t: t[f"conditional/key/{NAME}/1"].fill_(float("nan")), "to be finite"),
    "a proof outside the grid": (lambda m, t: t[f"proof/queries/{NAME}"].fill_(10**6), "pixels of its grid"),
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
        with pytest.raises(TraceFileError, match="not a whole safetensors file"):
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
