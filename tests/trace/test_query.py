"""Maps of queries: against cases worked by hand, and against the trace's own rows and columns."""

import numpy as np
import pytest
import torch

from tests.support.gallery import without_words
from tests.support.traces import attention_of, trace_of_odds, trace_of_segments
from viz import Trace
from viz.areas import coverage, middle, shares
from viz.page.gallery import first_trace
from viz.query import Maps
from viz.view import Box, Pixel, Region, View

NAME = "up_blocks.2.attentions.1.transformer_blocks.0.attn1"
QUERIES = (Pixel((0.3, 0.7)), Box((0.1, 0.2), (0.53, 0.61)), Region((2, 2), b"\x90"))


@pytest.fixture(scope="module")
def trace() -> Trace:
    return without_words(first_trace())


def test_coverage_worked_by_hand():
    assert coverage(Pixel((0.99, 0.5)), (2, 4)).tolist() == [[0, 0, 0, 0], [0, 0, 1, 0]]
    assert coverage(Pixel((1, 1)), (2, 2)).tolist() == [[0, 0], [0, 1]]
    assert np.allclose(coverage(Box((0, 0.125), (0.5, 0.5)), (2, 4)), [[0.5, 1, 0, 0], [0, 0, 0, 0]])
    region = Region((2, 2), b"\x90")  # 10 / 01
    assert np.allclose(coverage(region, (2, 2)), [[1, 0], [0, 1]])
    assert np.allclose(coverage(region, (1, 1)), [[0.5]])
    assert np.allclose(coverage(region, (4, 2)), [[1, 0], [1, 0], [0, 1], [0, 1]])
    assert np.allclose(coverage(region, (3, 3)), [[1, 0.5, 0], [0.5, 0.5, 0.5], [0, 0.5, 1]])


def test_shares_sum_to_one_and_middle_is_their_mean_place():
    region = Region((2, 2), b"\x90")
    assert shares(region, (3, 3)).sum() == pytest.approx(1) and middle(region, (3, 3)) == pytest.approx((1, 1))
    assert middle(Pixel((0.99, 0)), (4, 4)) == (3, 0)


def test_maps_worked_by_hand():
    maps = Maps(trace_of_odds())
    right = Box((0, 0.5), (1, 1))  # tokens 1 and 3
    row = np.array([0.1 + 0.1, 0.2 + 0.1, 0.3 + 0.1, 0.4 + 0.7]) / 2
    assert np.allclose(maps.heads(right, "a", 0), row.reshape(1, 2, 2))
    mean = (row * 2 + 0.25 + np.array([0.6, 0.1, 0.1, 0.2])) / 4
    assert np.allclose(maps.heads(right, "a", 0, special=True), (row - mean).reshape(1, 2, 2), atol=1e-6)
    column = np.array([0.5, 0.6, 0.3, 0.8]) / 2
    assert np.allclose(maps.heads(right, "a", 0, mode="column"), column.reshape(1, 2, 2))
    assert np.allclose(maps.heads(right, "a", 0, mode="column", special=True), column.reshape(1, 2, 2))
    assert np.allclose(maps.one(right, "a", 0), row.reshape(2, 2) * 4)
    assert np.allclose(maps.of_view(View((0, 0.9), "a", 0)), [[0.4, 0.8], [1.2, 1.6]])


def softmax_of_everything(trace: Trace, name: str, step: int) -> np.ndarray:
    """(H, N, N), the plain formula in double precision."""
    key = trace.branches[-1], name, step
    q, k = trace.queries[key].double(), trace.keys[key].double()
    return torch.softmax(q @ k.transpose(-1, -2) * trace.layers[name].scale, -1).numpy()


@pytest.mark.parametrize("query", QUERIES, ids=["pixel", "box", "region"])
@pytest.mark.parametrize(("mode", "special"), [("row", False), ("row", True), ("column", False)])
def test_maps_equal_the_plain_formula(trace, query, mode, special):
    maps, step = Maps(trace), trace.steps[3]
    for layer in maps.layers[::3]:
        attention, share = softmax_of_everything(trace, layer.name, step), shares(query, layer.grid).ravel()
        expected = attention @ share if mode == "column" else share @ attention
        expected = (expected - attention.mean(1) if special else expected).reshape(-1, *layer.grid)
        found = maps.heads(query, layer.name, step, mode=mode, special=special)
        assert found.dtype == np.float32 and np.allclose(found, expected, atol=1e-6)
        for head in (-1, 0, 1, 99):
            one = expected.mean(0) if head < 0 else expected[min(head, layer.heads - 1)]
            options = {"head": head, "mode": mode, "special": special}
            assert np.allclose(maps.one(query, layer.name, step, **options), one * layer.tokens, atol=1e-3)


@pytest.mark.parametrize("query", QUERIES, ids=["pixel", "box", "region"])
def test_maps_of_a_coarser_map_choose_cells_on_one_grid_and_lie_on_the_other(query):
    trace = trace_of_segments()
    maps, layer = Maps(trace), trace.layers["joint"]
    attention = attention_of(trace, "joint", 4).numpy()  # (H, 12, 4)
    row = shares(query, (3, 4)).ravel() @ attention
    for special in (False, True):
        expected = (row - attention.mean(1) if special else row).reshape(2, 2, 2)
        assert np.allclose(maps.heads(query, "joint", 4, special=special), expected, atol=1e-6)
        assert np.allclose(maps.one(query, "joint", 4, head=1, special=special), expected[1] * 4, atol=1e-5)
    column = (attention @ shares(query, (2, 2)).ravel()).reshape(2, *layer.grid)
    assert np.allclose(maps.heads(query, "joint", 4, mode="column"), column, atol=1e-6)
    assert np.allclose(maps.one(query, "joint", 4, mode="column"), column.mean(0) * 4, atol=1e-5)


def test_maps_at_a_gap_raise_its_reason():
    maps = Maps(trace_of_segments())
    for mode in ("row", "column"):
        with pytest.raises(KeyError, match="layer 'plain' has no map at step 4: it did not run"):
            maps.heads(QUERIES[0], "plain", 4, mode=mode)


def test_middle_is_counted_in_cells_of_another_grid():
    assert middle(Pixel((0.99, 0)), (4, 4), (2, 8)) == (1.25, 0.5)
    assert middle(Pixel((0.99, 0)), (4, 4), (4, 4)) == (3, 0)


def test_maps_compute_row_sums_once_and_keep_at_most_what_fits(trace):
    counted, plain = [], trace.row_sums

    class Counting(Trace):
        def row_sums(self, layer, **options):
            counted.append((layer, options["step"]))
            return plain(layer, **options)

    layer, (first, second, *_) = trace.layers[NAME], trace.steps
    each = 2 * layer.heads * layer.tokens * 4
    maps = Maps(Counting(**vars(trace)), cache_bytes=each)
    for step in (first, first, second, second, first):
        for mode, special in (("column", False), ("row", True), ("row", False)):
            maps.heads(QUERIES[0], NAME, step, mode=mode, special=special)
        assert len(maps.cache) == 1
    assert counted == [(NAME, first), (NAME, second), (NAME, first)]
    tiny = Maps(trace, cache_bytes=each - 1)
    assert np.array_equal(
        tiny.heads(QUERIES[0], NAME, first, mode="column"), maps.heads(QUERIES[0], NAME, first, mode="column")
    )
    assert len(tiny.cache) == 0
