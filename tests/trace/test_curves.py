"""Measures over the steps."""

import numpy as np
import pytest

from tests.support.gallery import without_words
from tests.support.traces import attention_of, trace_of_odds, trace_of_segments
from viz.curves import measure_over_steps
from viz.labels import layer_label
from viz.page.gallery import first_trace
from viz.query import Maps
from viz.view import Box, Pixel

NAME = "up_blocks.2.attentions.1.transformer_blocks.0.attn1"
EYE = Pixel((0.555, 0.336))
OTHER = Box((0.5, 0.6), (0.65, 0.8))


@pytest.fixture(scope="module")
def maps() -> Maps:
    return Maps(without_words(first_trace()))


def test_measure_over_steps_of_rows(maps):
    trace, curves = maps.trace, measure_over_steps(maps, EYE, region=OTHER)
    labels = [layer_label(name) for name in trace.layers]
    assert labels[0] == "down 1 · attention 0" and labels[3] == "middle · attention 0"
    assert list(curves.entropy) == list(curves.distance) == list(curves.weight) == labels
    step = curves.steps.index(16)
    rows = trace.rows(NAME, step=16, query=trace.cell(NAME, (0.555 * 64, 0.336 * 64))).mean(0).double()
    assert curves.entropy[labels[-1]][step] == pytest.approx(-(rows * rows.log2()).sum().item(), rel=1e-4)
    inside = curves.weight[labels[-1]]
    outside = measure_over_steps(maps, EYE, region=OTHER, outside=True).weight[labels[-1]]
    assert np.allclose(inside + outside, 1) and inside.max() > 0.1
    assert measure_over_steps(maps, EYE).weight is None


def test_entropies_of_maps_of_different_sizes_are_shares_of_the_most_possible(maps):
    curves = measure_over_steps(maps, EYE)
    shares, unit = curves.comparable_entropy
    assert unit == "share of log₂(keys)" and list(shares) == list(curves.entropy)
    for layer in maps.trace:
        label = layer_label(layer.name)
        assert np.allclose(shares[label] * np.log2(layer.grid[0] * layer.grid[1]), curves.entropy[label])
        assert (shares[label] > 0).all() and (shares[label] <= 1 + 1e-6).all()
    one = measure_over_steps(maps, EYE, layer=NAME)
    assert one.comparable_entropy == (one.entropy, "bits")
    assert measure_over_steps(maps, EYE, mode="column").comparable_entropy == ({}, "bits")


def test_measure_over_steps_of_columns_worked_by_hand():
    maps = Maps(trace_of_odds())
    region = Box((0.5, 0), (1, 1))  # tokens 2 and 3
    curves = measure_over_steps(maps, Pixel((0, 0)), mode="column", layer="a", region=region)
    column = np.array([0.25, 0.1, 0.6, 0.1])  # who looks at token 0
    assert curves.entropy is None and curves.received["head 0"] == pytest.approx([column.sum()])
    assert curves.weight["head 0"] == pytest.approx([0.7 / 1.05])
    side = np.array(maps.trace.size) / 2
    away = np.array([0, side[1], side[0], np.hypot(*side)])
    assert curves.distance["mean"] == pytest.approx([column @ away / 1.05])
    assert measure_over_steps(maps, Pixel((0, 0))).received is None


def test_measure_over_steps_leaves_gaps_out():
    maps = Maps(trace_of_segments())
    for mode in ("row", "column"):
        curves = measure_over_steps(maps, Box((0, 0), (0.4, 0.6)), mode=mode, region=Box((0, 0), (1, 0.5)))
        lines = [lines for lines in (curves.entropy, curves.received, curves.distance, curves.weight) if lines]
        assert len(lines) == 3
        for each in lines:
            assert np.isfinite(each["plain"]).tolist() == [True, False, True]
            assert np.isfinite(each["joint"]).tolist() == [True, True, False]


def test_measure_over_steps_of_a_coarser_map():
    trace = trace_of_segments()
    attention = attention_of(trace, "joint", 4).numpy()[1]  # (12, 4)
    rows = measure_over_steps(Maps(trace), Pixel((0.99, 0.99)), layer="joint")
    row = attention[11] / attention[11].sum()
    centres = np.array([[1.5, 2], [1.5, 6], [4.5, 2], [4.5, 6]])  # of the 2x2 cells, in pixels of the 6x8 sample
    away = np.hypot(*(centres - [5, 7]).T)  # from the middle of the last of 3x4 cells
    assert rows.distance["head 1"][1] == pytest.approx(row @ away, rel=1e-5)
    columns = measure_over_steps(Maps(trace), Pixel((0, 0)), layer="joint", mode="column")
    assert columns.received["head 1"][1] == pytest.approx(attention[:, 0].sum() / 3, rel=1e-5)  # 12 rows, 4 keys


def test_measure_over_steps_of_one_layer_has_a_line_for_each_head(maps):
    curves = measure_over_steps(maps, EYE, layer=NAME)
    assert list(curves.entropy) == ["mean", "head 0", "head 1", "head 2", "head 3"]
    one = measure_over_steps(maps, EYE, head=2)
    assert np.allclose(one.entropy[layer_label(NAME)], curves.entropy["head 2"])
