"""Rows and columns of a trace, and its file."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from tests.support.traces import attention_of, trace_of_odds, trace_of_scores, trace_of_segments
from viz import Trace
from viz.layer import Proof
from viz.recipe import Recipe
from viz.recording.run import perform


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


PLACES = [(0, 0), (1, 2), (2, 3)]


@pytest.mark.parametrize("branch", [None, "picture 1 of 2"])
def test_rows_and_columns_leave_out_what_is_no_pixel(branch):
    """Against the plain formula: queries and keys before and after the pixels, and keys of a coarser map."""
    trace = trace_of_segments()
    weights = attention_of(trace, "joint", 4, branch).float()  # (H, 12, 4)
    options = {"step": 4, "branch": branch}
    for row, column in PLACES:
        maps = trace.rows("joint", query=(row, column), **options)
        assert maps.shape == (2, 2, 2)
        assert torch.allclose(maps.flatten(1), weights[:, row * 4 + column], atol=1e-6)
    for row, column in [(0, 1), (1, 0)]:
        maps = trace.columns("joint", key=(row, column), **options)
        assert maps.shape == (2, 3, 4)
        assert torch.allclose(maps.flatten(1), weights[..., row * 2 + column], atol=1e-6)
    mean = trace.mean_row("joint", **options)
    assert torch.allclose(mean.flatten(1), weights.mean(1), atol=1e-6) and (mean.sum((-1, -2)) < 0.999).all()
    fine, coarse = torch.rand(3, 4), torch.rand(2, 2)
    rows = trace.region_rows("joint", weights=fine, head=1, **options)
    expected = (fine / fine.sum()).flatten() @ weights[1]
    assert torch.allclose(rows.flatten(), expected, atol=1e-6)
    columns = trace.region_columns("joint", weights=coarse, head=1, **options)
    assert torch.allclose(columns.flatten(), weights[1] @ (coarse / coarse.sum()).flatten(), atol=1e-6)
    words = trace.rows("cross", step=4, query=(1, 2), branch=branch)
    assert torch.allclose(words, attention_of(trace, "cross", 4, branch)[:, 6].float(), atol=1e-6)


def test_columns_of_a_coarser_map_take_its_cells():
    trace = trace_of_segments()
    with pytest.raises(IndexError, match=r"key \(2, 0\) is outside the 2x2 grid of joint"):
        trace.columns("joint", step=0, key=(2, 0))
    with pytest.raises(IndexError, match=r"query \(3, 0\) is outside the 3x4 grid of joint"):
        trace.rows("joint", step=0, query=(3, 0))
    with pytest.raises(ValueError, match="expected weights of the 2x2 grid of joint"):
        trace.region_columns("joint", step=0, weights=torch.ones(3, 4))


def test_gaps_have_no_maps_but_a_reason():
    trace = trace_of_segments()
    assert trace.steps_of("plain") == [0, 6] and trace.steps_of("cross") == [0, 4, 6]
    for ask in (
        lambda: trace.rows("plain", step=4, query=(0, 0)),
        lambda: trace.columns("plain", step=4, key=(0, 0)),
        lambda: trace.row_sums("plain", step=4),
    ):
        with pytest.raises(KeyError, match="layer 'plain' has no map at step 4: it did not run"):
            ask()
    atlas = trace.atlas((5.9, 0))
    assert atlas["joint"].shape == (3, 2, 2, 2) and atlas["plain"].shape == (3, 3, 3, 4)
    assert atlas["plain"][1].isnan().all() and atlas["plain"][[0, 2]].isfinite().all()
    assert torch.equal(atlas["joint"][1], trace.rows("joint", step=4, query=(2, 0)))


def test_select_keeps_gaps_and_calls_of_its_steps_and_skips_layers_without_any():
    trace = trace_of_segments()
    some = trace.select(steps=[0, 4], dtype=torch.float16)
    assert some.gaps == {"plain": {4: "it did not run"}} and some.calls == trace.calls
    assert set(some.queries) == {key for key in trace.queries if key[2] < 6}
    late = trace.select(steps=[6])
    assert list(late.layers) == ["plain", "cross"] and late.gaps == late.calls == {}
    assert late.skipped == trace.skipped | {"joint": "its output could not be recomputed"}
    assert set(late.proved) == set(late.proved_rows) == {"plain", "cross"}


def test_verify_recomputes_the_branch_of_each_proof():
    trace = trace_of_segments()
    layer, key = trace.layers["joint"], ("picture 1 of 2", "joint", 4)
    q, k = trace.queries[key].double(), trace.keys[key].double()
    value, queries = torch.randn(2, 9, 5), torch.tensor([0, 3, 14])  # a register, a pixel, the object
    output = torch.softmax(q @ k.transpose(-1, -2) * layer.scale, -1)[:, queries] @ value.double()
    proof = Proof("picture 1 of 2", 4, queries, value, output.transpose(0, 1).flatten(1).float())
    trace.proofs["joint"] = proof
    assert trace.verify()["joint"] < 1e-6
    trace.proofs["joint"] = replace(proof, branch="picture 2 of 2")
    assert trace.verify()["joint"] > 0.1


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


def test_select_converts_to_half_precision_or_refuses(trace):
    half = trace.select(dtype=torch.float16)
    assert half.kept_bytes * 2 == trace.kept_bytes
    assert max(trace.verify().values()) < 1e-5 < max(half.verify().values()) < 5e-3
    large = trace_of_scores(torch.full((4, 4), 1e6))
    with pytest.raises(ValueError, match=r"as large as 1e\+06 does not fit into torch.float16"):
        large.select(dtype=torch.float16)
